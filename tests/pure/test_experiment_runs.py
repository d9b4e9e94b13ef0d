"""What a run leaves on disk, after whatever end."""

import json
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.experiments.plan import Experiment, load, path_of
from lab.experiments.runs import RECORD, Run, write_whole

FACTS = {"began": "2026-01-01T00:00:00+00:00", "kernel": "6.12"}


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.setenv("LAB_RESULTS", str(tmp_path))
    return load(path_of("http-loss"))


def keep(run: Run, cell: int, status: str = "measured") -> None:
    run.keep({"cell": cell, "repetition": 1, "status": status})


def test_a_run_can_be_read_again_as_it_was_planned(experiment: Experiment) -> None:
    run = Run.created(experiment, FACTS)
    assert run.experiment == experiment
    assert run.facts["kernel"] == "6.12"


def test_the_latest_run_is_found_by_name(experiment: Experiment) -> None:
    Run.created(experiment, FACTS)
    second = Run.created(experiment, FACTS)
    found, newest = Run.latest(experiment.name), Run.newest()
    assert found is not None
    assert newest is not None
    assert found.folder == newest.folder == second.folder
    assert Run.latest("never-run") is None


def test_records_come_in_the_order_of_the_cells(experiment: Experiment) -> None:
    run = Run.created(experiment, FACTS)
    for cell in (11, 2, 1):
        keep(run, cell)
    assert [record["cell"] for record in run.records()] == [1, 2, 11]


def test_a_cell_without_a_whole_record_is_not_done(experiment: Experiment) -> None:
    run = Run.created(experiment, FACTS)
    keep(run, 1)
    half = run.cell_folder(2, 1)
    half.mkdir(parents=True)
    (half / "receipt.json").write_text("{}")  # as kill -9 leaves it
    (half / f".{RECORD}.new").write_text('{"cell":')
    assert run.status(1, 1) == "measured"
    assert run.status(2, 1) is None
    assert [record["cell"] for record in run.records()] == [1]


def test_a_damaged_record_is_named_and_not_taken_for_one(experiment: Experiment) -> None:
    run = Run.created(experiment, FACTS)
    keep(run, 1)
    path = run.cell_folder(1, 1) / RECORD
    path.write_text(path.read_text()[:20])
    assert run.status(1, 1) is None
    with pytest.raises(LabError, match="001-1"):
        list(run.records())


def test_a_record_of_another_format_is_refused(experiment: Experiment) -> None:
    run = Run.created(experiment, FACTS)
    keep(run, 1)
    path = run.cell_folder(1, 1) / RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(LabError, match="format"):
        list(run.records())


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, "old")
    write_whole(path, b"new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
