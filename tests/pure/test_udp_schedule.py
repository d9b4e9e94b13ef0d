"""The waits of udp-client, and the arithmetic in clients/udp/schedule.py."""

from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.udp.schedule import SMALLEST_BACKOFF, Schedule
from services.udp.drop import DROP_PROBABILITY

DEFAULT = Schedule()
NO_ANSWER = 1 - (1 - DROP_PROBABILITY) * 0.9
"""The server drops half, the network a tenth of the answers."""


def test_the_waits_are_those_of_the_documentation() -> None:
    waits_ms = [DEFAULT.timeout_ns(attempt) / 1e6 for attempt in (1, 2, 3, 16)]
    assert waits_ms == pytest.approx([200, 250, 312.5, 5684.34], abs=0.01)


@given(st.floats(1e-3, 1e3), st.floats(SMALLEST_BACKOFF, 100.0), st.integers(2, 100))
def test_every_retry_waits_longer_until_a_century(
    first_s: float, backoff: float, tries: int
) -> None:
    schedule = Schedule(first_timeout_s=first_s, backoff=backoff)
    waits = [schedule.timeout_ns(attempt) for attempt in range(1, tries + 1)]
    century_ns = 3_200_000_000 * 10**9
    assert all(later > earlier or later == century_ns for earlier, later in pairwise(waits))


def test_no_wait_is_too_large_to_compute() -> None:
    assert Schedule(backoff=100.0).timeout_ns(1_000_000) == 3_200_000_000 * 10**9


def test_the_defaults_answer_all_ten_in_999_of_1000_runs() -> None:
    def all_answered(tries: int) -> float:
        return float((1 - NO_ANSWER**tries) ** DEFAULT.count)

    assert all_answered(DEFAULT.max_tries) >= 0.999
    assert round(all_answered(16), 4) == 0.9993
    assert round(all_answered(15), 4) == 0.9987


def test_the_defaults_take_at_most_ten_seconds_in_half_of_the_runs() -> None:
    """The exact distribution, every duration rounded up to a step of 10 ms."""
    step_s = 0.01
    durations: list[tuple[int, float]] = []  # of one request: steps, probability
    waited_s = 0.0
    for failures in range(DEFAULT.max_tries):
        probability = (1 - NO_ANSWER) * NO_ANSWER**failures
        steps = ceil(max(waited_s, DEFAULT.interval_s) / step_s - 1e-9)
        durations.append((steps, probability))
        waited_s += DEFAULT.timeout_ns(failures + 1) / 1e9
    total = {0: 1.0}
    for _ in range(DEFAULT.count):
        longer: dict[int, float] = {}
        for steps, probability in total.items():
            for more, chance in durations:
                longer[steps + more] = longer.get(steps + more, 0.0) + probability * chance
        total = longer

    def done_within(seconds: float) -> float:
        return sum(chance for steps, chance in total.items() if steps * step_s <= seconds)

    assert done_within(10.0) >= 0.97
    assert done_within(4.0) >= 0.5
