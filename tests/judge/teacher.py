"""The command of ``make grade``, as a teacher's shell runs it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.lab.driver import ROOT

LONGEST_S = 600


def grade(
    folder: Path, results: Path, *options: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Judge a submission to the end, whatever the exit status; ``environment`` is added."""
    words = [os.fspath(folder), "--results", os.fspath(results), *options]
    return subprocess.run(
        [sys.executable, "-m", "grading", "grade", *words],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_S,
    )
