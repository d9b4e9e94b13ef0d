from fractions import Fraction
from math import comb

import pytest

from tests.binomial import accepted


@pytest.mark.parametrize(("trials", "probability"), [(40, 0.5), (100, 0.1), (300, 0.45)])
def test_the_tails_outside_are_within_the_false_alarm_rate_and_no_narrower_range_is(
    trials: int, probability: float
) -> None:
    def mass(count: int) -> Fraction:
        p = Fraction(probability)
        return comb(trials, count) * p**count * (1 - p) ** (trials - count)

    bounds = accepted(trials, probability, 1e-6)
    below, above = range(bounds.start), range(bounds.stop, trials + 1)
    assert sum(map(mass, below)) <= 5e-7
    assert sum(map(mass, above)) <= 5e-7
    assert sum(map(mass, below)) + mass(bounds.start) > 5e-7
    assert sum(map(mass, above)) + mass(bounds.stop - 1) > 5e-7


def test_a_certain_outcome_has_one_count() -> None:
    assert list(accepted(10, 0)) == [0]
    assert list(accepted(10, 1)) == [10]


def test_a_lost_tenth_and_a_lost_third_are_told_apart_in_four_hundred() -> None:
    assert not set(accepted(400, 0.1)) & set(accepted(400, 0.33))
