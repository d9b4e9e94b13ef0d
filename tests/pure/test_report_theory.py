"""The bands: held against sums over every possible outcome, and against simulation by a seed."""

import functools
import itertools
import math

import numpy as np
import pytest

from clients.udp.schedule import Schedule
from lab.report.theory import (
    Band,
    RetryLaw,
    count_band,
    distance_band,
    mean_band,
    percentile,
    share_band,
)

VALUES, MASSES, COUNT = (1, 2, 3, 7), (0.5, 0.2, 0.2, 0.1), 5


@functools.cache
def exact_sums() -> dict[int, float]:
    """Return the distribution of the sum of ``COUNT`` values, by trying every combination."""
    found: dict[int, float] = {}
    for choice in itertools.product(range(len(VALUES)), repeat=COUNT):
        total = sum(VALUES[i] for i in choice)
        found[total] = found.get(total, 0.0) + math.prod(MASSES[i] for i in choice)
    return found


@pytest.mark.parametrize("false_alarm", [0.3, 0.05, 0.01])
def test_the_band_of_a_mean_is_the_narrowest_that_keeps_its_word(false_alarm: float) -> None:
    law = {total / COUNT: mass for total, mass in exact_sums().items()}
    band = mean_band(VALUES, MASSES, COUNT, false_alarm)
    half = false_alarm / 2
    assert sum(m for x, m in law.items() if x < band.low - 1e-9) <= half
    assert sum(m for x, m in law.items() if x > band.high + 1e-9) <= half
    assert sum(m for x, m in law.items() if x <= band.low + 1e-9) > half, "could be narrower"
    assert sum(m for x, m in law.items() if x >= band.high - 1e-9) > half, "could be narrower"
    assert band.expected == pytest.approx(sum(x * m for x, m in law.items()))


def test_waits_of_any_length_have_the_band_that_simulation_finds() -> None:
    law = RetryLaw.of(Schedule(first_timeout_s=0.05, backoff=1.25, max_tries=16), 0.7)
    band = law.wait_band(400, 0.02)
    given = np.array(law.answered_at) / (1 - law.gave_up)
    draws = np.random.default_rng(1).multinomial(400, given, size=100_000)
    means = draws @ np.array(law.starts_s) / 400
    assert (means < band.low).mean() == pytest.approx(0.01, abs=0.001)
    assert (means > band.high).mean() == pytest.approx(0.01, abs=0.001)


def test_the_band_of_waits_is_not_symmetric_and_a_normal_one_would_be_wrong() -> None:
    law = RetryLaw.of(Schedule(first_timeout_s=0.05, backoff=1.5, max_tries=16), 0.6)
    band = law.wait_band(200, 1e-4)
    assert band.high - band.expected > 1.3 * (band.expected - band.low)


def test_bands_of_counts_are_exact() -> None:
    band = count_band(10, 0.5, 0.03)
    assert (band.low, band.high) == (2, 8)  # P(X <= 1) = 11/1024 = 0.0107, P(X <= 2) = 0.055
    assert share_band(10, 0.5, 0.03) == Band(0.2, 0.5, 0.8, 0.03)


@pytest.mark.parametrize(("probability", "count"), [(0.0, 0), (1.0, 20)])
def test_what_is_certain_has_no_false_alarms(probability: float, count: int) -> None:
    band = count_band(20, probability, 0.01)
    assert band == Band(count, count, count, 0.0)
    assert count in band
    assert abs(count - 1) not in band


def test_no_request_needs_no_band() -> None:
    assert mean_band([1, 2], [0.5, 0.5], 0, 0.01).false_alarm == 0


def test_the_distance_band_is_that_of_dvoretzky_kiefer_wolfowitz_and_massart() -> None:
    high = distance_band(400, 0.01).high
    assert 2 * np.exp(-2 * 400 * high**2) == pytest.approx(0.01)


def test_the_law_of_retries() -> None:
    law = RetryLaw.of(Schedule(first_timeout_s=0.1, backoff=2, max_tries=3), 0.5)
    assert law.starts_s == pytest.approx((0, 0.1, 0.3))
    assert law.answered_at == [0.5, 0.25, 0.125]
    assert law.gave_up == 0.125
    assert law.attempts == 1.75
    assert law.wait_s == pytest.approx((0.25 * 0.1 + 0.125 * 0.3) / 0.875)


def test_answers_slower_than_the_timeout_make_datagrams_in_vain() -> None:
    law = RetryLaw.of(Schedule(first_timeout_s=0.1, backoff=2, max_tries=4), 0.5)
    # Sent at 0, 0.1, 0.3 and 0.7 s.
    assert [law.sent_by(k, 0.05) for k in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert [law.sent_by(k, 0.25) for k in (1, 2, 3, 4)] == [2, 3, 3, 4]
    assert law.datagrams_band(10, 0.25, 0.01).expected == 0.5 * 2 + 0.25 * 3 + 0.125 * 3 + 0.125 * 4
    assert law.datagrams_band(10, 0.05, 0.01) == law.attempts_band(10, 0.01)


def test_fixed_timeouts_begin_their_retries_when_growing_ones_would() -> None:
    growing, fixed = (
        RetryLaw.of(Schedule(first_timeout_s=0.1, backoff=1.5, max_tries=5, rto=rto), 0.5)
        for rto in ("backoff", "fixed")
    )
    assert fixed == growing


def test_waits_that_depend_on_measurements_have_no_law() -> None:
    with pytest.raises(ValueError, match="adaptive"):
        RetryLaw.of(Schedule(rto="adaptive"), 0.5)


def test_percentiles_are_linear_between_neighbours() -> None:
    assert percentile([10.0, 20.0, 30.0], 75) == 25.0
