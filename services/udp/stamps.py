"""When a datagram came and went, by the kernel's clock readings, and how far they can be trusted.

The kernel stamps a packet when it comes in, before the program is woken (socket(7), and
Documentation/networking/timestamping.rst of Linux). So a busy machine, which wakes programs late,
does not spoil the figure. Its stamps are of the wall clock, which may be set at any moment, so each
is held against the monotonic clock: both run at the same rate, also while NTP slews them, so their
difference changes only when somebody sets the wall clock.

Linux on 64-bit machines; elsewhere programs read the clock themselves.
"""

import socket
import struct
import sys
import time
from collections.abc import Callable

if sys.platform == "linux":
    import fcntl

SIOCGSTAMPNS = 0x8907
"""ioctl: the receive stamp of the datagram that the program took last."""

SO_TIMESTAMPING = 37
SOF_TIMESTAMPING_TX_SOFTWARE = 1 << 1
SOF_TIMESTAMPING_RX_SOFTWARE = 1 << 3
SOF_TIMESTAMPING_SOFTWARE = 1 << 4
SOF_TIMESTAMPING_TX_SCHED = 1 << 8
"""Linux's numbers (linux/net_tstamp.h): the socket module does not name them."""

_TIMESPEC = struct.Struct("=qq")

PREEMPTED_NS = 20_000
"""Clock readings one after the other that are further apart were interrupted: read again."""


def timespec_ns(data: bytes | bytearray) -> int:
    """Return nanoseconds of the ``struct timespec`` at the beginning of ``data``; 0 means none."""
    seconds: int
    nanoseconds: int
    seconds, nanoseconds = _TIMESPEC.unpack_from(data)
    return seconds * 1_000_000_000 + nanoseconds


class LastReceived:
    """The kernel's receive stamps of a socket, for those datagrams of which somebody wants to know.

    One ioctl(2) for such a datagram, nothing for any other; ancillary data would cost each. The
    kernel begins to stamp with the first call, made here. Of a datagram from before that it tells
    the time of the call, which is no stamp.
    """

    def __init__(self, receiving: socket.socket) -> None:
        self._file = receiving.fileno()
        self._room = bytearray(_TIMESPEC.size)
        self._available = sys.platform == "linux" and sys.maxsize > 2**32
        self.stamp_ns()

    def stamp_ns(self) -> int:
        """Return when the last datagram came, in wall-clock nanoseconds; 0 if nobody knows."""
        if not self._available:
            return 0
        called_ns = time.time_ns()
        try:
            fcntl.ioctl(self._file, SIOCGSTAMPNS, self._room)
        except FileNotFoundError:  # ENOENT: there has been no datagram yet
            return 0
        except OSError:  # ENOTTY, EOPNOTSUPP: not this kernel
            self._available = False
            return 0
        stamp_ns = timespec_ns(self._room)
        return stamp_ns if stamp_ns < called_ns else 0


class WallClock:
    """The wall clock's lead over the monotonic clock, and whether it has changed.

    ``wall_ns`` and ``monotonic_ns`` are arguments so that a test can hand over its own.
    """

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self.steps: list[int] = []
        """By how many nanoseconds somebody has set the wall clock, each time."""
        self.lead_ns, self._doubt_ns = self._measure()

    def now_ns(self) -> int | None:
        """Return wall-clock nanoseconds, or None if the clock has been set since the last call.

        A step that is shorter than the three readings here take, a microsecond or less as a rule
        and ``PREEMPTED_NS`` at most, passes for none, and bends a figure by no more.
        """
        before_ns = self._monotonic_ns()
        wall_ns = self._wall_ns()
        after_ns = self._monotonic_ns()
        slack_ns = self._doubt_ns + 1000
        if (
            after_ns - before_ns <= PREEMPTED_NS
            and before_ns - slack_ns <= wall_ns - self.lead_ns <= after_ns + slack_ns
        ):
            return wall_ns
        lead_ns, doubt_ns = self._measure()
        step_ns = lead_ns - self.lead_ns
        if abs(step_ns) <= slack_ns + doubt_ns:  # it was only interrupted
            return self._wall_ns()
        self.steps.append(step_ns)
        self.lead_ns, self._doubt_ns = lead_ns, doubt_ns
        return None

    def _measure(self) -> tuple[int, int]:
        """Return the lead and its bound of error: of nine readings, the one done quickest."""
        best = (0, 1 << 62)
        for _ in range(9):
            before_ns = self._monotonic_ns()
            wall_ns = self._wall_ns()
            doubt_ns = (self._monotonic_ns() - before_ns + 1) // 2
            if doubt_ns < best[1]:
                best = (wall_ns - before_ns - doubt_ns, doubt_ns)
        return best
