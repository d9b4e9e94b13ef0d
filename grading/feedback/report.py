"""A verdicts document (``verdicts.json``, format 1) as typed, bounded, printable values.

This is the one gate between a stranger's text and the pages: ``read`` checks each type, bounds each
length and makes each string printable, so that the pages need only escape for their own format.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grading.feedback.text import one_line, shown, visible

FORMAT = 1
VERDICTS = ("failed", "invalid", "not shown", "passed", "not submitted")
"""In the order in which a student wants to read them."""

EXERCISES = {
    "udp-server": "UDP server",
    "udp-client": "UDP client",
    "clock-server": "Clock server",
    "clock-client": "Clock client",
    "http-server": "HTTP server",
}

MAX_DOCUMENT_BYTES = 64 << 20
LINE, SENTENCE, OUTPUT = 300, 4_000, 20_000
"""Bounds in characters: a title or step, a paragraph, a program's output."""

MAX_STEPS, MAX_EVENTS, MAX_FINDINGS, MAX_MEASUREMENTS = 100, 400, 500, 60


class UnreadableVerdictsError(ValueError):
    """The document is not a verdicts document of format 1; ``str()`` names the key."""


@dataclasses.dataclass(frozen=True)
class Event:
    """One packet or line between the program and the peer, as the peer or the capture saw it."""

    t_ns: int
    """From the first event of the finding."""
    from_program: bool
    what: str
    size: int
    """Bytes of payload."""
    lost: bool


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one check found out about one program."""

    check: str
    program: str
    verdict: str
    title: str
    points: float
    of: float
    steps: tuple[str, ...]
    expected: str
    observed: str
    hint: str
    mistake: str
    output: str
    ladder: tuple[Event, ...]
    events_left_out: int
    receipt: str
    """The receipt of the network that was in effect, as indented JSON; empty without one."""
    packets: tuple[str, str, str] | None
    """The capture beside the document, Wireshark's filter for what belongs to this check, and what
    is missing there, if anything."""
    measurements: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Report:
    """All that is known of one submission."""

    submission: str
    time: str
    score: float
    of: float
    duration_s: float
    kernel: str
    images: tuple[tuple[str, str], ...]
    exercises: tuple[tuple[str, str], ...]
    """Program and state: ``submitted``, ``not submitted``, ``wrong kind: ...``."""
    findings: tuple[Finding, ...]

    def of_program(self, program: str) -> tuple[Finding, ...]:
        """Return the findings about one program, the worst first, else in the rubric's order."""
        found = [finding for finding in self.findings if finding.program == program]
        return tuple(sorted(found, key=lambda finding: VERDICTS.index(finding.verdict)))

    def with_verdict(self, verdict: str) -> tuple[Finding, ...]:
        """Return the findings with that verdict, those that cost most first."""
        found = [finding for finding in self.findings if finding.verdict == verdict]
        return tuple(sorted(found, key=lambda finding: finding.points - finding.of))

    def points_of(self, program: str) -> tuple[float, float]:
        """Return points and the most that could be had, of one program."""
        found = self.of_program(program)
        return sum(f.points for f in found), sum(f.of for f in found)


def load(path: Path) -> Report:
    """Read a ``verdicts.json``. Raises UnreadableVerdictsError; OSError where it cannot be read."""
    with path.open("rb") as file:
        content = file.read(MAX_DOCUMENT_BYTES + 1)
    if len(content) > MAX_DOCUMENT_BYTES:
        raise UnreadableVerdictsError(f"larger than {MAX_DOCUMENT_BYTES >> 20} MiB")
    try:
        return read(json.loads(content))
    except UnreadableVerdictsError:
        raise
    except (ValueError, RecursionError) as error:
        raise UnreadableVerdictsError(f"not JSON: {error}") from None


def read(document: Any) -> Report:
    """Return the document's content. Raises UnreadableVerdictsError naming what is wrong in it."""
    top = _table(document, "the document")
    if top.get("format") != FORMAT:
        raise UnreadableVerdictsError(f"format is {top.get('format')!r}, not {FORMAT}")
    score = _table(top.get("score"), "score")
    findings = tuple(_finding(item) for item in _list(top, "findings", MAX_FINDINGS)[0])
    exercises = _pairs(_table(top.get("exercises", {}), "exercises"))
    stated = {program for program, _ in exercises}
    unstated = dict.fromkeys(f.program for f in findings if f.program not in stated)
    return Report(
        submission=_line(top, "submission"),
        time=_line(top, "time"),
        score=_number(score, "points"),
        of=_number(score, "of"),
        duration_s=_number(top, "duration_s"),
        kernel=_line(top, "kernel"),
        images=_images(top.get("images")),
        exercises=exercises + tuple((program, "submitted") for program in unstated),
        findings=findings,
    )


