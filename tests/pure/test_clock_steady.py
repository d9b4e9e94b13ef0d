"""This machine's clock: a step is seen, a pause is none."""

from collections.abc import Iterator
from itertools import chain, repeat

import pytest

from clients.clock.steady import SteadyClock

S = 1_000_000_000
AHEAD_NS = 1_795_374_198 * S


class Machine:
    """Both clocks of a machine whose every reading takes 100 ns, or as long as ``pauses_ns`` say"""

    def __init__(self) -> None:
        self.now_ns = 0
        self.ahead_ns = AHEAD_NS
        self.pauses_ns: Iterator[int] = repeat(100)

    def monotonic_ns(self) -> int:
        self.now_ns += next(self.pauses_ns)
        return self.now_ns

    def wall_ns(self) -> int:
        return self.monotonic_ns() + self.ahead_ns


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def clock(machine: Machine) -> SteadyClock:
    return SteadyClock(wall_clock_ns=machine.wall_ns, monotonic_ns=machine.monotonic_ns)


def test_nothing_happened(clock: SteadyClock) -> None:
    assert abs(clock.wall_ahead_ns - AHEAD_NS) <= 200
    known_ns = clock.wall_ahead_ns
    assert not any(clock.stepped() for _ in range(1000))
    assert clock.wall_ahead_ns == known_ns


@pytest.mark.parametrize("step_ns", [-3600 * S, -5_000, 5_000, S])
def test_a_step_is_seen_once_and_its_size_is_known(
    step_ns: int, machine: Machine, clock: SteadyClock
) -> None:
    known_ns = clock.wall_ahead_ns
    machine.ahead_ns += step_ns
    assert clock.stepped()
    assert abs(clock.wall_ahead_ns - known_ns - step_ns) <= 200
    assert not clock.stepped()


@pytest.mark.parametrize("at", range(8))
def test_a_process_that_is_paused_between_two_readings_sees_no_step(
    at: int, machine: Machine, clock: SteadyClock
) -> None:
    machine.pauses_ns = chain([100] * at, [50_000_000], repeat(100))
    assert not clock.stepped()


def test_nor_does_one_that_is_paused_all_the_time(machine: Machine, clock: SteadyClock) -> None:
    machine.pauses_ns = repeat(3_000_000)
    assert not any(clock.stepped() for _ in range(100))
