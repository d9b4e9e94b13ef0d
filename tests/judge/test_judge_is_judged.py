"""The judge is judged: every program in tests/submissions gets the verdicts that it deserves.

``expected.toml`` says which; a difference in either direction fails. ``make test-judge
ARGS="tests/judge -k 'minimal or traversal'"`` is for some of them.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from grading import manifest, rubric
from tests.judge.teacher import grade
from tests.lab.driver import ROOT, engine

SUBMISSIONS = ROOT / "tests" / "submissions"
EXPECTED: dict[str, dict[str, list[str]]] = {
    name: {check: [said] if isinstance(said, str) else said for check, said in verdicts.items()}
    for name, verdicts in tomllib.loads((SUBMISSIONS / "expected.toml").read_text()).items()
}
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
AT_ONCE = 2


def folders() -> list[str]:
    """Return the submissions, the lab's own apart: those are judged where the checks are."""
    found = sorted(path.name for path in SUBMISSIONS.iterdir() if path.is_dir())
    return [name for name in found if name != "ours"]


def test_the_table_and_the_folders_name_the_same_submissions() -> None:
    assert sorted(EXPECTED) == folders()


def test_the_table_names_only_checks_that_are_there() -> None:
    named = {check for verdicts in EXPECTED.values() for check in verdicts}
    assert named <= set(rubric.load().entries)


def test_each_check_is_failed_by_a_program_that_deserves_it() -> None:
    failed = {
        check
        for name, verdicts in EXPECTED.items()
        for check, deserved in verdicts.items()
        if name.startswith("broken-") and deserved[0] == "failed"
    }
    assert set(rubric.load().entries) - failed == set()


def test_no_correct_submission_is_expected_to_fail() -> None:
    for name, verdicts in EXPECTED.items():
        if name.startswith("correct-"):
            assert not [said for said in verdicts.values() if "failed" in said], name


@pytest.fixture(scope="module")
def gradings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[dict[str, Any]]]]:
    """Judge those that are asked for, two at a time; verdicts are there when they are there."""
    engine()
    results = tmp_path_factory.mktemp("verdicts")
    wanted = [
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.originalname == "test_verdicts_are_as_deserved"
    ]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="grading") as pool:
        yield {name: pool.submit(judged, name, results / name) for name in wanted}
        pool.shutdown(cancel_futures=True)


def judged(name: str, results: Path) -> dict[str, Any]:
    """Judge a submission with the command that a teacher uses, and return its verdicts."""
    done = grade(SUBMISSIONS / name, results)
    path = results / "verdicts.json"
    assert path.exists(), done.stdout + done.stderr
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


@pytest.mark.parametrize("name", folders())
def test_verdicts_are_as_deserved(name: str, gradings: dict[str, Future[dict[str, Any]]]) -> None:
    document = gradings[name].result()
    submitted = manifest.load(SUBMISSIONS / name).programs
    found = {finding["check"]: finding["verdict"] for finding in document["findings"]}
    deserved = {
        check: EXPECTED[name].get(check, ["passed"])
        for check in rubric.load().entries
        if check.split(".")[0] in submitted
    }
    found = {check: verdict for check, verdict in found.items() if verdict != "not submitted"}
    wrong = [
        f"{check}: {found.get(check, 'no verdict')}, deserved: {deserved.get(check, ['none'])}"
        + "".join(f"\n    {line}" for line in _why(document, check))
        for check in sorted(found | deserved)
        if found.get(check) not in deserved.get(check, [])
    ]
    assert not wrong, "\n".join([name, *wrong])
    if not name.startswith("hostile-"):  # a traceback is to be read as it is
        outputs = {each["check"]: each["evidence"]["output"] for each in document["findings"]}
        assert not [check for check, said in outputs.items() if COLOUR.search(said)]


def _why(document: dict[str, Any], check: str) -> list[str]:
    for finding in document["findings"]:
        if finding["check"] == check:
            lines = [*finding["steps"], f"observed: {finding['observed']}"]
            return [*lines, *finding["evidence"]["output"].splitlines()[-12:]]
    return []
