"""``grade-class DIR``: judges each subfolder, a grader process for each, some at a time.

::

    DIR/NAME -> fingerprint -> kept?  results/grade-class/DIR/submissions/NAME/FINGERPRINT/
                            -> else   python -m grading grade DIR/NAME --results .FINGERPRINT.part
                                      then renamed: what has its name is whole
    row.json of each -> tally -> class.html, class.csv

A grader that crashes, hangs or leaves nothing readable costs its submission a line with the reason,
and no other anything. Nothing of a submission stays in memory once its row is on the disk: what
grows with the class is its list of names.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from grading import GradingError, feedback
from grading.feedback import report as reports
from grading.feedback import tally, terminal
from grading.feedback.class_page import class_page
from grading.feedback.csv_table import class_csv
from grading.feedback.tally import Row, Tally
from grading.feedback.text import counted, number, one_line, shown
from grading.fingerprint import fingerprint, judge_fingerprint
from lab.settings import ROOT

RESULTS = ROOT / "results" / "grade-class"
GRADER = (sys.executable, "-m", "grading", "grade")
LIMIT_S = 300.0
"""For one submission. The grader has limits of its own; this one is for a grader that hangs."""

GRACE_S = 20.0
"""From asking a grader to stop until it is killed: it removes its containers in that time."""

JUDGED = (0, 1, 3)
"""Exit statuses of a grader that wrote its verdicts: all passed, some failed, some invalid."""

NOT_YET = "not judged yet: run the same command again"
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
MIB_PER_GRADER = 1_500


@dataclass(frozen=True)
class Settings:
    """How a class is judged."""

    jobs: int
    limit_s: float = LIMIT_S
    grace_s: float = GRACE_S
    fresh: bool = False
    """Judge again what has verdicts already."""
    grader: tuple[str, ...] = GRADER
    clean_up: Callable[[], None] = lambda: None
    """Removes what killed graders left in the engine; called once, at the end."""


class Progress(Protocol):
    """What is told while a class is judged."""

    def begun(self, name: str) -> None:
        """A grader has started."""

    def done(self, row: Row, to_go_s: float | None) -> None:
        """A submission has its row; None: how long the rest takes is not known yet."""

    def tick(self) -> None:
        """Some time has passed."""

    def close(self) -> None:
        """No more comes."""


@dataclass
class Room:
    """Where a class's results stand, and what of it is done in this run."""

    folder: Path
    place: Path
    names: list[str]
    done: set[str] = field(default_factory=set)

    def of(self, name: str) -> Path:
        """Return the folder of one submission's results."""
        return self.place / "submissions" / name

    def keep(self, name: str, row: Row) -> None:
        """Put a row on the disk."""
        self.of(name).mkdir(parents=True, exist_ok=True)
        feedback.replace(self.of(name) / "row.json", [json.dumps(row.as_json()).encode()])
        self.done.add(name)

    def rows(self) -> Iterator[Row]:
        """Yield the rows by name, one at a time from the disk."""
        for name in self.names:
            if name in self.done:
                text = (self.of(name) / "row.json").read_text(encoding="utf-8")
                yield tally.row_from(json.loads(text))
            else:
                yield tally.not_judged(name, NOT_YET)


