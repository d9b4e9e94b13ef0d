"""What each check is worth and tells the student: ``rubric.toml``, which a teacher edits."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from grading import GradingError

PATH = Path(__file__).with_name("rubric.toml")


@dataclass(frozen=True)
class Entry:
    """One check: its points, its title, what a correct program does, a hint, a class of mistake."""

    points: float
    title: str
    expected: str
    hint: str = ""
    mistake: str = ""
    network: str = ""
    """The network that it is judged under, in tc's words; empty: nothing is lost."""


class Rubric:
    """All entries, by the check's name such as ``udp-server.drops-half``."""

    def __init__(self, entries: dict[str, Entry]) -> None:
        self.entries = entries

    def entry(self, check: str) -> Entry:
        """Return a check's entry. Raises GradingError when there is none."""
        try:
            return self.entries[check]
        except KeyError:
            raise GradingError(f"{PATH.name}: no [{check!r}]") from None


def load(path: Path = PATH) -> Rubric:
    """Read the rubric. Raises GradingError naming the check and the key that is wrong."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise GradingError(f"{path}: {error}") from None
    known = {field.name for field in fields(Entry)}
    entries = {}
    for check, table in document.items():
        if not isinstance(table, dict):
            raise GradingError(f"{path}: {check} must be a table")
        for key, value in table.items():
            if key not in known:
                names = ", ".join(sorted(known))
                raise GradingError(f"{path}: [{check}] {key}: unknown; known are {names}")
            kind = (int, float) if key == "points" else str
            if not isinstance(value, kind) or isinstance(value, bool):
                raise GradingError(f"{path}: [{check}] {key} = {value!r}: of the wrong type")
        if lacking := {"points", "title", "expected"} - set(table):
            raise GradingError(f"{path}: [{check}] lacks {', '.join(sorted(lacking))}")
        if table["points"] < 0:
            raise GradingError(f"{path}: [{check}] points = {table['points']}: less than 0")
        entries[check] = Entry(**table)
    return Rubric(entries)
