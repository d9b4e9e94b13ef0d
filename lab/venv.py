"""The project's ``.venv`` with the locked versions of ``requirements/``, and the system's programs.

======== =====================================================================
core     what the tests need: pytest, the Docker SDK, hypothesis
browser  playwright, which drives the system's Chromium
report   matplotlib, scipy, rich: for experiments and their reports (make experiment)
bench    threaded web servers that ours is measured beside (make bench NAME=http)
fuzz     atheris, which looks for bytes that break the HTTP core (make fuzz)
quality  lint and types: ruff, mypy, hadolint, shellcheck
======== =====================================================================

Each group has ``requirements/GROUP.in`` (names) and ``GROUP.lock`` (versions and hashes, for every
Python from 3.11 on and every platform). To renew the locks, core first::

    cd requirements && uv pip compile --universal --python-version 3.11 --generate-hashes \\
        --no-emit-index-url --no-emit-find-links --no-header --upgrade GROUP.in -o GROUP.lock
"""

import hashlib
import importlib.util
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from lab import packages
from lab.errors import LabError
from lab.say import say
from lab.settings import ROOT
from lab.system import detect, find_program, output_of

_PIP_TIMEOUT_S = 900

PROGRAMS = {
    "ab": "apache2-utils",
    "curl": "curl",
    "h2load": "nghttp2-client",
    "nft": "nftables",
    "tc": "iproute2",
    "tshark": "tshark",
    "wrk": "wrk",
}
"""Witnesses that are not ours, and what makes networks without an engine: the Debian package."""

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def ensure_venv(groups: Sequence[str] = ("core",), folder: Path = ROOT / ".venv") -> Path:
    """Return the Python of the ``.venv`` that holds the locked packages of those groups.

    Groups whose lock has not changed since they were installed take no time. Raises LabError.
    """
    python = folder / "bin" / "python"
    if not _same_python(folder):
        _create(folder)
    for group in groups:
        _install(python, folder, group)
    return python


def ensure_programs() -> None:
    """Install what the tests are done with, where that may be; what stays away is said on stderr.

    Without one its tests are skipped, and say so (or fail, with ``LAB_REQUIRE``).
    """
    system = detect()
    absent = [package for program, package in PROGRAMS.items() if find_program(program) is None]
    if _browser() is None:
        if system.distribution == "debian":
            absent.append("chromium")
        else:  # Ubuntu's package is a snap, which containers cannot run
            say("no Chromium here: install chromium or google-chrome for the browser tests")
    if not absent:
        return
    if not system.is_debian:
        say(f"not here, so their tests are skipped: {', '.join(absent)}")
        return
    try:
        packages.install("installing what the tests are done with", system, absent)
    except LabError as error:
        say(str(error))


def stamp(lock: bytes, version: Sequence[int]) -> str:
    """Return what a group's stamp file holds once this lock is installed for this Python."""
    return f"{version[0]}.{version[1]} {hashlib.sha256(lock).hexdigest()}\n"


def _same_python(folder: Path) -> bool:
    """Return whether a ``.venv`` is whole and of this Python.

    A distribution's upgrade takes the Python away that a ``.venv`` was made with.
    """
    library = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return (folder / "bin" / "python").exists() and (library / "site-packages" / "pip").is_dir()


def _create(folder: Path) -> None:
    step = f"creating {folder.name}"
    if importlib.util.find_spec("ensurepip") is None:  # Debian splits it off
        system = detect()
        name = f"python3.{sys.version_info[1]}-venv"
        if not system.is_debian:
            raise LabError(step, "this Python has no ensurepip", f"install the likes of {name}")
        packages.install(step, system, [name])
    say(step)
    made = output_of([sys.executable, "-m", "venv", "--clear", str(folder)], timeout_s=300)
    if made.status != 0:
        shutil.rmtree(folder, ignore_errors=True)
        raise LabError(step, made.complaint, f"see what 'python3 -m venv {folder.name}' says")


def _install(python: Path, folder: Path, group: str) -> None:
    lock = ROOT / "requirements" / f"{group}.lock"
    stamp_file = folder / f"lab-{group}.stamp"
    wanted = stamp(lock.read_bytes(), sys.version_info[:2])
    if stamp_file.exists() and stamp_file.read_text(encoding="utf-8") == wanted:
        return
    step = f"installing requirements/{lock.name} into {folder.name}"
    say(step)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    done = output_of([*pip, "install", "--requirement", str(lock)], timeout_s=_PIP_TIMEOUT_S)
    if done.status != 0:
        # What kept pip from the index (a name, a certificate) stands in its warnings alone.
        said = [line for line in done.err.splitlines() if line.startswith(("WARNING", "ERROR"))]
        cause = "\n    ".join(
            ["pip failed", *(dict.fromkeys(said[:1] + said[-2:]) or [done.complaint])]
        )
        raise LabError(
            step, cause, "is a package index in reach? (pip config list); then run again"
        )
    # Last, so that an installation that was cut off is done again.
    stamp_file.write_text(wanted, encoding="utf-8")


def _browser() -> str | None:
    return next((path for name in _BROWSERS if (path := find_program(name))), None)
