"""What became of each UDP datagram in a capture: question, answer, and the server's account joined.

The tap is in the server's namespace: what comes in passes it before it may be lost there, what goes
out passes it after. So, for each attempt of a run::

    an answer passed the tap, going out             answered, late if the retry came in before it
    the account says "answered", no answer passed   lost on the way back
    the account says "dropped", and nothing else    dropped by the server
    the account says "never received"               lost on the way there (also where it did not
                                                    even pass the tap: a number is missing then)
    there is no account, nor the server's log       unknown

The account travels on the wire like everything else (docs/udp.md): the client asks for it when its
run is over, and the capture holds it. Where it does not (``nc``, a client that was stopped), the
server's log of that time says the same (``settle_by_log``). Datagrams without the lab's head are
matched by what they say, and in the log by sender, size and time. Pure.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from clients.udp.ledger import Outcome
from lab.pcapng import Datagram, Endpoint
from services.udp import protocol
from services.udp.protocol import Account, Fate, Times


@dataclass(frozen=True)
class Answer:
    """An answer as it passed the tap; ``times``: what it tells. ``damaged``: thrown away later."""

    time_ns: int
    times: Times | None = None
    damaged: bool = False


@dataclass
class Trip:
    """One attempt: when its question passed the tap (each copy), and its answers.

    ``number`` counts the run's datagrams. ``asked_ns`` is empty if it did not pass at all:
    ``about_ns`` then says when it may have been sent. ``given_up_ns``: when the client tried again.
    """

    request: int
    attempt: int
    number: int | None = None
    asked_ns: list[int] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    fate: Fate | None = None
    about_ns: int = 0
    given_up_ns: int | None = None
    size: int = 0

    @property
    def sent_ns(self) -> int:
        """When it passed the tap, or about when it was sent if it did not."""
        return self.asked_ns[0] if self.asked_ns else self.about_ns

    @property
    def answer(self) -> Answer | None:
        """The first answer that can have been read."""
        return next((answer for answer in self.answers if not answer.damaged), None)

    @property
    def outcome(self) -> Outcome:
        """What became of it, as far as capture and account tell."""
        if (answer := self.answer) is not None:
            late = self.given_up_ns is not None and answer.time_ns > self.given_up_ns
            return Outcome.LATE if late else Outcome.ANSWERED
        if self.answers:  # damaged, all of them
            return Outcome.LOST_BACK
        if self.fate is None:
            return Outcome.UNKNOWN
        if not self.fate.copies:
            return Outcome.LOST_THERE
        only_dropped = self.fate.dropped == self.fate.copies
        return Outcome.DROPPED if only_dropped else Outcome.LOST_BACK


@dataclass
class Run:
    """What one client sent; ``name`` is the run's identifier, "" where there is none."""

    name: str
    client: Endpoint
    trips: list[Trip]
    account: bool = False

    @property
    def requests(self) -> list[int]:
        """The numbers of its requests, in order."""
        return list(dict.fromkeys(trip.request for trip in self.trips))


def runs(datagrams: Iterable[Datagram], port: int = protocol.PORT) -> list[Run]:
    """Return the runs in a capture, in the order of their beginning.

    ``port`` is the server's, by which datagrams without the lab's head are known.
    """
    found: dict[tuple[Endpoint, str], _Collected] = {}
    for datagram in datagrams:
        if question := protocol.match_ping(datagram.data):
            name = question[1].decode()
            if not datagram.damaged:
                of_run = found.setdefault((datagram.source, name), _Collected(name))
                of_run.asked(question, datagram.time_ns)
        elif asked := protocol.find_account_question(datagram.data):
            if collected := found.get((datagram.source, asked.run)):
                collected.last = max(collected.last, asked.last)
        elif account := protocol.find_account(datagram.data):
            if collected := found.get((datagram.destination, account.run)):
                collected.accounts.append((datagram.time_ns, account))
        elif datagram.data.startswith(b"received ") and (
            ping := protocol.find_ping(datagram.data[:2000])
        ):
            if collected := found.get((datagram.destination, ping.run)):
                times = protocol.find_times(datagram.data)
                collected.answered(
                    (ping.request, ping.attempt), Answer(datagram.time_ns, times, datagram.damaged)
                )
        elif datagram.destination[1] == port:
            if datagram.data != protocol.HEALTH_CHECK:
                plain = found.setdefault((datagram.source, ""), _Collected(""))
                plain.asked_plainly(datagram)
        elif datagram.source[1] == port and (collected := found.get((datagram.destination, ""))):
            collected.answered_plainly(datagram)
    return [collected.run(client) for (client, _), collected in found.items()]


