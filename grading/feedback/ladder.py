"""What went over the wire, as a ladder: the program on the left, our side on the right, time down.

    0 ms    |-- 'hello' (5 bytes) ---------->|
            |        X- 'hello' (5 bytes) ---|    lost
    1.002 s |-- 'hello' (5 bytes) ---------->|

Waits are drawn to scale; events that are too close for that stand a line apart. lab/ladder.py draws
requests and what became of them, in columns; here what each packet says and each wait count.
"""

from collections.abc import Sequence
from itertools import pairwise

from grading.feedback.markup import Markup, element, join
from grading.feedback.report import Event
from grading.feedback.text import counted

MAX_DRAWN = 24
_LEFT, _RIGHT, _WIDTH, _TOP = 84, 560, 640, 56
_LINE, _LONGEST_WAIT, _SLANT = 30, 84, 7
_LABEL = 46
"""Characters that fit above an arrow."""

_WORTH_SAYING = 0.3
"""A wait is written beside the line from this share of the longest one on."""


def clock(t_ns: int) -> str:
    """Return a time as people write it: ``0 ms``, ``4.2 ms``, ``204 ms``, ``1.004 s``."""
    ms = t_ns / 1e6
    if ms >= 1000:
        return f"{ms / 1000:.3f} s"
    return f"{ms:.1f} ms" if 0 < ms < 10 else f"{ms:.0f} ms"


def silent(event: Event) -> bool:
    """Return whether an event is that nothing came until then: ``(silence)``."""
    return event.size == 0 and event.what.endswith("(silence)")


def sides(event: Event) -> tuple[str, str]:
    """Return who sent it and who should have got it."""
    return ("your program", "our side") if event.from_program else ("our side", "your program")


def label(event: Event) -> str:
    """Return what an event carries, bounded."""
    what = event.what if len(event.what) <= _LABEL - 12 else event.what[: _LABEL - 13] + "…"
    return f"{what} ({counted(event.size, 'byte')})" if event.size else what


def lines(events: Sequence[Event]) -> list[str]:
    """Return the ladder as text, a line for each event."""
    width = max((len(clock(event.t_ns)) for event in events), default=0)
    arrows = {
        (True, False): "program ──> peer",
        (False, False): "program <── peer",
        (True, True): "program ──X     ",
        (False, True): "        X── peer",
    }
    return [
        f"{clock(event.t_ns):>{width}}  "
        f"{' ' * 16 if silent(event) else arrows[event.from_program, event.lost]}  {label(event)}"
        + (" lost" if event.lost else "")
        for event in events
    ]


def diagram(events: Sequence[Event], left_out: int = 0) -> Markup:
    """Return the drawing with the same as a table beneath it, for who cannot see a drawing."""
    drawn = events[:MAX_DRAWN]
    more = len(events) - len(drawn) + left_out
    note = f" ({counted(more, 'later event')} not drawn)" if more else ""
    lost = sum(event.lost for event in drawn)
    told = f"{counted(len(drawn), 'packet or message', 'packets or messages')}, {lost} lost"
    return element(
        "figure",
        element("figcaption", f"On the wire{note}"),
        _svg(drawn, told),
        element(
            "details",
            element("summary", "The same as a table"),
            element("div", _table(events), cls="scroll small"),
        ),
    )


def _heights(events: Sequence[Event]) -> list[int]:
    """Return where each event begins, in pixels from the first."""
    waits = [later.t_ns - earlier.t_ns for earlier, later in pairwise(events)]
    longest = max(waits, default=0) or 1
    heights = [0]
    for wait in waits:
        heights.append(heights[-1] + max(_LINE, _LONGEST_WAIT * wait // longest))
    return heights


def _svg(events: Sequence[Event], told: str) -> Markup:
    heights = _heights(events)
    height = _TOP + heights[-1] + 34
    parts = [
        element("text", "your program", x=str(_LEFT), y="20", text_anchor="middle", cls="side"),
        element("text", "our side", x=str(_RIGHT), y="20", text_anchor="middle", cls="side"),
    ]
    for x in (_LEFT, _RIGHT):
        parts.append(_line(x, 30, x, height - 4, "life"))
    waits = [later.t_ns - earlier.t_ns for earlier, later in pairwise(events)]
    longest = max(waits, default=0)
    for number, (event, below) in enumerate(zip(events, heights, strict=True)):
        parts += _arrow(event, _TOP + below)
        if number and waits[number - 1] > max(_WORTH_SAYING * longest, 50_000_000):
            middle = _TOP + (heights[number - 1] + below) // 2
            said = f"⋮ {clock(waits[number - 1])}"
            parts.append(element("text", said, x=str(_LEFT + 10), y=str(middle), cls="gap"))
    return element(
        "svg",
        *parts,
        cls="ladder",
        viewBox=f"0 0 {_WIDTH} {height}",
        role="img",
        aria_label=f"Ladder diagram of your program and our side: {told}",
    )


def _arrow(event: Event, y: int) -> list[Markup]:
    start, end = (_LEFT, _RIGHT) if event.from_program else (_RIGHT, _LEFT)
    way = 1 if event.from_program else -1
    time = element("text", clock(event.t_ns), x="0", y=str(y + 4), cls="time")
    words = label(event) + ("  lost" if event.lost else "")
    middle = (_LEFT + _RIGHT) // 2 - (way * 80 if event.lost else 0)
    caption = element(
        "text",
        words,
        x=str(middle),
        y=str(y - 4),
        text_anchor="middle",
        cls="lost" if event.lost else "gap" if silent(event) else "",
    )
    if silent(event):
        return [time, caption]
    if event.lost:
        stop = start + (end - start) * 2 // 3
        return [
            time,
            caption,
            _line(start, y, stop, y + _SLANT * 2 // 3, "arrow lost"),
            _line(stop - 6, y - 2, stop + 6, y + 10, "cross"),
            _line(stop - 6, y + 10, stop + 6, y - 2, "cross"),
        ]
    tip = y + _SLANT
    points = f"{end},{tip} {end - way * 11},{tip - 5} {end - way * 11},{tip + 5}"
    return [
        time,
        caption,
        _line(start, y, end - way * 8, tip, "arrow"),
        element("polygon", points=points, cls="tip"),
    ]


def _line(x1: int, y1: int, x2: int, y2: int, cls: str) -> Markup:
    return element("line", x1=str(x1), y1=str(y1), x2=str(x2), y2=str(y2), cls=cls)


def _table(events: Sequence[Event]) -> Markup:
    heads = ("time", "from", "to", "what", "bytes", "")
    rows = [
        element(
            "tr",
            element("td", clock(event.t_ns), cls="number"),
            *(element("td", side) for side in sides(event)),
            element("td", event.what, cls="mono"),
            element("td", str(event.size), cls="number"),
            element("td", "lost" if event.lost else "arrived"),
        )
        for event in events
    ]
    head = element("tr", *(element("th", head, scope="col") for head in heads))
    return element("table", element("thead", head), element("tbody", join(*rows)))
