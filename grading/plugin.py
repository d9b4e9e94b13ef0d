"""The pytest side of a grading: ``pytest -p grading.plugin tests/checks --submission PATH``.

Gives the checks their fixtures, turns their outcomes into findings, and writes the verdicts.
Without ``--submission`` the lab's own programs are judged.
"""

import contextlib
import json
import platform
import time
import traceback
from collections.abc import Generator, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import docker
import docker.errors
import pytest

from grading import PROGRAMS, GradingError, manifest, rubric
from grading.arena import Arena
from grading.manifest import Manifest
from grading.sandbox import BuildFailed, Submission, submitted
from grading.verdict import (
    FAILED,
    INVALID,
    NOT_SHOWN,
    NOT_SUBMITTED,
    PASSED,
    Finding,
    Judge,
    Reached,
    document,
)
from lab.errors import LabError
from lab.settings import ROOT

OURS = ROOT / "tests" / "submissions" / "ours"
_FINDING = "grading finding"
_NOT_KEPT = "grading packets not kept"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--submission``, ``--verdicts``, ``--packets`` and ``--trust-dockerfile``."""
    group = parser.getgroup("grading")
    group.addoption("--submission", type=Path, default=None, help="folder to judge")
    group.addoption("--verdicts", type=Path, default=None, help="file to write the verdicts to")
    group.addoption("--packets", type=Path, default=None, help="folder to keep the packets in")
    group.addoption("--trust-dockerfile", action="store_true", help="the submission's own, too")


def pytest_configure(config: pytest.Config) -> None:
    """Collect the findings where the reports arrive: in the one process, or in xdist's own."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Collector(config), "grading-collector")


class _Collector:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._begun = time.time()
        self._findings: list[Finding] = []
        self._not_kept: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == _FINDING and report.when == "call":
                self._findings.append(Finding(**json.loads(str(value))))
            elif name == _NOT_KEPT:
                self._not_kept.update(json.loads(str(value)))

    def pytest_sessionfinish(self) -> None:
        path: Path | None = self._config.getoption("--verdicts", default=None)
        if path is None:
            return
        folder = folder_of(self._config)
        order = {name: n for n, name in enumerate(PROGRAMS)}
        entries = rubric.load()
        ranks = {check: n for n, check in enumerate(entries.entries)}
        findings = sorted(
            self._findings, key=lambda f: (order[f.program], ranks.get(f.check, 1000))
        )
        programs = manifest.load(folder).programs
        made = document(
            folder.resolve().name,
            time=datetime.fromtimestamp(self._begun, UTC).isoformat(timespec="seconds"),
            kernel=platform.release(),
            images={name: program.image for name, program in programs.items()},
            duration_s=time.time() - self._begun,
            exercises={
                name: "submitted" if name in programs else "not submitted" for name in PROGRAMS
            },
            findings=findings,
            not_kept=self._not_kept,
            rubric=entries,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(made, indent=1), encoding="utf-8")
        part.replace(path)


def folder_of(config: pytest.Config) -> Path:
    """Return the folder that is judged."""
    return Path(config.getoption("--submission", default=None) or OURS)


@pytest.fixture(scope="session")
def submission_manifest(request: pytest.FixtureRequest) -> Manifest:
    """What the submission says of itself."""
    return manifest.load(folder_of(request.config))


@pytest.fixture(scope="session")
def submission(request: pytest.FixtureRequest) -> Iterator[Submission]:
    """The submission's files, in the engine."""
    folder = folder_of(request.config)
    engine = docker.from_env(timeout=120)
    # Our own programs are the project itself.
    where, names = (ROOT, ("services", "clients")) if folder.resolve() == OURS else (folder, ("",))
    trusted = request.config.getoption("--trust-dockerfile", default=False)
    with contextlib.closing(engine), submitted(engine, where, names, trusted=trusted) as held:
        yield held


