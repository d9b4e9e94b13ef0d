"""An experiment for real, small: measured, interrupted in every way, and finished all the same."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from lab.experiments.site import SUFFIX
from lab.settings import SETTINGS
from tests.lab.driver import ROOT, engine, eventually

pytestmark = pytest.mark.any_kernel

FILE = """
title = "A small one"
question = "Does it work?"
exercise = "udp"
clients = 2

[axes]
network = ["off", "loss 40%", "delay 20ms", "loss 20%"]

[network]
from_server = "{network}"

[settings]
UDP_DROP = "0.3"

[client]
count = 20
timeout = "40ms"
interval = "1ms"
"""
CELLS = 4
SLOW_S = 300


class Workplace:
    """A project name, a results folder and an experiment's file, all of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.project = f"progres-lab-test-{uuid4().hex[:8]}"
        self.file = folder / "small.toml"
        self.file.write_text(FILE)
        self.results = folder / "results"
        kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        self._environment = kept | {
            "COMPOSE_PROJECT_NAME": self.project,
            "LAB_ENV_FILE": str(folder / "settings.env"),
            "LAB_RESULTS": str(self.results),
            "LAB_TAG": os.environ.get("LAB_TAG", ""),
            "CAPTURE": "1",
        }

    def started(self) -> "subprocess.Popen[str]":
        """Start the experiment, as make does."""
        return self._process("lab.experiment", str(self.file))

    def done(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a module to its end."""
        with self._process(module, *arguments) as process:
            out, err = process.communicate(timeout=SLOW_S)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def _process(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def statuses(self) -> list[str]:
        """Return what became of the cells that have a record, in their order."""
        records = sorted(self.results.glob("small/latest/cells/*/record.json"))
        return [str(json.loads(path.read_text())["status"]) for path in records]

    @property
    def report(self) -> str:
        """The report of the newest run."""
        return (self.results / "small/latest/report.html").read_text()

    def containers(self) -> list[Any]:
        """Return the containers of the experiment's lab."""
        label = f"com.docker.compose.project={self.project}{SUFFIX}"
        found: list[Any] = engine().containers.list(
            all=True, filters={"label": label}, ignore_removed=True
        )
        return found


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    engine()
    place = Workplace(tmp_path)
    try:
        yield place
    finally:
        place.done("lab", "down")


def test_an_experiment_outlives_ctrl_c_and_kill_and_the_same_command_finishes_it(
    workplace: Workplace,
) -> None:
    # Ctrl-C: what was measured is kept and drawn, and the lab is gone.
    with workplace.started() as first:
        eventually((workplace.results / "small/latest").exists, "it has begun", SLOW_S)
        refused = workplace.done("lab.experiment", str(workplace.file))
        eventually(lambda: bool(workplace.statuses()), "a first cell is measured", SLOW_S)
        first.send_signal(signal.SIGINT)
        out, err = first.communicate(timeout=SLOW_S)
    assert (refused.returncode, "another experiment" in refused.stderr) == (1, True), refused
    assert first.returncode == 130, err
    measured = len(workplace.statuses())
    assert 1 <= measured < CELLS
    assert "report.html" in out
    assert f"{CELLS - measured} of {CELLS} cells are missing" in workplace.report
    assert workplace.containers() == []

    # kill -9: the rest is gone on with; the report can be drawn from what is there.
    with workplace.started() as second:
        eventually(lambda: len(workplace.statuses()) > measured, "one more cell", SLOW_S)
        second.kill()
        _, err = second.communicate(timeout=SLOW_S)
    assert f"{measured} of {CELLS} cells are there" in err
    there = len(workplace.statuses())
    again = workplace.done("lab.report", "small")
    assert again.returncode == 0, again.stderr
    if there < CELLS:
        assert f"{CELLS - there} of {CELLS} cells are missing" in workplace.report
        assert workplace.containers() != []

    # make down knows what a killed experiment left; the same command does the rest.
    workplace.done("lab", "down")
    assert workplace.containers() == []
    last = workplace.done("lab.experiment", str(workplace.file))
    assert last.returncode == 0, last.stderr
    assert workplace.containers() == []
    statuses = workplace.statuses()
    assert [statuses[0], statuses[1], statuses[3]] == ["measured"] * 3, last.stderr
    # Without netem a delay cannot be had: that is said, not skipped.
    assert statuses[2] in ("measured", "refused")
    if statuses[2] == "refused":
        assert "could not be measured on this kernel (network delay 20ms)" in workplace.report
    assert "are missing" not in workplace.report
    latest = workplace.results / "small/latest"
    names = {path.stem for path in (latest / "plots").glob("*.svg")}
    assert {"attempts", "geometric-law", "time-to-confirmation", "rtt-over-time"} <= names
    assert "ladder" in names, "CAPTURE=1"
    names.remove("ladder")  # an SVG, with no picture beside it
    for kind, suffix in (("plots", "png"), ("tables", "csv")):
        assert {path.stem for path in (latest / kind).glob(f"*.{suffix}")} >= names

    # The same raw data give the same report, to the byte.
    before = workplace.report
    workplace.done("lab.report", str(latest))
    assert workplace.report == before
