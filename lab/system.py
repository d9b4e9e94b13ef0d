"""What machine this is, and running its commands."""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ServiceManager = Literal["systemd", "sysv", "none"]

NOT_FOUND = 127
TIMED_OUT = 124
"""Statuses that the shell and timeout(1) give for a command that is missing or took too long."""


@dataclass(frozen=True)
class System:
    """The facts that decide how the set-up goes.

    ``distribution`` is os-release's ID (``macos``, ``windows`` elsewhere); ``version`` its
    VERSION_ID as numbers, ``()`` for a release that has none yet (Debian testing).
    """

    distribution: str
    version: tuple[int, ...]
    name: str
    kernel: str
    root: bool
    terminal: bool
    sudo: bool
    service_manager: ServiceManager
    may_install: bool

    @property
    def is_debian(self) -> bool:
        """Whether the packages' names and releases that the lab knows are this system's."""
        if self.distribution == "debian":
            return self.version >= (12,) or not self.version
        return self.distribution == "ubuntu" and self.version >= (24, 4)


_TO_THE_HELP = re.compile(r"(Run|See) '.* --help'")


@dataclass(frozen=True)
class Output:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """What it said last, on standard error or else on standard output.

        A line that only leads to the command's help (docker run ends with one) does not count.
        """
        said = (self.err.strip() or self.out.strip()).splitlines()
        lines = [line for line in said if line.strip() and not _TO_THE_HELP.match(line)]
        return lines[-1].strip() if lines else f"exit status {self.status}"


def detect(environment: Mapping[str, str] = os.environ) -> System:
    """Look at this machine."""
    fields = parse_os_release(_text("/etc/os-release") or _text("/usr/lib/os-release"))
    other = {"Darwin": "macos", "Windows": "windows"}.get(platform.system())
    distribution = other or fields.get("ID", "unknown")
    return System(
        distribution=distribution,
        version=version_numbers(fields.get("VERSION_ID", "")),
        name=other or fields.get("PRETTY_NAME", distribution),
        kernel=platform.release(),
        root=hasattr(os, "geteuid") and os.geteuid() == 0,
        terminal=sys.stdin.isatty() and sys.stderr.isatty(),
        sudo=shutil.which("sudo") is not None,
        service_manager=service_manager(
            Path("/run/systemd/system").is_dir(),
            _text("/proc/1/comm").strip(),
            os.access("/etc/init.d/docker", os.X_OK),
        ),
        may_install=environment.get("LAB_NO_INSTALL", "") in ("", "0"),
    )


def service_manager(systemd_runs: bool, first_process: str, has_script: bool) -> ServiceManager:
    """Return who starts services here.

    ``systemd_runs`` is sd_booted(3)'s test. A SysV script is the way only where an init runs that
    would start and stop it too; process 1 of a container is something else.
    """
    if systemd_runs:
        return "systemd"
    return "sysv" if first_process == "init" and has_script else "none"


def parse_os_release(text: str) -> dict[str, str]:
    """Return the assignments of an os-release(5) file."""
    fields = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            fields[name] = "".join(shlex.split(value))
    return fields


def version_numbers(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: ``v2.26.1-4`` is (2, 26, 1), nonsense is ()."""
    numbers = []
    for part in text.strip().removeprefix("v").split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)


def output_of(
    argv: Sequence[str], timeout_s: float = 30, environment: Mapping[str, str] | None = None
) -> Output:
    """Run a command to its end, whatever that is; it never raises for the command's sake."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=os.environ | (environment or {}),
            timeout=timeout_s,
            check=False,
        )
    except (FileNotFoundError, PermissionError) as error:
        return Output(NOT_FOUND, "", f"{argv[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Output(TIMED_OUT, "", f"{argv[0]}: no answer within {timeout_s:.0f} s")
    return Output(done.returncode, done.stdout, done.stderr)


def search_path() -> str:
    """Return PATH with the folders of root's programs, which an ordinary user's lacks on Debian."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"


def find_program(name: str) -> str | None:
    """Return the path of a program, looking also where root's programs are."""
    return shutil.which(name, path=search_path())


def available_mib() -> int:
    """Return how much memory programs can have, in MiB; 0 where the kernel does not say (macOS)."""
    match = re.search(r"MemAvailable:\s+(\d+) kB", _text("/proc/meminfo"))
    return int(match[1]) >> 10 if match else 0


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
