"""What a kept verdict rests on: the submission's content, the rubric and the checks, as one hash.

A stranger's folder is only ever looked at: no symbolic link is followed (its target's text is
hashed), pipes, sockets and devices are not opened, and the size is bounded before anything is read.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from grading import GradingError
from lab.settings import ROOT

MAX_BYTES = 512 << 20
MAX_ENTRIES = 50_000
_BLOCK = 1 << 20

JUDGE = ("grading", "tests/checks")
"""What decides a verdict; the pages and this module count too, so that kept pages are never old."""


class TooLargeError(GradingError):
    """A submission is larger than any real one."""


def fingerprint(folder: Path, judge: str = "") -> str:
    """Return 16 hexadecimal digits of a folder's content and of ``judge``.

    Raises TooLargeError, and OSError naming the file that cannot be read.
    """
    digest = hashlib.sha256(judge.encode())
    size = 0
    for count, (path, relative, status) in enumerate(_entries(folder), 1):
        if count > MAX_ENTRIES:
            raise TooLargeError(f"more than {MAX_ENTRIES:,} files and folders")
        kind = stat.S_IFMT(status.st_mode)
        digest.update(b"%s\0%o %o\0" % (os.fsencode(relative), kind, status.st_mode & 0o111))
        if kind == stat.S_IFLNK:
            digest.update(os.fsencode(os.readlink(path)) + b"\0")
        elif kind == stat.S_IFREG:
            size += status.st_size
            if size > MAX_BYTES:
                raise TooLargeError(f"more than {MAX_BYTES >> 20} MiB")
            digest.update(_content(path))
    return digest.hexdigest()[:16]


def judge_fingerprint(root: Path = ROOT) -> str:
    """Return the hash of the rubric, the checks and the grader."""
    digest = hashlib.sha256()
    for name in JUDGE:
        for path, relative, status in _entries(root / name):
            if stat.S_ISREG(status.st_mode) and "__pycache__" not in relative:
                digest.update(os.fsencode(relative) + b"\0" + _content(path))
    return digest.hexdigest()


def _entries(folder: Path) -> Iterator[tuple[str, str, os.stat_result]]:
    """Yield path, path from ``folder`` on and status of all that is in it, in one order."""
    waiting = [os.fspath(folder)]
    while waiting:
        current = waiting.pop()
        with os.scandir(current) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            yield entry.path, os.path.relpath(entry.path, folder), status
            if stat.S_ISDIR(status.st_mode):
                waiting.append(entry.path)


def _content(path: str) -> bytes:
    """Return the hash of a regular file; never waits, never follows a link put there since."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path}: changed while it was read")
        digest, left = hashlib.sha256(), MAX_BYTES
        while left > 0 and (block := file.read(min(_BLOCK, left))):
            digest.update(block)
            left -= len(block)
    return digest.digest()
