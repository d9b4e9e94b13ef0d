"""What became of attempts without an answer: answers and the server's account, put together."""

import random
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.udp.ledger import Outcome
from clients.udp.pinger import Pinger, What
from clients.udp.schedule import Schedule
from clients.udp.settlement import BUDGET_S, PIECE, PIECES_PER_BUDGET, Settlement, settle
from clients.udp.statistics import statistics
from services.udp.drop import ScheduledDrop, random_drop
from services.udp.protocol import confirm, find_ping
from tests.pure.udp_path import MS, Answer, LabServer, VirtualWire

Key = tuple[int, int]


class LossyPath:
    """Loses, duplicates and reorders each way, and remembers the truth about each attempt."""

    def __init__(self, server: LabServer, random_: random.Random, loss: float, copies: float = 0):
        self.truth: dict[Key, Outcome] = {}
        self._server = server
        self._random = random_
        self._loss = loss
        self._copies = copies

    def __call__(self, datagram: bytes) -> Iterator[Answer]:
        ping = find_ping(datagram)
        reached = answered = arrived = 0
        for _ in range(1 + (self._random.random() < self._copies)):
            if self._random.random() < self._loss:
                continue
            reached += 1
            if (answer := self._server(datagram)) is None:
                continue
            answered += 1
            for _ in range(1 + (self._random.random() < self._copies)):
                if self._random.random() >= self._loss:
                    arrived += 1
                    yield self._random.randrange(1, 40) * MS, answer
        if ping is not None:
            self.truth[ping.request, ping.attempt] = (
                Outcome.ANSWERED
                if arrived
                else Outcome.LOST_BACK
                if answered
                else Outcome.DROPPED
                if reached
                else Outcome.LOST_THERE
            )


def run(
    path: Callable[[bytes], Iterator[Answer]], server: LabServer, schedule: Schedule
) -> tuple[Pinger, Settlement, VirtualWire]:
    wire = VirtualWire(path)
    server.clock_ns = wire.now_ns  # it has been running for some seconds
    pinger = Pinger(wire, schedule, "7f3a9c01", b"hello")
    for _ in pinger.run():
        pass
    (settlement,) = [told for told in settle(wire, pinger) if isinstance(told, Settlement)]
    return pinger, settlement, wire


def outcomes(pinger: Pinger) -> dict[Key, Outcome]:
    """Return what became of each attempt; late answers as answers."""
    return {
        (a.request, a.number): Outcome.ANSWERED if a.outcome is Outcome.LATE else a.outcome
        for a in pinger.ledger.attempts
    }


@settings(deadline=None, max_examples=40)
@given(
    st.randoms(use_true_random=False),
    st.floats(0, 0.7),
    st.floats(0, 1),
    st.floats(0, 0.5),
    st.booleans(),
)
def test_whatever_the_path_does_each_attempt_ends_as_what_became_of_it(
    random_: random.Random, loss: float, drop: float, copies: float, paced: bool
) -> None:
    server = LabServer(random_drop(drop, random_.random))
    path = LossyPath(server, random_, loss, copies)
    schedule = Schedule(count=12, interval_s=0.003, max_tries=4, paced=paced)
    pinger, settlement, _ = run(path, server, schedule)
    figures = statistics(pinger.ledger)
    assert sum(figures.outcomes.values()) == len(pinger.ledger.attempts) == figures.datagrams_sent
    told = outcomes(pinger)
    assert set(told) == set(path.truth)
    for key, outcome in told.items():
        assert outcome in (path.truth[key], Outcome.UNKNOWN)
    if settlement.complete and not settlement.remark:
        assert told == path.truth


def test_thousands_of_paced_probes_are_all_attributed_through_a_bad_path() -> None:
    random_ = random.Random(5)
    server = LabServer(random_drop(0.5, random_.random))
    path = LossyPath(server, random_, loss=0.2, copies=0.1)
    schedule = Schedule(count=4000, interval_s=0.001, paced=True)
    pinger, settlement, _ = run(path, server, schedule)
    assert settlement.complete
    assert outcomes(pinger) == path.truth
    assert min(Counter(path.truth.values()).values()) > 200
    assert statistics(pinger.ledger).reordered > 0
    assert settlement.copies_there > 0


