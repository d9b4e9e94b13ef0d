import os
import signal

import pytest

from services.lifetime import NAMESPACE_GRACE_S, Lifetime


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_lasts_until_it_is_ended_and_keeps_the_first_reason() -> None:
    lifetime = Lifetime()
    assert not lifetime.over()
    lifetime.end("first")
    lifetime.end("second")
    assert lifetime.over()
    assert lifetime.reason == "first"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(number: signal.Signals) -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        lifetime = Lifetime().end_on_signals()
        os.kill(os.getpid(), number)
        assert lifetime.over()
        assert lifetime.reason == number.name
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_an_interface_that_stays_away_ends_it_after_the_grace() -> None:
    clock, there = Clock(), True
    lifetime = Lifetime("eth0", interface_exists=lambda name: there, clock=clock)
    assert not lifetime.over()
    there = False
    clock.now += 2
    assert not lifetime.over()
    clock.now += NAMESPACE_GRACE_S
    assert lifetime.over()
    assert "eth0" in lifetime.reason


def test_an_interface_that_comes_back_in_time_changes_nothing() -> None:
    clock, there = Clock(), False
    lifetime = Lifetime("eth0", interface_exists=lambda name: there, clock=clock)
    assert not lifetime.over()
    clock.now += NAMESPACE_GRACE_S - 0.5
    there = True
    assert not lifetime.over()
    clock.now += NAMESPACE_GRACE_S
    assert not lifetime.over()


def test_the_loopback_interface_is_there_and_an_invented_one_is_not() -> None:
    clock = Clock()
    present, absent = Lifetime("lo", clock=clock), Lifetime("nosuch0", clock=clock)
    for _ in range(8):
        present.over()
        absent.over()
        clock.now += 1
    assert not present.over()
    assert absent.over()
