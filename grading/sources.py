"""The files of a stranger's folder, read without following a link or waiting for a pipe."""

import ipaddress
import os
import re
import stat
from pathlib import Path

MAX_SOURCE_BYTES = 1 << 20


def literal_addresses(folder: Path) -> list[str]:
    """Return the IPv4 addresses that stand in the folder's sources and could be a server's."""
    found = set()
    for path in sources(folder):
        for text in re.findall(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])", read(path) or ""):
            try:
                address = ipaddress.IPv4Address(text)
            except ValueError:  # 300.1.1.1
                continue
            # Broadcast and future use are "reserved".
            special = address.is_multicast or address.is_reserved or address.is_unspecified
            if not (special or address.is_loopback):
                found.add(text)
    return sorted(found)[:16]


def sources(folder: Path) -> list[Path]:
    """Return the folder's regular files, symbolic links not followed, in a fixed order."""
    found: list[Path] = []
    for place, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        found += [Path(place, name) for name in sorted(files)]
        if len(found) > 2000:
            break
    return [path for path in found if stat.S_ISREG(path.lstat().st_mode)]


def read(path: Path, limit: int = MAX_SOURCE_BYTES) -> str | None:
    """Return a regular file's text; None when it is none, or too long, or cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # ENOENT, ELOOP (a symbolic link), EACCES
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        content = file.read(limit + 1)
    return None if len(content) > limit else content.decode("utf-8", errors="replace")
