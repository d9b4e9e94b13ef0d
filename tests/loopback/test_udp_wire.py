"""The client's socket edge: kernel stamps in monotonic time, whatever somebody does to clocks."""

import socket
import sys
import time
from collections.abc import Iterator

import pytest

from clients.udp.pinger import Arrival, Departure
from clients.udp.wire import UdpWire
from services.udp.stamps import WallClock

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="kernel stamps are Linux's")


@pytest.fixture
def echo() -> Iterator[socket.socket]:
    """A socket that a test answers by hand."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        yield sock


class SetByHand:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def __call__(self) -> int:
        return time.time_ns() + self.ahead_ns


def exchange(wire: UdpWire, echo: socket.socket, pause_s: float = 0.0) -> tuple[int, list[object]]:
    """Send, answer after a pause; return when it was sent, and all that came in."""
    sent_ns = wire.send(b"hello")
    datagram, sender = echo.recvfrom(100)
    time.sleep(pause_s)
    echo.sendto(datagram, sender)
    came: list[object] = []
    while not (came and isinstance(came[-1], Arrival)):
        incoming = wire.receive(wire.now_ns() + 5_000_000_000)
        assert incoming is not None, came
        came.append(incoming)
    return sent_ns, came


def next_arrival(wire: UdpWire) -> Arrival:
    """Pass over the stamps of sending."""
    while not isinstance(incoming := wire.receive(wire.now_ns() + 5_000_000_000), Arrival):
        assert incoming is not None
    return incoming


@LINUX
def test_the_kernels_stamps_lie_between_the_programs_own(echo: socket.socket) -> None:
    with UdpWire("127.0.0.1", echo.getsockname()[1]) as wire:
        if not wire.kernel_stamps:
            pytest.skip("this kernel gives no stamps")
        for _ in range(20):
            sent_ns, (*departures, arrival) = exchange(wire, echo, pause_s=0.001)
            assert isinstance(arrival, Arrival)
            assert arrival.arrived_ns is not None
            assert departures
            for departure in departures:
                assert isinstance(departure, Departure)
                assert departure.quote.endswith(b"hello")
                assert sent_ns - 2000 <= departure.left_ns <= arrival.arrived_ns - 1_000_000
            assert arrival.arrived_ns <= arrival.received_ns + 2000
        assert wire.wall_clock.steps == []


@LINUX
@pytest.mark.parametrize("step_s", [3600, -3600, 0.01, -0.01])
def test_while_somebody_sets_the_clock_there_are_no_kernel_stamps(
    echo: socket.socket, step_s: float
) -> None:
    clock = SetByHand()
    with UdpWire("127.0.0.1", echo.getsockname()[1], WallClock(clock)) as wire:
        if not wire.kernel_stamps:
            pytest.skip("this kernel gives no stamps")
        exchange(wire, echo)
        wire.send(b"before")
        datagram, sender = echo.recvfrom(100)
        echo.sendto(datagram, sender)
        clock.ahead_ns = round(step_s * 1e9)
        arrival = next_arrival(wire)
        assert arrival.arrived_ns is None
        assert wire.wall_clock.steps == [pytest.approx(step_s * 1e9, abs=100_000)]


@LINUX
def test_what_came_before_a_step_has_no_stamp_though_it_is_read_after_another(
    echo: socket.socket,
) -> None:
    """Two answers wait when the clock is set: reading the first notices, the second is older."""
    clock = SetByHand()
    with UdpWire("127.0.0.1", echo.getsockname()[1], WallClock(clock)) as wire:
        if not wire.kernel_stamps:
            pytest.skip("this kernel gives no stamps")
        wire.send(b"hello")
        _, sender = echo.recvfrom(100)
        for _ in range(2):
            echo.sendto(b"answer", sender)
        clock.ahead_ns = -20_000_000
        assert [next_arrival(wire).arrived_ns for _ in range(2)] == [None, None]


def test_a_buffer_that_overflows_is_told(echo: socket.socket) -> None:
    with UdpWire("127.0.0.1", echo.getsockname()[1]) as wire:
        assert wire.overflowed() == 0
        if sys.platform != "linux":
            return
        wire.send(b"hello")
        _, sender = echo.recvfrom(100)
        large = bytes(60_000)
        for _ in range(2 * wire.receive_buffer() // len(large)):
            echo.sendto(large, sender)
        assert wire.overflowed() > 0
