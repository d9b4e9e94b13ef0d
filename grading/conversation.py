"""What passed between a UDP client under test and our server, and what the client printed. Pure.

``exchanges`` takes the events of ``grading.peer.udp_server`` apart into requests; ``find`` looks
for the numbers in the client's output that follow the delays which we have put in, in whatever unit
and wording; ``agreeing`` for the one that is their mean.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from grading.readings import Quantity, quantities

Event = Mapping[str, Any]

BEFORE_S, AFTER_S = 0.002, 0.040
"""How much less, or more, than the time on the wire a program may measure: its clock's steps, and
the time until its process has the processor again."""
ENOUGH = 0.8
"""That share of the requests must have their number: one may be late on a busy machine."""
MOST_NUMBERS = 4000
LAST_NS = 300_000_000
"""What a program may be stalled after the last answer: there is no next datagram to tell."""
LEAST_WAIT_NS = 50_000_000
"""A timeout, more likely than what a program does between two requests."""

UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


@dataclass(frozen=True)
class Span:
    """A time on the wire, and the most that a program may have measured for it.

    A program that is stalled, as any is on a busy machine, measures more; but then it is late with
    its next datagram, too: ``most_s`` is until that.
    """

    wire_s: float
    most_s: float = 0.0


@dataclass(frozen=True)
class Exchange:
    """One request as the wire saw it; times in ns of one clock.

    ``sent_ns``: its datagrams, those that came while the answer was held back not among them.
    ``early_ns``: those. ``answered_ns`` is None for a request without an answer. ``next_ns``: when
    the next datagram came; None after the last.
    """

    request: int
    sent_ns: tuple[int, ...]
    answered_ns: int | None = None
    early_ns: tuple[int, ...] = ()
    data: str = ""
    early_data: tuple[str, ...] = ()
    next_ns: int | None = None

    @property
    def held_s(self) -> float:
        """From the attempt that was answered to its answer."""
        return ((self.answered_ns or 0) - self.sent_ns[-1]) / 1e9

    @property
    def total_s(self) -> float:
        """From the first attempt to the answer."""
        return ((self.answered_ns or 0) - self.sent_ns[0]) / 1e9

    @property
    def held(self) -> "Span":
        """What a correct program may print as its round trip."""
        return self._span(self.sent_ns[-1])

    @property
    def total(self) -> "Span":
        """The same from the first attempt on: what it must not print, if there were several."""
        return self._span(self.sent_ns[0])

    def _span(self, begin_ns: int) -> "Span":
        answered_ns = self.answered_ns or 0
        done_ns = self.next_ns if self.next_ns is not None else answered_ns + LAST_NS
        return Span((answered_ns - begin_ns) / 1e9, (done_ns - begin_ns) / 1e9)

    @property
    def waits_s(self) -> list[float]:
        """How long the client waited after each attempt that was lost."""
        pairs = zip(self.sent_ns, self.sent_ns[1:], strict=False)
        return [(after - before) / 1e9 for before, after in pairs]


def exchanges(events: Sequence[Event]) -> list[Exchange]:
    """Return the requests in order."""
    found: dict[int, Exchange] = {}
    for event in events:
        number = event.get("request", 0)
        old = found.get(number)
        if event["event"] == "datagram":
            at, data = event["t_ns"], event["data"]
            if old is None:
                found[number] = Exchange(number, (at,), data=data)
            elif event["early"]:
                found[number] = Exchange(
                    number, old.sent_ns, old.answered_ns, (*old.early_ns, at), old.data,
                    (*old.early_data, data),
                )  # fmt: skip
            else:
                found[number] = Exchange(
                    number, (*old.sent_ns, at), None, old.early_ns, old.data, old.early_data
                )
        elif event["event"] == "answer" and event["kind"] == "first" and old is not None:
            found[number] = Exchange(
                number, old.sent_ns, event["t_ns"], old.early_ns, old.data, old.early_data
            )
    ordered = [found[number] for number in sorted(found)]
    nexts = [exchange.sent_ns[0] for exchange in ordered[1:]]
    return [
        replace(exchange, next_ns=next_ns)
        for exchange, next_ns in zip(ordered, [*nexts, None], strict=True)
    ]


def datagrams(events: Sequence[Event]) -> list[Event]:
    """Return what the client sent."""
    return [event for event in events if event["event"] == "datagram"]


def waits_longer_and_longer(events: Sequence[Event]) -> bool:
    """Return whether a client has waited, each time longer, for what it was given each time."""
    gaps_ns: list[int] = []
    answered_ns: int | None = None
    for event in events:
        if event["event"] == "answer":
            answered_ns = event["t_ns"]
        elif event["event"] == "datagram" and answered_ns is not None:
            gaps_ns.append(event["t_ns"] - answered_ns)
            answered_ns = None
    last = gaps_ns[-3:]
    growing = all(after > 1.3 * before for before, after in zip(last, last[1:], strict=False))
    return len(last) == 3 and last[0] > LEAST_WAIT_NS and growing


def ladder(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return the packets as a finding's evidence."""
    rungs = []
    for event in events:
        if event["event"] == "datagram":
            rung = {"from": "program", "what": shown(event["data"]), "lost": event["lost"]}
        elif event["event"] == "answer":
            kind = {"first": "", "second": " (a second time)", "late": " (late, to the lost one)"}
            what = shown(event["data"]) + kind[event["kind"]]
            rung = {"from": "peer", "what": what, "lost": False}
        else:
            continue
        rungs.append({"t_ns": event["t_ns"], "bytes": event["bytes"], **rung})
    return sorted(rungs, key=lambda rung: rung["t_ns"])


