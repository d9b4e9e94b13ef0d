"""Which answer belongs to which attempt, and what became of the others. Pure.

An answer that quotes its ping (as the lab's server and every echo server do) says itself which
attempt it answers, so that Karn's problem (RFC 6298, section 3: was that the answer to the first
sending or to the second?) does not arise, and a late answer is as good a sample as any other.

A foreign server may answer with a fixed text, "OK". Such an answer is credited to an attempt only
if exactly one attempt of the whole run could have caused it: then it gives a round-trip sample.
Otherwise it completes the request that is waiting, but Karn's rule holds: no sample. What cannot
be seen from such answers is a duplicate made by the network: it may pass for the answer to the
next attempt. Let the server quote the datagram, and there is no doubt; and once a server has quoted
one, nothing that quotes none is an answer any more, nor was it one before.

What became of an attempt without an answer, only the server's account tells (``settle``).

Instants are nanoseconds of one clock that never steps (``time.monotonic_ns``). The kernel's stamps
are already on that scale when they come in here.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from services.udp.protocol import Fate, Times, find_ping, find_times

STAMP_SLACK_NS = 2_000
"""By so much a kernel stamp may seem to contradict the program's own clock readings."""

QUEUED_NS = 200_000
"""Between its two stamps a packet passes some code, which takes microseconds; more was a queue."""


class Outcome(StrEnum):
    """What became of an attempt: each ends as exactly one of these."""

    ANSWERED = "answered"
    LATE = "answered late"
    """Its answer came after its timeout."""
    DROPPED = "dropped by the server"
    """On purpose: the server says so."""
    LOST_THERE = "lost on the way there"
    """The server has not received it."""
    LOST_BACK = "lost on the way back"
    """The server has answered it."""
    REFUSED = "refused"
    """An ICMP error came back in place of an answer."""
    UNKNOWN = "unknown"
    """No answer came that is known to be its own, and nobody can say why."""
    UNSENT = "not sent"
    """The system on this machine would not send it: there was no datagram."""


@dataclass(slots=True)
class Attempt:
    """One datagram of a request: ``number`` 1 is the first, the others are retries.

    ``sequence`` counts all datagrams of the run. ``sent_ns`` and ``received_ns`` are read by the
    program just before sending and just after receiving; ``left_ns`` and ``arrived_ns`` are the
    kernel's stamps, where it gave any. ``fate`` is what the server's account says, if it says.
    """

    request: int
    number: int
    sequence: int
    sent_ns: int
    timeout_ns: int
    left_ns: int | None = None
    received_ns: int | None = None
    arrived_ns: int | None = None
    times: Times | None = None
    fate: Fate | None = None
    duplicates: int = 0
    reordered: bool = False
    timed_out: bool = False
    refusal: str = ""
    send_error: str = ""

    @property
    def elapsed_ns(self) -> int | None:
        """From sending to answer, the server's holding included: what a timeout has to cover."""
        if self.received_ns is None:
            return None
        left_ns = self.sent_ns if self.left_ns is None else self.left_ns
        return (self.received_ns if self.arrived_ns is None else self.arrived_ns) - left_ns

    @property
    def held_ns(self) -> int | None:
        """How long the server held this datagram, if its kernel tells and that can be true."""
        elapsed_ns, times = self.elapsed_ns, self.times
        if elapsed_ns is None or times is None or not times.by_kernel:
            return None
        return times.held_ns if times.held_ns <= elapsed_ns else None

    @property
    def rtt_ns(self) -> int | None:
        """The round trip of this very datagram and its answer, without the server's holding."""
        elapsed_ns = self.elapsed_ns
        return None if elapsed_ns is None else elapsed_ns - (self.held_ns or 0)

    @property
    def by_kernel(self) -> bool:
        """Whether both ends of the round trip are the kernel's stamps."""
        return self.left_ns is not None and self.arrived_ns is not None

    @property
    def outcome(self) -> Outcome:
        """What became of it, as far as is known by now."""
        if (elapsed_ns := self.elapsed_ns) is not None:
            return Outcome.ANSWERED if elapsed_ns <= self.timeout_ns else Outcome.LATE
        if self.send_error:
            return Outcome.UNSENT
        if self.fate is not None and self.fate.copies:
            only_dropped = self.fate.dropped == self.fate.copies
            return Outcome.DROPPED if only_dropped else Outcome.LOST_BACK
        if self.refusal:
            return Outcome.REFUSED
        return Outcome.UNKNOWN if self.fate is None else Outcome.LOST_THERE


