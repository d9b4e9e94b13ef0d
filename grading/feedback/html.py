"""One submission as a page: what to repair first, then each exercise, the failures in full."""

from collections.abc import Iterator

from grading.feedback.ladder import diagram
from grading.feedback.markup import Markup, element, join, opening, page, paragraphs
from grading.feedback.report import EXERCISES, VERDICTS, Finding, Report
from grading.feedback.text import counted, number

SYMBOLS = {"passed": "✓", "failed": "✗", "not shown": "○", "invalid": "!", "not submitted": "–"}
MEANINGS = {
    "not shown": "Nothing wrong was seen, but what this check looks for did not come up: no "
    "points, and no mistake either.",
    "invalid": "The network was not as it should have been, so this says nothing about your "
    "program. Run the grading again.",
}


def student_page(report: Report) -> Iterator[str]:
    """Yield the page piece by piece."""
    return page(f"{report.submission}: feedback", _body(report))


def badge(verdict: str) -> Markup:
    """Return the verdict as a sign and a word: never by colour alone."""
    name = verdict.replace(" ", "-")
    return element("span", f"{SYMBOLS[verdict]} {verdict}", cls=f"badge {name}")


def exercise_title(program: str) -> str:
    """Return an exercise's name; one that we do not know keeps its own."""
    return EXERCISES.get(program, program)


def anchor(check: str) -> str:
    """Return an id for a check that is safe in a link: letters, digits, hyphens and points."""
    return "check-" + "".join(
        c if c.isascii() and (c.isalnum() or c in "-._") else "_" for c in check
    )