def _finding(item: Any) -> Finding:
    table = _table(item, "findings")
    if (verdict := table.get("verdict")) not in VERDICTS:
        raise UnreadableVerdictsError(f"verdict {verdict!r} is not one of {', '.join(VERDICTS)}")
    evidence = _table(table.get("evidence") or {}, "evidence")
    events, left_out = _list(evidence, "ladder", MAX_EVENTS)
    receipt = evidence.get("receipt")
    check = _line(table, "check")
    return Finding(
        check=check,
        program=_line(table, "program") or check.partition(".")[0],
        verdict=verdict,
        title=_line(table, "title") or check,
        points=_number(table, "points"),
        of=_number(table, "of"),
        steps=tuple(shown(str(step), SENTENCE) for step in _list(table, "steps", MAX_STEPS)[0]),
        expected=_text(table, "expected", SENTENCE),
        observed=_text(table, "observed", SENTENCE),
        hint=_text(table, "hint", SENTENCE),
        mistake=_line(table, "mistake"),
        output=_text(evidence, "output", OUTPUT),
        ladder=_events(events),
        events_left_out=left_out,
        receipt=visible(json.dumps(receipt, indent=2)[:OUTPUT]) if receipt else "",
        packets=_packets(evidence.get("packets")),
        measurements=_pairs(_table(table.get("measurements") or {}, "measurements")),
    )


def _packets(value: Any) -> tuple[str, str, str] | None:
    """Return file, filter and what is missing.

    Only a name in ``packets`` is taken: it becomes a link.
    """
    if not value:
        return None
    table = _table(value, "packets")
    file = _line(table, "file")
    if not re.fullmatch(r"packets/[a-z-]+\.pcapng", file):
        raise UnreadableVerdictsError(f"packets: {file!r} is no file of this grading")
    return file, _line(table, "filter"), _line(table, "not_kept")


def _events(items: Sequence[Any]) -> tuple[Event, ...]:
    tables = [_table(item, "ladder") for item in items]
    times = [int(_number(table, "t_ns")) for table in tables]
    start = min(times, default=0)
    return tuple(
        Event(
            t_ns=t_ns - start,
            from_program=table.get("from") == "program",
            what=one_line(shown(str(table.get("what", "")), LINE)),
            size=int(_number(table, "bytes")),
            lost=table.get("lost") is True,
        )
        for t_ns, table in sorted(zip(times, tables, strict=True), key=lambda pair: pair[0])
    )


def _table(value: Any, key: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UnreadableVerdictsError(f"{key}: {type(value).__name__} where a table belongs")
    return value


def _list(table: Mapping[str, Any], key: str, limit: int) -> tuple[Sequence[Any], int]:
    """Return at most ``limit`` items, and how many more there were."""
    value = table.get(key) or []
    if not isinstance(value, list):
        raise UnreadableVerdictsError(f"{key}: {type(value).__name__} where a list belongs")
    return value[:limit], max(0, len(value) - limit)


def _text(table: Mapping[str, Any], key: str, limit: int) -> str:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise UnreadableVerdictsError(f"{key}: {type(value).__name__} where text belongs")
    return shown(value or "", limit)


def _line(table: Mapping[str, Any], key: str) -> str:
    return one_line(_text(table, key, LINE))


def _number(table: Mapping[str, Any], key: str) -> float:
    value = table.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e30:
        raise UnreadableVerdictsError(f"{key}: {str(value)[:40]!r} where a number belongs")
    if value != value:
        raise UnreadableVerdictsError(f"{key}: not a number")
    return value


def _pairs(table: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    items = list(table.items())[:MAX_MEASUREMENTS]
    return tuple((one_line(shown(str(k), LINE)), one_line(shown(_word(v), LINE))) for k, v in items)


def _word(value: Any) -> str:
    """Return a measurement in a word: numbers to four figures, the rest as JSON."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _images(value: Any) -> tuple[tuple[str, str], ...]:
    """Return image and its id; a plain list of images or one name is read as well."""
    if isinstance(value, Mapping):
        return _pairs(value)
    names = value if isinstance(value, list) else [value] if value else []
    return tuple((one_line(shown(str(name), LINE)), "") for name in names[:MAX_MEASUREMENTS])