def shown(data: str, most: int = 40) -> str:
    """Return the beginning of a message (bytes in latin-1) as text for people."""
    text = data.encode("latin-1").decode("utf-8", errors="replace")
    text = "".join(c if c.isprintable() and c != "\ufffd" else "." for c in text)
    return text[:most] + ("..." if len(text) > most else "")


@dataclass(frozen=True)
class Found:
    """Numbers of the output that follow times on the wire: exchange by its place, and its number.

    ``unit`` is the one in which they do; ``called`` the one that the program gives them, if that is
    another. ``alike``: all numbers in the same words, those too that do not follow.
    """

    pairs: tuple[tuple[int, Quantity], ...] = ()
    unit: str = ""
    called: str = ""
    alike: tuple[Quantity, ...] = ()

    def seconds(self, quantity: Quantity) -> float:
        """Return a number in seconds, in that unit."""
        return quantity.value * UNITS_S[self.unit]

    @property
    def samples_s(self) -> list[float]:
        """The numbers in seconds."""
        return [self.seconds(quantity) for _, quantity in self.pairs]

    @property
    def all_samples_s(self) -> list[float]:
        """The numbers in the same words, in seconds: one that was measured in a stall is there."""
        return [self.seconds(quantity) for quantity in self.alike] or self.samples_s


def find(output: str, spans: Sequence[Span], *, trusting: bool = True) -> Found:
    """Return the most numbers that follow these times, in order.

    ``trusting``: a number with a unit has that unit. Else every number may have every unit. Half
    of them must be within ``AFTER_S``; for the others there is the time until the next datagram.
    Numbers that stand in the same words, again and again, come before a mixture: a mean may be
    nearer to the last time than the number that is printed for it.
    """
    numbers = quantities(output)[:MOST_NUMBERS]
    alike: dict[tuple[str, int], list[Quantity]] = {}
    for number in numbers:
        alike.setdefault(_words_around(output, number), []).append(number)
    groups = [group for group in alike.values() if enough(len(group), len(spans))]
    best = Found()
    for group in groups:
        found = _find(group, spans, trusting)
        if enough(len(found.pairs), len(spans)) and len(found.pairs) > len(best.pairs):
            best = replace(found, alike=tuple(group))
    return best if best.pairs else _find(numbers, spans, trusting)


def _words_around(output: str, number: Quantity) -> tuple[str, int]:
    """Return the words of a number's line, without numbers, and which of its numbers it is."""
    start = output.rfind("\n", 0, number.start) + 1
    end = output.find("\n", number.end)
    line = output[start : end if end >= 0 else len(output)]
    before = len(_DIGITS.findall(output[start : number.start]))
    return _DIGITS.sub("#", line), before


_DIGITS = re.compile(r"\d+(?:[.,]\d+)?(?:e[-+]?\d+)?", re.IGNORECASE)


def _find(numbers: Sequence[Quantity], spans: Sequence[Span], trusting: bool) -> Found:
    best = Found()
    for unit, scale_s in UNITS_S.items():
        usable = [q for q in numbers if not trusting or q.unit in ("", unit)]

        def worth(span: Span, number: Quantity, scale_s: float = scale_s) -> float:
            step_s, value_s = number.step * scale_s, number.value * scale_s
            more_s = value_s - span.wire_s
            # A program may round 83 ms to 0.1 s, but not to 0: then it has measured nothing.
            if step_s > span.wire_s or more_s < -BEFORE_S - step_s:
                return 0.0
            if more_s <= AFTER_S + step_s:
                return 1.0 - abs(more_s)
            return 0.3 if value_s <= span.most_s + step_s else 0.0

        pairs = longest(spans, usable, worth)
        close = sum(
            usable[j].value * scale_s <= spans[i].wire_s + AFTER_S + usable[j].step * scale_s
            for i, j in pairs
        )
        if len(pairs) > len(best.pairs) and 2 * close >= len(pairs):
            units = [usable[j].unit for _, j in pairs]
            called = next((name for name in units if name not in ("", unit)), "")
            best = Found(tuple((i, usable[j]) for i, j in pairs), unit, called)
    return best


