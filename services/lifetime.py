"""Until when a server serves.

A server's loop asks ``lifetime.over()`` at least every ``TICK_S`` seconds. It ends on SIGTERM or
SIGINT, and, in a container, when its network interface has gone: the server shares the network
namespace of another container (see compose.yaml), and if that one is restarted, this one is left
in a dead namespace where nobody can reach it. It then exits, and the restart policy brings it back
in the new namespace.
"""

import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

TICK_S = 0.25
"""How long a loop may block before it asks again, in seconds."""

NAMESPACE_GRACE_S = 3.0
"""How long the interface must be gone: the owner of the new namespace has to be up again by then,
because the engine tries to join it only once."""


class Lifetime:
    """Whether to go on serving.

    ``interface`` names the network interface to watch (None: none). ``interface_exists`` and
    ``clock`` (monotonic seconds) are arguments so that a test can hand over its own.
    """

    def __init__(
        self,
        interface: str | None = None,
        *,
        interface_exists: Callable[[str], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reason = ""
        self._interface = interface
        self._interface_exists = interface_exists or _interface_exists
        self._clock = clock
        self._next_look = clock()
        self._gone_since: float | None = None

    def end_on_signals(self) -> "Lifetime":
        """Make SIGTERM and SIGINT end this lifetime. Call from the main thread; returns self."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        return self

    def over(self) -> bool:
        """Return True once the server should stop; ``reason`` then says why."""
        if not self.reason and self._interface is not None and self._clock() >= self._next_look:
            self._look_at_interface(self._interface)
        return bool(self.reason)

    def end(self, reason: str) -> None:
        """End it now, for ``reason`` (one or two words for the log)."""
        self.reason = self.reason or reason

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.end(signal.Signals(number).name)

    def _look_at_interface(self, interface: str) -> None:
        now = self._clock()
        self._next_look = now + 4 * TICK_S
        if self._interface_exists(interface):
            self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = now
        elif now - self._gone_since >= NAMESPACE_GRACE_S:
            self.end(f"interface {interface} is gone")


def _interface_exists(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:  # ENODEV: no interface of that name in this namespace
        return False
    return True