_LOGGED = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})Z\b.*\b(?P<end>answered|dropped|unanswered)\b"
    r".*\bclient\"?[=:] ?\"?(?P<address>[0-9a-f.:]+):(?P<port>\d+)\"?,? "
    r"\"?bytes\"?[=:] ?(?P<bytes>\d+)(?:,? \"?ping\"?[=:] ?\"?(?P<ping>[0-9a-f]{8}/\d+\.\d+))?"
)
_LOG_EARLY_NS, _LOG_LATE_NS = 2_000_000, 1_000_000_000
"""The log's times are in milliseconds, and a delay on the way in comes after the tap."""


def settle_by_log(found: Iterable[Run], lines: Iterable[str]) -> None:
    """Let the server's log say what became of whatever no account tells of.

    The log is of all the time of the capture, human or JSON. What it does not mention the server
    has not received; a log without a single datagram (``UDP_LOG=off``) says nothing.
    """
    logged = [match for line in lines if (match := _LOGGED.search(line))]
    if not logged:
        return
    by_ping: dict[str, Counter[str]] = {}
    by_sender: dict[tuple[Endpoint, int], list[tuple[int, str]]] = {}
    for match in logged:
        if match["ping"]:
            by_ping.setdefault(match["ping"], Counter())[match["end"]] += 1
        else:
            sender = ((match["address"], int(match["port"])), int(match["bytes"]))
            moment = datetime.fromisoformat(match["time"] + "+00:00")
            time_ns = round(moment.timestamp() * 1000) * 1_000_000
            by_sender.setdefault(sender, []).append((time_ns, match["end"]))
    for run in found:
        for trip in run.trips:
            if trip.fate is not None:
                continue
            if run.name:
                ends = by_ping.get(f"{run.name}/{trip.request}.{trip.attempt}", Counter())
            else:
                ends = _ends(by_sender.get((run.client, trip.size), []), trip.sent_ns)
            trip.fate = Fate(ends["answered"], ends["dropped"], ends["unanswered"])


def _ends(entries: list[tuple[int, str]], sent_ns: int) -> Counter[str]:
    """Take from a sender's log lines the one that is about the datagram of that moment."""
    for place, (time_ns, end) in enumerate(entries):
        if -_LOG_EARLY_NS <= time_ns - sent_ns <= _LOG_LATE_NS:
            del entries[place]
            return Counter([end])
    return Counter()


