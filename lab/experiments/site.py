"""The lab in which an experiment is measured: one exercise's server and client, nothing else.

It is a lab of its own (project ``progres-lab-experiment``), so an experiment needs no running lab,
changes nothing of one that runs, and a killed one leaves behind what ``make down`` and the next
experiment know by name and remove. Its client is one container that lives as long as the
experiment: to start a client in it takes a tenth of a second, where ``docker compose run`` takes
more than one.
"""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import compose, lifecycle, lock, settings
from lab.engine import ensure_engine
from lab.errors import LabError
from lab.settings import ROOT, SETTINGS

SUFFIX = "-experiment"
PLACE = ("COMPOSE_PROJECT_NAME", "LAB_ENV_FILE")

HEALTHY_WITHIN_S = 600
"""How long a slow (emulated) machine may take until server and sidecar are healthy."""

CELL_WITHIN_S = 1800
CLIENTS_LIMITS = ("--pids-limit", "512", "--memory", "512m", "--memory-swap", "512m")


@dataclass(frozen=True)
class ClientRun:
    """What one client left: its JSON document (None: it printed none) and the rest."""

    exit_status: int
    document: dict[str, Any] | None
    complaint: str


class Site:
    """A lab of one exercise. Make one with ``opened``."""

    def __init__(self, exercise: str) -> None:
        self.exercise = exercise
        self._client = ""

    @classmethod
    @contextlib.contextmanager
    def opened(cls, exercise: str) -> Iterator["Site"]:
        """Start the lab, and take it down whatever happens. Raises LabError.

        From then on this process speaks to that lab: ``COMPOSE_PROJECT_NAME`` and ``LAB_ENV_FILE``
        of its environment name it, so every part of the project finds it.
        """
        ensure_engine()
        lifecycle.build()
        with _its_own_environment():
            lifecycle.down()  # what a killed experiment left
            try:
                site = cls(exercise)
                site._start()
                yield site
            finally:
                lifecycle.down()

    def measure(self, clients: int, arguments: Sequence[str]) -> list[ClientRun]:
        """Run so many clients at the same time, to their end. Raises LabError when one hangs."""
        argv = [
            *("docker", "exec", self._client, "python3", "-m", f"clients.{self.exercise}"),
            "--json",
            *arguments,
        ]
        with contextlib.ExitStack() as stack:
            running = [stack.enter_context(_process(argv)) for _ in range(clients)]
            deadline = time.monotonic() + CELL_WITHIN_S
            return [_ended(process, deadline) for process in running]

    def _start(self) -> None:
        names = {f"{exercise.upper()}_PORT": "0" for exercise in settings.EXERCISES}
        settings.record(names | _images())
        started = compose.run(
            "up", "--detach", "--no-build", "--wait",
            "--wait-timeout", str(HEALTHY_WITHIN_S), self.exercise,
        )  # fmt: skip
        if started.returncode != 0:
            raise LabError(
                "starting the experiment's lab",
                "docker compose up failed, its output is above",
                "make doctor; if that finds nothing: make up, and make logs",
            )
        self._client = self._started_client()

    def _started_client(self) -> str:
        argv = compose.command(
            "--progress", "quiet", "run", "--detach", "--no-deps", "--no-TTY",
            "--entrypoint", "sleep", f"{self.exercise}-client", "infinity",
        )  # fmt: skip
        started = compose.captured(argv)
        if started.returncode != 0:
            raise LabError("starting the client", started.stderr.strip(), "make doctor")
        client = started.stdout.split()[-1]
        # It is sized for one client. (A start through the engine takes several threads, too.)
        updated = compose.captured(["docker", "update", *CLIENTS_LIMITS, client])
        if updated.returncode != 0:
            raise LabError("starting the client", updated.stderr.strip(), "make doctor")
        return client


def remove_leftovers() -> None:
    """Take down the lab of an experiment that was killed; leave that of one that runs."""
    with contextlib.suppress(LabError), alone(), _its_own_environment():
        if any(compose.leftovers().values()):
            lifecycle.down()


@contextlib.contextmanager
def _its_own_environment() -> Iterator[None]:
    kept = {name: os.environ.get(name) for name in (*SETTINGS, *PLACE)}
    own = _images() | {
        "COMPOSE_PROJECT_NAME": _project(),
        "LAB_ENV_FILE": str(_folder() / f"{_project()}.env"),
    }
    for name in SETTINGS:  # the user's, for the user's lab
        os.environ.pop(name, None)
    os.environ |= own
    try:
        yield
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _images() -> dict[str, str]:
    """Return the setting that names the images, which the user's ``.env`` may hold."""
    return {"LAB_TAG": settings.effective("LAB_TAG", "latest")}


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let no second experiment into the same lab. Raises LabError."""
    refusal = LabError(
        "starting the experiment's lab",
        "another experiment is running in it",
        "wait for its end, or give this one a lab of its own: COMPOSE_PROJECT_NAME=second",
    )
    with lock.held(_project(), refusal):
        yield


def _project() -> str:
    return compose.project_name() + SUFFIX


def _folder() -> Path:
    folder = ROOT / ".lab"
    folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def _process(argv: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    """Start a program that does not outlive the block.

    In a session of its own: Ctrl-C goes to the experiment, which decides.
    """
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _ended(process: "subprocess.Popen[str]", deadline: float) -> ClientRun:
    try:
        out, err = process.communicate(timeout=max(1.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise LabError(
            "measuring", f"a client is not done after {CELL_WITHIN_S} s", "make its count smaller"
        ) from None
    try:
        document = json.loads(out)
    except ValueError:
        document = None
    return ClientRun(process.returncode, document, err.strip())
