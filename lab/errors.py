"""The lab's one error: which step failed, why, and the way out."""


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
