"""A run as a ladder: client left, server right, time downwards, each datagram an arrow.

``draw`` is pure: arrows in, an SVG document out, of its own style, in light and dark, told apart
without colours too. ``make ladder`` draws a captured run (``lab/trips.py`` says what became of
what).

Waiting is drawn to scale. The instants of one exchange, which lie microseconds apart, are pulled
apart until they can be seen; what is longer than a stretch of ``LONGEST_PX`` is cut, and marked.
Long runs go on in a next column, so that a run of 30 requests fits a projector's screen.
"""

import math
import os
import re
import textwrap
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

from clients.udp.ledger import Outcome
from lab import pcapng, receipts, trips
from lab.errors import LabError
from lab.settings import ROOT

End = Literal["arrived", "lost", "dropped"]
Tone = Literal["good", "drop", "lost", "late", "plain"]


@dataclass(frozen=True)
class Arrow:
    """A datagram under way; instants are seconds on one scale.

    ``end``: *lost* ends in a cross on the way, *dropped* in one where it arrives. ``label`` stands
    where it begins, ``cause`` where it ends. ``begins``: a request; a column may begin here.
    ``waited_until_s``: when its sender stopped waiting for an answer. ``about``: the instant is not
    known, but estimated.
    """

    to_server: bool
    left_s: float
    arrived_s: float | None = None
    end: End = "arrived"
    tone: Tone = "plain"
    label: str = ""
    cause: str = ""
    begins: bool = False
    waited_until_s: float | None = None
    about: bool = False
    details: str = ""


FONT_PX = 15
ROW_PX, REQUEST_PX, SLANT_PX, HELD_PX = 18.0, 25.0, 15.0, 5.0
LONGEST_PX = 150.0
SHORTEST_WAIT_S = 0.005
TIME_X, LABEL_X, TIMER_X, CLIENT_X, SERVER_X, CAUSE_X = 46, 183, 193, 202, 346, 361
COLUMN_PX, MARGIN_PX, LANES_PX, FOOT_PX = 450, 18, 26, 36
TITLE_PX, SUMMARY_PX, SMALL_PX, LINE_PX = 23, 17, 13, 23
SIGN_PX, HEAD_PX = 205, 170
SCREEN = 16 / 9
TALL_PX = 700
MOST_COLUMNS = 8

LIGHT = {
    "paper": "#fdfdfc", "ink": "#1b1f24", "muted": "#5b636d", "grid": "#d9dce1",
    "s2": "#c2500a", "s3": "#007a5a", "s4": "#9b3d86", "alarm": "#c4122f",
}  # fmt: skip
DARK = {
    "paper": "#14171b", "ink": "#eef1f5", "muted": "#a9b2bd", "grid": "#343b44",
    "s2": "#ff9d57", "s3": "#3fd3a4", "s4": "#f091d8", "alarm": "#ff6b7d",
}  # fmt: skip
"""The colours of the reports (lab/report/drawing.py); inside a report they follow its theme."""

TONES: dict[Tone, str] = {
    "good": "s3", "drop": "s2", "lost": "alarm", "late": "s4", "plain": "muted"
}  # fmt: skip


