"""What is carried into the emulated machine: the project as it stands here, and container images.

Each becomes a raw disk that holds nothing but a tar archive, which the machine reads straight from
the block device. A disk is whole sectors of 512 bytes, and so is a tar archive (POSIX.1, pax).
"""

import hashlib
import os
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from lab.errors import LabError
from lab.settings import ROOT
from lab.system import output_of

SECTOR_BYTES = 512


def project_files(root: Path = ROOT) -> list[str]:
    """Return the project's files as they are in the working tree: tracked, or new and not ignored.

    Paths are relative to ``root``. Raises LabError where git cannot tell.
    """
    listed = output_of(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    )
    if listed.status != 0:
        raise LabError(
            "packing the project for the emulated machine",
            f"git ls-files: {listed.complaint}",
            f"{root} must be a git checkout",
        )
    names = sorted(set(listed.out.split("\0")) - {""})
    return [name for name in names if os.path.lexists(root / name)]


def pack_project(target: Path, root: Path = ROOT) -> None:
    """Write the project's files to ``target`` as a tar archive. Raises LabError."""
    with tarfile.open(target, "w") as archive:
        for name in project_files(root):
            archive.add(root / name, arcname=name, recursive=False)


def pack_images(images: Sequence[str], cache: Path) -> Path:
    """Return a ``docker save`` archive of local images, made now or kept from last time.

    It is kept under the images' names and identifiers; only the newest stays. Raises LabError.
    """
    found = output_of(["docker", "image", "inspect", "--format", "{{.Id}}", *images])
    if found.status != 0:
        raise LabError(
            f"carrying {', '.join(images)} into the emulated machine",
            found.complaint,
            "build the images first: make up",
        )
    key = hashlib.sha256("\n".join([*images, *found.out.split()]).encode()).hexdigest()[:12]
    archive = cache / f"images-{key}.tar"
    if not archive.exists():
        partial = archive.with_suffix(".partial")
        saved = subprocess.run(["docker", "save", "--output", str(partial), *images], check=False)
        if saved.returncode != 0:
            partial.unlink(missing_ok=True)
            raise LabError(
                f"carrying {', '.join(images)} into the emulated machine",
                f"docker save ended with status {saved.returncode}",
                "is the disk full? df -h",
            )
        pad_to_sector(partial)
        partial.rename(archive)
    for old in cache.glob("images-*.tar"):
        if old != archive:
            old.unlink(missing_ok=True)
    return archive


def pad_to_sector(path: Path) -> None:
    """Lengthen a file with zeros to whole sectors; behind a tar archive's end they mean nothing."""
    size = path.stat().st_size
    os.truncate(path, -(-size // SECTOR_BYTES) * SECTOR_BYTES)
