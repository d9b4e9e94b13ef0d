"""The lab's one error: which step failed, why, and the way out."""

import contextlib
import errno
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

_WAYS_OUT = {
    errno.ENOSPC: "make room: docker system df shows what the engine holds",
    errno.EDQUOT: "make room: your quota on this file system is used up",
    errno.EROFS: "clone the project to a place that can be written to",
}
"""What is no mistake of the lab's, whatever file it was that could not be written."""


class LabError(Exception):
    """A step of the set-up failed; nothing of it is left half done.

    ``step`` says what was being done, ``cause`` why it failed, ``remedy`` what the user can do.
    ``str()`` is what the user sees.
    """

    def __init__(self, step: str, cause: str, remedy: str) -> None:
        super().__init__(step, cause, remedy)
        self.step = step
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        """Return two lines (more where cause or remedy have several)."""
        return f"{self.step}: {self.cause}\nway out: {self.remedy}"


@contextlib.contextmanager
def files_have_a_way_out() -> Iterator[None]:
    """Raise LabError for an OSError that is the machine's doing and that its user can mend."""
    try:
        yield
    except OSError as error:
        project = Path(__file__).resolve().parent.parent
        name = str(error.filename or "")
        said = f"{name}: {os.strerror(error.errno or 0)}" if name else os.strerror(error.errno or 0)
        if remedy := _WAYS_OUT.get(error.errno or 0):
            raise LabError("keeping the lab's files", said, remedy) from error
        if isinstance(error, PermissionError) and name.startswith(f"{project}{os.sep}"):
            raise LabError(
                "using the lab's files",
                f"{said} (another user's, as after sudo make)",
                f'sudo chown --recursive "$USER" {shlex.quote(str(project))}',
            ) from error
        raise
