"""The exercise itself: send, wait, send again; request after request. And the paced way.

Pure: socket and clock are behind ``Wire``, so a test can run it through a path of its own making,
in no time. ``Pinger.run`` yields an event for everything that happens, when it happens.

One attempt at a time is unexpired, but all that were sent can still be answered: whatever comes
in is given to the ledger, and a late answer completes the request that waits for it, also when it
answers an earlier attempt than the latest.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from clients.udp.ledger import Attempt, Credit, Ledger, Request
from clients.udp.schedule import Schedule
from services.udp.protocol import LARGEST_DATAGRAM, Ping

FAILURES_THAT_END_A_RUN = 3
"""So many attempts in a row refused or not sent, before any answer: there is no server there."""

LAST_LISTEN_S = 0.2
LONGEST_LAST_LISTEN_S = 3.0
"""How long a run listens on after its last datagram, in seconds."""

TAKEN_TOO_LATE = 8
"""How many things that came in are taken in when the next datagram is already due."""

_HIGHEST = 999_999_999
"""Requests and attempts have at most nine digits in a ping."""


@dataclass(frozen=True)
class Arrival:
    """A datagram that came in; ``from_server``: from the very address and port that was asked.

    ``received_ns`` is just after the receive call, ``arrived_ns`` the kernel's stamp, if any.
    """

    datagram: bytes
    received_ns: int
    from_server: bool
    arrived_ns: int | None = None


@dataclass(frozen=True)
class Departure:
    """The kernel's stamp of a datagram that was sent, and the datagram, behind its headers."""

    quote: bytes
    left_ns: int


@dataclass(frozen=True)
class Refusal:
    """An ICMP error that came in: the datagram that it quotes, and its meaning in words."""

    quote: bytes
    reason: str


class Wire(Protocol):
    """Datagrams to and from one server, and the clock by which they are stamped."""

    def now_ns(self) -> int:
        """Return nanoseconds on a clock that never steps."""

    def send(self, datagram: bytes) -> int:
        """Send, and return the instant just before. Raises SendError."""

    def receive(self, deadline_ns: int) -> Arrival | Departure | Refusal | None:
        """Return the next thing that comes in, or None at the deadline.

        May raise what is to end the run: then every datagram sent is in the ledger.
        """


class PingError(Exception):
    """What keeps this client from pinging; the text is a sentence."""


class TooLarge(PingError):
    """Head and message do not fit the datagram."""


class SendError(PingError):
    """The system would not send: why, in words, and the instant of the try."""

    def __init__(self, reason: str, sent_ns: int) -> None:
        super().__init__(reason)
        self.sent_ns = sent_ns


class What(Enum):
    """What an event tells."""

    SENT = auto()
    NOT_SENT = auto()
    TIMED_OUT = auto()
    REFUSED = auto()
    ANSWERED = auto()
    """The first answer to an attempt, in time or late; ``completed``: and so to its request."""
    ANSWERED_AMBIGUOUSLY = auto()
    DUPLICATE = auto()
    STRAY = auto()
    GAVE_UP = auto()
    RTO = auto()
    """The adaptive timeout has changed: ``reason`` says how."""


@dataclass(frozen=True)
class Event:
    """Something that happened: to which attempt, and in words where words are needed."""

    what: What
    attempt: Attempt | None = None
    completed: Request | None = None
    reason: str = ""


