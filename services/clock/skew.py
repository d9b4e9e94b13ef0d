"""A clock that is wrong on purpose, so that a client's estimate has a known truth to meet.

At an instant when the machine's own clock says ``w`` and ``e`` seconds have passed since the server
was started, it reads::

    w + offset + drift_ppm / 1,000,000 * e

``e`` is measured by the monotonic clock, so a step of the machine's clock moves ``w`` alone. The
server's offset is therefore ``offset`` at its start, and grows by ``drift_ppm`` microseconds a
second after it. The event ``listening`` says when the start was, by the machine's own clock.
"""

import time
from collections.abc import Callable

from services.clock.protocol import NANOSECONDS


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
        self.started_wall_ns = wall_clock_ns()
        self._wall_clock_ns = wall_clock_ns
        self._monotonic_ns = monotonic_ns
        self._started_ns = monotonic_ns()
        self._offset_ns = round(offset_s * NANOSECONDS)

    def __call__(self) -> int:
        """Return what this clock shows now, in nanoseconds since the epoch."""
        elapsed_ns = self._monotonic_ns() - self._started_ns
        return self._wall_clock_ns() + self._offset_ns + round(elapsed_ns * self.drift_ppm / 1e6)