def default_jobs(processors: int, available_mib: int) -> int:
    """Return how many graders run at a time: a processor and 1,500 MiB for each, at least one."""
    return max(1, min(processors, available_mib // MIB_PER_GRADER))


def time_to_go(durations_s: Sequence[float], left: int, jobs: int) -> float | None:
    """Return about how many seconds the submissions that are left take; None: nothing is known.

    ``left`` counts those that run as well: they are half done on average.
    """
    if not durations_s:
        return None
    mean = sum(durations_s) / len(durations_s)
    running = min(left, jobs)
    return mean * (left - running / 2) / jobs


def minutes(seconds: float) -> str:
    """Return ``40 s``, ``3 min``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def submissions_in(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the subfolders and links, and the names of files that are archives.

    What begins with a dot, ``__MACOSX`` and other files are no submissions. Raises GradingError.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: tally.by_name(entry.name))
    except OSError as error:
        raise GradingError(f"{folder}: {error.strerror} (a folder of submissions)") from None
    entries = [e for e in entries if not e.name.startswith(".") and e.name != "__MACOSX"]
    folders = [e.name for e in entries if e.is_dir(follow_symlinks=False) or e.is_symlink()]
    files = [e.name for e in entries if e.is_file(follow_symlinks=False)]
    return folders, [name for name in files if name.lower().endswith(ARCHIVES)]


def grade_class(
    folder: Path, place: Path | None, settings: Settings, progress: Progress | None = None
) -> int:
    """Judge a class, write its tables, print its summary; return the exit status.

    0: each submission was judged; 1: some were not, the table says why; 130 or 143: stopped by
    Ctrl-C or SIGTERM, the same command goes on from there. Raises GradingError when there is no
    class to judge, or when another run judges it.
    """
    folder = folder.absolute()
    names, archives = submissions_in(folder)
    if not names and not archives:
        raise GradingError(f"{folder}: no subfolders; each subfolder is a submission")
    place = (place or RESULTS / folder.name).absolute()
    (place / "submissions").mkdir(parents=True, exist_ok=True)
    with _alone(place):
        room = Room(folder, place, sorted([*names, *archives], key=tally.by_name))
        for name in archives:
            room.keep(name, tally.not_judged(name, "an archive, not a folder: unpack it"))
        progress = progress or _progress(len(names), settings.jobs)
        try:
            with contextlib.closing(progress):
                stopped = asyncio.run(_Run(room, settings, progress).judge(names))
        finally:
            settings.clean_up()
        counts = write_tables(room)
        terminal.print_class(counts, terminal.console(), _shown(place / "class.html"))
    if stopped is not None:
        left = sum(1 for name in room.names if name not in room.done)
        said = f"stopped: {counted(left, 'submission')} left; run the same command again to go on"
        print(said, file=sys.stderr)
        return 128 + stopped
    return 0 if counts.judged == counts.submissions else 1


def write_tables(room: Room) -> Tally:
    """Write class.csv and class.html from the rows on the disk; return the counts."""
    counts = tally.tally(room.rows())
    lines = class_csv(room.rows(), counts)
    feedback.replace(room.place / "class.csv", (line.encode("utf-8", "replace") for line in lines))
    title = one_line(shown(room.folder.name, 200))
    note = time.strftime("%Y-%m-%d %H:%M")
    parts = class_page(title, note, room.rows, counts)
    feedback.replace(room.place / "class.html", (part.encode("utf-8", "replace") for part in parts))
    return counts


class _Run:
    """One run over a class. All of it in one thread."""

    def __init__(self, room: Room, settings: Settings, progress: Progress) -> None:
        self._room, self._settings, self._progress = room, settings, progress
        self._durations: list[float] = []
        self._left = 0
        self._graders: set[asyncio.subprocess.Process] = set()
        self._stopped: int | None = None
        self._judge = judge_fingerprint()

    async def judge(self, names: Sequence[str]) -> int | None:
        """Judge them all; return the signal that ended it early, or None."""
        loop = asyncio.get_running_loop()
        waiting: list[tuple[str, str]] = []
        workers: list[asyncio.Task[None]] = []

        def stop(number_: signal.Signals) -> None:
            if self._stopped is not None:  # asked twice: no more patience
                for grader in self._graders:
                    _signal(grader, signal.SIGKILL)
            self._stopped = int(number_)
            for worker in workers:
                worker.cancel()

        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, stop, each)
        self._left = len(names)
        for name in names:  # what is kept takes no time, so it comes first
            if (key := self._kept_or_key(name)) is not None:
                waiting.append((name, key))
            await asyncio.sleep(0)
            if self._stopped is not None:
                return self._stopped
        queue = iter(waiting)
        workers += [asyncio.create_task(self._work(queue)) for _ in range(self._settings.jobs)]
        ticking = asyncio.create_task(self._tick())
        ended = await asyncio.gather(*workers, return_exceptions=True)
        ticking.cancel()
        for error in ended:
            if isinstance(error, Exception):
                raise error
        return self._stopped

    async def _tick(self) -> None:
        while True:
            self._progress.tick()
            await asyncio.sleep(0.5)

    async def _work(self, queue: Iterator[tuple[str, str]]) -> None:
        for name, key in queue:
            self._progress.begun(name)
            begun = time.monotonic()
            try:
                row = await self._graded(name, key)
            except Exception as error:  # whatever it is: the other submissions are judged
                row = tally.not_judged(name, f"{type(error).__name__}: {error}")
            self._durations = [*self._durations[-50:], time.monotonic() - begun]
            self._finish(name, row)

    def _finish(self, name: str, row: Row) -> None:
        self._room.keep(name, row)
        self._left -= 1
        self._progress.done(row, time_to_go(self._durations, self._left, self._settings.jobs))

    def _kept_or_key(self, name: str) -> str | None:
        """Return the key under which to judge a submission; None when its row is there."""
        path = self._room.folder / name
        try:
            if stat.S_ISLNK(path.lstat().st_mode):
                reason = "a symbolic link: links are not followed, put the folder itself here"
                self._finish(name, tally.not_judged(name, reason))
                return None
            key = fingerprint(path, self._judge)
            row = None if self._settings.fresh else self._kept(name, key)
        except (OSError, GradingError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._finish(name, tally.not_judged(name, f"cannot be read: {why}"))
            return None
        if row is None:
            return key
        self._finish(name, row)
        return None

    def _kept(self, name: str, key: str) -> Row | None:
        """Return the row of finished verdicts; None where there are none, or some are invalid."""
        place = self._room.of(name) / key
        try:
            report = reports.load(place / "verdicts.json")
        except (OSError, reports.UnreadableVerdictsError):
            return None
        if report.with_verdict("invalid"):
            return None
        return self._row(name, place, report)

    def _row(self, name: str, place: Path, report: reports.Report) -> Row:
        if not (place / feedback.PAGE).exists():
            feedback.write(report, place)
        return tally.row_of(report, name, os.path.relpath(place, self._room.place))

    async def _graded(self, name: str, key: str) -> Row:
        place = self._room.of(name)
        part, whole = place / f".{key}.part", place / key
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        status = await self._grade(self._room.folder / name, part)
        log = part / "grader.log"
        if status is None or status not in JUDGED:
            return self._failed(name, _why(status, self._settings.limit_s, log), part)
        try:
            report = reports.load(part / "verdicts.json")
        except OSError:
            return self._failed(name, "the grader left no verdicts", part)
        except reports.UnreadableVerdictsError as error:
            return self._failed(name, f"the grader's verdicts cannot be read: {error}", part)
        shutil.rmtree(whole, ignore_errors=True)
        part.replace(whole)
        return self._row(name, whole, report)

    def _failed(self, name: str, reason: str, part: Path) -> Row:
        """Keep the log of what went wrong, under a name that a later run does not take as done."""
        kept = part.with_name("not-judged")
        shutil.rmtree(kept, ignore_errors=True)
        part.replace(kept)
        return tally.not_judged(name, reason)

    async def _grade(self, path: Path, part: Path) -> int | None:
        """Run one grader; return its status, None when it took too long."""
        argv = [*_ends_with_us(), *self._settings.grader]
        argv += [os.fspath(path), "--results", os.fspath(part)]
        with (part / "grader.log").open("wb") as log:
            grader = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                start_new_session=True,  # Ctrl-C comes to us; we tell each grader, once
            )
        self._graders.add(grader)
        try:
            return await asyncio.wait_for(grader.wait(), self._settings.limit_s)
        except TimeoutError:
            return None
        finally:
            await _end(grader, self._settings.grace_s)
            self._graders.discard(grader)


def _ends_with_us() -> list[str]:
    """Return the words before a command that is to be interrupted when this process is killed.

    Without them (no Linux) a grader outlives a killed class, until its submission is judged.
    """
    return ["setpriv", "--pdeathsig", "INT"] if shutil.which("setpriv") else []


async def _end(grader: asyncio.subprocess.Process, grace_s: float) -> None:
    """End a grader that still runs, and whatever it started: asked first, then killed."""
    if grader.returncode is None:
        _signal(grader, signal.SIGINT)
        try:
            await asyncio.wait_for(grader.wait(), grace_s)
        except TimeoutError:
            pass
    _signal(grader, signal.SIGKILL)  # the group: what the grader itself left running, too
    await grader.wait()


def _signal(grader: asyncio.subprocess.Process, number_: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # all of its group has ended
        os.killpg(grader.pid, number_)


def _why(status: int | None, limit_s: float, log: Path) -> str:
    """Return why a grader did not judge: its end, and the last line that it said."""
    if status is None:
        return f"the grader did not end within {limit_s:g} s"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        said = file.read().decode("utf-8", "replace").strip().split("\n")
    last = said[-1].strip()
    if status < 0:
        return f"the grader was ended by {signal.Signals(-status).name}" + (last and f": {last}")
    return last or f"the grader ended with status {status}"


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Hold the class's results for this run. Raises GradingError when another run does."""
    with (place / ".lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise GradingError(f"{_shown(place)}: another run judges this class") from None
        yield


def _progress(total: int, jobs: int) -> Progress:
    return _Bar(total, jobs) if sys.stderr.isatty() else _Lines(total)


def _line(row: Row) -> str:
    if row.reason:
        return f"{row.name}: not judged: {row.reason}"
    failed = sum(check.verdict == "failed" for check in row.checks)
    return f"{row.name}: {number(row.points)} of {number(row.of)} points, {failed} failed"


class _Lines:
    """Progress where no terminal is: a line per submission on standard error."""

    def __init__(self, total: int) -> None:
        self._total, self._count = total, 0

    def begun(self, name: str) -> None:
        """Nothing is said."""

    def done(self, row: Row, to_go_s: float | None) -> None:
        """Write a line."""
        self._count += 1
        go = f", about {minutes(to_go_s)} to go" if to_go_s else ""
        head = f"[{self._count}/{self._total}]"
        print(head, one_line(_line(row)) + go, file=sys.stderr, flush=True)

    def tick(self) -> None:
        """Nothing is said."""

    def close(self) -> None:
        """Nothing is said."""


class _Bar:
    """Progress on a terminal: a bar with the time to go, and a line per submission above it."""

    def __init__(self, total: int, jobs: int) -> None:
        from rich import progress as bars

        self._console = terminal.console(sys.stderr)
        self._to_go: tuple[float, float] | None = None
        # Drawn by tick(): a thread of its own would stand beside the one that starts graders.
        self._bar = bars.Progress(
            bars.TextColumn("judging, {task.fields[jobs]} at a time"),
            bars.BarColumn(None),
            bars.MofNCompleteColumn(),
            bars.TimeElapsedColumn(),
            bars.TextColumn("{task.fields[to_go]}"),
            console=self._console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total, jobs=jobs, to_go="")
        self._bar.start()

    def begun(self, name: str) -> None:
        """Nothing is drawn."""

    def done(self, row: Row, to_go_s: float | None) -> None:
        """Write a line above the bar, and move it on."""
        self._console.print(one_line(_line(row)), style="yellow" if row.reason else "")
        self._to_go = None if to_go_s is None else (time.monotonic(), to_go_s)
        self._bar.advance(self._task)
        self.tick()

    def tick(self) -> None:
        """Draw the bar, with the time to go counted down."""
        if self._to_go is not None:
            since, to_go_s = self._to_go
            left = max(0.0, to_go_s - (time.monotonic() - since))
            self._bar.update(self._task, to_go=f"about {minutes(left)} to go")
        self._bar.refresh()

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()


def _shown(path: Path) -> str:
    return shown(os.path.relpath(path), 1000)
