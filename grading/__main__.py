"""Judge a submission (``grade FOLDER``) or a class (``grade-class FOLDER``); draft a lab.toml."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import docker
import docker.errors
import requests

from grading import GradingError, classroom, feedback, manifest
from grading.feedback import report as reports
from grading.feedback import terminal
from grading.recognition import draft
from grading.sandbox import UNTRUSTED, remove_abandoned, running_since
from grading.verdict import FAILED, INVALID
from lab.errors import LabError, files_have_a_way_out
from lab.settings import ROOT
from lab.system import available_mib

RESULTS = ROOT / "results" / "grade"
TIMEOUT_S = 600.0
EPILOG = """\
exit status: 0 all that was submitted passed   1 something failed
             2 wrong usage, or no such submission   3 something could not be measured: run again
grade-class: 0 each submission was judged   1 some were not, the table says why
             130 stopped by Ctrl-C: the same command goes on from there
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m grading",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    grade_ = commands.add_parser("grade", help="judge a submission")
    grade_.add_argument("folder", type=Path)
    grade_.add_argument("--results", type=Path, help="folder for the verdicts (results/grade/NAME)")
    grade_.add_argument("--check", default="", metavar="WORDS", help="pytest -k: only some checks")
    draft_ = commands.add_parser("draft", help="print a lab.toml for a folder that has none")
    draft_.add_argument("folder", type=Path)
    class_ = commands.add_parser("grade-class", help="judge each subfolder; goes on where it was")
    class_.add_argument("folder", type=Path)
    class_.add_argument("--results", type=Path, help="folder (results/grade-class/NAME)")
    class_.add_argument("--jobs", type=int, help="graders at a time (a processor and 1.5 GiB each)")
    class_.add_argument(
        "--limit",
        type=float,
        default=classroom.LIMIT_S,
        metavar="SECONDS",
        help="for one submission (%(default)g)",
    )
    class_.add_argument("--fresh", action="store_true", help="judge again what has verdicts")
    for command in (grade_, class_):
        command.add_argument(
            "--trust-dockerfile",
            action="store_true",
            help="build a folder's own Dockerfile, too, outside of any sandbox",
        )
    options = parser.parse_args(arguments)
    try:
        with files_have_a_way_out():
            return _run(options)
    except (GradingError, LabError) as error:
        print(error, file=sys.stderr)
        return 2
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        print(f"judging: the Docker engine: {error}\n    see: make doctor", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace) -> int:
    if options.command == "draft":
        print(draft(options.folder), end="")
        return 0
    if options.command == "grade-class":
        jobs = options.jobs or classroom.default_jobs(
            len(os.sched_getaffinity(0)), available_mib() or 1 << 20
        )
        trust_words = ("--trust-dockerfile",) if options.trust_dockerfile else ()
        settings = classroom.Settings(
            jobs,
            options.limit,
            fresh=options.fresh,
            grader=(*classroom.GRADER, *trust_words),
            clean_up=_remove_abandoned,
        )
        return classroom.grade_class(options.folder, options.results, settings)
    return grade(options.folder, options.results, options.check, trusted=options.trust_dockerfile)


def grade(
    folder: Path, results: Path | None = None, only: str = "", *, trusted: bool = False
) -> int:
    """Judge a submission, keep and print the verdicts, and return the exit status.

    ``only``: pytest's ``-k``. ``trusted``: a Dockerfile of its own is built.
    Raises GradingError when the folder or its lab.toml cannot be judged.
    """
    folder = folder.absolute()
    submitted = manifest.load(folder)
    if not submitted.programs:
        raise GradingError(f"{folder / manifest.NAME}: it names no program")
    if any(p.image == manifest.OWN_IMAGE for p in submitted.programs.values()) and not trusted:
        raise GradingError(f"{folder / manifest.NAME}: {UNTRUSTED}")
    place = results or _new_folder(folder.name)
    place.mkdir(parents=True, exist_ok=True)
    if submitted.drafted:
        (place / manifest.NAME).write_text(draft(folder), encoding="utf-8")
        print(f"no {manifest.NAME}: judged by a draft, look it over: {_shown(place)}/lab.toml")
    _remove_abandoned()
    verdicts = place / "verdicts.json"
    argv = [sys.executable, "-m", "pytest", "-p", "grading.plugin", "-p", "no:cacheprovider"]
    argv += ["-q", "-n", str(min(len(submitted.programs), 5)), "--dist", "loadfile", "tests/checks"]
    (place / "packets").mkdir(exist_ok=True)
    argv += [f"--submission={folder}", f"--verdicts={verdicts}", f"--packets={place / 'packets'}"]
    argv += ["-k", only] if only else []
    argv += ["--trust-dockerfile"] if trusted else []
    with (place / "checks.log").open("wb") as log:
        judging = subprocess.Popen(
            argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            judging.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise GradingError(f"not judged within {TIMEOUT_S:g} s: {place}/checks.log") from None
        finally:
            if judging.poll() is None:
                _end(judging)
    if not verdicts.exists():
        raise GradingError(f"the checks did not run: see {place}/checks.log")
    try:
        report = reports.load(verdicts)
    except reports.UnreadableVerdictsError as error:
        raise GradingError(f"{verdicts}: {error}") from None
    if not report.findings:
        raise GradingError(f"no check came to a verdict: see {place}/checks.log")
    page = feedback.write(report, place)
    terminal.print_report(report, terminal.console(), _shown(page))
    return 1 if report.with_verdict(FAILED) else 3 if report.with_verdict(INVALID) else 0


def _end(judging: subprocess.Popen[bytes]) -> None:
    """End the checks and their worker processes, and remove the containers that they held."""
    try:
        workers = Path(f"/proc/{judging.pid}/task/{judging.pid}/children").read_text().split()
    except OSError:  # no Linux, or it has just ended: the workers end by themselves in 15 s
        workers = []
    judging.kill()
    judging.wait()
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(worker), signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(running_since(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    _remove_abandoned()


def _remove_abandoned() -> None:
    with contextlib.closing(docker.from_env()) as engine:
        remove_abandoned(engine)


def _new_folder(name: str) -> Path:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    base = RESULTS / name
    base.mkdir(parents=True, exist_ok=True)
    latest = base / "latest"
    part = base / f".latest-{os.getpid()}"
    part.symlink_to(now)
    part.replace(latest)
    return base / now


def _shown(path: Path) -> str:
    return os.path.relpath(path)


if __name__ == "__main__":
    sys.exit(main())