def bar(label: str, parts: list[tuple[str, float]], of: float) -> Markup:
    """Return a bar of parts (class and amount) of a whole, drawn without a style attribute."""
    drawn, x = [element("rect", x="0", y="0", width="100", height="4", cls="rest")], 0.0
    for name, amount in parts:
        width = 100 * amount / of if of > 0 else 0.0
        if width > 0:
            drawn.append(
                element("rect", x=f"{x:.2f}", y="0", width=f"{width:.2f}", height="4", cls=name)
            )
        x += width
    return element(
        "svg",
        *drawn,
        cls="bar",
        viewBox="0 0 100 4",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def _body(report: Report) -> Iterator[Markup]:
    yield element("a", "Skip to the findings", href="#findings", cls="skip")
    yield _header(report)
    yield opening("main", id="findings")
    yield _repair_first(report)
    for program, state in report.exercises:
        yield _exercise(report, program, state)
    yield Markup("</main>")
    yield _footer(report)


def _header(report: Report) -> Markup:
    tally = [(verdict, len(report.with_verdict(verdict))) for verdict in VERDICTS]
    counts = [f"{count} {verdict}" for verdict, count in tally if count]
    score = element(
        "p",
        number(report.score),
        element("span", f" of {number(report.of)} points"),
        cls="score",
    )
    return element(
        "header",
        element(
            "div",
            element(
                "div",
                element("h1", report.submission or "Feedback"),
                element("p", ", ".join(counts) or "nothing was judged", cls="soft"),
            ),
            element("div", score),
            cls="top",
        ),
        element(
            "ul",
            *(_card(report, program, state) for program, state in report.exercises),
            cls="cards",
        ),
    )


def _card(report: Report, program: str, state: str) -> Markup:
    points, of = report.points_of(program)
    name = exercise_title(program)
    if state == "not submitted":
        return element(
            "li",
            element("span", name, cls="name"),
            element("span", f"0 / {number(of)}" if of else "–", cls="points soft"),
            bar(f"{name}: not submitted", [], of),
            element("p", "not submitted"),
        )
    said = state if state != "submitted" else _tally(report.of_program(program))
    return element(
        "li",
        element("a", name, href=f"#{anchor(program)}", cls="name"),
        element("span", f"{number(points)} / {number(of)}", cls="points"),
        bar(f"{name}: {number(points)} of {number(of)} points", [("passed", points)], of),
        element("p", said),
    )


def _tally(findings: tuple[Finding, ...]) -> str:
    """Return what there is beside passed checks: ``1 failed, 1 invalid``."""
    verdicts = [finding.verdict for finding in findings]
    counts = [(verdicts.count(verdict), verdict) for verdict in VERDICTS if verdict != "passed"]
    return ", ".join(f"{count} {verdict}" for count, verdict in counts if count) or "all passed"


def _repair_first(report: Report) -> Markup:
    failed = report.with_verdict("failed")
    if not failed:
        return Markup("")
    items = [
        element(
            "li",
            element("a", finding.title, href=f"#{anchor(finding.check)}"),
            element("span", f" – {exercise_title(finding.program)}, {_cost(finding)}", cls="soft"),
        )
        for finding in failed[:5]
    ]
    rest = len(failed) - len(items)
    return element(
        "section",
        element("h2", "Repair first", id="first"),
        element(
            "div",
            element("p", "What costs most stands at the top."),
            element("ol", *items),
            element("p", f"and {rest} more below", cls="soft") if rest else Markup(""),
            cls="first",
        ),
    )


def _cost(finding: Finding) -> str:
    lost = finding.of - finding.points
    if not finding.of:
        return "no points on it"
    return f"{number(lost)} of {number(finding.of)} points lost"


def _exercise(report: Report, program: str, state: str) -> Markup:
    found = report.of_program(program)
    if state == "not submitted":  # its card says so
        return Markup("")
    heading = element("h2", exercise_title(program), id=anchor(program))
    told = (
        Markup("")
        if state == "submitted"
        else element("p", f"Judged as {state.removeprefix('wrong kind: ')}.", cls="soft")
    )
    shown_in_full = [f for f in found if f.verdict not in ("passed", "not submitted")]
    passed = [f for f in found if f.verdict == "passed"]
    return element("section", heading, told, *(_finding(f) for f in shown_in_full), _passed(passed))


def _finding(finding: Finding) -> Markup:
    name = finding.verdict.replace(" ", "-")
    parts = [
        element(
            "div",
            element("h3", finding.title),
            badge(finding.verdict),
            element("span", _cost(finding), cls="soft") if finding.verdict == "failed" else "",
            element("span", f"mistake: {finding.mistake}", cls="mistake")
            if finding.mistake
            else "",
            cls="head",
        )
    ]
    if finding.verdict in MEANINGS:
        parts.append(element("p", MEANINGS[finding.verdict]))
    parts += _told(finding)
    return element("article", *parts, cls=f"finding {name}", id=anchor(finding.check))


def _told(finding: Finding) -> Iterator[Markup]:
    if finding.steps:
        yield element("h4", "What we did")
        yield element(
            "ol", *(element("li", step, cls="lines") for step in finding.steps), cls="steps"
        )
    right = [element("h4", "A correct program"), paragraphs(finding.expected)]
    saw = "Your program" if finding.verdict == "failed" else "What was seen"
    wrong = [element("h4", saw), paragraphs(finding.observed)]
    boxes = [
        element("div", *box, cls=name)
        for box, name, text in (
            (right, "right", finding.expected),
            (wrong, "wrong" if finding.verdict == "failed" else "seen", finding.observed),
        )
        if text
    ]
    if boxes:
        yield element("div", *boxes, cls="two")
    if finding.ladder:
        yield diagram(finding.ladder, finding.events_left_out)
    if finding.output:
        yield element(
            "figure",
            element("figcaption", "What your program printed"),
            element("pre", finding.output, tabindex="0", aria_label="output of your program"),
            cls="output",
        )
    if finding.hint and finding.verdict != "passed":
        yield element("div", element("h4", "Hint"), paragraphs(finding.hint), cls="hint")
    if finding.measurements or finding.receipt or finding.packets:
        yield _measured(finding)


def _measured(finding: Finding) -> Markup:
    rows = [
        element("tr", element("th", key, scope="row"), element("td", value, cls="mono"))
        for key, value in finding.measurements
    ]
    parts = [element("summary", "Measurements and the state of the network")]
    if rows:
        table = element("table", element("tbody", *rows))
        parts.append(element("div", table, cls="scroll small"))
    if finding.receipt:
        parts.append(element("p", "The network's receipt, read back from the kernel:", cls="soft"))
        parts.append(element("pre", finding.receipt, tabindex="0", aria_label="receipt"))
    if finding.packets:
        file, shown, not_kept = finding.packets
        link = element("a", file, href=f"./{file}")
        every = f"The packets ({not_kept})" if not_kept else "Every packet"
        parts.append(element("p", f"{every}, for Wireshark: ", link, ". This check's:"))
        parts.append(element("pre", shown, tabindex="0", aria_label="display filter"))
    return element("details", *parts)


def _passed(findings: list[Finding]) -> Markup:
    if not findings:
        return Markup("")
    items = []
    for finding in findings:
        points = f" – {counted_points(finding.points)}" if finding.of else ""
        inside = join(finding.title, element("span", points, cls="soft"))
        details = list(_told(finding))
        body = element("details", element("summary", inside), *details) if details else inside
        items.append(element("li", body, id=anchor(finding.check)))
    said = f"{SYMBOLS['passed']} {counted(len(findings), 'check')} passed"
    return element("details", element("summary", said), element("ul", *items), cls="passed-list")


def counted_points(points: float) -> str:
    """Return ``1 point``, ``2.5 points``."""
    return f"{number(points)} point{'' if points == 1 else 's'}"


def _footer(report: Report) -> Markup:
    images = ", ".join(f"{name} {tag}".strip() for name, tag in report.images)
    facts = [
        f"Judged {report.time}" if report.time else "",
        f"in {report.duration_s:.0f} s" if report.duration_s else "",
        f"kernel {report.kernel}" if report.kernel else "",
        f"images {images}" if images else "",
    ]
    return element(
        "footer",
        element("p", ", ".join(fact for fact in facts if fact)),
        element(
            "p",
            "Control characters in what a program printed are shown as escapes such as \\x1b. "
            "Everything here, and more of it, stands in verdicts.json beside this page.",
        ),
    )
