"""This machine's wall clock with its steps taken out, and seen.

The wall clock and the monotonic one run at the same rate (NTP corrects the rate of both) and their
difference is constant, until somebody sets the wall clock, or the machine was asleep. Two readings
cannot be made at once, so the difference is known within a bracket::

    monotonic m0, wall w, monotonic m1:        w - m1  <=  wall - monotonic  <=  w - m0

A step is called one only when the bracket excludes the former difference, so a process that was
paused between two readings sees none. A stamp of the wall clock (the kernel's are) minus the
difference is a time by the monotonic clock, and intervals between such times are right, whatever
the wall clock was set to in between.
"""

import time
from collections.abc import Callable

TOLERANCE_NS = 1_000
"""A change by less than this is no step: the clocks' own rounding."""

READ_WITHIN_NS = 1_000
READ_TRIES = 5


class SteadyClock:
    """``wall_ahead_ns`` is what the wall clock was ahead of the monotonic one at the last look."""

    def __init__(
        self,
        *,
        wall_clock_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_clock_ns = wall_clock_ns
        self._monotonic_ns = monotonic_ns
        low_ns, high_ns = self._bracket()
        self.wall_ahead_ns = (low_ns + high_ns) // 2

    def stepped(self) -> bool:
        """Look again; return whether the wall clock was stepped since the last look."""
        low_ns, high_ns = self._bracket()
        if low_ns - TOLERANCE_NS <= self.wall_ahead_ns <= high_ns + TOLERANCE_NS:
            return False
        self.wall_ahead_ns = (low_ns + high_ns) // 2
        return True

    def now_ns(self) -> int:
        """Return the monotonic clock, in nanoseconds."""
        return self._monotonic_ns()

    def _bracket(self) -> tuple[int, int]:
        """Return the bounds of wall minus monotonic: the closest of a few."""
        low_ns, high_ns = self._read()
        for _ in range(READ_TRIES):
            if high_ns - low_ns <= READ_WITHIN_NS:
                break
            again_low_ns, again_high_ns = self._read()
            if again_high_ns - again_low_ns < high_ns - low_ns:
                low_ns, high_ns = again_low_ns, again_high_ns
        return low_ns, high_ns

    def _read(self) -> tuple[int, int]:
        before_ns = self._monotonic_ns()
        wall_ns = self._wall_clock_ns()
        after_ns = self._monotonic_ns()
        return wall_ns - after_ns, wall_ns - before_ns
