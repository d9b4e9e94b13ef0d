"""The time to go."""

import pytest

from lab.experiments.progress import Clock


def test_the_time_to_go_follows_the_pace_so_far() -> None:
    clock = Clock(100.0)
    clock.begins([10, 20, 30], 100.0)
    assert clock.to_go_s(100.0) == 60
    clock.ended(120.0)  # it took twice as long as expected
    assert clock.to_go_s(120.0) == pytest.approx(100)
    clock.begins([20, 30], 120.0)
    assert clock.to_go_s(130.0) == pytest.approx(90)


def test_a_cell_that_takes_too_long_does_not_make_the_rest_shorter() -> None:
    clock = Clock(0.0)
    clock.begins([10, 20], 0.0)
    assert clock.to_go_s(500.0) == 20


def test_at_the_end_nothing_is_to_go() -> None:
    clock = Clock(0.0)
    clock.begins([10], 0.0)
    clock.ended(10.0)
    assert clock.to_go_s(10.0) == 0
