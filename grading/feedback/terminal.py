"""Summaries for a terminal, by rich: coloured on a terminal, plain text anywhere else.

Colour is off with ``NO_COLOR`` or ``TERM=dumb``. What a stranger's program printed has been made
visible in ``report.read``; here it is data, never markup.
"""

import os
import sys
from collections.abc import Mapping
from typing import IO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from grading.feedback import ladder
from grading.feedback.html import SYMBOLS, exercise_title
from grading.feedback.report import Finding, Report
from grading.feedback.tally import Tally
from grading.feedback.text import counted, number, shortened

STYLES = {
    "passed": "green",
    "failed": "bold red",
    "not shown": "dim",
    "invalid": "yellow",
    "not submitted": "dim",
}
PLAIN_WIDTH = 100
MAX_OUTPUT = 1_200
MAX_LADDER_LINES = 16


def console(stream: IO[str] | None = None, environment: Mapping[str, str] = os.environ) -> Console:
    """Return where to write: with colours and the terminal's width, or plain and 100 wide."""
    stream = sys.stdout if stream is None else stream
    terminal = stream.isatty()
    plain = not terminal or bool(environment.get("NO_COLOR")) or environment.get("TERM") == "dumb"
    return Console(
        file=stream,
        color_system=None if plain else "auto",
        force_terminal=terminal,
        width=None if terminal else PLAIN_WIDTH,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=False,
        _environ=environment,
    )


def print_report(report: Report, out: Console, pages: str = "") -> None:
    """Write one submission's summary; ``pages`` is where the whole of it stands."""
    title = Text(report.submission, "bold")
    title.append(f"  {number(report.score)} of {number(report.of)} points")
    out.print(title)
    out.print()
    out.print(_exercises(report))
    for verdict in ("failed", "invalid", "not shown"):
        for finding in report.with_verdict(verdict):
            out.print()
            _print_finding(finding, out)
    if pages:
        out.print()
        # Not wrapped: a path that is cut in two cannot be copied.
        out.print(Text(f"the whole of it: {pages}"), soft_wrap=True)


def _exercises(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for program, state in report.exercises:
        points, of = report.points_of(program)
        marks = Text()
        for finding in report.of_program(program):
            if finding.verdict != "not submitted":
                marks.append(SYMBOLS[finding.verdict], STYLES[finding.verdict])
        score = "" if state == "not submitted" else f"{number(points)} / {number(of)}"
        said = Text("" if state == "submitted" else state, "dim")
        table.add_row(exercise_title(program), score, marks, said)
    return table


def _print_finding(finding: Finding, out: Console) -> None:
    head = Text(f"{SYMBOLS[finding.verdict]} {finding.verdict}", STYLES[finding.verdict])
    head.append(f"  {exercise_title(finding.program)}: ", "default")
    head.append(finding.title, "bold")
    out.print(head)
    if finding.verdict == "failed":
        for count, step in enumerate(finding.steps, 1):
            out.print(Padding(Text(f"{count}. {step}", "dim"), (0, 0, 0, 4)))
    told = (("a correct program", finding.expected), ("this one", finding.observed))
    for name, text in (*told, ("hint", finding.hint)):
        if text and (finding.verdict == "failed" or name != "a correct program"):
            line = Text(f"{name}: ", "bold")
            line.append(text, "not bold")
            out.print(Padding(line, (0, 0, 0, 4)))
    if finding.verdict != "failed":
        return
    events = ladder.lines(finding.ladder[:MAX_LADDER_LINES])
    if more := len(finding.ladder) + finding.events_left_out - len(events):
        events.append(f"and {counted(more, 'later event')}")
    if events:
        out.print(Padding(Text("\n".join(events), "cyan"), (0, 0, 0, 6)))
    if finding.output:
        printed = "\n".join(
            f"| {line}" for line in shortened(finding.output, MAX_OUTPUT).split("\n")
        )
        out.print(Padding(Text(printed.rstrip("| \n"), "dim"), (0, 0, 0, 6)))


def print_class(counts: Tally, out: Console, pages: str = "") -> None:
    """Write a class's summary: how many, the average, what to explain again."""
    judged = f"{counts.judged} of {counted(counts.submissions, 'submission')} judged"
    out.print(Text(judged, "bold"))
    if counts.judged:
        out.print(Text(f"{counts.mean:.1f} of {number(counts.of)} points on average"))
    if counts.mistakes:
        out.print()
        out.print(Text("What to explain again", "bold"))
        table = Table.grid(padding=(0, 2))
        table.add_column(justify="right")
        for mistake, count in counts.to_explain()[:12]:
            table.add_row(str(count), mistake, counts.seen_in[mistake])
        out.print(table)
    if pages:
        out.print()
        out.print(Text(f"the table: {pages}"), soft_wrap=True)