def longest(
    spans: Sequence[Span],
    numbers: Sequence[Quantity],
    worth: Callable[[Span, Quantity], float],
) -> list[tuple[int, int]]:
    """Return the common subsequence that is worth most: indices of times and their numbers."""
    rows, columns = len(spans), len(numbers)
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    value = [[worth(span, number) for number in numbers] for span in spans]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            taken = value[i][j] + best[i + 1][j + 1] if value[i][j] else 0.0
            best[i][j] = max(best[i + 1][j], best[i][j + 1], taken)
    pairs, i, j = [], 0, 0
    while i < rows and j < columns:
        if value[i][j] and best[i][j] == value[i][j] + best[i + 1][j + 1]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def enough(found: int, of: int) -> bool:
    """Return whether so many numbers are enough for so many requests."""
    return of > 0 and found >= math.ceil(ENOUGH * of)


_MEAN = re.compile(
    r"moy|avg|average|\bmean|mittel|durchschnitt|media\b|promedio|gemiddeld|средн|ortalama",
    re.IGNORECASE,
)


def mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def agreeing(output: str, found: Found, mean_s: float, more_s: float = 0.0) -> Quantity | None:
    """Return a number behind the samples that is their mean; ``more_s`` more will do."""
    samples = (*found.alike, *(quantity for _, quantity in found.pairs))
    behind = max((quantity.start for quantity in samples), default=-1)
    unit = found.unit or "s"
    for number in quantities(output)[:MOST_NUMBERS]:
        if number.start <= behind:
            continue
        if number.unit not in ("", unit, found.called):
            value_s, step_s = number.seconds()[number.unit], number.step_s(number.unit)
        else:
            value_s, step_s = number.value * UNITS_S[unit], number.step * UNITS_S[unit]
        # The samples are rounded, too, and each in its own way.
        sample_step_s = max((q.step * UNITS_S[unit] for _, q in found.pairs), default=0.0)
        slack_s = step_s + sample_step_s + 2e-3 * mean_s
        if -slack_s <= value_s - mean_s <= slack_s + more_s and step_s < mean_s:
            return number
    return None


def called_average(output: str) -> Quantity | None:
    """Return the number that the last line with a mean calls so (of min/avg/max the middle one)."""
    after = _called_averages(output)
    if not after:
        return None
    start = after[0].start
    line = output[output.rfind("\n", 0, start) + 1 :].partition("\n")[0]
    return after[1] if "/" in line and len(after) >= 3 else after[0]


def _called_averages(output: str) -> list[Quantity]:
    """Return the numbers behind the word on the last line that speaks of a mean and has some."""
    numbers = quantities(output)
    for start, line in reversed(_lines(output)):
        if word := _MEAN.search(line):
            end = start + len(line)
            if after := [q for q in numbers if start + word.end() <= q.start < end]:
                return after
    return []


def _lines(text: str) -> list[tuple[int, str]]:
    found, start = [], 0
    for line in text.splitlines(keepends=True):
        found.append((start, line))
        start += len(line)
    return found


def waits_grow(pairs: Sequence[tuple[float, float]], silence: Sequence[float]) -> bool | None:
    """Return whether a client waits longer with each attempt; None: too little was seen.

    ``pairs``: its first and second wait of a request. ``silence``: its waits when nobody answers;
    they begin anew with each request. A wait may look longer than it is on a busy machine, so one
    of them proves nothing: four in silence decide by what most of them do.
    """
    steps = [b / a for a, b in zip(silence, silence[1:], strict=False)]
    ordered = sorted(silence)
    if len(silence) >= 4:
        spread = ordered[-2] / ordered[1]
        if all(step < 1.05 for step in steps):
            return False
        return spread >= 1.3 or sum(step >= 1.02 for step in steps) >= 0.75 * len(steps)
    told = [second >= 1.05 * first for first, second in pairs]
    if len(silence) >= 2:
        told.append(ordered[-1] >= 1.05 * ordered[0])
    return any(told) if told else None
