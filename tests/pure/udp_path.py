"""A path to a UDP server in virtual time: a ``Wire`` on which hours pass at once."""

from collections.abc import Callable, Hashable, Iterable
from heapq import heappop, heappush
from itertools import count

from clients.udp.pinger import Arrival, Refusal, SendError
from services.udp.account import Accounts
from services.udp.protocol import (
    ANSWERED,
    DROPPED,
    LARGEST_GROWTH,
    LARGEST_TIMES,
    Account,
    confirm,
    find_account_question,
    find_ping,
    times_text,
)

MS = 1_000_000

Answer = tuple[int, bytes]
"""Delay in nanoseconds, and what comes in after it."""


class VirtualWire:
    """Calls ``path`` with each datagram sent; it returns what comes back, and after how long.

    A ``Refusal`` in place of bytes is an ICMP error, and ``stranger(data)`` an answer from another
    address. ``path`` raises OSError where the system would refuse to send.
    """

    def __init__(self, path: Callable[[bytes], Iterable[tuple[int, "bytes | Other"]]]) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self._path = path
        self._now_ns = 5_000_000_000
        self._coming: list[tuple[int, int, Arrival | Refusal]] = []
        self._order = count()

    def now_ns(self) -> int:
        return self._now_ns

    def send(self, datagram: bytes) -> int:
        try:
            answers = list(self._path(datagram))
        except OSError as error:
            raise SendError(str(error), self._now_ns) from error
        self.sent.append((self._now_ns, datagram))
        for delay_ns, data in answers:
            at_ns = self._now_ns + delay_ns
            incoming = Arrival(data, at_ns, True) if isinstance(data, bytes) else data
            if isinstance(incoming, Arrival):
                incoming = Arrival(incoming.datagram, at_ns, incoming.from_server)
            heappush(self._coming, (at_ns, next(self._order), incoming))
        return self._now_ns

    def receive(self, deadline_ns: int) -> Arrival | Refusal | None:
        if self._coming and self._coming[0][0] <= max(deadline_ns, self._now_ns):
            at_ns, _, incoming = heappop(self._coming)
            self._now_ns = max(self._now_ns, at_ns)
            return incoming
        self._now_ns = max(self._now_ns, deadline_ns)
        return None


Other = Arrival | Refusal


def stranger(data: bytes) -> Arrival:
    """Return an answer that comes from another address than the server's."""
    return Arrival(data, 0, False)


class LabServer:
    """The lab's UDP server on such a path: ``drop`` decides; it accounts, and tells the times.

    ``clock_ns`` is the wire's clock, which is made after it: set it then.
    """

    def __init__(self, drop: Callable[[Hashable], bool], held_ns: int = 7_000) -> None:
        self.clock_ns: Callable[[], int] = lambda: 0
        self.restart(drop)
        self._held_ns = held_ns

    def restart(self, drop: Callable[[Hashable], bool]) -> None:
        """Forget everything, as a server does that is started anew."""
        self.drop = drop
        self.accounts = Accounts(lambda: self.clock_ns())

    def __call__(self, datagram: bytes) -> bytes | None:
        """Return what the server sends for a datagram that reaches it, or None."""
        if question := find_account_question(datagram):
            codes = self.accounts.codes(question.run, question.first, question.last)
            complete_s = self.accounts.complete_s(question.run)
            told = Account(question.run, question.first, complete_s, 0.5, codes)
            return told.datagram(len(datagram) + LARGEST_GROWTH + LARGEST_TIMES)
        ping = find_ping(datagram)
        assert ping is not None
        assert ping.number is not None
        dropped = self.drop("client")
        self.accounts.note(ping.run, ping.number, DROPPED if dropped else ANSWERED)
        times = times_text(1_792_000_000_123_456_789, self._held_ns, True)
        return None if dropped else confirm(datagram, times)
