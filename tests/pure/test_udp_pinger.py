"""The exercise's algorithm on paths of every kind, in virtual time."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.udp.ledger import Outcome
from clients.udp.pinger import Event, Pinger, Refusal, TooLarge, What
from clients.udp.report import event_line, summary
from clients.udp.schedule import Schedule
from clients.udp.statistics import statistics
from services.udp.drop import random_drop
from services.udp.protocol import Ping, confirm, find_ping
from tests.binomial import accepted
from tests.pure.udp_path import MS, Answer, Other, VirtualWire, stranger

Path = Callable[[bytes], Iterable[tuple[int, bytes | Other]]]


def run(path: Path, schedule: Schedule | None = None) -> tuple[Pinger, VirtualWire, list[Event]]:
    wire = VirtualWire(path)
    pinger = Pinger(wire, schedule or Schedule(), "7f3a9c01", b"hello")
    return pinger, wire, list(pinger.run())


def lossless(datagram: bytes) -> list[Answer]:
    return [(MS, confirm(datagram))]


def losing(*lost: tuple[int, int]) -> Path:
    """Return a path that loses the (request, attempt) named, and answers the rest in 1 ms."""

    def path(datagram: bytes) -> list[Answer]:
        ping = find_ping(datagram)
        assert ping is not None
        return [] if (ping.request, ping.attempt) in lost else lossless(datagram)

    return path


def test_requests_follow_each_other_at_the_interval() -> None:
    _, wire, _ = run(lossless, Schedule(count=3, interval_s=0.5))
    assert [b - a for (a, _), (b, _) in pairwise(wire.sent)] == [500 * MS, 500 * MS]


def test_a_lost_attempt_is_sent_again_after_its_timeout_and_each_wait_is_longer() -> None:
    pinger, wire, events = run(losing((1, 1), (1, 2), (1, 3)), Schedule(count=1))
    assert [b - a for (a, _), (b, _) in pairwise(wire.sent)] == [200 * MS, 250 * MS, 312_500_000]
    assert [event_line(event) for event in events if event_line(event)] == [
        "request 1: sent",
        "request 1: timed out after 200 ms, retry 2",
        "request 1: timed out after 250 ms, retry 3",
        "request 1: timed out after 312.5 ms, retry 4",
        "request 1: answered in 1.000 ms (attempt 4)",
    ]
    figures = statistics(pinger.ledger)
    assert figures.rtt is not None
    assert figures.time_to_confirmation is not None
    assert figures.rtt.average_s == pytest.approx(0.001)
    assert figures.time_to_confirmation.average_s == pytest.approx(0.7635)
    assert (figures.datagrams_sent, figures.retries) == (4, 3)


def test_every_datagram_carries_its_own_request_and_attempt() -> None:
    _, wire, _ = run(losing((1, 1), (3, 1)), Schedule(count=3))
    heads = [datagram for _, datagram in wire.sent]
    assert heads == [
        b"ping 7f3a9c01 1.1 #1: hello",
        b"ping 7f3a9c01 1.2 #2: hello",
        b"ping 7f3a9c01 2.1 #3: hello",
        b"ping 7f3a9c01 3.1 #4: hello",
        b"ping 7f3a9c01 3.2 #5: hello",
    ]


def test_a_request_without_any_answer_is_given_up_and_the_next_one_made() -> None:
    pinger, _, events = run(losing((1, 1), (1, 2)), Schedule(count=2, max_tries=2))
    assert [request.gave_up for request in pinger.ledger.requests] == [True, False]
    lines = [event_line(event) for event in events]
    assert "request 1: timed out after 250 ms, gave up after 2 tries" in lines
    assert not pinger.hopeless


def test_a_path_slower_than_the_timeouts_works_by_late_answers() -> None:
    """A geostationary satellite: 1.2 s there and back, with the default first timeout of 0.2 s."""
    pinger, _, _ = run(lambda datagram: [(1200 * MS, confirm(datagram))])
    figures = statistics(pinger.ledger)
    assert figures.answered == 10
    assert figures.rtt is not None
    assert (figures.rtt.min_s, figures.rtt.max_s) == (1.2, 1.2)
    assert figures.time_to_confirmation is not None
    assert figures.time_to_confirmation.max_s == pytest.approx(1.2)
    assert figures.late > 0
    # Those still on their way at the end were waited for.
    assert figures.outcomes[Outcome.UNKNOWN] == 0


def test_a_late_answer_is_shown_as_one_with_its_own_round_trip() -> None:
    _, _, events = run(
        lambda datagram: [(300 * MS, confirm(datagram))], Schedule(count=1, interval_s=0)
    )
    assert [event_line(event) for event in events if event_line(event)] == [
        "request 1: sent",
        "request 1: timed out after 200 ms, retry 2",
        "request 1: answered late, in 300.000 ms (attempt 1)",
        "request 1: attempt 2, needed no more, was answered late, in 300.000 ms",
    ]


def test_duplicates_and_strays_are_counted_and_answer_nothing() -> None:
    def path(datagram: bytes) -> Iterator[tuple[int, bytes | Other]]:
        yield MS, stranger(confirm(datagram))
        yield MS, confirm(datagram.replace(b"7f3a9c01", b"00000000"))
        yield 2 * MS, confirm(datagram)
        yield 3 * MS, confirm(datagram)

    pinger, _, events = run(path, Schedule(count=2))
    figures = statistics(pinger.ledger)
    assert (figures.answered, figures.duplicates, figures.strays) == (2, 2, 4)
    assert figures.rtt is not None
    assert figures.rtt.max_s == 0.002
    lines = [event_line(event) for event in events]
    assert "request 1: duplicate answer to attempt 1" in lines
    assert "stray datagram from another address: not counted as an answer" in lines


def test_a_server_that_answers_the_same_text_to_everything_gives_few_samples_and_says_so() -> None:
    def path(datagram: bytes) -> list[Answer]:
        return [] if b" 2.1 " in datagram else [(MS, b"OK")]

    pinger, _, events = run(path, Schedule(count=3))
    figures = statistics(pinger.ledger)
    assert figures.answered == 3
    assert figures.rtt is not None
    assert figures.rtt.samples == 1  # from request 2's retry on, two attempts may have caused it
    assert figures.ambiguous == 2
    assert "round trip unknown" in " ".join(map(event_line, events))
    assert "do not say which attempt" in summary(pinger, "server", 1.0)


def test_refused_from_the_start_ends_the_run_after_three_tries() -> None:
    pinger, wire, _ = run(lambda datagram: [(MS, Refusal(datagram, "refused"))])
    assert pinger.hopeless == "refused"
    assert len(wire.sent) == 3
    assert statistics(pinger.ledger).outcomes[Outcome.REFUSED] == 3


def test_refused_in_mid_run_is_a_reason_to_try_again() -> None:
    """The server restarts: for five attempts nothing listens on its port."""

    def path(datagram: bytes) -> list[tuple[int, bytes | Other]]:
        ping = find_ping(datagram)
        assert ping is not None
        down = ping.request == 2 and ping.attempt <= 5
        return [(MS, Refusal(datagram, "refused") if down else confirm(datagram))]

    pinger, _, _ = run(path, Schedule(count=3))
    figures = statistics(pinger.ledger)
    assert figures.answered == 3
    assert figures.outcomes[Outcome.REFUSED] == 5


def test_a_system_that_does_not_send_is_told_from_a_network_that_loses() -> None:
    def path(datagram: bytes) -> list[Answer]:
        if b" 1.1 " in datagram:
            raise OSError("no route")
        return lossless(datagram)

    pinger, _, events = run(path, Schedule(count=1))
    assert [event_line(event) for event in events if event_line(event)] == [
        "request 1: attempt 1 could not be sent: no route",
        "request 1: retry 2 after 200 ms",
        "request 1: answered in 1.000 ms (attempt 2)",
    ]
    figures = statistics(pinger.ledger)
    assert (figures.datagrams_sent, figures.retries) == (1, 1)


def test_a_flood_of_strays_does_not_keep_an_attempt_from_timing_out() -> None:
    def path(datagram: bytes) -> list[tuple[int, bytes | Other]]:
        return [(i * MS // 10, stranger(b"x")) for i in range(4000)]

    pinger, wire, _ = run(path, Schedule(count=1, max_tries=2))
    assert wire.sent[1][0] - wire.sent[0][0] <= 201 * MS
    assert pinger.ledger.requests[0].gave_up


@pytest.mark.parametrize("size", [20, 31])
def test_a_size_that_does_not_hold_head_and_message_is_refused(size: int) -> None:
    with pytest.raises(TooLarge, match=f"32 bytes, more than --size {size}"):
        Pinger(VirtualWire(lossless), Schedule(), "7f3a9c01", b"hello!", size)


def test_all_datagrams_have_the_size_asked_for() -> None:
    wire = VirtualWire(losing((1, 1)))
    list(Pinger(wire, Schedule(count=12), "7f3a9c01", b"hello", 100).run())
    assert {len(datagram) for _, datagram in wire.sent} == {100}


def lab_path(random_: random.Random, drop: float = 0.5, loss: float = 0.1) -> Path:
    """Return the default lab: the server drops, the network loses answers."""
    dropped = random_drop(drop, random_.random)

    def path(datagram: bytes) -> list[Answer]:
        return [] if dropped("client") or random_.random() < loss else lossless(datagram)

    return path


def test_in_the_default_lab_attempts_and_durations_are_as_computed() -> None:
    random_ = random.Random(2)
    runs = 300
    answered = within_ten_seconds = attempts = 0
    for _ in range(runs):
        pinger, wire, _ = run(lab_path(random_))
        figures = statistics(pinger.ledger)
        answered += figures.answered == 10
        attempts += figures.datagrams_sent
        within_ten_seconds += wire.now_ns() - pinger.begun_ns <= 10_000 * MS
    assert answered in accepted(runs, (1 - 0.55**16) ** 10)
    assert within_ten_seconds in accepted(runs, 0.97)
    # Of `attempts` independent attempts, all but a few requests' last ones succeed at 0.45.
    assert 10 * runs in accepted(attempts, 0.45)


@settings(deadline=None, max_examples=60)
@given(st.randoms(use_true_random=False), st.integers(1, 6), st.booleans())
def test_whatever_the_path_does_the_sums_add_up_and_no_sample_is_wrong(
    random_: random.Random, tries: int, quoting: bool
) -> None:
    delays: dict[bytes, int] = {}

    def path(datagram: bytes) -> Iterator[tuple[int, bytes | Other]]:
        answer = confirm(datagram)
        delays[datagram] = delay = random_.randrange(0, 2000) * MS
        match random_.randrange(7):
            case 0:
                return
            case 1:
                yield delay, Refusal(datagram, "refused")
            case 2:
                yield delay, answer
                yield delay + random_.randrange(500) * MS, answer
            case 3:
                yield random_.randrange(500) * MS, stranger(answer)
            case 4:
                yield delay, answer if quoting else b"OK"
            case 5:
                raise OSError("no buffer")
            case _:
                yield delay, answer

    schedule = Schedule(count=5, max_tries=tries)
    pinger, wire, events = run(path, schedule)
    figures = statistics(pinger.ledger)
    attempts = [attempt for request in pinger.ledger.requests for attempt in request.attempts]
    assert sum(figures.outcomes.values()) == len(attempts)
    assert figures.answered + figures.gave_up == figures.requests
    assert figures.requests == schedule.count or pinger.hopeless
    assert figures.datagrams_sent == len(wire.sent)
    for request in pinger.ledger.requests:
        timeouts = [attempt.timeout_ns for attempt in request.attempts]
        assert all(earlier < later for earlier, later in pairwise(timeouts))
        for earlier, later in pairwise(request.attempts):  # one unexpired attempt at a time
            assert later.sent_ns >= earlier.sent_ns + earlier.timeout_ns
    assert {event.what for event in events} <= set(What)
    if quoting:
        for attempt in attempts:
            ping = Ping("7f3a9c01", attempt.request, attempt.number, attempt.sequence)
            assert attempt.rtt_ns in (None, delays[ping.datagram(b"hello")])
    assert summary(pinger, "server", 1.0)


PACED = Schedule(count=40, interval_s=0.01, paced=True)


def test_a_paced_run_sends_at_every_interval_once_whatever_comes_back() -> None:
    def path(datagram: bytes) -> list[Answer]:
        ping = find_ping(datagram)
        assert ping is not None
        return [] if ping.request % 3 == 0 else [(125 * MS, confirm(datagram))]

    pinger, wire, _ = run(path, PACED)
    begun_ns = wire.sent[0][0]
    assert [sent_ns - begun_ns for sent_ns, _ in wire.sent] == [n * 10 * MS for n in range(40)]
    figures = statistics(pinger.ledger)
    assert (figures.answered, figures.gave_up, figures.retries) == (27, 13, 0)
    assert pinger.ledger.requests[38].gave_up


def test_a_paced_run_that_was_held_up_sends_what_is_due_and_keeps_to_its_times() -> None:
    wire = VirtualWire(lossless)
    pinger = Pinger(wire, PACED, "7f3a9c01")
    events = pinger.run()
    next(events)
    wire._now_ns += 95 * MS  # the machine was busy with something else
    list(events)
    begun_ns = wire.sent[0][0]
    due_ms = [(sent_ns - begun_ns) // MS for sent_ns, _ in wire.sent]
    assert due_ms == [0, *[95] * 9, *range(100, 400, 10)]
    assert statistics(pinger.ledger).answered == 40


def test_a_late_answer_in_a_paced_run_is_told_from_one_in_time() -> None:
    def path(datagram: bytes) -> list[Answer]:
        return [(230 * MS if b" 5.1 " in datagram else MS, confirm(datagram))]

    pinger, _, _ = run(path, PACED)
    assert [a.request for a in pinger.ledger.attempts if a.outcome is Outcome.LATE] == [5]
    assert statistics(pinger.ledger).reordered == 1


def test_a_paced_run_against_a_closed_port_ends_early() -> None:
    pinger, wire, _ = run(lambda datagram: [(MS, Refusal(datagram, "refused"))], PACED)
    assert pinger.hopeless == "refused"
    assert len(wire.sent) < PACED.count


@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=False))
def test_a_paced_run_credits_every_answer_to_its_own_attempt(random_: random.Random) -> None:
    delays: dict[bytes, int] = {}

    def path(datagram: bytes) -> Iterator[Answer]:
        delays[datagram] = random_.randrange(400) * MS
        for _ in range(random_.randrange(3)):
            yield delays[datagram], confirm(datagram)

    pinger, _, _ = run(path, PACED)
    for attempt in pinger.ledger.attempts:
        sent = Ping("7f3a9c01", attempt.request, 1, attempt.sequence).datagram(b"hello")
        assert attempt.rtt_ns in (None, delays[sent])
    figures = statistics(pinger.ledger)
    assert sum(figures.outcomes.values()) == figures.datagrams_sent == PACED.count
