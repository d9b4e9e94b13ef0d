"""The emulated machine's disk: built from the distribution's packages once, then kept.

A disk belongs to a recipe: packages, mirrors, and the files of this package that go into it. Its
folder is named after the recipe's hash, ``.lab/vm/FLAVOUR-HASH/``, and holds ``disk.raw`` (ext4),
``vmlinuz`` and ``initrd``. A changed recipe builds another disk and removes the old one.

Root file system by ``mmdebstrap``, as root or, for an ordinary user, in a user namespace; file
system by ``mkfs.ext4 -d``, so nothing is ever mounted.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import apt_sources, system
from lab.errors import LabError
from lab.say import say
from lab.settings import ROOT

CACHE = ROOT / ".lab" / "vm"
HERE = Path(__file__).resolve().parent

RELEASE = "trixie"
DISK_SIZE = "16G"
"""Apparent size: the file is sparse, and what a run writes goes to a snapshot."""

LEAST_QEMU = (8,)
"""QEMU 7.2 crashes the guest when it emulates with more than one thread (measured)."""

_SYSTEM = ("systemd-sysv", "udev", "dbus", "linux-image-cloud-amd64", "ca-certificates")

PACKAGES = {
    # What "make test-vm" needs: an engine, tools that look at a network, pytest and its plugins.
    "lab": (
        *_SYSTEM,
        "docker.io", "docker-cli", "docker-compose", "docker-buildx", "containerd",
        "iptables", "nftables", "iproute2", "iputils-ping", "tcpdump", "netcat-openbsd", "curl",
        "procps", "git", "make",
        "python3", "python3-venv", "python3-pytest", "python3-pytest-timeout",
        "python3-docker", "python3-hypothesis",
    ),
    # What the README asks of a fresh machine, and nothing more.
    "bare": (*_SYSTEM, "git", "make", "python3"),
}  # fmt: skip
"""Flavour: the packages of its disk."""

HOST_PACKAGES = ("qemu-system-x86", "mmdebstrap", "e2fsprogs", "debian-archive-keyring")
USER_HOST_PACKAGES = ("uidmap",)
"""Needed as well when not root: newuidmap, for the user namespace."""


@dataclass(frozen=True)
class Disk:
    """A disk that is ready to boot from. Its files are never written to."""

    image: Path
    kernel: Path
    initrd: Path


def host_packages(root: bool) -> list[str]:
    """Return the Debian packages that the host needs (Debian 12: QEMU from its backports)."""
    return [*HOST_PACKAGES, *(() if root else USER_HOST_PACKAGES)]


def ensure_tools() -> None:
    """Raise LabError, with the command that installs them, when the host lacks what is needed."""
    here = system.detect()
    if platform.machine() not in ("x86_64", "AMD64"):
        raise LabError(
            "emulating a Debian machine",
            f"this is a {platform.machine()} machine, and the disk is built for x86-64",
            "run the netem tests on a Linux kernel that has netem: make test",
        )
    programs = ["qemu-system-x86_64", "mmdebstrap", "mkfs.ext4"]
    if not here.root:
        programs += ["newuidmap", "unshare"]
    lacking = [program for program in programs if system.find_program(program) is None]
    cause = f"missing: {', '.join(lacking)}"
    if not lacking:
        shown = system.output_of(["qemu-system-x86_64", "--version"]).out
        if qemu_version(shown) >= LEAST_QEMU:
            return
        cause = f"QEMU is too old ({shown.partition(chr(10))[0]}); it must be 8 or newer"
    raise LabError("emulating a Debian machine", cause, install_remedy(here))


def install_remedy(here: system.System) -> str:
    """Return what to type to get the host's packages."""
    if not here.is_debian:
        return "install QEMU 8 or newer, mmdebstrap and e2fsprogs with this system's packages"
    prefix = "" if here.root else "sudo "
    if here.distribution == "debian" and here.version[:1] == (12,):
        return (
            "add bookworm-backports to the sources of apt (QEMU must come from there), then\n"
            f"    {prefix}apt-get install -t bookworm-backports qemu-system-x86\n"
            f"    {prefix}apt-get install {' '.join(host_packages(here.root)[1:])}"
        )
    return f"{prefix}apt-get install {' '.join(host_packages(here.root))}"


def qemu_version(text: str) -> tuple[int, ...]:
    """Return the version that ``qemu-system-x86_64 --version`` prints, () where it shows none."""
    match = re.search(r"version (\d+(?:\.\d+)*)", text)
    return system.version_numbers(match[1]) if match else ()


