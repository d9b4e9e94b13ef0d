"""A lock between processes of this project: a file that is there only while somebody holds it."""

import contextlib
import os
from collections.abc import Iterator

from lab.errors import LabError
from lab.say import say
from lab.settings import ROOT

FOLDER = ROOT / ".lab"


@contextlib.contextmanager
def held(name: str, busy: LabError | str) -> Iterator[None]:
    """Hold the lock of that name.

    ``busy`` is for when another process holds it: an error is raised, a sentence is said, and the
    other's end awaited. A process that is killed holds it no longer.
    """
    try:
        import fcntl
    except ImportError:  # Windows: there is no such lock, and no make either
        yield
        return
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.lock"
    while True:
        with open(path, "w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # EWOULDBLOCK
                if isinstance(busy, LabError):
                    raise busy from None
                say(busy)
                fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever held it may have removed it since it was opened here: another then made anew.
            if not _is_at(file.fileno(), path):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(descriptor: int, path: os.PathLike[str]) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
