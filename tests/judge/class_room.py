"""A pretended class: submissions as files, and a grader that is a few lines of shell.

What the grader does with a submission is the submission's own ``grader.sh``, run in the folder of
the results; ``NOTES`` is a folder with verdicts to copy, and for notes of what was done.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.lab.driver import ROOT
from tests.pure.grading_documents import bad, good

GRADER = """\
#!/bin/sh
# grade PATH --results DIR
echo "$2" >> "$NOTES/calls"
cd "$4" && . "$2/grader.sh"
"""
GOOD = 'cp "$NOTES/good.json" verdicts.json; exit 0\n'
BAD = 'cp "$NOTES/bad.json" verdicts.json; exit 1\n'
INVALID = 'cp "$NOTES/invalid.json" verdicts.json; exit 3\n'
CODE = """\
import re, sys
from pathlib import Path
from grading.classroom import Settings, grade_class
from grading import GradingError
folder, place, notes, jobs, limit = sys.argv[1:]
def clean_up():
    with open(f"{notes}/cleaned", "a") as file:
        file.write("cleaned")
try:
    status = grade_class(
        Path(folder), Path(place),
        Settings(
            int(jobs), float(limit), 0.5, grader=(f"{notes}/grader", "grade"), clean_up=clean_up
        ))
except GradingError as error:
    sys.exit(f"refused: {error}")
kib = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text()).group(1)
Path(f"{notes}/peak_kib").write_text(kib)
sys.exit(status)
"""


class ClassRoom:
    """A class under ``folder``, its results, and what the graders noted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.place, self.notes = folder / "class", folder / "results", folder / "notes"
        self.folder.mkdir()
        self.notes.mkdir()
        (self.notes / "good.json").write_text(json.dumps(good()))
        document = bad()
        (self.notes / "invalid.json").write_text(json.dumps(document))
        for finding in document["findings"]:
            if finding["verdict"] == "invalid":
                finding["verdict"] = "not shown"
        (self.notes / "bad.json").write_text(json.dumps(document))
        (self.notes / "grader").write_text(GRADER)
        (self.notes / "grader").chmod(0o755)

    def submission(self, name: str, grader: str = GOOD) -> Path:
        """Hand in a submission, with what the grader shall do about it."""
        path = self.folder / name
        path.mkdir(exist_ok=True)
        (path / "grader.sh").write_text(grader)
        return path

    def start(self, jobs: int = 2, limit_s: float = 60) -> subprocess.Popen[str]:
        """Start grade-class."""
        arguments = [self.folder, self.place, self.notes, jobs, limit_s]
        return subprocess.Popen(
            [sys.executable, "-c", CODE, *map(os.fspath, map(str, arguments))],
            cwd=ROOT,
            env=os.environ | {"NOTES": str(self.notes), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, jobs: int = 2, limit_s: float = 60) -> tuple[int, str, str]:
        """Run grade-class to its end: status, standard output, standard error."""
        process = self.start(jobs, limit_s)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def stop(self, process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str, str]:
        """Send a signal and wait for the end."""
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def calls(self) -> list[str]:
        """Return the submissions that a grader was started for, in order."""
        notes = self.notes / "calls"
        lines: Iterable[str] = notes.read_text().splitlines() if notes.exists() else []
        return [Path(line).name for line in lines]

    def row(self, name: str) -> dict[str, Any]:
        """Return a submission's row."""
        text = (self.place / "submissions" / name / "row.json").read_text()
        row: dict[str, Any] = json.loads(text)
        return row
