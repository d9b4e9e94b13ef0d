"""``make fuzz``: an hour of inputs in a minute, or ``make fuzz SECONDS=600``; see ``http_core``."""

import os
import subprocess
import sys

from lab.errors import LabError
from lab.settings import ROOT
from lab.venv import ensure_venv


def main() -> int:
    """Install the fuzzer where it is not, run it, and return its exit status."""
    try:
        python = ensure_venv(("core", "fuzz"))
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    seconds = os.environ.get("SECONDS", "") or "60"
    argv = [str(python), "-m", "tests.fuzz.http_core", f"-max_total_time={seconds}"]
    return subprocess.run(argv, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