@pytest.fixture(scope="session")
def packets_folder(request: pytest.FixtureRequest) -> Path | None:
    """The folder to keep packets in, if they are to be kept."""
    folder: Path | None = request.config.getoption("--packets", default=None)
    return folder


@pytest.fixture(scope="module")
def arena(request: pytest.FixtureRequest) -> Iterator[Arena | None]:
    """The arena of the module's PROGRAM; None when that was not submitted.

    What passes in it is kept, unless the module says RUNS_APART: then the program runs in others.
    """
    programs = request.getfixturevalue("submission_manifest").programs
    program = programs.get(request.module.PROGRAM)
    if program is None:
        yield None
        return
    folder = request.getfixturevalue("packets_folder")
    apart = getattr(request.module, "RUNS_APART", False)
    packets = folder / f"{program.name}.pcapng" if folder and not apart else None
    made = Arena(request.getfixturevalue("submission"), program, packets, submitted=programs)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def judge(request: pytest.FixtureRequest, arena: Arena | None) -> Judge:
    """What the check tells its steps and verdict."""
    made: Judge = request.node.stash[_KEY]
    if arena is None:
        made.finding.verdict = NOT_SUBMITTED
        raise Reached(made.finding)
    request.node.stash[_ARENA] = arena
    request.node.stash[_BEGUN] = time.time()
    return made


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have a judge before anything fails: what keeps a check from beginning is a finding, too."""
    program = getattr(getattr(item, "module", None), "PROGRAM", None)
    if isinstance(item, pytest.Function) and isinstance(program, str):
        name = item.originalname.removeprefix("test_").replace("_", "-")
        item.stash[_KEY] = Judge(f"{program}.{name}", program)


_KEY = pytest.StashKey[Judge]()
_ARENA = pytest.StashKey[Arena]()
_BEGUN = pytest.StashKey[float]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a finding of the check's outcome, and the report say what a student can read."""
    report = yield
    if call.when == "teardown" and _ARENA in item.stash and item.stash[_ARENA].not_kept:
        arena = item.stash[_ARENA]  # closed now: this was the module's last check
        told_of = {arena.program.name: arena.not_kept}
        report.user_properties.append((_NOT_KEPT, json.dumps(told_of)))
    told = any(name == _FINDING for name, _ in report.user_properties)  # -p, and conftest.py
    if told or _KEY not in item.stash or call.when == "teardown":
        return report
    error = call.excinfo.value if call.excinfo is not None else None
    if call.when == "setup" and error is None:
        return report
    finding = item.stash[_KEY].finding
    if error is None:
        finding.verdict = PASSED
    elif isinstance(error, BuildFailed):
        finding.verdict, finding.observed = FAILED, str(error)
        finding.output, error.output = error.output, ""  # the first finding tells it, once
        finding.expected, finding.hint = error.expected, error.hint
        finding.mistake = "does not build"
    elif isinstance(error, GradingError | LabError | docker.errors.DockerException | OSError):
        finding.verdict, finding.observed = INVALID, str(error)
    elif not isinstance(error, Reached):
        finding.verdict = INVALID
        finding.observed = "the check itself failed: " + "".join(
            traceback.format_exception(error)[-3:]
        )
    if _ARENA in item.stash:
        arena = item.stash[_ARENA]
        if arena.run is not None:
            finding.output = finding.output or arena.run.output.text[-20_000:]
        if not finding.packets:
            item.stash[_KEY].rests_on((item.stash[_BEGUN], time.time()), arena.packets, "")
    if error is not None:
        report.outcome = "skipped" if finding.verdict in (NOT_SHOWN, NOT_SUBMITTED) else "failed"
        report.longrepr = (
            (str(item.path), item.location[1] or 0, f"Skipped: {finding}")
            if report.outcome == "skipped"
            else str(finding)
        )
    report.when = "call"
    report.user_properties.append((_FINDING, json.dumps(asdict(finding), default=str)))
    return report
