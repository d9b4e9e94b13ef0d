"""The random checks' arithmetic: a fair server passes, what the exercise forbids is seen."""

import random
from math import comb

import pytest

from grading.statistics import (
    FALSE_ALARMS,
    LAGS,
    TOTAL_FALSE_ALARMS,
    agreements,
    band,
    dependence,
    rule_of,
)

ALARM = FALSE_ALARMS["udp-server.drops-half"]
COUNT = 1000


def outside(accepted: range, count: int, share: float) -> float:
    """Return the exact chance that a server answering ``share`` leaves the band."""
    inside = sum(comb(count, k) * share**k * (1 - share) ** (count - k) for k in accepted)
    return 1 - inside


def test_all_false_alarms_of_a_submission_are_within_the_budget() -> None:
    assert sum(FALSE_ALARMS.values()) <= TOTAL_FALSE_ALARMS == 1e-6


@pytest.mark.parametrize("count", [100, 999, 1000])
def test_a_fair_server_leaves_the_band_no_oftener_than_stated(count: int) -> None:
    accepted = band(count, ALARM)
    tail = sum(comb(count, k) for k in range(accepted[0]))
    assert 2 * tail / 2**count <= ALARM
    # and the band is no wider than that takes
    assert 2 * (tail + comb(count, accepted[0])) / 2**count > ALARM


def test_a_server_that_drops_30_percent_is_seen() -> None:
    assert 1 - outside(band(COUNT, ALARM), COUNT, 0.70) < 1e-9
    assert 1 - outside(band(COUNT, ALARM), COUNT, 0.30) < 1e-9


def test_fair_decisions_depend_on_nothing() -> None:
    source = random.Random(1)
    pattern = [source.randrange(2) for _ in range(COUNT)]
    assert dependence(pattern, range(1, LAGS + 1), 2e-7) is None


@pytest.mark.parametrize(
    ("pattern", "lag", "rule"),
    [
        ([0, 1] * 500, 1, "it drops every second datagram"),
        ([0, 0, 1, 1] * 250, 2, "its decisions repeat after 4 datagrams"),
        (([0] * 10 + [1] * 10) * 50, 1, "its decision depends on the datagram 1 before"),
        ([1] * COUNT, 1, "it answers every datagram"),
        ([0] * COUNT, 1, "it answers none"),
    ],
)
def test_a_pattern_is_seen_and_named(pattern: list[int], lag: int, rule: str) -> None:
    assert dependence(pattern, range(1, LAGS + 1), 2e-7) == lag
    assert rule_of(pattern, lag).startswith(rule)


def test_agreements_at_distance_one_are_the_runs_test() -> None:
    pattern = [0, 0, 1, 0, 1, 1]
    runs = 4
    assert agreements(pattern, 1) == len(pattern) - runs
