"""A class in rows: one small record per submission, and counts whose size no class changes.

Rows travel as lines of JSON in a file, so a class of any size is read one submission at a time.
"""

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Any

from grading.feedback.report import VERDICTS, Report
from grading.feedback.text import one_line, shown

MAX_CHECKS = 500
MAX_MISTAKES = 200
"""A rubric has some dozens; the bound holds even where a document makes up its own."""

MAX_REASON = 300


@dataclasses.dataclass(frozen=True)
class Check:
    """What one check came to."""

    check: str
    title: str
    program: str
    verdict: str
    mistake: str


@dataclasses.dataclass(frozen=True)
class Row:
    """One submission of a class. ``reason`` says why it was not judged; then the rest is empty."""

    name: str
    reason: str = ""
    points: float = 0.0
    of: float = 0.0
    time: str = ""
    duration_s: float = 0.0
    folder: str = ""
    """Where its pages are, from the class's folder on; empty when there are none."""
    exercises: tuple[tuple[str, str, float, float], ...] = ()
    """Program, state, points, of."""
    checks: tuple[Check, ...] = ()

    def mistakes(self) -> tuple[str, ...]:
        """Return the classes of mistake in it, each once. A check without a class is its own."""
        failed = [check for check in self.checks if check.verdict == "failed"]
        return tuple(dict.fromkeys(check.mistake or check.title for check in failed))

    def as_json(self) -> dict[str, Any]:
        """Return what ``row_from`` reads."""
        return dataclasses.asdict(self)


def row_of(report: Report, name: str, folder: str) -> Row:
    """Return a judged submission's row."""
    return Row(
        name=one_line(shown(name, MAX_REASON)),
        points=report.score,
        of=report.of,
        time=report.time,
        duration_s=report.duration_s,
        folder=folder,
        exercises=tuple((p, state, *report.points_of(p)) for p, state in report.exercises),
        checks=tuple(
            Check(f.check, f.title, f.program, f.verdict, f.mistake) for f in report.findings
        ),
    )


def not_judged(name: str, reason: str, folder: str = "") -> Row:
    """Return the row of a submission that could not be judged, with the reason."""
    return Row(
        name=one_line(shown(name, MAX_REASON)),
        reason=one_line(shown(reason, MAX_REASON)) or "no reason is known",
        folder=folder,
    )


def row_from(record: dict[str, Any]) -> Row:
    """Return the row that ``Row.as_json`` wrote."""
    return Row(
        **record
        | {
            "exercises": tuple(tuple(exercise) for exercise in record["exercises"]),
            "checks": tuple(Check(**check) for check in record["checks"]),
        }
    )


def by_name(name: str) -> tuple[str, str]:
    """Return the key by which people look names up: case and accents count last."""
    plain = unicodedata.normalize("NFKD", name)
    letters = "".join(c for c in plain if not unicodedata.combining(c))
    return letters.casefold(), name


@dataclasses.dataclass
class CheckCount:
    """How a class did on one check."""

    title: str
    program: str
    verdicts: Counter[str] = dataclasses.field(default_factory=Counter)


@dataclasses.dataclass
class Tally:
    """The counts of a class."""

    submissions: int = 0
    judged: int = 0
    points: float = 0.0
    of: float = 0.0
    exercises: dict[str, None] = dataclasses.field(default_factory=dict)
    checks: dict[str, CheckCount] = dataclasses.field(default_factory=dict)
    mistakes: Counter[str] = dataclasses.field(default_factory=Counter)
    """Submissions with that mistake, not failed checks."""
    seen_in: dict[str, str] = dataclasses.field(default_factory=dict)
    """Mistake to the title of a check that showed it."""

    def add(self, row: Row) -> None:
        """Count one submission."""
        self.submissions += 1
        if row.reason:
            return
        self.judged += 1
        self.points += row.points
        self.of = max(self.of, row.of)
        self.exercises |= dict.fromkeys(program for program, *_ in row.exercises[:MAX_CHECKS])
        for check in row.checks:
            if check.check in self.checks or len(self.checks) < MAX_CHECKS:
                count = self.checks.setdefault(check.check, CheckCount(check.title, check.program))
                count.verdicts[check.verdict] += 1
        for mistake in row.mistakes():
            if mistake in self.mistakes or len(self.mistakes) < MAX_MISTAKES:
                self.mistakes[mistake] += 1
        for check in row.checks:
            if check.verdict == "failed" and (check.mistake or check.title) in self.mistakes:
                self.seen_in.setdefault(check.mistake or check.title, check.title)

    @property
    def mean(self) -> float:
        """The average score of those that were judged."""
        return self.points / self.judged if self.judged else 0.0

    def to_explain(self) -> list[tuple[str, int]]:
        """Return the classes of mistake, the most frequent first."""
        return sorted(self.mistakes.items(), key=lambda item: (-item[1], item[0]))

    def programs(self) -> list[str]:
        """Return the exercises in the documents' order."""
        return list(self.exercises)


def tally(rows: Iterable[Row]) -> Tally:
    """Count a whole class in one pass."""
    counts = Tally()
    for row in rows:
        counts.add(row)
    return counts


def verdict_counts(counts: Counter[str]) -> str:
    """Return ``3 failed, 26 passed``."""
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