def ensure_disk(flavour: str) -> Disk:
    """Return the disk of a flavour, built now when its recipe changed. Raises LabError."""
    sources = apt_sources.for_release(apt_sources.configured(), RELEASE)
    apt_config = system.output_of(["apt-config", "dump"]).out
    settings = apt_sources.acquire_options(apt_config) + proxy_settings(apt_config)
    key = recipe_hash(flavour, [source.stanza() for source in sources], settings, HERE)
    folder = CACHE / f"{flavour}-{key}"
    with _locked(CACHE / f"{flavour}.lock"):
        if not folder.is_dir():
            _build(folder, flavour, "\n".join(source.stanza() for source in sources), settings)
        for old in CACHE.glob(f"{flavour}-*/"):
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)
    return Disk(folder / "disk.raw", folder / "vmlinuz", folder / "initrd")


def recipe_hash(flavour: str, stanzas: Sequence[str], settings: Sequence[str], here: Path) -> str:
    """Return the hash of all that decides what is on the disk.

    ``here`` is this package's folder: ``make-disk.sh`` and ``guest/`` count with content and mode.
    """
    digest = hashlib.sha256()
    for part in (RELEASE, DISK_SIZE, *PACKAGES[flavour], *stanzas, *settings):
        digest.update(f"{len(part)} {part}\n".encode())
    guest = sorted(path for path in (here / "guest").rglob("*") if path.is_file())
    for path in (here / "make-disk.sh", *guest):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        executable = bool(path.stat().st_mode & 0o100)
        digest.update(f"{path.relative_to(here).as_posix()} {executable} {content}\n".encode())
    return digest.hexdigest()[:12]


def proxy_settings(apt_config: str) -> list[str]:
    """Return the proxies of ``apt-config dump`` as lines of apt.conf."""
    found = apt_sources.proxies(apt_config)
    return [
        f'Acquire::{name.partition("_")[0]}::Proxy "{address}";' for name, address in found.items()
    ]


def mmdebstrap_command(
    flavour: str, root: bool, settings: Sequence[str], target: Path, sources_on_stdin: bool
) -> list[str]:
    """Return the command that makes the root file system, as a tar archive at ``target``.

    Where this machine has no Debian mirror, mmdebstrap takes the one that it knows.
    """
    documents = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
    return [
        "mmdebstrap",
        f"--mode={'root' if root else 'unshare'}",
        "--variant=minbase",
        "--format=tar",
        "--architectures=amd64",
        f"--include={','.join(PACKAGES[flavour])}",
        *(f"--aptopt={line}" for line in ('Acquire::Languages "none";', *settings)),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in documents),
        RELEASE,
        str(target),
        *(["-"] if sources_on_stdin else []),
    ]


def _build(folder: Path, flavour: str, stanzas: str, settings: Sequence[str]) -> None:
    """Build a disk next to its place and move it there when it is whole."""
    say(f"building the disk of the emulated machine ({flavour}), once; it takes a minute or two")
    root = system.detect().root
    partial = folder.with_name(f"{folder.name}.partial")
    as_root = [] if root else ["unshare", "--user", "--map-auto", "--map-root-user"]
    subprocess.run([*as_root, "rm", "-rf", str(partial)], check=True)
    partial.mkdir()
    log = CACHE / f"{flavour}-build.log"
    root_tar = partial / "root.tar"
    steps = (
        mmdebstrap_command(flavour, root, settings, root_tar, bool(stanzas)),
        [*as_root, str(HERE / "make-disk.sh"), str(root_tar), str(HERE / "guest"), str(partial),
         DISK_SIZE],
    )  # fmt: skip
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # mkfs.ext4, for ordinary users
    try:
        with log.open("wb") as output:
            for step in steps:
                done = subprocess.run(
                    step,
                    input=stanzas.encode(),
                    stdout=output,
                    stderr=output,
                    env=os.environ | {"PATH": path},
                    check=False,
                )
                if done.returncode != 0:
                    raise LabError(
                        "building the emulated machine's disk",
                        f"{Path(step[0]).name} ended with status {done.returncode}\n{tail(log)}",
                        f"the whole output is in {log}; is the package mirror in reach?",
                    )
        root_tar.unlink()
        partial.rename(folder)
    finally:
        subprocess.run([*as_root, "rm", "-rf", str(partial)], check=False)


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a text file, indented; control characters are left out."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    text = re.sub(r"\x1b[\[\]()][0-9;?]*[a-zA-Z]?|[^\n\t\x20-\x7e\xa0-\U0010ffff]", "", text)
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time build: a second waits and finds the disk there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