class Pinger:
    """Runs the schedule over a wire; the ledger has the results, at any moment.

    ``message`` is what each ping carries, padded to ``size`` bytes in all. Raises TooLarge when
    the largest ping would not fit ``size``, or a datagram.
    """

    def __init__(
        self,
        wire: Wire,
        schedule: Schedule,
        run: str,
        message: bytes = b"",
        size: int | None = None,
    ) -> None:
        tries = 1 if schedule.paced else min(schedule.max_tries, _HIGHEST)
        highest = Ping(run, schedule.count, tries, min(schedule.count * tries, _HIGHEST))
        needed = len(highest.datagram(message))
        if needed > (LARGEST_DATAGRAM if size is None else size):
            limit = f"{LARGEST_DATAGRAM} that UDP carries" if size is None else f"--size {size}"
            raise TooLarge(f"head and message need up to {needed} bytes, more than {limit}")
        self.ledger = Ledger(run)
        self.schedule = schedule
        self.timeouts = schedule.timeouts()
        self.hopeless = ""
        """Why the run ended early, if it did."""
        self.begun_ns = wire.now_ns()
        self._wire = wire
        self._message = message
        self._size = size or 0
        self._failures_in_a_row = 0

    def run(self) -> Iterator[Event]:
        """Make all requests."""
        yield from self._make_paced() if self.schedule.paced else self._make_one_by_one()
        if not self.hopeless:
            yield from self._listen(self.ledger.attempts[-1].sent_ns + self.last_listen_ns())

    def last_listen_ns(self) -> int:
        """Return for how long after its sending something may still happen to a datagram.

        The time that the slowest answer of this run took, twice, because late answers and
        duplicates belong into the account. At least ``LAST_LISTEN_S`` (or the first timeout, if
        that is shorter), at most ``LONGEST_LAST_LISTEN_S``.
        """
        slowest_ns = max((a.elapsed_ns or 0 for a in self.ledger.answers_in_order), default=0)
        least_ns = min(self.schedule.timeout_ns(1), round(LAST_LISTEN_S * 1e9))
        return min(max(least_ns, 2 * slowest_ns), round(LONGEST_LAST_LISTEN_S * 1e9))

    def _make_one_by_one(self) -> Iterator[Event]:
        """Make each request when the one before is done with."""
        interval_ns = round(self.schedule.interval_s * 1e9)
        next_ns = self._wire.now_ns()
        for _ in range(self.schedule.count):
            yield from self._listen(next_ns)
            request = self.ledger.begin()
            yield from self._make(request)
            if self.hopeless:
                return
            next_ns = request.attempts[0].sent_ns + interval_ns

    def _make_paced(self) -> Iterator[Event]:
        """Send each request when its time has come, whatever became of those before.

        The times are fixed at the beginning, so that a pause of this program is made up for.
        """
        interval_ns = round(self.schedule.interval_s * 1e9)
        begin_ns = self._wire.now_ns()
        waiting: deque[Attempt] = deque()
        for number in range(self.schedule.count):
            yield from self._listen(begin_ns + number * interval_ns)
            request = self.ledger.begin()
            attempt = self._send(request, self.timeouts.timeout_ns(1))
            yield Event(What.NOT_SENT if attempt.send_error else What.SENT, attempt)
            waiting.append(attempt)
            while waiting and waiting[0].sent_ns + waiting[0].timeout_ns <= self._wire.now_ns():
                yield from self._end_paced(waiting.popleft())
            if self.hopeless:
                return
        while waiting and not self.hopeless:
            yield from self._listen(waiting[0].sent_ns + waiting[0].timeout_ns)
            yield from self._end_paced(waiting.popleft())

    def _end_paced(self, attempt: Attempt) -> Iterator[Event]:
        request = self.ledger.requests[attempt.request - 1]
        if request.confirmed_ns is None:
            self.ledger.timed_out(attempt)
            self._judge(attempt)
            request.gave_up = True
            yield Event(What.GAVE_UP, attempt)

    def _make(self, request: Request) -> Iterator[Event]:
        for number in range(1, self.schedule.max_tries + 1):
            attempt = self._send(request, self.timeouts.timeout_ns(number))
            yield Event(What.NOT_SENT if attempt.send_error else What.SENT, attempt)
            yield from self._listen(attempt.sent_ns + attempt.timeout_ns, request)
            if request.confirmed_ns is not None:
                return
            self.ledger.timed_out(attempt)
            self._judge(attempt)
            last = self.hopeless or number == self.schedule.max_tries
            request.gave_up = bool(last)
            yield Event(What.GAVE_UP if last else What.TIMED_OUT, attempt)
            if change := self.timeouts.expired():
                yield Event(What.RTO, attempt, reason=change)
            if last:
                return
            if pause_ns := self.timeouts.pause_ns(number):
                yield from self._listen(attempt.sent_ns + attempt.timeout_ns + pause_ns, request)
                if request.confirmed_ns is not None:
                    return

    def _send(self, request: Request, timeout_ns: int) -> Attempt:
        sequence = len(self.ledger.attempts) + 1
        number = sequence if sequence <= _HIGHEST else None
        ping = Ping(self.ledger.run, request.number, len(request.attempts) + 1, number)
        try:
            sent_ns = self._wire.send(ping.datagram(self._message, self._size))
        except SendError as error:
            attempt = self.ledger.sent(request, error.sent_ns, timeout_ns)
            self.ledger.not_sent(attempt, str(error))
            return attempt
        return self.ledger.sent(request, sent_ns, timeout_ns)

    def _listen(self, deadline_ns: int, request: Request | None = None) -> Iterator[Event]:
        """Take in what comes until the deadline, or until ``request`` has its answer."""
        taken_too_late = 0
        while request is None or request.confirmed_ns is None:
            incoming = self._wire.receive(deadline_ns)
            if incoming is None:
                return
            yield from self.take(incoming)
            # A flood of strays must not hold up the next datagram, nor a late one its answers.
            taken_too_late += self._wire.now_ns() >= deadline_ns
            if taken_too_late >= TAKEN_TOO_LATE:
                return

    def take(self, incoming: Arrival | Departure | Refusal) -> Iterator[Event]:
        """Enter what came in into the ledger, and tell."""
        if isinstance(incoming, Departure):
            self.ledger.left(incoming.quote, incoming.left_ns)
            return
        if isinstance(incoming, Refusal):
            attempt = self.ledger.refused(incoming.quote, incoming.reason)
            if attempt is not None:
                yield Event(What.REFUSED, attempt, reason=incoming.reason)
            return
        receipt = self.ledger.received(
            incoming.datagram, incoming.received_ns, incoming.from_server, incoming.arrived_ns
        )
        yield Event(_WHAT_CAME[receipt.credit], receipt.attempt, receipt.completed, receipt.reason)
        if receipt.credit is Credit.ANSWER and receipt.attempt is not None:
            change = self.timeouts.sampled(receipt.attempt.elapsed_ns or 0)
            if change:
                yield Event(What.RTO, receipt.attempt, reason=change)

    def _judge(self, attempt: Attempt) -> None:
        """See whether there is any point in going on."""
        reason = attempt.send_error or attempt.refusal
        self._failures_in_a_row = self._failures_in_a_row + 1 if reason else 0
        answered = self.ledger.answers_in_order or self.ledger.ambiguous_answers
        if self._failures_in_a_row >= FAILURES_THAT_END_A_RUN and not answered:
            self.hopeless = reason


_WHAT_CAME = {
    Credit.ANSWER: What.ANSWERED,
    Credit.AMBIGUOUS: What.ANSWERED_AMBIGUOUSLY,
    Credit.DUPLICATE: What.DUPLICATE,
    Credit.STRAY: What.STRAY,
}
