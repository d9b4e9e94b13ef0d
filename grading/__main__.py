"""``python -m grading grade FOLDER`` judges a submission; ``draft FOLDER`` shows a lab.toml."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker

from grading import GradingError, manifest
from grading.sandbox import remove_abandoned
from grading.verdict import FAILED, INVALID, NOT_SHOWN, NOT_SUBMITTED, PASSED
from lab.errors import LabError
from lab.settings import ROOT

RESULTS = ROOT / "results" / "grade"
TIMEOUT_S = 600.0
EPILOG = """\
exit status: 0 all that was submitted passed   1 something failed
             2 wrong usage, or no such submission   3 something could not be measured: run again
"""
MARKS = {PASSED: "+", FAILED: "-", NOT_SHOWN: "?", INVALID: "!"}


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
    options = parser.parse_args(arguments)
    try:
        if options.command == "draft":
            print(manifest.draft(options.folder), end="")
            return 0
        return grade(options.folder, options.results, options.check)
    except (GradingError, LabError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def grade(folder: Path, results: Path | None = None, only: str = "") -> int:
    """Judge a submission, keep and print the verdicts, and return the exit status.

    Raises GradingError when the folder or its lab.toml cannot be judged.
    """
    folder = folder.absolute()
    submitted = manifest.load(folder)
    if not submitted.programs:
        raise GradingError(f"{folder / manifest.NAME}: it names no program")
    place = results or _new_folder(folder.name)
    place.mkdir(parents=True, exist_ok=True)
    if submitted.drafted:
        (place / manifest.NAME).write_text(manifest.draft(folder), encoding="utf-8")
        print(f"no {manifest.NAME}: judged by a draft, look it over: {_shown(place)}/lab.toml")
    engine = docker.from_env()
    try:
        remove_abandoned(engine)
    finally:
        engine.close()
    verdicts = place / "verdicts.json"
    argv = [sys.executable, "-m", "pytest", "-p", "grading.plugin", "-p", "no:cacheprovider"]
    argv += ["-q", "-n", str(min(len(submitted.programs), 5)), "--dist", "loadfile", "tests/checks"]
    argv += [f"--submission={folder}", f"--verdicts={verdicts}"]
    argv += ["-k", only] if only else []
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
                judging.terminate()
                judging.wait(60)
    if not verdicts.exists():
        raise GradingError(f"the checks did not run: see {place}/checks.log")
    document = json.loads(verdicts.read_text(encoding="utf-8"))
    _print(document)
    print(f"all of it: {_shown(place)}")
    found = {finding["verdict"] for finding in document["findings"]}
    return 1 if FAILED in found else 3 if INVALID in found else 0


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


def _print(document: dict[str, Any]) -> None:
    score = document["score"]
    print(f"{document['submission']}: {score['points']:g} of {score['of']:g} points")
    for finding in document["findings"]:
        if finding["verdict"] == NOT_SUBMITTED:
            continue
        mark = MARKS[finding["verdict"]]
        print(f" {mark} {finding['program']:<13} {finding['title']}")
        if finding["verdict"] != PASSED:
            print(f"     {finding['verdict']}: {printable(finding['observed'])}")
        if finding["verdict"] == FAILED:
            print(f"     hint: {finding['hint']}")


def printable(text: str) -> str:
    """Return a stranger's text on one line, without what would move a terminal's cursor."""
    return "".join(c if c.isprintable() else " " for c in text)[:600]


if __name__ == "__main__":
    sys.exit(main())
