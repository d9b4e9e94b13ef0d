"""A class as CSV (RFC 4180, UTF-8 with a byte order mark, without which Excel reads Latin-1).

A cell that a spreadsheet would take for a formula (it begins with ``=``, ``+``, ``-``, ``@``, a tab
or a carriage return, or the full-width form of one of the first four) gets an apostrophe in front:
OWASP, "CSV Injection". Every text of a submission can be meant as one.
"""

import csv
import io
from collections.abc import Iterable, Iterator

from grading.feedback.tally import Row, Tally
from grading.feedback.text import number, one_line

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # noqa: RUF001


def cell(text: str) -> str:
    """Return text that a spreadsheet shows and does not compute, on one line."""
    risky = text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA)
    plain = one_line(text)
    return f"'{plain}" if risky or plain.startswith(_FORMULA) else plain


def class_csv(rows: Iterable[Row], counts: Tally) -> Iterator[str]:
    """Yield the table line by line: a header, then a line per submission."""
    programs, checks = counts.programs(), list(counts.checks)
    columns = ["name", "points", "of", "not judged because", "mistakes"]
    columns += [f"{program} {what}" for program in programs for what in ("points", "state")]
    yield "\ufeff" + _line([*columns, *checks, "judged at", "seconds", "pages"])
    for row in rows:
        exercises = {program: (points, state) for program, state, points, _ in row.exercises}
        verdicts = {check.check: check.verdict for check in row.checks}
        cells = [row.name, *(_score(row)), row.reason, "; ".join(row.mistakes())]
        for program in programs:
            points, state = exercises.get(program, (None, ""))
            cells += ["" if points is None else number(points), state]
        cells += [verdicts.get(check, "") for check in checks]
        yield _line([*cells, row.time, number(row.duration_s), row.folder])


def _score(row: Row) -> tuple[str, str]:
    return ("", "") if row.reason else (number(row.points), number(row.of))


def _line(cells: list[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow([cell(text) for text in cells])
    return line.getvalue()
