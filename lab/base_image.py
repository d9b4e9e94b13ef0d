"""The images' base: debian:trixie-slim, or the same root file system from Debian's own packages.

Where no image registry can be reached, ``mmdebstrap`` makes it from the package mirror that this
machine uses, and ``docker import`` takes it in. It does what the official image does: the packages
of the variant minbase, no documentation, no translations, no apt caches.
"""

import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from lab import apt_sources, packages
from lab.errors import LabError
from lab.say import say
from lab.system import Output, System, detect, output_of

OFFICIAL = "debian:trixie-slim"
BUILT = "progres-lab-base:trixie"

WITHOUT_REGISTRY = (
    "name a Debian mirror (LAB_DEBIAN_MIRROR=http://.../debian make up), or bring the image from a "
    f"machine that has it: docker save {OFFICIAL} | gzip > base.tar.gz there, "
    "docker load < base.tar.gz here"
)
"""The remedy where neither a registry nor a Debian mirror can be reached."""

_RELEASE = "trixie"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

_REGISTRY_ANSWERS_WITHIN_S = 8.0
_PULL_TIMEOUT_S = 600.0
_BUILD_TIMEOUT_S = 1800.0

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_DPKG_OPTIONS = (
    # as debuerreotype's "slimify" of the official image; copyright files stay
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/linda/*",
    "path-exclude=/usr/share/groff/*",
)
_APT_OPTIONS = (
    'Acquire::Languages "none"',
    'Acquire::GzipIndexes "true"',
    'APT::AutoRemove::SuggestsImportant "false"',
)


def ensure_base_image() -> str:
    """Return the image to build FROM, pulled or built where it is not here yet.

    Needs an engine that answers. Raises LabError, and leaves then no image and no file behind.
    """
    if image := local():
        return image
    pulled = _pull()
    if pulled.status == 0:
        return OFFICIAL
    say(
        f"{OFFICIAL} is neither here nor to be pulled ({pulled.complaint}); "
        "building the same root file system from Debian's packages (half a minute)"
    )
    _build(detect())
    return BUILT


def local() -> str:
    """Return the base image that is here, the official one first, or ""."""
    for image in (OFFICIAL, BUILT):
        if output_of(["docker", "image", "inspect", image]).status == 0:
            return image
    return ""


def can_build(system: System) -> bool:
    """Return whether the image can be built here without a registry (mirrors are not asked)."""
    try:
        mirrors("")
    except LabError:
        return False
    return not packages.missing(["mmdebstrap"]) or (
        system.is_debian and packages.decision(system) != "stop"
    )


def _pull() -> Output:
    """Pull the official image; a registry that does not answer is found out in a few seconds.

    ``docker pull`` writes its first line once the registry has answered with the manifest.
    """
    say(f"pulling {OFFICIAL}")
    with subprocess.Popen(
        ["docker", "pull", OFFICIAL],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            ready, _, _ = select.select([process.stdout], [], [], _REGISTRY_ANSWERS_WITHIN_S)
            if not ready:
                process.kill()
                return Output(1, "", f"no answer within {_REGISTRY_ANSWERS_WITHIN_S:.0f} s")
            out, err = process.communicate(timeout=_PULL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return Output(1, "", f"not done within {_PULL_TIMEOUT_S:.0f} s")
        except BaseException:  # Ctrl-C: leaving the block would wait for the pull
            process.kill()
            raise
    return Output(process.returncode, out, err)


def _build(system: System) -> None:
    step = f"building {BUILT}"
    sources = mirrors(step)
    needed = ["mmdebstrap", "debian-archive-keyring", *([] if system.root else ["uidmap"])]
    if absent := packages.missing(needed):
        if not system.is_debian:
            raise LabError(step, "mmdebstrap is a Debian program", WITHOUT_REGISTRY)
        packages.install(step, system, absent)
    configuration = output_of(["apt-config", "dump"]).out
    with tempfile.TemporaryDirectory(prefix="progres-lab-base-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # mmdebstrap reads it as another user when this one is not root
        _require_space(step, folder)
        listed = folder / "mirrors.sources"
        listed.write_text("\n".join(source.stanza() for source in sources), encoding="utf-8")
        archive = folder / "base.tar"
        started = time.monotonic()
        _mmdebstrap(step, listed, archive, sources, configuration)
        change = ["--change", 'CMD ["bash"]', "--change", "ENV PATH=" + _PATH]
        taken = output_of(["docker", "import", *change, str(archive), BUILT], timeout_s=300)
    if taken.status != 0:
        raise LabError(step, f"docker import: {taken.complaint}", "see make doctor (disk space)")
    say(f"built {BUILT} in {time.monotonic() - started:.0f} s")


def mirrors(step: str) -> list[apt_sources.Source]:
    """Return where to take Debian's packages from: this machine's mirrors, or LAB_DEBIAN_MIRROR."""
    if uri := os.environ.get("LAB_DEBIAN_MIRROR"):
        options = {"Signed-By": _KEYRING}
        return [apt_sources.Source((uri,), (_RELEASE,), ("main",), options)]
    sources = apt_sources.for_release(apt_sources.configured(), _RELEASE)
    if not sources:
        raise LabError(step, "no Debian mirror is configured on this machine", WITHOUT_REGISTRY)
    return sources


def command(
    sources: list[apt_sources.Source], configuration: str, listed: Path, archive: Path
) -> list[str]:
    """Return mmdebstrap's command line; ``configuration`` is what ``apt-config dump`` says."""
    apt_options = [*_APT_OPTIONS, *apt_sources.acquire_options(configuration)]
    keyrings = {source.options.get("Signed-By", "") for source in sources} - {"", _KEYRING}
    carried = [  # a mirror signed with a key of its own: the image needs it, too
        hook
        for keyring in sorted(keyrings)
        if keyring.startswith("/")
        for hook in (
            f'--setup-hook=mkdir -p "$1{Path(keyring).parent}"',
            f"--setup-hook=upload {keyring} {keyring}",
        )
    ]
    return [
        "mmdebstrap", "--variant=minbase", "--quiet", "--format=tar",
        *(f"--dpkgopt={option}" for option in _DPKG_OPTIONS),
        *(f"--aptopt={option}" for option in apt_options),
        *carried, _RELEASE, str(archive), str(listed),
    ]  # fmt: skip


def _mmdebstrap(
    step: str,
    listed: Path,
    archive: Path,
    sources: list[apt_sources.Source],
    configuration: str,
) -> None:
    made = output_of(
        command(sources, configuration, listed, archive),
        timeout_s=_BUILD_TIMEOUT_S,
        environment=apt_sources.proxies(configuration),
    )
    if made.status != 0:
        lines = [line for line in made.err.splitlines() if line.startswith(("E:", "W:", "Err:"))]
        cause = "mmdebstrap failed" + "".join(f"\n    {line}" for line in lines[-8:])
        raise LabError(step, cause, "correct that (is the mirror in reach?), or try sudo make up")


def _require_space(step: str, folder: Path) -> None:
    free_mib = shutil.disk_usage(folder).free >> 20
    if free_mib < 700:
        raise LabError(
            step, f"{folder.parent} has {free_mib} MiB free, 700 are needed",
            "make room there, or name another folder: TMPDIR=/var/tmp make up",
        )  # fmt: skip
