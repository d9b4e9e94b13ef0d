"""What a server's interface sees, as a file for Wireshark: ``make capture SERVICE=udp``.

A short-lived container (``services.capture``) joins the server's network namespace with the one
capability NET_RAW, and writes pcapng to its standard output, which is the file. It ends when told,
and also when this process is gone, however that went: its standard input ends then.

::

    results/capture/2026-11-22T190318.975Z/udp.pcapng      and ``latest`` leads to the newest
                                           udp.log         what the server logged meanwhile
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from lab import compose, receipts, sidecars
from lab.errors import LabError
from lab.say import say
from lab.settings import EXERCISES, PORTS, ROOT, image
from services.options import positive_duration_s

STEP = "capturing"
STARTS_WITHIN_S = 120.0
"""An emulated processor takes long to start a container and a Python."""

ENDS_WITHIN_S = 30.0
WHERE = "before what comes in is impaired, after what goes out is"
_AS_ASKED = ("end of input", "time is up", "SIGTERM", "SIGINT")
DISSECTOR = "wireshark/progres-lab.lua"


@dataclass(frozen=True)
class Outcome:
    """How a capture ended; ``accepted`` counts the ``missed`` packets, too. None: it was killed."""

    reason: str
    accepted: int | None
    missed: int | None

    @property
    def not_kept(self) -> str:
        """What may be missing in the file, and why; empty if nothing is."""
        if self.accepted is None:
            return f"{self.reason}; what came before is kept, how much is missing nobody knows"
        parts = []
        if self.missed:
            parts.append(f"{self.missed} missed: they came faster than this machine could write")
        if self.reason not in _AS_ASKED:
            parts.append(f"ended early: {self.reason}")
        return "; ".join(parts)


class Capture:
    """``services.capture`` while it runs, started by ``argv``; ``path`` is the file.

    For the servers of a running lab make one with ``capturing``, or with ``started`` and ``stop``.
    """

    def __init__(self, argv: Sequence[str], path: Path) -> None:
        self.path = path
        self._told: dict[str, object] = {}
        self._errors: list[str] = []
        self._ready = threading.Event()
        with open(path, "wb") as file:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        assert self._process.stderr is not None
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stderr,), name="capture", daemon=True
        )
        self._reader.start()

    def wait_until_ready(self) -> None:
        """Return when the tap is in place. Raises LabError, with the capture stopped."""
        in_time = self._ready.wait(STARTS_WITHIN_S)
        if "capturing" in self._told:
            return
        self.stop()
        cause = "\n".join(self._errors[-3:]) if in_time else f"no answer in {STARTS_WITHIN_S:.0f} s"
        raise LabError(STEP, cause or "it ended at once", "make up; make doctor")

    def wait(self, seconds: float | None = None) -> None:
        """Return when it has ended by itself, or after so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def stop(self) -> Outcome:
        """End it if it has not ended, and say how that went."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has gone already
            self._process.stdin.close()
        try:
            self._process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(ENDS_WITHIN_S)
        ended = self._told.get("stopped")
        if not isinstance(ended, dict):
            last = self._errors[-1] if self._errors else f"status {self._process.returncode}"
            return Outcome(f"it was ended: {last}", None, None)
        return Outcome(ended["reason"], ended["packets"], ended["missed"])

    def _read(self, errors: IO[str]) -> None:
        with errors:
            for line in errors:
                try:
                    told = json.loads(line)
                    self._told[told["event"]] = told
                except (ValueError, KeyError, TypeError):  # not ours: the engine's, or an error
                    self._errors.append(line.strip())
                else:
                    self._ready.set()
        self._ready.set()


def _command(container: str, options: Sequence[str]) -> list[str]:
    project = compose.project_name()
    return [
        "docker", "run", "--rm", "--interactive", "--init",
        "--name", f"{project}-capture-{secrets.token_hex(3)}",
        "--label", f"{compose.PROJECT_LABEL}={project}",
        "--network", f"container:{container}", "--pull", "never",
        "--user", "0:0", "--cap-drop", "ALL", "--cap-add", "NET_RAW",
        "--security-opt", "no-new-privileges:true", "--read-only",
        "--memory", "64m", "--pids-limit", "16",
        "--log-driver", "none",  # the engine would keep a second copy of every packet
        image("progres-lab"), "python3", "-m", "services.capture", *options,
    ]  # fmt: skip


@contextlib.contextmanager
def capturing(exercise: str, path: Path) -> Iterator[Capture]:
    """Capture what the server of a running lab sees while the body runs; ``path`` is the file.

    The tap is in place when the body begins. Raises LabError.
    """
    capture = started(exercise, path)
    try:
        yield capture
    finally:
        capture.stop()


def started(exercise: str, path: Path) -> Capture:
    """Start to capture what the server of a running lab sees. Raises LabError."""
    namespace = f"{exercise}-net"
    containers = sidecars.running()
    if namespace not in containers:
        raise LabError(STEP, f"there is no running lab with a server {exercise}", "make up")
    protocol, port = PORTS[exercise]
    options = ["--interface", "eth0", "--protocol", protocol, "--port", str(port)]
    options += ["--description", f"progres-lab {exercise}: {WHERE}"]
    capture = Capture(_command(containers[namespace], options), path)
    try:
        capture.wait_until_ready()
    except BaseException:  # Ctrl-C, too
        capture.stop()
        raise
    return capture


def keep_log(exercise: str, since_s: float, path: Path) -> None:
    """Keep what a server has logged since an instant (of the wall clock), if it can be had.

    With it the ladder knows the causes of what no account tells of.
    """
    server = sidecars.running().get(exercise)
    if server is None:
        return
    log = compose.captured(["docker", "logs", "--since", f"{since_s:.3f}", server])
    if log.returncode == 0:
        path.write_text(log.stdout, encoding="utf-8")


# The command --------------------------------------------------------------------------------------


def capture_command() -> int:
    """Capture for ``SECONDS``, or until Ctrl-C; return the exit status. Raises LabError."""
    exercise, seconds = _asked()
    parent = receipts.results_folder() / "capture"
    parent.mkdir(parents=True, exist_ok=True)
    beginning = parent / f".{os.getpid()}.pcapng"
    interrupted: list[int] = []
    begun_s = time.time()

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.append(number)
        raise KeyboardInterrupt

    before = {n: signal.signal(n, interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        capture = started(exercise, beginning)
        path = receipts.new_folder("capture") / f"{exercise}.pcapng"
        beginning.rename(path)
        until = f"for {seconds:g} s" if seconds else "until Ctrl-C"
        say(f"capturing what the {exercise} server's interface sees, {until}")
        try:
            capture.wait(seconds)
        except KeyboardInterrupt:
            pass
        for number in before:  # a second Ctrl-C does not cost the end of the file
            signal.signal(number, signal.SIG_IGN)
        outcome = capture.stop()
        keep_log(exercise, begun_s, path.with_suffix(".log"))
    finally:
        beginning.unlink(missing_ok=True)
        for number, handler in before.items():
            signal.signal(number, handler)
    print(_told(exercise, path, outcome))
    if outcome.accepted is None:
        return 1
    cut_short = seconds is not None or interrupted[:1] == [signal.SIGTERM]
    return 128 + interrupted[0] if interrupted and cut_short else 0


def _asked() -> tuple[str, float | None]:
    exercise = os.environ.get("SERVICE", "")
    if exercise not in EXERCISES:
        cause = f"SERVICE={exercise} is none" if exercise else "SERVICE is not given"
        raise LabError(STEP, cause, f"make capture SERVICE=udp (or {', '.join(EXERCISES[1:])})")
    text = os.environ.get("SECONDS", "")
    try:
        return exercise, positive_duration_s(text) if text else None
    except ValueError as error:
        raise LabError(
            STEP, f"SECONDS={text}: {error}", f"make capture SERVICE={exercise} SECONDS=10"
        ) from None


def _told(exercise: str, path: Path, outcome: Outcome) -> str:
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    if outcome.accepted is None:
        lines = [outcome.not_kept]
    else:
        kept = outcome.accepted - (outcome.missed or 0)
        lines = [f"{kept} packets, {outcome.not_kept or 'none missed'}"]
    lines += [f"kept in {shown}", "", f"  wireshark -X lua_script:{DISSECTOR} {shown}"]
    if exercise == "udp":
        lines.append(f"  make ladder CAPTURE={shown}")
    return "\n".join(lines)
