"""Does what a clock client prints agree with how wrong the server's clock is known to be? Pure.

The client runs several times, each time against a server that is off by another amount. Somewhere
in what it prints there is a number that follows: with either sign, in any unit, in any words.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from grading.readings import SECOND_NS, Quantity, quantities, times

DAY_S = 86_400.0


@dataclass(frozen=True)
class Told:
    """One run: what the server's clock was ahead by, how finely it was told, what was printed.

    ``told_ns``: the times that the server told, nanoseconds since 1970. ``late_s``: how old an
    answer could be when it was complete. ``dated``: the answers had a date.
    """

    offset_s: float
    resolution_s: float
    output: str
    told_ns: tuple[int, ...] = ()
    late_s: float = 0.0
    dated: bool = True

    @property
    def tolerance_s(self) -> float:
        """How far a right difference may be from the offset.

        Both clocks may have been cut to the resolution, or rounded; and the processes are not alone
        on their machine.
        """
        return 1.6 * self.resolution_s + self.late_s + 0.25


@dataclass(frozen=True)
class Match:
    """A printed number that is the offset, read in ``unit``; ``labelled``: it named that unit."""

    quantity: Quantity
    unit: str
    sign: int

    @property
    def labelled(self) -> bool:
        """Whether the number has a unit of its own."""
        return bool(self.quantity.unit)


def numbers(run: Told) -> list[Quantity]:
    """Return the numbers that were printed, without those that are times of day."""
    return quantities(run.output, _clock_readings(run))


def matches(run: Told) -> list[Match]:
    """Return the printed numbers that are the offset, in the unit that they name, or in any."""
    return [
        Match(quantity, unit, sign)
        for quantity in numbers(run)
        for unit, seconds in quantity.seconds().items()
        if (sign := _sign(seconds, quantity.step_s(unit), run))
    ]


def agreed(runs: Sequence[Told]) -> bool:
    """Return whether in each run a number was printed that is its offset, always in one unit."""
    found = [matches(run) for run in runs]
    return any(
        all(any(match.labelled or match.unit == unit for match in each) for each in found)
        for unit in ("s", "ms", "us", "ns")
    )


def in_another_unit(run: Told) -> tuple[Quantity, str] | None:
    """Return a number that would be the offset if its unit were another one, and that one."""
    for quantity in numbers(run):
        for unit in ("s", "ms", "us", "ns"):
            unlabelled = Quantity(
                quantity.start, quantity.end, quantity.text, quantity.value, unit, quantity.step
            )
            if unit != quantity.unit and _sign(
                unlabelled.seconds()[unit], unlabelled.step_s(unit), run
            ):
                return quantity, unit
    return None


def _sign(seconds: float, step_s: float, run: Told) -> int:
    """Return 1 or -1 when a number is the offset, or its negative; 0 when it is neither."""
    if step_s > max(1.0, run.resolution_s):  # "1 min" says nothing of 83 s
        return 0
    # Without a date, what was subtracted around midnight is off by a day.
    days_s = (0.0,) if run.dated else (0.0, DAY_S, -DAY_S)
    for sign in (1, -1):
        right = [sign * run.offset_s + day_s for day_s in days_s]
        if min(abs(seconds - value) for value in right) <= run.tolerance_s + step_s:
            return sign
    return 0


def _clock_readings(run: Told) -> list[tuple[int, int]]:
    """Return where the output shows a time of day: the one that the server told, or the own."""
    if not run.told_ns:
        return []
    middle = run.told_ns[len(run.told_ns) // 2]
    near_ns = 40 * SECOND_NS + round(abs(run.offset_s) * SECOND_NS)
    spans = []
    for reading in times(run.output, middle):
        ahead_ns = reading.ahead_ns(middle)
        off_ns = min(
            abs(ahead_ns), abs(ahead_ns + round(run.offset_s * SECOND_NS))
        )  # the server's time, the client's own
        # "0:01:23" is a difference in the first minutes after midnight, too: only two digits are
        # a time of day then.
        short = re.match(r"\d:", run.output[reading.start : reading.end]) and not reading.dated
        if off_ns <= near_ns and not short:
            spans.append((reading.start, reading.end))
    return _outermost(spans)


def _outermost(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    return [
        (start, end)
        for start, end in spans
        if not any(a <= start and end <= b and (a, b) != (start, end) for a, b in spans)
    ]