def test_the_exercise_tells_drops_from_losses_each_way() -> None:
    server = LabServer(ScheduledDrop({1, 3}))

    def path(datagram: bytes) -> Iterator[Answer]:
        ping = find_ping(datagram)
        if ping is not None and (ping.request, ping.attempt) == (2, 1):
            return
        answer = server(datagram)
        if answer is not None and not (ping is not None and (ping.request, ping.attempt) == (3, 1)):
            yield MS, answer

    pinger, settlement, _ = run(path, server, Schedule(count=3))
    assert outcomes(pinger) == {
        (1, 1): Outcome.DROPPED,
        (1, 2): Outcome.ANSWERED,
        (2, 1): Outcome.LOST_THERE,
        (2, 2): Outcome.DROPPED,
        (2, 3): Outcome.ANSWERED,
        (3, 1): Outcome.LOST_BACK,
        (3, 2): Outcome.ANSWERED,
    }
    assert (settlement.complete, settlement.drop, settlement.remark) == (True, 0.5, "")


def test_the_servers_holding_is_not_in_the_round_trip() -> None:
    server = LabServer(lambda client: False, held_ns=300_000)
    pinger, _, _ = run(lambda d: iter([(MS, server(d) or b"")]), server, Schedule(count=2))
    for attempt in pinger.ledger.attempts:
        assert (attempt.elapsed_ns, attempt.held_ns, attempt.rtt_ns) == (MS, 300_000, 700_000)


def test_a_holding_longer_than_the_whole_trip_is_not_believed() -> None:
    server = LabServer(lambda client: False, held_ns=2 * MS)
    pinger, _, _ = run(lambda d: iter([(MS, server(d) or b"")]), server, Schedule(count=1))
    (attempt,) = pinger.ledger.attempts
    assert (attempt.held_ns, attempt.rtt_ns) == (None, MS)


def test_after_a_restart_the_server_is_not_asked_for_what_it_cannot_know() -> None:
    """The server is started anew before the sixth datagram; the network loses every third."""
    server = LabServer(lambda client: False)
    sent = 0

    def path(datagram: bytes) -> Iterator[Answer]:
        nonlocal sent
        if find_ping(datagram) is not None:
            sent += 1
            if sent == 6:
                server.restart(server.drop)
            if sent % 3 == 0:
                return
        answer = server(datagram)
        assert answer is not None
        yield MS, answer

    schedule = Schedule(count=12, interval_s=0.1, paced=True)
    pinger, settlement, _ = run(path, server, schedule)
    told = outcomes(pinger)
    assert told[3, 1] is Outcome.UNKNOWN
    assert told[9, 1] is told[12, 1] is Outcome.LOST_THERE
    assert Counter(told.values())[Outcome.ANSWERED] == 8
    assert "cannot know" in settlement.remark


def test_an_account_that_contradicts_the_answers_is_not_believed() -> None:
    """Two servers behind one address: the one that is asked is not the one that answered."""
    server, other = LabServer(lambda client: False), LabServer(lambda client: False)
    other.clock_ns = lambda: 10_000 * MS

    def path(datagram: bytes) -> Iterator[Answer]:
        ping = find_ping(datagram)
        if ping is not None and ping.request == 2:
            return
        answer = server(datagram) if ping is not None else other(datagram)
        assert answer is not None
        yield MS, answer

    pinger, settlement, _ = run(path, server, Schedule(count=3, max_tries=1, paced=True))
    assert outcomes(pinger)[2, 1] is Outcome.UNKNOWN
    assert "contradicts 2 answers" in settlement.remark


def test_a_foreign_server_is_not_asked_and_its_causes_are_unknown() -> None:
    def path(datagram: bytes) -> Iterator[Answer]:
        assert datagram.startswith(b"ping ")
        if b" 2.1 " not in datagram:
            yield MS, confirm(datagram)

    pinger, settlement, _ = run(path, LabServer(lambda client: False), Schedule(count=3))
    assert outcomes(pinger)[2, 1] is Outcome.UNKNOWN
    assert "causes are unknown" in settlement.remark


