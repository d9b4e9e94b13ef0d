"""The wall clock held against the monotonic one."""

from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.udp.stamps import PREEMPTED_NS, WallClock, timespec_ns


class Machine:
    """Both clocks; each reading takes 50 ns, or what ``delays_ns`` says next."""

    def __init__(self, delays_ns: Iterable[int] = ()) -> None:
        self.monotonic_ns = 5_000_000_000
        self.lead_ns = 1_792_000_000_000_000_000
        self._delays_ns: Iterator[int] = iter(delays_ns)

    def read_monotonic(self) -> int:
        self.monotonic_ns += next(self._delays_ns, 50)
        return self.monotonic_ns

    def read_wall(self) -> int:
        self.monotonic_ns += next(self._delays_ns, 50)
        return self.monotonic_ns + self.lead_ns


def test_a_clock_that_nobody_sets_has_no_steps() -> None:
    machine = Machine()
    clock = WallClock(machine.read_wall, machine.read_monotonic)
    for pause_ns in (0, 1_000, 10**9, 10**13):
        machine.monotonic_ns += pause_ns
        assert clock.now_ns() is not None
    assert clock.steps == []
    assert abs(clock.lead_ns - machine.lead_ns) <= 100


@pytest.mark.parametrize("step_ns", [10_000, -30_000, 10**6, -(10**6), 3600 * 10**9, -(10**9)])
def test_a_step_is_noticed_once_with_its_size(step_ns: int) -> None:
    machine = Machine()
    clock = WallClock(machine.read_wall, machine.read_monotonic)
    machine.lead_ns += step_ns
    assert clock.now_ns() is None
    assert clock.now_ns() is not None
    assert clock.steps == [pytest.approx(step_ns, abs=200)]


def test_an_interruption_between_two_readings_is_no_step() -> None:
    readings = [50] * 27 + [50, 20_000_000, 50] + [50, 7_000_000, 50] * 3
    machine = Machine(readings)
    clock = WallClock(machine.read_wall, machine.read_monotonic)
    assert clock.now_ns() is not None
    assert clock.steps == []


@given(
    st.lists(
        st.tuples(st.integers(0, 10**10), st.integers(-(10**10), 10**10), st.integers(1, 10**6)),
        max_size=30,
    )
)
def test_whatever_happens_a_reading_that_is_given_is_right_to_twenty_microseconds(
    happenings: list[tuple[int, int, int]],
) -> None:
    """Each: time passes, somebody may set the clock, and the next reading is interrupted."""
    machine = Machine()
    clock = WallClock(machine.read_wall, machine.read_monotonic)
    for pause_ns, step_ns, interruption_ns in happenings:
        machine.monotonic_ns += pause_ns
        machine.lead_ns += step_ns
        machine._delays_ns = iter([50, interruption_ns])
        clock.now_ns()
        assert abs(clock.lead_ns - machine.lead_ns) <= PREEMPTED_NS + 2_000


def test_a_timespec_is_seconds_and_nanoseconds() -> None:
    data = (1_792_000_000).to_bytes(8, "little") + (5).to_bytes(8, "little")
    assert timespec_ns(data + b"more") == 1_792_000_000_000_000_005
