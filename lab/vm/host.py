"""What the host needs to emulate a machine: QEMU, mmdebstrap, mkfs.ext4, and how they get there."""

import os
import platform
import re
from collections.abc import Sequence

from lab import packages
from lab.errors import LabError
from lab.system import System, detect, find_program, output_of, version_numbers

LEAST_QEMU = (8,)
"""QEMU 7.2 crashes the guest when it emulates with more than one thread (measured)."""

_STEP = "emulating a Debian 13 machine"

_QEMU = "qemu-system-x86"
_BACKPORTS = "bookworm-backports"
# A "/release" suffix holds for the named package alone, so what QEMU needs of its own version is
# named, too (measured with apt 2.6).
_QEMU_BACKPORTED = tuple(
    f"{name}/{_BACKPORTS}" for name in (_QEMU, "qemu-system-common", "qemu-system-data", "seabios")
)


def packages_of_programs(system: System) -> dict[str, tuple[str, ...]]:
    """Return which programs are needed, and the packages that bring each, as apt-get takes them."""
    old = system.distribution == "debian" and system.version[:1] == (12,)
    needed: dict[str, tuple[str, ...]] = {
        "qemu-system-x86_64": _QEMU_BACKPORTED if old else (_QEMU,),
        "mmdebstrap": ("mmdebstrap", "debian-archive-keyring"),
        "mkfs.ext4": ("e2fsprogs",),
    }
    if not system.root:
        needed["newuidmap"] = ("uidmap",)  # for the user namespace in which files keep their owners
    return needed


def ensure_tools() -> None:
    """Install what is missing, by the rule of ``lab.packages``. Raises LabError."""
    system = detect()
    if platform.machine() not in ("x86_64", "AMD64"):
        raise LabError(
            _STEP,
            f"this is a {platform.machine()} machine, and the emulated one is built for x86-64",
            "run the netem tests on a Linux kernel that has netem: make test",
        )
    needed = packages_of_programs(system)
    absent = [program for program in needed if not _usable(program)]
    if absent:
        _install(system, needed, absent)
    try_namespace()


def _install(system: System, needed: dict[str, tuple[str, ...]], absent: Sequence[str]) -> None:
    if not system.is_debian:
        cause = f"not found, or too old: {', '.join(absent)}"
        remedy = "install QEMU 8 or newer, mmdebstrap, e2fsprogs and uidmap from this system"
        raise LabError(_STEP, cause, remedy)
    packages.install(_STEP, system, [name for program in absent for name in needed[program]])
    if still := [program for program in absent if not _usable(program)]:
        cause = f"installed, but not usable: {', '.join(still)}"
        raise LabError(_STEP, cause, "QEMU must be 8 or newer: qemu-system-x86_64 --version")


def try_namespace() -> None:
    """Raise LabError where an ordinary user may not have a user namespace to build a disk in."""
    tried = output_of(in_namespace(["true"]))
    if tried.status != 0:
        raise LabError(
            _STEP,
            f"this system keeps an ordinary user from having a user namespace: {tried.complaint}",
            "allow it (Ubuntu: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0), or run "
            "this as root",
        )


def qemu_version(text: str) -> tuple[int, ...]:
    """Return the version that ``qemu-system-x86_64 --version`` prints, () where it shows none."""
    match = re.search(r"version (\d+(?:\.\d+)*)", text)
    return version_numbers(match[1]) if match else ()


def in_namespace(argv: Sequence[str]) -> list[str]:
    """Return ``argv`` so that it runs as root, in a user namespace where this user is not root."""
    if os.geteuid() == 0:
        return list(argv)
    return ["unshare", "--user", "--map-auto", "--map-root-user", *argv]


def _usable(program: str) -> bool:
    if find_program(program) is None:
        return False
    if program != "qemu-system-x86_64":
        return True
    return qemu_version(output_of([program, "--version"]).out) >= LEAST_QEMU
