"""Feedback: a verdicts document as what a student and a teacher read. Pure, but for ``write``.

report.read   the document, checked, bounded and printable: the gate for a stranger's text
html, junit   one submission; terminal: its summary
tally         a class in rows and counts; class_page, csv_table, terminal: shown
"""

import os
from collections.abc import Iterable
from pathlib import Path

from grading.feedback.html import student_page
from grading.feedback.junit import junit_xml
from grading.feedback.report import Report

PAGE = "feedback.html"
JUNIT = "junit.xml"


def write(report: Report, folder: Path) -> Path:
    """Write the page and the JUnit XML into ``folder``; return the page's path."""
    replace(folder / JUNIT, [junit_xml(report)])
    replace(folder / PAGE, (part.encode() for part in student_page(report)))
    return folder / PAGE


def replace(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file piece by piece; who looks meanwhile sees the old one or the new one, whole."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.writelines(parts)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
