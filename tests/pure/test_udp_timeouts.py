"""How timeouts are chosen: fixed, growing, or from the round trips (RFC 6298)."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.udp.pinger import Pinger, What
from clients.udp.report import event_line
from clients.udp.schedule import Schedule
from clients.udp.timeouts import Adaptive
from services.udp.protocol import confirm, find_ping
from tests.pure.udp_path import MS, Answer, VirtualWire


def test_the_adaptive_timeout_computes_what_rfc_6298_says() -> None:
    rto = Adaptive(first_s=1.0, min_s=0.01)
    assert rto.timeout_ns(1) == 1000 * MS
    assert rto.sampled(100 * MS) == (
        "R = 100 ms: SRTT = 100 ms, RTTVAR = 50 ms, RTO = 300 ms"  # (2.2)
    )
    assert rto.sampled(180 * MS) == (
        "R = 180 ms: SRTT = 110 ms, RTTVAR = 57.5 ms, RTO = 340 ms"  # (2.3): old SRTT in RTTVAR
    )
    assert rto.timeout_ns(2) == 340 * MS


def test_the_adaptive_timeout_doubles_until_the_next_sample_and_keeps_its_bounds() -> None:
    rto = Adaptive(first_s=1.0, min_s=0.5, max_s=3.0)
    assert rto.sampled(10 * MS).endswith("RTO = 500 ms (the minimum)")
    assert [rto.expired() and rto.rto_s for _ in range(4)] == [1.0, 2.0, 3.0, 3.0]
    assert rto.expired() == "timed out: RTO doubled to 3000 ms"
    assert rto.sampled(10 * MS).endswith("RTO = 500 ms (the minimum)")
    assert rto.sampled(5000 * MS).endswith("RTO = 3000 ms (the maximum)")


@given(st.lists(st.integers(1, 10**10), min_size=1, max_size=40))
def test_the_adaptive_timeout_is_longer_than_the_smoothed_round_trip_and_within_bounds(
    samples_ns: list[int],
) -> None:
    rto = Adaptive(first_s=1.0, min_s=0.001, max_s=60.0)
    for sample_ns in samples_ns:
        rto.sampled(sample_ns)
        assert rto.srtt_s is not None
        assert min(samples_ns) / 1e9 * 0.999 <= rto.srtt_s <= max(samples_ns) / 1e9 * 1.001
        assert rto.srtt_s < rto.rto_s <= 60.0


def slow(delay_ms: int) -> Callable[[bytes], list[Answer]]:
    return lambda datagram: [(delay_ms * MS, confirm(datagram))]


def silent(datagram: bytes) -> list[Answer]:
    return []


def sending_times_ms(schedule: Schedule, path: Callable[[bytes], list[Answer]]) -> list[float]:
    wire = VirtualWire(path)
    list(Pinger(wire, schedule, "7f3a9c01").run())
    begun_ns = wire.sent[0][0]
    return [(sent_ns - begun_ns) / MS for sent_ns, _ in wire.sent]


def test_fixed_timeouts_are_all_alike_and_the_pauses_after_them_grow() -> None:
    schedule = Schedule(count=1, max_tries=4, rto="fixed")
    wire = VirtualWire(silent)
    pinger = Pinger(wire, schedule, "7f3a9c01")
    list(pinger.run())
    assert {attempt.timeout_ns for attempt in pinger.ledger.attempts} == {200 * MS}
    exercise = Schedule(count=1, max_tries=4)
    assert sending_times_ms(schedule, silent) == sending_times_ms(exercise, silent)


def test_an_answer_in_the_pause_ends_the_request_without_another_sending() -> None:
    def path(datagram: bytes) -> list[Answer]:
        ping = find_ping(datagram)
        assert ping is not None
        return [(220 * MS, confirm(datagram))] if ping.attempt == 2 else []

    wire = VirtualWire(path)
    pinger = Pinger(wire, Schedule(count=1, rto="fixed"), "7f3a9c01")
    list(pinger.run())
    assert [str(attempt.outcome) for attempt in pinger.ledger.attempts] == [
        "unknown",
        "answered late",
    ]


def test_adaptive_timeouts_learn_a_path_that_is_slower_than_the_first_timeout() -> None:
    """300 ms there and back, 200 ms the first timeout: one retry too many, then none."""
    wire = VirtualWire(slow(300))
    pinger = Pinger(wire, Schedule(count=6, rto="adaptive"), "7f3a9c01")
    events = list(pinger.run())
    assert [len(request.attempts) for request in pinger.ledger.requests] == [2, 1, 1, 1, 1, 1]
    steps = [event_line(event) for event in events if event.what is What.RTO]
    assert steps[:2] == [
        "request 1: attempt 1: timed out: RTO doubled to 400 ms",
        "request 1: attempt 1: R = 300 ms: SRTT = 300 ms, RTTVAR = 150 ms, RTO = 900 ms",
    ]


@pytest.mark.parametrize("rto", ["fixed", "backoff", "adaptive"])
def test_under_loss_one_attempt_at_a_time_is_unexpired_and_the_pause_grows(rto: str) -> None:
    schedule = Schedule(count=1, max_tries=8, rto=rto)
    wire = VirtualWire(silent)
    pinger = Pinger(wire, schedule, "7f3a9c01")
    list(pinger.run())
    for earlier, later in pairwise(pinger.ledger.attempts):
        assert later.sent_ns >= earlier.sent_ns + earlier.timeout_ns
    times_ms = sending_times_ms(schedule, silent)
    pauses = [later - earlier for earlier, later in pairwise(times_ms)]
    assert all(later > earlier for earlier, later in pairwise(pauses))