def draw(
    arrows: Sequence[Arrow],
    *,
    title: str,
    summary: str = "",
    remark: str = "",
    sides: tuple[str, str] = ("client", "server"),
) -> str:
    """Return the ladder as an SVG document; ``summary`` also is its description for the blind.

    ``remark`` stands below them in small letters: how it was measured.
    """
    columns = _Layout(arrows).columns()
    width = max(len(columns), 1) * COLUMN_PX + 2 * MARGIN_PX
    head, top = _head(width, title, summary)
    deepest = max((column.height for column in columns), default=0.0)
    height = top + LANES_PX + deepest + FOOT_PX
    described = " ".join(filter(None, (summary, *_spoken(arrows))))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="ladder" viewBox="0 0 {width} '
        f'{height:.0f}" role="img" aria-labelledby="ladder-title ladder-description" '
        f"font-family=\"system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif\" "
        f'font-size="{FONT_PX}">',
        f'<title id="ladder-title">{_text(title)}</title>',
        f'<desc id="ladder-description">{_text(described)}</desc>',
        f"<style>{_style()}</style>",
        f'<rect class="paper" width="{width}" height="{height:.0f}" fill="{LIGHT["paper"]}"/>',
        *head,
        _label(MARGIN_PX, height - 12, remark, "muted", size=SMALL_PX),
    ]
    for index, column in enumerate(columns):
        parts.append(f'<g transform="translate({MARGIN_PX + index * COLUMN_PX} {top:.0f})">')
        parts += column.drawn(sides)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _head(width: float, title: str, summary: str) -> tuple[list[str], float]:
    """Return title, summary and the signs with their meaning, and how high they are."""
    y = 32.0
    parts = [_label(MARGIN_PX, y, title, "ink", size=TITLE_PX, bold=True)]
    for line in textwrap.wrap(summary, int((width - 2 * MARGIN_PX) / (0.56 * SUMMARY_PX))):
        y += LINE_PX
        parts.append(_label(MARGIN_PX, y, line, "ink", size=SUMMARY_PX))
    in_a_row = min(4, int((width - MARGIN_PX) // SIGN_PX))
    for index, sign in enumerate((_sign_answered, _sign_dropped, _sign_lost, _sign_timeout)):
        if index % in_a_row == 0:
            y += LINE_PX + 4
        parts += sign(MARGIN_PX + index % in_a_row * SIGN_PX, y)
    return parts, y + 24


def _spoken(arrows: Sequence[Arrow]) -> list[str]:
    """Return the ladder in words, for who cannot see it; a part of a long one."""
    said = [arrow.details for arrow in arrows if arrow.details]
    return said if len(said) <= 60 else [*said[:60], f"And {len(said) - 60} more."]


# Where things stand -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Point:
    """One end of an arrow, or the end of waiting, at an instant."""

    at_s: float
    arrow: int
    what: Literal["left", "came", "gave up"]


class _Layout:
    """The height of every instant, and where columns may begin."""

    def __init__(self, arrows: Sequence[Arrow]) -> None:
        self._arrows = sorted(arrows, key=lambda arrow: arrow.left_s)
        self._points = sorted(self._all_points(), key=lambda point: point.at_s)
        self._scale = self._pixels_per_second()
        self._y: dict[tuple[int, str], float] = {}
        self._cuts: list[tuple[float, float, float]] = []
        self._place()
        self._until = [self._end_of_waiting(index) for index in range(len(self._arrows))]
        # How far down everything reaches, up to each arrow.
        ends = (max(self._y[i, "came"], until or 0.0) for i, until in enumerate(self._until))
        self._deep = list(accumulate(ends, max))

    def _all_points(self) -> Iterator[_Point]:
        starts = [arrow.left_s for arrow in self._arrows if arrow.to_server]
        for index, arrow in enumerate(self._arrows):
            yield _Point(arrow.left_s, index, "left")
            came_s = arrow.left_s if arrow.arrived_s is None else arrow.arrived_s
            yield _Point(max(came_s, arrow.left_s), index, "came")
            until_s = arrow.waited_until_s
            following = bisect_left(starts, until_s) if until_s is not None else 0
            if until_s is not None and not (
                following < len(starts) and starts[following] - until_s < SHORTEST_WAIT_S
            ):
                yield _Point(until_s, index, "gave up")

    def _pixels_per_second(self) -> float:
        waits = [s for s in self._steps_s() if s > SHORTEST_WAIT_S]
        usual = sorted(waits)[len(waits) * 3 // 4] if waits else 1.0
        many = 1 + len(self._points) / 40  # the longer the run, the closer
        return min(60.0, 75.0 / many + 14) / usual

    def _steps_s(self) -> list[float]:
        return [b.at_s - a.at_s for a, b in zip(self._points, self._points[1:], strict=False)]

    def _place(self) -> None:
        y = 0.0
        for index, point in enumerate(self._points):
            if index:
                before = self._points[index - 1]
                waited_s = point.at_s - before.at_s
                scaled = waited_s * self._scale
                least = self._least(before, point)
                step = max(least, min(scaled, LONGEST_PX))
                if scaled > LONGEST_PX:
                    self._cuts.append((y, y + step, waited_s))
                y += step
            self._y[point.arrow, point.what] = y

    def _least(self, before: _Point, point: _Point) -> float:
        if before.arrow == point.arrow and before.what == "left":
            return SLANT_PX
        if before.what == "came" and point.what == "left":
            arrow, other = self._arrows[point.arrow], self._arrows[before.arrow]
            if arrow.to_server != other.to_server and not arrow.label:
                return HELD_PX
        begins = point.what == "left" and self._arrows[point.arrow].begins
        return REQUEST_PX if begins else ROW_PX

    def columns(self) -> list["_Column"]:
        """Return the columns, as many as fill a screen best."""
        if not self._arrows:
            return []
        best: tuple[float, list[tuple[int, int]]] | None = None
        for count in range(1, MOST_COLUMNS + 1):
            split, deepest = self._split(count)
            shape = len(split) * COLUMN_PX / (deepest + HEAD_PX)
            away = abs(math.log(shape / SCREEN))
            if best is None or away < best[0] - 0.02:
                best = (away, split)
        assert best is not None
        return [self._column(first, last) for first, last in best[1]]

    def _split(self, count: int) -> tuple[list[tuple[int, int]], float]:
        """Return the arrows of each column, first to last, and the height of the deepest."""
        low, high = 0.0, self._depth(0, len(self._arrows) - 1)
        for _ in range(12):
            middle = (low + high) / 2
            if len(self._filled(middle)) <= count:
                high = middle
            else:
                low = middle
        split = self._filled(high)
        return split, max(self._depth(*part) for part in split)

    def _filled(self, height: float) -> list[tuple[int, int]]:
        """Return columns of that height at most, where that can be.

        A column begins with a request, or with a retry where a request is very long.
        """
        end = len(self._arrows) - 1
        parts: list[tuple[int, int]] = []
        first, request = 0, 0  # where this column begins, and the newest request in it
        for start, following in zip(self._starts, [*self._starts[1:], end + 1], strict=True):
            if self._arrows[start].begins:
                request = start
            if self._depth(first, following - 1) > height and start > first:
                begin = request if request > first else start
                if begin != request and self._depth(request, following - 1) < TALL_PX:
                    continue
                parts.append((first, begin - 1))
                first = begin
        return [*parts, (first, end)]

    @cached_property
    def _starts(self) -> list[int]:
        """The arrows with which a column may begin: nothing else is under way then."""
        found, under_way_until = [], -1.0
        for index, arrow in enumerate(self._arrows):
            if arrow.to_server and self._y[index, "left"] > under_way_until:
                found.append(index)
            under_way_until = max(under_way_until, self._y[index, "came"])
        return found if found[:1] == [0] else [0, *found]

    def _depth(self, first: int, last: int) -> float:
        return self._deep[last] - self._y[first, "left"] + 2 * ROW_PX

    def _column(self, first: int, last: int) -> "_Column":
        top = self._y[first, "left"] - ROW_PX
        places = []
        for index in range(first, last + 1):
            until = self._until[index]
            places.append(
                _Place(
                    self._arrows[index],
                    self._y[index, "left"] - top,
                    self._y[index, "came"] - top,
                    None if until is None else until - top,
                    says_timeout=(index, "gave up") in self._y,
                    says_when=index == first or self._arrows[index].begins,
                )
            )
        bottom = self._deep[last]
        cuts = [
            (start - top, end - top, seconds)
            for start, end, seconds in self._cuts
            if start >= top and end <= bottom
        ]
        return _Column(places, bottom - top + ROW_PX, cuts)

    def _end_of_waiting(self, index: int) -> float | None:
        """Return the height at which the sender of an arrow stopped waiting for the answer."""
        until_s = self._arrows[index].waited_until_s
        if until_s is None or (index, "gave up") in self._y:
            return self._y.get((index, "gave up"))
        place = bisect_left(self._moments, until_s - 1e-9)
        later = (point for point in self._points[place:] if point.what == "left")
        point = next(later, self._points[-1])
        return self._y[point.arrow, point.what]

    @cached_property
    def _moments(self) -> list[float]:
        return [point.at_s for point in self._points]


# Drawing ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """An arrow with its heights in a column."""

    arrow: Arrow
    left: float
    came: float
    until: float | None
    says_timeout: bool
    says_when: bool


@dataclass(frozen=True)
class _Column:
    places: Sequence[_Place]
    height: float
    cuts: Sequence[tuple[float, float, float]]

    def drawn(self, sides: tuple[str, str]) -> list[str]:
        top, bottom = LANES_PX, LANES_PX + self.height - 4
        parts = [
            _label(CLIENT_X, 14, sides[0], "ink", bold=True, anchor="middle"),
            _label(SERVER_X, 14, sides[1], "ink", bold=True, anchor="middle"),
        ]
        for x in (CLIENT_X, SERVER_X):
            parts.append(_line(x, top, x, bottom, "muted", 2))
        for start, end, seconds in self.cuts:
            parts += _cut(LANES_PX + (start + end) / 2, seconds)
        for place in self.places:
            parts += _arrow(place)
        return parts


def _arrow(place: _Place) -> list[str]:
    arrow, tone = place.arrow, TONES[place.arrow.tone]
    y, end_y = LANES_PX + place.left, LANES_PX + place.came
    start_x, end_x = (CLIENT_X, SERVER_X) if arrow.to_server else (SERVER_X, CLIENT_X)
    parts = ["<g>"]
    if arrow.details:
        parts.append(f"<title>{_text(arrow.details)}</title>")
    if place.until is not None and arrow.to_server:
        until_y = LANES_PX + place.until
        parts += _timer(TIMER_X, y, until_y)
        if place.says_timeout:
            waited_s = (arrow.waited_until_s or 0) - arrow.left_s
            words = f"timeout {_duration(waited_s)}, gave up"
            parts.append(_label(LABEL_X, until_y + 5, words, "s2", anchor="end"))
    if arrow.end == "lost":
        x, lost_y = start_x + 0.55 * (end_x - start_x), y + 0.55 * (end_y - y)
        parts.append(_line(start_x, y, x, lost_y, tone, 2, dashed=True))
        parts += _cross(x, lost_y, tone)
        parts.append(_label(CAUSE_X, lost_y + 5, arrow.cause, tone))
    elif arrow.end == "dropped":
        parts.append(_line(start_x, y, end_x, end_y, tone, 2, dashed=arrow.about))
        parts += _drop(end_x, end_y, tone)
        parts.append(_label(CAUSE_X, end_y + 5, arrow.cause, tone))
    else:
        parts.append(_line(start_x, y, end_x, end_y, tone, 2, dashed=arrow.about))
        parts.append(_arrowhead(start_x, y, end_x, end_y, tone))
        x, anchor = (CAUSE_X, "") if arrow.to_server else (LABEL_X, "end")
        parts.append(_label(x, end_y + 5, arrow.cause, tone, anchor=anchor))
    if arrow.to_server:
        if place.says_when:
            moment = f"{'~' * arrow.about}{arrow.left_s:.3f}"
            beside = y + 5 if arrow.begins else y - 12
            parts.append(_label(TIME_X, beside, moment, "muted", size=SMALL_PX, anchor="end"))
        colour = "ink" if arrow.begins else "s2" if "timeout" in arrow.label else "muted"
        parts.append(_label(LABEL_X, y + 5, arrow.label, colour, bold=arrow.begins, anchor="end"))
    return [*filter(None, parts), "</g>"]


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, width: float, dashed: bool = False
) -> str:
    dashes = ' stroke-dasharray="6 4"' if dashed else ""
    return (
        f'<line class="l-{colour}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{LIGHT[colour]}" stroke-width="{width}"{dashes}/>'
    )


def _cross(x: float, y: float, colour: str, size: float = 6.5) -> list[str]:
    return [
        _line(x - size, y - size, x + size, y + size, colour, 3),
        _line(x - size, y + size, x + size, y - size, colour, 3),
    ]


def _arrowhead(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    length = math.hypot(x2 - x1, y2 - y1)
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    base_x, base_y = x2 - 11 * dx, y2 - 11 * dy
    corners = [
        (x2, y2), (base_x - 4.5 * dy, base_y + 4.5 * dx), (base_x + 4.5 * dy, base_y - 4.5 * dx)
    ]  # fmt: skip
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return f'<polygon class="f-{colour}" points="{points}" fill="{LIGHT[colour]}"/>'


def _cut(y: float, seconds: float) -> list[str]:
    parts = []
    for x in (CLIENT_X, SERVER_X):
        parts.append(
            f'<rect class="paper" x="{x - 5}" y="{y - 4:.1f}" width="10" height="8" '
            f'fill="{LIGHT["paper"]}"/>'
        )
        for off in (-4, 4):
            parts.append(_line(x - 7, y + off + 3, x + 7, y + off - 3, "muted", 2))
    middle = (CLIENT_X + SERVER_X) / 2
    said = f"{_duration(seconds)} later"
    parts.append(_label(middle, y + 5, said, "muted", anchor="middle"))
    return parts


def _sign_answered(x: float, y: float) -> list[str]:
    return [
        _line(x, y - 5, x + 22, y - 5, "s3", 2),
        _arrowhead(x, y - 5, x + 28, y - 5, "s3"),
        _label(x + 36, y, "answered", "s3"),
    ]


def _sign_dropped(x: float, y: float) -> list[str]:
    return [*_drop(x + 12, y - 5, "s2"), _label(x + 30, y, "dropped on purpose", "s2")]


def _sign_lost(x: float, y: float) -> list[str]:
    return [
        _line(x, y - 5, x + 20, y - 5, "alarm", 2, dashed=True),
        *_cross(x + 26, y - 5, "alarm"),
        _label(x + 40, y, "lost by the network", "alarm"),
    ]


def _sign_timeout(x: float, y: float) -> list[str]:
    return [*_timer(x + 12, y - 13, y + 1), _label(x + 26, y, "waited until timeout", "s2")]


def _drop(x: float, y: float, colour: str) -> list[str]:
    return [
        f'<circle class="p-{colour}" cx="{x}" cy="{y:.1f}" r="9" fill="{LIGHT["paper"]}" '
        f'stroke="{LIGHT[colour]}" stroke-width="2"/>',
        *_cross(x, y, colour, 4.5),
    ]


def _timer(x: float, y: float, until_y: float) -> list[str]:
    return [
        _line(x, y, x, until_y, "s2", 3),
        _line(x - 5, until_y, x + 5, until_y, "s2", 3),
    ]


def _label(
    x: float,
    y: float,
    text: str,
    colour: str,
    *,
    size: int = 0,
    bold: bool = False,
    anchor: str = "",
) -> str:
    if not text:
        return ""
    extra = f' font-size="{size}"' if size else ""
    extra += ' font-weight="700"' if bold else ""
    extra += f' text-anchor="{anchor}"' if anchor else ""
    return (
        f'<text class="f-{colour}" x="{x:.1f}" y="{y:.1f}" fill="{LIGHT[colour]}"{extra}>'
        f"{_text(text)}</text>"
    )


def _style() -> str:
    """Return the colours: of the page around it, where it has such, else by the reader's theme."""

    def variables(palette: dict[str, str]) -> str:
        return "".join(f"--l-{name}:var(--{name},{code});" for name, code in palette.items())

    rules = [f".ladder{{{variables(LIGHT)}}}"]
    rules.append(f"@media(prefers-color-scheme:dark){{.ladder{{{variables(DARK)}}}}}")
    rules.append(".ladder .paper{fill:var(--l-paper)}")
    for name in LIGHT:
        rules.append(f".ladder .l-{name}{{stroke:var(--l-{name})}}")
        rules.append(f".ladder .f-{name}{{fill:var(--l-{name})}}")
        rules.append(f".ladder .p-{name}{{stroke:var(--l-{name});fill:var(--l-paper)}}")
    return "".join(rules)


_UNPRINTABLE = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _text(text: str) -> str:
    """Return text for XML, which cannot hold control characters at all."""
    return escape(_UNPRINTABLE.sub("�", text))


def _duration(seconds: float) -> str:
    """Return a duration as people say it: ``1.17 s``, ``203 ms``, ``0.05 ms``."""
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1000:.2f} ms" if seconds < 0.001 else f"{seconds * 1000:.3g} ms"


# A captured run -----------------------------------------------------------------------------------

SHOWN_REQUESTS = 30
TONE_OF: dict[Outcome, Tone] = {
    Outcome.ANSWERED: "good",
    Outcome.LATE: "late",
    Outcome.DROPPED: "drop",
    Outcome.LOST_THERE: "lost",
    Outcome.LOST_BACK: "lost",
}


def arrows_of(run: trips.Run, requests: range | None = None) -> list[Arrow]:
    """Return the arrows of a run, of these requests alone if they are given."""
    shown = [trip for trip in run.trips if requests is None or trip.request in requests]
    if not shown:
        return []
    begun_ns = min(trip.sent_ns for trip in run.trips)
    first_s = {
        trip.request: (trip.sent_ns - begun_ns) / 1e9
        for trip in reversed(sorted(run.trips, key=lambda trip: trip.attempt))
    }
    waits = {
        (b.request, b.attempt): (b.sent_ns - a.sent_ns) / 1e9
        for a, b in zip(run.trips, run.trips[1:], strict=False)
        if a.request == b.request
    }
    answers = [(trip.request, trip.answer.time_ns) for trip in run.trips if trip.answer]
    confirmed_ns = dict(sorted(answers, key=lambda answer: -answer[1]))  # the first of each
    found: list[Arrow] = []
    for trip in shown:
        waited_s = waits.get((trip.request, trip.attempt))
        first_ns = confirmed_ns.get(trip.request, 0)
        found += _arrows(trip, begun_ns, first_s[trip.request], waited_s, first_ns)
    return found


def _arrows(
    trip: trips.Trip, begun_ns: int, first_s: float, waited_s: float | None, confirmed_ns: int
) -> list[Arrow]:
    def since(instant_ns: int) -> float:
        return (instant_ns - begun_ns) / 1e9

    outcome, answer = trip.outcome, trip.answer
    left_s, received_s = since(trip.sent_ns), since(trip.sent_ns)
    held_s = 0.0
    if answer is not None and answer.times is not None and answer.times.by_kernel:
        # When the server had it, which is later where what comes in is delayed.
        received_s = max(left_s, since(answer.times.received_ns))
        held_s = answer.times.held_ns / 1e9
    if trip.attempt == 1:
        label = f"request {trip.request}"
    else:
        label = f"timeout {_duration(waited_s)}, " if waited_s is not None else ""
        label += f"try {trip.attempt}"
    ends: dict[Outcome, End] = {Outcome.DROPPED: "dropped", Outcome.LOST_THERE: "lost"}
    end: End = ends.get(outcome, "arrived")
    cause = {
        Outcome.DROPPED: "dropped",
        Outcome.LOST_THERE: "lost",
        Outcome.UNKNOWN: "no answer",
    }.get(outcome, "")
    details = f"Request {trip.request}, attempt {trip.attempt}, at {left_s:.3f} s: {outcome}."
    found = [
        Arrow(
            to_server=True,
            left_s=left_s,
            arrived_s=None if end == "lost" else received_s,
            end=end,
            tone=TONE_OF.get(outcome, "plain") if end != "arrived" or not cause else "plain",
            label=label,
            cause=cause,
            begins=trip.attempt == 1,
            waited_until_s=None if trip.given_up_ns is None else since(trip.given_up_ns),
            about=not trip.asked_ns,
            details=details,
        )
    ]
    if outcome is Outcome.LOST_BACK:
        found[0] = replace(found[0], tone="plain")
        found.append(Arrow(False, received_s + held_s, None, "lost", "lost", cause="lost"))
    tone: Tone = "late" if outcome is Outcome.LATE else "good"
    for number, one in enumerate(one for one in trip.answers if not one.damaged):
        back_s = since(one.time_ns)
        if number:
            words = f"try {trip.attempt}, duplicate"
        elif one.time_ns > confirmed_ns:
            words = f"try {trip.attempt}, answered too"
        else:
            late = "late, " if outcome is Outcome.LATE else "after "
            words = f"confirmed {late}{_duration(back_s - first_s)}"
        sent_back_s = min(received_s + held_s, back_s) if not number else back_s
        found.append(Arrow(False, sent_back_s, back_s, "arrived", tone, "", words))
    return found


def summary_of(run: trips.Run, requests: range | None = None) -> str:
    """Return the outcomes of a run in a sentence."""
    shown = [trip for trip in run.trips if requests is None or trip.request in requests]
    counts = Counter(trip.outcome for trip in shown)
    outcomes = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
    asked = len({trip.request for trip in shown})
    plural, attempts = "s" * (asked != 1), "s" * (len(shown) != 1)
    return f"{asked} request{plural}, {len(shown)} attempt{attempts}: {outcomes}"


def of_run(run: trips.Run, requests: range | None = None) -> str:
    """Return the ladder of a captured run as an SVG document."""
    name = f"run {run.name}" if run.name else f"from {run.client[0]}:{run.client[1]}"
    remark = (
        "Seconds since the first datagram, by the server's interface. "
        "Waiting is to scale, an exchange is stretched."
    )
    part = "" if requests is None else f", requests {requests.start} to {requests.stop - 1}"
    return draw(
        arrows_of(run, requests),
        title=f"UDP ping, {name}{part}",
        summary=summary_of(run, requests),
        remark=remark,
    )


# The command --------------------------------------------------------------------------------------

STEP = "drawing the ladder"


def ladder_command() -> int:
    """Draw a run of a capture beside the file; return the exit status. Raises LabError."""
    path = _capture_path(os.environ.get("CAPTURE", ""))
    found = captured_runs(path)
    run = _chosen(found, os.environ.get("RUN", ""))
    requests = _requested(run, os.environ.get("REQUESTS", ""))
    target = _drawn(path, run, requests)
    shown = target.relative_to(ROOT) if target.is_relative_to(ROOT) else target
    print(f"{run.name or run.client[0]}: {summary_of(run, requests)}")
    if len(found) > 1:
        others = ", ".join(_name(other) for other in found if other is not run)
        print(f"one of {len(found)} runs in it; the others by RUN=: {others}")
    left = len(run.requests) - len([r for r in run.requests if requests is None or r in requests])
    if left:
        print(f"{left} more requests: REQUESTS=31-60 draws others")
    if any(trip.outcome is Outcome.UNKNOWN for trip in run.trips):
        print("neither the server's account nor its log is there: nobody knows why some got none")
    print(f"kept in {shown}; any browser shows it")
    return 0


def drawn_beside(path: Path) -> Path:
    """Draw the beginning of a capture's newest run; return the file. Raises LabError."""
    run = captured_runs(path)[-1]
    return _drawn(path, run, _requested(run, ""))


def _drawn(path: Path, run: trips.Run, requests: range | None) -> Path:
    target = path.with_name(f"{path.stem}-ladder.svg")
    target.write_text(of_run(run, requests), encoding="utf-8")
    return target


def captured_runs(path: Path) -> list[trips.Run]:
    """Return the UDP runs in a capture file, the server's log beside it used. Raises LabError."""
    try:
        capture = pcapng.parse(path.read_bytes())
    except OSError as error:
        raise LabError(
            f"reading {path}", error.strerror or str(error), "make capture SERVICE=udp"
        ) from None
    except pcapng.PcapngError as error:
        raise LabError(
            f"reading {path}", str(error), "make ladder CAPTURE=file.pcapng, made by make capture"
        ) from None
    found = trips.runs(pcapng.datagrams(capture))
    log = path.with_suffix(".log")
    if log.is_file():
        trips.settle_by_log(found, log.read_text("utf-8", "replace").splitlines())
    if not found:
        raise LabError(
            STEP,
            f"in {path.name} ({len(capture.packets)} packets) there is no UDP ping",
            "make capture SERVICE=udp, and meanwhile: docker compose run --rm udp-client",
        )
    return found


def _capture_path(given: str) -> Path:
    if given not in ("", "0", "1"):
        return Path(given)
    newest = receipts.results_folder() / "capture" / "latest"
    files = sorted(newest.glob("*.pcapng"))
    if not files:
        raise LabError(STEP, "there is no capture yet", "make capture SERVICE=udp")
    return files[0].resolve()


def _chosen(found: Sequence[trips.Run], wanted: str) -> trips.Run:
    if not wanted:
        return found[-1]
    for run in found:
        if wanted in (run.name, _name(run)):
            return run
    names = ", ".join(map(_name, found))
    raise LabError(STEP, f"there is no run {wanted}", f"make ladder RUN=, one of: {names}")


def _name(run: trips.Run) -> str:
    return run.name or f"{run.client[0]}:{run.client[1]}"


def _requested(run: trips.Run, text: str) -> range | None:
    if text:
        first, dash, last = text.partition("-")
        if not (first.isdigit() and (last.isdigit() or not dash)):
            raise LabError(STEP, f"REQUESTS={text} is no range", "make ladder REQUESTS=1-30")
        return range(int(first), int(last or first) + 1)
    if len(run.requests) <= SHOWN_REQUESTS:
        return None
    first_shown = run.requests[0]
    return range(first_shown, first_shown + SHOWN_REQUESTS)