@dataclass(slots=True)
class Request:
    """What the user asked for once: a message to be confirmed, in as many attempts as it takes."""

    number: int
    attempts: list[Attempt] = field(default_factory=list)
    confirmed_ns: int | None = None
    gave_up: bool = False

    @property
    def time_to_confirmation_ns(self) -> int | None:
        """From the first sending to the first answer: waits for lost attempts included."""
        if self.confirmed_ns is None:
            return None
        return self.confirmed_ns - self.attempts[0].sent_ns


class Credit(StrEnum):
    """What an incoming datagram turned out to be."""

    ANSWER = "answer"
    """The first answer to its attempt."""
    AMBIGUOUS = "ambiguous answer"
    """An answer, but nobody can say to which attempt."""
    DUPLICATE = "duplicate"
    """Its attempt has been answered already."""
    STRAY = "stray"
    """Nothing that this run has sent can have caused it."""


@dataclass(frozen=True)
class Receipt:
    """What an incoming datagram was credited as, and to what.

    ``completed`` is the request that it was the first answer to, if it was; ``reason`` says why a
    stray is one.
    """

    credit: Credit
    attempt: Attempt | None = None
    completed: Request | None = None
    reason: str = ""


class Ledger:
    """Everything that a run has sent, and what came back for it."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.requests: list[Request] = []
        self.attempts: list[Attempt] = []
        """In the order of sending: that with sequence number n stands at n - 1."""
        self.strays: Counter[str] = Counter()
        self.duplicates = 0
        self.reordered = 0
        self.ambiguous_answers = 0
        self.answers_in_order: list[Attempt] = []
        """The answered attempts, in the order in which their first answers came."""
        self._unanswered: dict[int, Attempt] = {}
        self._highest_answered = 0
        self._quotes = False  # whether this server has quoted a ping of this run
        self._guessed: list[Attempt] = []

    def begin(self) -> Request:
        """Open the next request."""
        request = Request(len(self.requests) + 1)
        self.requests.append(request)
        return request

    def sent(self, request: Request, sent_ns: int, timeout_ns: int) -> Attempt:
        """Note that the request's next attempt has been sent."""
        number, sequence = len(request.attempts) + 1, len(self.attempts) + 1
        attempt = Attempt(request.number, number, sequence, sent_ns, timeout_ns)
        request.attempts.append(attempt)
        self.attempts.append(attempt)
        self._unanswered[sequence] = attempt
        return attempt

    def timed_out(self, attempt: Attempt) -> None:
        """Note that nobody waits for this attempt any more; its answer would be late."""
        attempt.timed_out = True

    def not_sent(self, attempt: Attempt, reason: str) -> None:
        """Note that the system would not send it: nothing can answer it."""
        attempt.send_error = reason
        self._unanswered.pop(attempt.sequence, None)

    def left(self, quote: bytes, left_ns: int) -> None:
        """Note the kernel's stamp of sending the datagram that is quoted.

        Two come: when it was handed to the interface's queue, and when it left it. The second
        counts, being the wire's; but if this machine's own queue held it (netem, a full link), the
        first: that wait is a part of the path.
        """
        attempt = self._find(quote)
        if attempt is None or left_ns < attempt.sent_ns - STAMP_SLACK_NS:
            return
        if attempt.left_ns is None or left_ns - attempt.left_ns < QUEUED_NS:
            attempt.left_ns = left_ns

    def refused(self, quote: bytes, reason: str) -> Attempt | None:
        """Note an ICMP error, which quotes the datagram that caused it; return its attempt."""
        attempt = self._find(quote)
        if attempt is None or self._unanswered.pop(attempt.sequence, None) is None:
            return None
        attempt.refusal = reason
        return attempt

    def settle(self, attempt: Attempt, fate: Fate) -> bool:
        """Note what the server's account says; return False if that contradicts what came back."""
        if attempt.received_ns is not None and not fate.answered:
            return False
        attempt.fate = fate
        return True

    def received(
        self,
        datagram: bytes,
        received_ns: int,
        from_server: bool,
        arrived_ns: int | None = None,
    ) -> Receipt:
        """Credit an incoming datagram; ``from_server``: it has the server's address and port."""
        if not from_server:
            return self._stray("from another address")
        ping = find_ping(datagram)
        if ping is None:
            if self._quotes or datagram.startswith(b"received "):
                return self._stray("that quotes no whole ping")
            return self._received_without_ping(received_ns, arrived_ns)
        if ping.run != self.run:
            return self._stray("of another run")
        attempt = self._find(datagram)
        if attempt is None or attempt.send_error:
            return self._stray("for an attempt that was never sent")
        if not self._quotes:
            self._quotes = True
            self._take_back_guesses()
        return self._credit(attempt, received_ns, arrived_ns, find_times(datagram))

    def _find(self, quote: bytes) -> Attempt | None:
        ping = find_ping(quote)
        if ping is None or ping.run != self.run or ping.request > len(self.requests):
            return None
        attempts = self.requests[ping.request - 1].attempts
        if ping.attempt > len(attempts):
            return None
        attempt = attempts[ping.attempt - 1]
        return attempt if ping.number in (None, attempt.sequence) else None

    def _credit(
        self, attempt: Attempt, received_ns: int, arrived_ns: int | None, times: Times | None = None
    ) -> Receipt:
        if attempt.received_ns is not None:
            attempt.duplicates += 1
            self.duplicates += 1
            return Receipt(Credit.DUPLICATE, attempt)
        attempt.received_ns = received_ns
        left_ns = attempt.sent_ns if attempt.left_ns is None else attempt.left_ns
        if arrived_ns is not None and arrived_ns >= left_ns:
            attempt.arrived_ns = arrived_ns
        attempt.times = times
        if attempt.sequence < self._highest_answered:  # RFC 4737, section 3.3
            attempt.reordered = True
            self.reordered += 1
        self._highest_answered = max(self._highest_answered, attempt.sequence)
        self.answers_in_order.append(attempt)
        self._unanswered.pop(attempt.sequence, None)
        request = self.requests[attempt.request - 1]
        return Receipt(Credit.ANSWER, attempt, self._complete(request, received_ns))

    def _received_without_ping(self, received_ns: int, arrived_ns: int | None) -> Receipt:
        if len(self._unanswered) <= self.ambiguous_answers:  # as many answers as attempts already
            self.duplicates += 1
            return Receipt(Credit.DUPLICATE)
        if len(self._unanswered) == 1:
            (attempt,) = self._unanswered.values()
            self._guessed.append(attempt)
            return self._credit(attempt, received_ns, arrived_ns)
        self.ambiguous_answers += 1
        return Receipt(Credit.AMBIGUOUS, completed=self._complete(self.requests[-1], received_ns))

    def _take_back_guesses(self) -> None:
        """Take for strays what was credited before this server was known to quote its pings."""
        for attempt in self._guessed:
            attempt.received_ns = attempt.arrived_ns = None
            self.answers_in_order.remove(attempt)
            self._unanswered[attempt.sequence] = attempt
        if mistaken := len(self._guessed) + self.ambiguous_answers:
            self.strays["that quotes no whole ping"] += mistaken
        self._guessed.clear()
        self.ambiguous_answers = self._highest_answered = 0

    def _complete(self, request: Request, confirmed_ns: int) -> Request | None:
        if request.confirmed_ns is not None or request.gave_up:
            return None
        request.confirmed_ns = confirmed_ns
        return request

    def _stray(self, reason: str) -> Receipt:
        self.strays[reason] += 1
        return Receipt(Credit.STRAY, reason=reason)
