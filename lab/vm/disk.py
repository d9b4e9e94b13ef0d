"""The emulated machine's disk: built from the distribution's packages once, then kept.

A disk belongs to a recipe: packages, mirrors, and the files of this package that go into it. Its
folder is named after the recipe's hash, ``.lab/vm/FLAVOUR-HASH/``, and holds ``disk.raw`` (ext4),
``vmlinuz`` and ``initrd``. A changed recipe builds another disk and removes the old one.

The root file system is that of the base image and the packages below, made by ``mmdebstrap`` as
root or, for an ordinary user, in a user namespace; ``mkfs.ext4 -d`` fills the disk. Nothing is
ever mounted.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import apt_sources, base_image
from lab.errors import LabError
from lab.say import say
from lab.settings import ROOT
from lab.system import output_of, search_path
from lab.vm.host import in_namespace

CACHE = ROOT / ".lab" / "vm"
HERE = Path(__file__).resolve().parent

SIZE = "16G"
"""Apparent size: the file is sparse, and what a run writes goes to a snapshot."""

LEAST_FREE_GIB = 4

_SYSTEM = ("systemd-sysv", "udev", "dbus", "linux-image-cloud-amd64", "ca-certificates")

PACKAGES = {
    # What "make test-vm" needs: an engine, tools that look at a network, pytest and its plugins.
    # Of the engine's two runtimes crun, which is in C: runc's start takes Go's, twice, each time
    # (guest/lab/etc/docker/daemon.json).
    "lab": (
        *_SYSTEM,
        "docker.io", "crun", "docker-cli", "docker-compose", "docker-buildx", "containerd",
        "iptables", "nftables", "iproute2", "iputils-ping", "tcpdump", "netcat-openbsd", "curl",
        "procps", "git", "make",
        "python3", "python3-venv", "python3-pytest", "python3-pytest-timeout",
        "python3-pytest-xdist", "python3-docker", "python3-hypothesis",
    ),
    # What the README asks of a fresh machine, and nothing more.
    "bare": (*_SYSTEM, "git", "make", "python3"),
}  # fmt: skip
"""Flavour: what its disk has over the base image."""

HOSTS_CERTIFICATES = Path("/usr/local/share/ca-certificates")
"""Where update-ca-certificates(8) finds the authorities that a host was told to trust."""

_STEP = "building the emulated machine's disk"


@dataclass(frozen=True)
class Disk:
    """A disk that is ready to boot from. Its files are never written to."""

    image: Path
    kernel: Path
    initrd: Path


def ensure_disk(flavour: str) -> Disk:
    """Return the disk of a flavour, built now when its recipe changed. Raises LabError."""
    sources = base_image.mirrors(_STEP)
    apt_config = output_of(["apt-config", "dump"]).out
    key = recipe_hash(
        [
            SIZE,
            *mmdebstrap_command(flavour, sources, apt_config, Path("listed"), Path("tar")),
            *(source.stanza() for source in sources),
            *(path.read_text(encoding="utf-8") for path in own_certificates()),
        ],
        HERE,
    )
    folder = CACHE / f"{flavour}-{key}"
    with _locked(CACHE / f"{flavour}.lock"):
        if not folder.is_dir():
            _build(folder, flavour, sources, apt_config)
        for old in CACHE.glob(f"{flavour}-*/"):
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)
    return Disk(folder / "disk.raw", folder / "vmlinuz", folder / "initrd")


def recipe_hash(parts: Sequence[str], here: Path) -> str:
    """Return the hash of all that decides what is on the disk.

    ``here`` is this package's folder: ``make-disk.sh`` and ``guest/`` count with content and mode.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)} {part}\n".encode())
    guest = sorted(path for path in (here / "guest").rglob("*") if path.is_file())
    for path in (here / "make-disk.sh", *guest):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        executable = bool(path.stat().st_mode & 0o100)
        digest.update(f"{path.relative_to(here).as_posix()} {executable} {content}\n".encode())
    return digest.hexdigest()[:12]


