"""A clock that is wrong on purpose, so that a client's estimate has a known truth to meet.

At an instant when the machine's own clock says ``w`` and ``e`` seconds have passed since the server
was started, it reads::

    w + offset + drift_ppm / 1,000,000 * e

``e`` is measured by the monotonic clock, so a step of the machine's clock moves ``w`` alone. The
server's offset is therefore ``offset`` at its start, and grows by ``drift_ppm`` microseconds a
second after it. The event ``listening`` says when the start was, by the machine's own clock. What
the kernel stamped a little earlier is put through the same formula, with the ``w`` and the ``e`` of
that instant.
"""

import time
from collections.abc import Callable

from services.clock.protocol import NANOSECONDS

OLDEST_STAMP_NS = 60 * NANOSECONDS
"""A question waits for its thread no longer than this, however busy the machine is."""

READ_WITHIN_NS = 2_000
READ_TRIES = 5


class SkewedClock:
    """Reads nanoseconds since the epoch, wrong by a known amount.

    ``offset_s`` in seconds; ``drift_ppm`` in microseconds a second, counted from the construction.
    ``wall_clock_ns`` and ``monotonic_ns`` are arguments so that a test can hand over its own.
    """

    def __init__(
        self,
        offset_s: float = 0.0,
        drift_ppm: float = 0.0,
        *,
        wall_clock_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.offset_s = offset_s
        self.drift_ppm = drift_ppm
        self._wall_clock_ns = wall_clock_ns
        self._monotonic_ns = monotonic_ns
        self.started_wall_ns, self._started_ns = self._now()
        self._offset_ns = round(offset_s * NANOSECONDS)

    def __call__(self) -> int:
        """Return what this clock shows now, in nanoseconds since the epoch."""
        wall_ns, now_ns = self._now()
        return self._skewed(wall_ns, now_ns)

    def at(self, stamp_wall_ns: int) -> int | None:
        """Return what this clock showed when the machine's own clock showed ``stamp_wall_ns``.

        None when that is not within the last ``OLDEST_STAMP_NS``: the machine's clock was stepped
        since, so the stamp belongs to another time than the one that this clock shows now.
        """
        wall_ns, now_ns = self._now()
        age_ns = wall_ns - stamp_wall_ns
        if not 0 <= age_ns <= OLDEST_STAMP_NS:
            return None
        return self._skewed(stamp_wall_ns, now_ns - age_ns)

    def _skewed(self, wall_ns: int, monotonic_ns: int) -> int:
        gained_ns = round((monotonic_ns - self._started_ns) * self.drift_ppm / 1e6)
        return wall_ns + self._offset_ns + gained_ns

    def _now(self) -> tuple[int, int]:
        """Return both clocks, read within ``READ_WITHIN_NS`` of each other if that can be had.

        A process that is paused between the two readings, for 10 ms at 200 ppm, would answer with
        a time that is 2 us from what this clock ever showed.
        """
        for _ in range(READ_TRIES):
            before_ns, wall_ns = self._monotonic_ns(), self._wall_clock_ns()
            now_ns = self._monotonic_ns()
            if now_ns - before_ns <= READ_WITHIN_NS:
                break
        return wall_ns, now_ns
