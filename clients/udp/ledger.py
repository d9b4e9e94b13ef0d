"""Which answer belongs to which attempt. Pure: datagrams and instants come in as arguments.

An answer that quotes its ping (as the lab's server and every echo server do) says itself which
attempt it answers, so that Karn's problem (RFC 6298, section 3: was that the answer to the first
sending or to the second?) does not arise, and a late answer is as good a sample as any other.

A foreign server may answer with a fixed text, "OK". Such an answer is credited to an attempt only
if exactly one attempt of the whole run could have caused it: then it gives a round-trip sample.
Otherwise it completes the request that is waiting, but Karn's rule holds: no sample. What cannot
be seen from such answers is a duplicate made by the network: it may pass for the answer to the
next attempt. Let the server quote the datagram, and there is no doubt.

Instants are nanoseconds of one clock that never steps (``time.monotonic_ns``).
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from services.udp.protocol import find_ping


class Outcome(StrEnum):
    """What became of an attempt: each ends as exactly one of these."""

    ANSWERED = "answered"
    LATE = "answered late"
    """Its answer came after its timeout."""
    UNANSWERED = "unanswered"
    UNKNOWN = "unknown"
    """An answer came that does not say whether it answers this attempt or another."""
    REFUSED = "refused"
    """An ICMP error came back in place of an answer."""
    UNSENT = "not sent"
    """The system on this machine would not send it."""
    WAITING = "waiting"
    """Not ended; after a run, only where it was interrupted."""


@dataclass
class Attempt:
    """One datagram of a request: ``number`` 1 is the first, the others are retries."""

    request: int
    number: int
    sent_ns: int
    timeout_ns: int
    received_ns: int | None = None
    duplicates: int = 0
    timed_out: bool = False
    waiting: bool = True
    ambiguous: bool = False
    refusal: str = ""
    send_error: str = ""

    @property
    def rtt_ns(self) -> int | None:
        """The round trip of this very datagram and its answer."""
        return None if self.received_ns is None else self.received_ns - self.sent_ns

    @property
    def outcome(self) -> Outcome:
        """What became of it, as far as is known."""
        if self.rtt_ns is not None:
            return Outcome.ANSWERED if self.rtt_ns <= self.timeout_ns else Outcome.LATE
        if self.send_error:
            return Outcome.UNSENT
        if self.refusal:
            return Outcome.REFUSED
        if self.ambiguous:
            return Outcome.UNKNOWN
        return Outcome.WAITING if self.waiting else Outcome.UNANSWERED


@dataclass
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
        self.strays: Counter[str] = Counter()
        self.duplicates = 0
        self.ambiguous_answers = 0
        self._attempts: dict[tuple[int, int], Attempt] = {}
        self._unanswered: dict[tuple[int, int], Attempt] = {}

    def begin(self) -> Request:
        """Open the next request."""
        request = Request(len(self.requests) + 1)
        self.requests.append(request)
        return request

    def sent(self, request: Request, sent_ns: int, timeout_ns: int) -> Attempt:
        """Note that the request's next attempt has been sent."""
        attempt = Attempt(request.number, len(request.attempts) + 1, sent_ns, timeout_ns)
        request.attempts.append(attempt)
        key = (attempt.request, attempt.number)
        self._attempts[key] = self._unanswered[key] = attempt
        return attempt

    def timed_out(self, attempt: Attempt) -> None:
        """Note that nobody waits for this attempt any more; its answer would be late."""
        attempt.timed_out = True
        attempt.waiting = False

    def not_sent(self, attempt: Attempt, reason: str) -> None:
        """Note that the system would not send it: nothing can answer it."""
        attempt.send_error = reason
        self._unanswered.pop((attempt.request, attempt.number), None)

    def refused(self, quote: bytes, reason: str) -> Attempt | None:
        """Note an ICMP error, which quotes the datagram that caused it; return its attempt."""
        ping = find_ping(quote)
        if ping is None or ping.run != self.run:
            return None
        attempt = self._unanswered.pop((ping.request, ping.attempt), None)
        if attempt is not None:
            attempt.refusal = reason
        return attempt

    def received(self, datagram: bytes, received_ns: int, from_server: bool) -> Receipt:
        """Credit an incoming datagram; ``from_server``: it has the server's address and port."""
        if not from_server:
            return self._stray("from another address")
        ping = find_ping(datagram)
        if ping is None:
            return self._received_without_ping(received_ns)
        if ping.run != self.run:
            return self._stray("of another run")
        attempt = self._attempts.get((ping.request, ping.attempt))
        if attempt is None or attempt.send_error:
            return self._stray("for an attempt that was never sent")
        return self._credit(attempt, received_ns)

    def _credit(self, attempt: Attempt, received_ns: int) -> Receipt:
        if attempt.received_ns is not None:
            attempt.duplicates += 1
            self.duplicates += 1
            return Receipt(Credit.DUPLICATE, attempt)
        attempt.received_ns = received_ns
        attempt.waiting = False
        self._unanswered.pop((attempt.request, attempt.number), None)
        request = self.requests[attempt.request - 1]
        return Receipt(Credit.ANSWER, attempt, self._complete(request, received_ns))

    def _received_without_ping(self, received_ns: int) -> Receipt:
        if len(self._unanswered) <= self.ambiguous_answers:  # as many answers as attempts already
            self.duplicates += 1
            return Receipt(Credit.DUPLICATE)
        if len(self._unanswered) == 1:
            return self._credit(next(iter(self._unanswered.values())), received_ns)
        self.ambiguous_answers += 1
        for attempt in self._unanswered.values():
            attempt.ambiguous = True
        return Receipt(Credit.AMBIGUOUS, completed=self._complete(self.requests[-1], received_ns))

    def _complete(self, request: Request, confirmed_ns: int) -> Request | None:
        if request.confirmed_ns is not None or request.gave_up:
            return None
        request.confirmed_ns = confirmed_ns
        for attempt in request.attempts:
            attempt.waiting = False
        return request

    def _stray(self, reason: str) -> Receipt:
        self.strays[reason] += 1
        return Receipt(Credit.STRAY, reason=reason)