def guest_files(flavour: str) -> list[Path]:
    """Return the folders that are copied over a flavour's root file system, in this order."""
    return [HERE / "guest" / name for name in ("all", flavour) if (HERE / "guest" / name).is_dir()]


def mmdebstrap_command(
    flavour: str,
    sources: list[apt_sources.Source],
    apt_config: str,
    listed: Path,
    archive: Path,
) -> list[str]:
    """Return the base image's mmdebstrap command with the flavour's packages added.

    The machine uses the host's proxy for its own ``apt-get``, and trusts whom the host trusts: a
    network that looks into TLS gives its hosts an authority of its own.
    """
    program, *rest = base_image.command(sources, apt_config, listed, archive)
    proxies = [
        f'--aptopt=Acquire::{name.removesuffix("_proxy")}::Proxy "{address}"'
        for name, address in apt_sources.proxies(apt_config).items()
    ]
    trusted = [f"--customize-hook=upload {path} {path}" for path in own_certificates()]
    if trusted:
        trusted.append('--customize-hook=chroot "$1" update-ca-certificates')
    return [program, f"--include={','.join(PACKAGES[flavour])}", *proxies, *trusted, *rest]


def own_certificates() -> list[Path]:
    """Return the files of the authorities that this host was told to trust, besides the usual."""
    return sorted(HOSTS_CERTIFICATES.glob("*.crt"))


def _build(folder: Path, flavour: str, sources: list[apt_sources.Source], apt_config: str) -> None:
    """Build a disk next to its place and move it there when it is whole."""
    free_gib = shutil.disk_usage(CACHE).free >> 30
    if free_gib < LEAST_FREE_GIB:
        cause = f"{CACHE} has {free_gib} GiB free, {LEAST_FREE_GIB} are needed"
        raise LabError(_STEP, cause, "make room there")
    say(f"{_STEP} ({flavour}), once; it takes a minute or two")
    started_s = time.monotonic()
    partial = folder.with_name(f"{folder.name}.partial")
    remove = in_namespace(["rm", "-rf", str(partial)])
    subprocess.run(remove, check=True)  # of a build that was killed
    partial.mkdir()
    log = CACHE / f"{flavour}-build.log"
    try:
        with tempfile.TemporaryDirectory(prefix="progres-lab-vm-") as name, log.open("wb") as out:
            Path(name).chmod(0o755)  # mmdebstrap reads it as another user when this one is not root
            listed = Path(name, "mirrors.sources")
            listed.write_text("\n".join(source.stanza() for source in sources), encoding="utf-8")
            archive = partial / "root.tar"
            make_disk = [HERE / "make-disk.sh", archive, partial, SIZE, *guest_files(flavour)]
            for argv in (
                mmdebstrap_command(flavour, sources, apt_config, listed, archive),
                in_namespace([str(word) for word in make_disk]),
            ):
                environment = os.environ | apt_sources.proxies(apt_config)
                environment |= {"PATH": search_path()}  # mkfs.ext4
                done = subprocess.run(argv, stdout=out, stderr=out, env=environment, check=False)
                if done.returncode != 0:
                    raise LabError(
                        _STEP,
                        f"{Path(argv[0]).name} ended with status {done.returncode}\n{tail(log)}",
                        f"correct that (is the mirror in reach?); the whole output is in {log}",
                    )
            archive.unlink()
            partial.rename(folder)
    finally:
        subprocess.run(remove, check=False)
    say(f"built in {time.monotonic() - started_s:.0f} s")


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a text file that say something, indented, without control codes."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    text = re.sub(r"\x1b(?:\[[0-9;?!]*[a-zA-Z]|.)|[^\n\t\x20-\x7e\xa0-\U0010ffff]", "", text)
    said = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(f"    {line}" for line in said[-lines:])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time build: a second waits and finds the disk there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
