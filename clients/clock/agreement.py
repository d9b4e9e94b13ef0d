r"""Which offsets and drifts agree with all samples: a convex polygon, cut by each sample twice.

Let ``theta(t)`` be the server's clock minus this machine's when this machine's clock (its steps
taken out) shows ``t``. A question left here at ``T1`` and was there later, when the server's clock
showed ``T2``; the answer left there when that showed ``T3``, and was here later, at ``T4``. So::

    theta(T1) <= T2 - T1          for the way there takes no less than 0
    theta(T4) >= T3 - T4          nor does the way back

Neither says how the round trip is shared between the two ways, so both hold however unequal they
are. If the drift is constant, ``theta(t) = theta(0) + drift * t``, and each is a half plane in the
plane of ``(theta(0), drift)``::

        drift                      The polygon begins as the strip |drift| <= max_drift that the
          ^    .------.            first sample leaves, and each sample cuts off what it excludes
          |   /       /            (Sutherland and Hodgman, CACM 17, 1974). The offset at an instant
          |  /       /             t is the range of theta(0) + drift * t over its corners, the
          | '-------'              range of the drift that of their heights.
          +---------------> theta(0)

Without drift it would be the intersection of the samples' intervals (K. Marzullo, Maintaining the
Time in a Distributed System, 1984; RFC 5905 section 11.2.1). With it, it is the set of lines
between the points ``(T1, T2 - T1)`` and the points ``(T4, T3 - T4)`` (Moon, Skelly and Towsley,
Estimation and Removal of Clock Skew, INFOCOM 1999; Zhang, Liu and Xia, INFOCOM 2002).
"""

import math
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from services.clock.protocol import NANOSECONDS

ROUNDING_NS = 0.5
"""Stamps are whole nanoseconds, and corners are doubles: one that is off by this much stays."""

T = TypeVar("T")
Corner = tuple[float, float]
"""Offset in nanoseconds, relative to a whole number of them; drift in nanoseconds a second."""


class Bounds(NamedTuple):
    """What one sample says: the two points, in whole nanoseconds.

    ``latest_ns`` is T2 - T1, the largest offset at ``sent_ns`` (T1); ``earliest_ns`` is T3 - T4,
    the smallest offset at ``received_ns`` (T4).
    """

    sent_ns: int
    latest_ns: int
    received_ns: int
    earliest_ns: int


class Agreement:
    """The polygon: a box around what ``first`` leaves, until ``cut`` is called for each sample.

    Instants and offsets are whole nanoseconds, drifts in ppm.
    """

    def __init__(self, first: Bounds, max_drift_ppm: float) -> None:
        # Small numbers from here on: nanoseconds since 1970 are too many for a double.
        self._origin_ns = first.sent_ns
        self._base_ns = first.earliest_ns
        limit = max_drift_ppm * 1000
        reach = abs(first.latest_ns - first.earliest_ns) + 1.0
        reach += limit * self._since_origin_s(first.received_ns)
        self._corners = [(-reach, -limit), (reach, -limit), (reach, limit), (-reach, limit)]

    def cut(self, sample: Bounds) -> bool:
        """Cut off what a sample excludes. If that is all, change nothing and return False."""
        sent_s = self._since_origin_s(sample.sent_ns)
        received_s = self._since_origin_s(sample.received_ns)
        corners = _below(self._corners, 1.0, sent_s, float(sample.latest_ns - self._base_ns))
        corners = _below(corners, -1.0, -received_s, float(self._base_ns - sample.earliest_ns))
        if corners:
            self._corners = corners
        return bool(corners)

    def offsets_at(self, instant_ns: int) -> tuple[int, int]:
        """Return the smallest and the largest offset at ``instant_ns``, rounded outwards."""
        offsets = self._offsets(self._since_origin_s(instant_ns))
        earliest, latest = math.floor(min(offsets)), math.ceil(max(offsets))
        return self._base_ns + earliest, self._base_ns + latest

    def drifts_ppm(self) -> tuple[float, float]:
        """Return the smallest and the largest drift."""
        drifts = [drift for _, drift in self._corners]
        return min(drifts) / 1000, max(drifts) / 1000

    def best_instant_ns(self, first_ns: int, last_ns: int) -> int:
        """Return the instant within these at which the offset is known best, the latest of equals.

        The width is a convex function of the instant, with its kinks where an edge of the polygon
        is seen end on.
        """
        first_s, last_s = self._since_origin_s(first_ns), self._since_origin_s(last_ns)
        kinks = [last_s, first_s]
        for (offset, drift), (next_offset, next_drift) in _neighbours(self._corners):
            if drift != next_drift:
                kink_s = (next_offset - offset) / (drift - next_drift)
                if first_s < kink_s < last_s:
                    kinks.append(kink_s)
        widths = {kink: max(o := self._offsets(kink)) - min(o) for kink in kinks}
        least = min(widths.values())
        best_s = max(kink for kink in kinks if widths[kink] <= least + ROUNDING_NS)
        return min(max(self._origin_ns + round(best_s * NANOSECONDS), first_ns), last_ns)

    def _offsets(self, since_origin_s: float) -> list[float]:
        return [offset + drift * since_origin_s for offset, drift in self._corners]

    def _since_origin_s(self, instant_ns: int) -> float:
        return (instant_ns - self._origin_ns) / NANOSECONDS


def _neighbours(ring: list[T]) -> Iterable[tuple[T, T]]:
    return zip(ring, ring[1:] + ring[:1], strict=True)


def _below(corners: list[Corner], a: float, b: float, limit: float) -> list[Corner]:
    """Return the part of the polygon where ``a * offset + b * drift <= limit``."""
    excess = [a * offset + b * drift - limit - ROUNDING_NS for offset, drift in corners]
    if not corners or max(excess) <= 0:
        return corners
    kept = []
    ends = _neighbours(list(zip(corners, excess, strict=True)))
    for (here, here_excess), (there, there_excess) in ends:
        if here_excess <= 0:
            kept.append(here)
        if (here_excess <= 0) != (there_excess <= 0):
            share = here_excess / (here_excess - there_excess)
            kept.append(
                (here[0] + share * (there[0] - here[0]), here[1] + share * (there[1] - here[1]))
            )
    return kept
