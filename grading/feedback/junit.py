"""One submission as JUnit XML, for continuous integration: a suite per exercise, a case per check.

``failed`` is a failure, ``invalid`` an error (the measurement, not the program, was at fault),
``not shown`` and ``not submitted`` are skipped with their reason.
"""

import xml.etree.ElementTree as ET

from grading.feedback import ladder
from grading.feedback.html import MEANINGS, exercise_title
from grading.feedback.report import Finding, Report


def junit_xml(report: Report) -> bytes:
    """Return the document as UTF-8. What XML 1.0 forbids has become escapes in ``report.read``."""
    root = ET.Element("testsuites", name=report.submission)
    total = _Counts()
    for program, _ in report.exercises:
        counts = _Counts()
        suite = ET.SubElement(root, "testsuite", name=exercise_title(program))
        for finding in report.of_program(program):
            _case(suite, finding)
            counts.add(finding.verdict)
            total.add(finding.verdict)
        counts.onto(suite)
        suite.set("timestamp", report.time)
    total.onto(root)
    root.set("time", f"{report.duration_s:.1f}")
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


class _Counts:
    def __init__(self) -> None:
        self.of = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)

    def add(self, verdict: str) -> None:
        self.of["tests"] += 1
        kind = {"passed": "", "failed": "failures", "invalid": "errors"}.get(verdict, "skipped")
        if kind:
            self.of[kind] += 1

    def onto(self, element: ET.Element) -> None:
        for name, count in self.of.items():
            element.set(name, str(count))


def _case(suite: ET.Element, finding: Finding) -> None:
    case = ET.SubElement(
        suite, "testcase", classname=finding.program, name=f"{finding.check}: {finding.title}"
    )
    match finding.verdict:
        case "failed":
            failure = ET.SubElement(case, "failure", type="failed", message=finding.observed)
            failure.text = told(finding)
        case "invalid":
            error = ET.SubElement(case, "error", type="invalid", message=finding.observed)
            error.text = f"{MEANINGS['invalid']}\n{told(finding)}"
        case "passed":
            pass
        case verdict:
            reason = f"{verdict}: {finding.observed}" if finding.observed else verdict
            ET.SubElement(case, "skipped", message=reason)
    if finding.output and finding.verdict != "passed":
        ET.SubElement(case, "system-out").text = finding.output


def told(finding: Finding) -> str:
    """Return a finding as plain text: what we did, what should have been, what was."""
    lines = ["What we did:", *(f"  {n}. {step}" for n, step in enumerate(finding.steps, 1))]
    lines = lines if finding.steps else []
    for name, text in (
        ("A correct program", finding.expected),
        ("Your program", finding.observed),
        ("Hint", finding.hint),
    ):
        lines += [f"{name}: {text}"] if text else []
    if finding.ladder:
        lines += ["On the wire:", *(f"  {line}" for line in ladder.lines(finding.ladder))]
    return "\n".join(lines)