def test_a_server_that_drops_everything_says_so() -> None:
    server = LabServer(lambda client: True)

    def path(datagram: bytes) -> Iterator[Answer]:
        if answer := server(datagram):
            yield MS, answer

    pinger, _, _ = run(path, server, Schedule(count=3, max_tries=2))
    assert set(outcomes(pinger).values()) == {Outcome.DROPPED}


def test_asking_a_silent_server_ends_after_a_few_questions() -> None:
    pinger, settlement, wire = run(
        lambda datagram: iter([]), LabServer(lambda client: True), Schedule(count=2, max_tries=2)
    )
    questions = [datagram for _, datagram in wire.sent if datagram.startswith(b"account? ")]
    assert len(questions) == 4
    assert set(outcomes(pinger).values()) == {Outcome.UNKNOWN}
    assert settlement.drop is None


def test_asking_ends_in_time_though_every_account_is_lost() -> None:
    server = LabServer(lambda client: False)

    def path(datagram: bytes) -> Iterator[Answer]:
        answer = server(datagram)
        if answer is not None and not answer.startswith(b"account "):
            yield 400 * MS, answer

    wire = VirtualWire(path)
    server.clock_ns = wire.now_ns
    pinger = Pinger(wire, Schedule(count=2 * PIECE, interval_s=0.001, paced=True), "7f3a9c01")
    for _ in pinger.run():
        pass
    begun_ns = wire.now_ns()
    told = list(settle(wire, pinger))
    assert wire.now_ns() - begun_ns <= BUDGET_S * (1 + 2 / PIECES_PER_BUDGET) * 1e9
    assert isinstance(told[-1], Settlement)
    assert not told[-1].complete


@pytest.mark.parametrize(
    "forged",
    [
        b"account 7f3a9c01 from 1, complete for 9.000 s, drop 0.5: 11p\n",
        b"account 00000000 from 1, complete for 9.000 s, drop 0.5: 111\n",
        b"account 7f3a9c01 from 1, complete for 9.000 s, drop 0.5: 11",
        b"account 7f3a9c01 from 2, complete for 9.000 s, drop 0.5: 11\n",
        b"account 7f3a9c01 from 1, complete for 9.000 s, drop 0.5: 1111111\n",
        b"account 7f3a9c01 from 1, complete for 9.000 s, drop 7: 111\n",
        b"account " * 8000,
    ],
)
def test_an_account_that_is_cut_foreign_or_enormous_is_a_stray(forged: bytes) -> None:
    server = LabServer(lambda client: False)

    def path(datagram: bytes) -> Iterator[Answer]:
        answer = server(datagram)
        assert answer is not None
        yield MS, forged if answer.startswith(b"account ") else answer

    pinger, settlement, _ = run(path, server, Schedule(count=3, paced=True))
    assert not settlement.complete
    assert all(attempt.fate is None for attempt in pinger.ledger.attempts)


def test_a_late_answer_that_comes_while_the_server_is_asked_still_counts() -> None:
    server = LabServer(lambda client: False)

    def path(datagram: bytes) -> Iterator[Answer]:
        answer = server(datagram)
        assert answer is not None
        if answer.startswith(b"account "):
            yield 20 * MS, answer
        else:
            yield (210 if b" 2.1 " in datagram else 230 if b" 3.1 " in datagram else 1) * MS, answer

    wire = VirtualWire(path)
    server.clock_ns = wire.now_ns
    pinger = Pinger(wire, Schedule(3, max_tries=1, interval_s=0.001, paced=True), "7f3a9c01")
    # Ends with the second request's timeout, as if interrupted then.
    for event in pinger.run():
        if event.what is What.GAVE_UP:
            break
    assert outcomes(pinger) == {
        (1, 1): Outcome.ANSWERED,
        (2, 1): Outcome.UNKNOWN,
        (3, 1): Outcome.UNKNOWN,
    }
    list(settle(wire, pinger))
    assert pinger.ledger.attempts[1].outcome is Outcome.LATE
    assert pinger.ledger.attempts[2].outcome is Outcome.UNKNOWN  # not lost: still on its way