class _Collected:
    """A run while the capture is gone through."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.trips: dict[tuple[int, int], Trip] = {}
        self.accounts: list[tuple[int, Account]] = []
        self.last = 0
        self._said: list[tuple[bytes, Trip]] = []

    def asked(self, head: re.Match[bytes], time_ns: int) -> None:
        """Take in a ping; ``head`` is what ``match_ping`` found."""
        request, attempt = map(int, head[2].split(b"."))
        number = head[3]
        trip = self.trips.setdefault((request, attempt), Trip(request, attempt))
        trip.number = int(number) if number else None
        trip.asked_ns.append(time_ns)

    def answered(self, key: tuple[int, int], answer: Answer) -> None:
        """Take in a confirmation; one whose question has not passed is of no use."""
        if key in self.trips:
            self.trips[key].answers.append(answer)

    def asked_plainly(self, datagram: Datagram) -> None:
        """Take in any other datagram; the same again, unanswered, is a retry."""
        before = self._said[-1] if self._said else None
        if before is not None and before[0] == datagram.data and not before[1].answers:
            trip = Trip(before[1].request, before[1].attempt + 1)
        else:
            trip = Trip(before[1].request + 1 if before else 1, 1)
        trip.asked_ns.append(datagram.time_ns)
        trip.size = datagram.size
        self.trips[trip.request, trip.attempt] = trip
        self._said.append((datagram.data, trip))

    def answered_plainly(self, datagram: Datagram) -> None:
        """Take in an answer: to the newest datagram that it quotes, or else to the newest."""
        answer = Answer(datagram.time_ns, None, datagram.damaged)
        for said, trip in reversed(self._said):
            if said.strip() and said.strip()[: protocol.QUOTE_LIMIT] in datagram.data:
                trip.answers.append(answer)
                return
        if self._said:
            self._said[-1][1].answers.append(answer)

    def run(self, client: Endpoint) -> Run:
        self._settle()
        trips = sorted(self.trips.values(), key=lambda trip: (trip.sent_ns, trip.number or 0))
        newest: dict[int, Trip] = {}
        for trip in trips:
            if (before := newest.get(trip.request)) is not None:
                before.given_up_ns = trip.sent_ns
            newest[trip.request] = trip
        return Run(self.name, client, trips, bool(self.accounts))

    def _settle(self) -> None:
        """Let the account say what became of each datagram, and of those that did not pass."""
        told: dict[int, tuple[int, Fate]] = {}
        for time_ns, account in self.accounts:
            since_ns = time_ns - int(account.complete_s * 1e9)
            for number, code in enumerate(account.codes, account.first):
                told[number] = (since_ns, Fate.of(code))
        numbered = {trip.number: trip for trip in self.trips.values() if trip.number}
        for number, trip in _missing(numbered, self.last).items():
            if number in told and not told[number][1].copies:
                self.trips[trip.request, trip.attempt] = numbered[number] = trip
        for number, trip in numbered.items():
            if number in told and told[number][0] <= trip.sent_ns:
                trip.fate = told[number][1]


def _missing(numbered: Mapping[int, Trip], last: int) -> dict[int, Trip]:
    """Return the trips that are missing, by number, as far as it is certain which they were.

    A client sends the attempts of a request one after the other, then those of the next. Between
    3.1 (#5) and 4.1 (#8) there were 3.2 and 3.3; between 3.1 (#5) and 5.1 (#8), nobody can say.
    """
    found: dict[int, Trip] = {}
    seen = sorted(numbered)
    for low, high in zip(seen, seen[1:], strict=False):
        before, after = numbered[low], numbered[high]
        if after.request == before.request:
            places = [(before.request, before.attempt + n) for n in range(1, high - low)]
        elif after.request == before.request + 1:
            extra = high - low - after.attempt
            places = [(before.request, before.attempt + n) for n in range(1, extra + 1)]
            places += [(after.request, n) for n in range(1, after.attempt)]
        elif before.attempt == after.attempt == 1 and after.request - before.request == high - low:
            places = [(before.request + n, 1) for n in range(1, high - low)]  # paced: no retries
        else:
            continue
        if len(places) != high - low - 1:
            continue
        step_ns = (after.sent_ns - before.sent_ns) // (high - low)
        for n, place in enumerate(places, 1):
            found[low + n] = Trip(*place, low + n, about_ns=before.sent_ns + n * step_ns)
    if seen and seen[-1] < last:  # the end of the run: more attempts at the last request
        end = numbered[seen[-1]]
        waited_ns = _last_wait_ns([numbered[number] for number in seen])
        for n in range(1, last - seen[-1] + 1):
            about_ns = end.sent_ns + n * waited_ns
            number = seen[-1] + n
            found[number] = Trip(end.request, end.attempt + n, number, about_ns=about_ns)
    return found


def _last_wait_ns(trips: Sequence[Trip]) -> int:
    gaps = [b.sent_ns - a.sent_ns for a, b in zip(trips, trips[1:], strict=False)]
    return gaps[-1] if gaps else 200_000_000
