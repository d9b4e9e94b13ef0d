"""A class as a page: what to explain again, how each check went, and the table by name."""

import urllib.parse
from collections.abc import Callable, Iterator

from grading.feedback.html import bar, exercise_title
from grading.feedback.markup import Markup, element, opening, page
from grading.feedback.tally import Row, Tally, verdict_counts
from grading.feedback.text import counted, number

Rows = Callable[[], Iterator[Row]]
"""Reads the rows from the first again: the page goes through them more than once."""

PAGE = "feedback.html"
_LEGEND = (
    "By name. Points of each exercise; a dash: not submitted; a star: of another kind than asked, "
    "judged for what it is."
)


def class_page(title: str, note: str, rows: Rows, counts: Tally) -> Iterator[str]:
    """Yield the page piece by piece."""
    return page(f"{title}: the class", _body(title, note, rows, counts))


def _body(title: str, note: str, rows: Rows, counts: Tally) -> Iterator[Markup]:
    yield element("a", "Skip to the table", href="#table", cls="skip")
    yield _header(title, note, counts)
    yield opening("main", cls="wide")
    if counts.mistakes:
        yield from _mistakes(rows, counts)
    if counts.checks:
        yield _checks(counts)
    yield from _table(rows, counts)
    yield Markup("</main>")


def _header(title: str, note: str, counts: Tally) -> Markup:
    missing = counts.submissions - counts.judged
    said = counted(counts.submissions, "submission")
    said += f", {missing} of them not judged" if missing else ""
    average = element("span", f" of {number(counts.of)} points on average")
    return element(
        "header",
        element(
            "div",
            element(
                "div",
                element("h1", title),
                element("p", said, cls="soft"),
                element("p", note, cls="soft small") if note else "",
            ),
            element("p", f"{counts.mean:.1f}", average, cls="score") if counts.judged else "",
            cls="top",
        ),
        cls="wide",
    )


def _mistakes(rows: Rows, counts: Tally) -> Iterator[Markup]:
    yield element("h2", "What to explain again", id="mistakes")
    yield opening("div", cls="scroll")
    yield opening("table")
    yield element("caption", "Classes of mistake, by how many submissions make them.")
    yield _head("mistake", ("submissions", "number"), ("share", "share"), "seen in", "who")
    yield opening("tbody")
    for mistake, count in counts.to_explain():
        label = f"{count} of {counts.judged}"
        yield opening("tr")
        yield element("th", mistake, scope="row")
        yield element("td", label, cls="number")
        yield element("td", bar(label, [("failed", count)], counts.judged), cls="share")
        yield element("td", counts.seen_in.get(mistake, ""))
        yield opening("td", cls="small names")
        who = (row for row in rows() if mistake in row.mistakes())
        for number_, row in enumerate(who):
            yield Markup(", " if number_ else "")
            yield _link(row)
        yield Markup("</td></tr>")
    yield Markup("</tbody></table></div>")


def _checks(counts: Tally) -> Markup:
    lines = []
    for count in counts.checks.values():
        said = verdict_counts(count.verdicts)
        amounts = [
            (cls, float(count.verdicts[verdict]))
            for cls, verdict in (
                ("passed", "passed"),
                ("failed", "failed"),
                ("invalid", "invalid"),
                ("shy", "not shown"),
            )
        ]
        lines.append(
            element(
                "tr",
                element("th", count.title, scope="row"),
                element("td", exercise_title(count.program)),
                element("td", bar(said, amounts, counts.judged), cls="share"),
                element("td", said),
            )
        )
    table = element(
        "table",
        element("caption", "Each check over the submissions that were judged."),
        _head("check", "exercise", ("share", "share"), "verdicts"),
        element("tbody", *lines),
    )
    return element(
        "section",
        element("h2", "The checks"),
        element(
            "details",
            element("summary", f"How the class did on each of {counted(len(lines), 'check')}"),
            element("div", table, cls="scroll"),
        ),
    )


def _table(rows: Rows, counts: Tally) -> Iterator[Markup]:
    programs = counts.programs()
    yield element("h2", "Submissions", id="table")
    yield opening("div", cls="scroll")
    yield opening("table")
    yield element("caption", _LEGEND)
    exercises = [(exercise_title(program), "number") for program in programs]
    yield _head("name", ("points", "number"), *exercises, "mistakes")
    yield opening("tbody")
    for row in rows():
        yield _line(row, programs)
    yield Markup("</tbody></table></div>")


def _line(row: Row, programs: list[str]) -> Markup:
    name = element("th", _link(row), scope="row")
    if row.reason:
        said = element("span", "! not judged", cls="badge invalid")
        reason = element("td", said, f" {row.reason}", colspan=str(len(programs) + 2))
        return element("tr", name, reason)
    exercises = {program: (state, points, of) for program, state, points, of in row.exercises}
    cells = [element("td", _points(exercises.get(p)), cls="number") for p in programs]
    score = element("strong", number(row.points))
    return element(
        "tr",
        name,
        element("td", score, f" / {number(row.of)}", cls="number"),
        *cells,
        element("td", ", ".join(row.mistakes()), cls="small names"),
    )


def _points(exercise: tuple[str, float, float] | None) -> str:
    if exercise is None or exercise[0] == "not submitted":
        return "–"
    state, points, of = exercise
    return f"{number(points)} / {number(of)}" + ("" if state == "submitted" else " *")


def _link(row: Row) -> Markup:
    if not row.folder:
        return element("span", row.name)
    target = urllib.parse.quote(f"{row.folder}/{PAGE}", errors="surrogateescape")
    # "./" in front: a folder's name cannot be taken for a scheme such as javascript:
    return element("a", row.name, href=f"./{target}")


def _head(*columns: str | tuple[str, str]) -> Markup:
    cells = []
    for column in columns:
        title, cls = column if isinstance(column, tuple) else (column, "")
        cells.append(element("th", title, scope="col", cls=cls))
    return element("thead", element("tr", *cells))
