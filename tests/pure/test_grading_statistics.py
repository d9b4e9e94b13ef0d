"""The random checks' arithmetic: a fair server passes, what the exercise forbids is seen."""

import itertools
import random
from collections import Counter
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
    runs,
    runs_law,
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
@pytest.mark.parametrize("share", [0.45, 0.4545, 0.5, 0.55])
def test_about_half_leaves_the_band_no_oftener_than_stated(count: int, share: float) -> None:
    assert outside(band(count, ALARM), count, share) <= ALARM + 1e-12


def test_the_band_is_no_wider_than_it_has_to_be() -> None:
    accepted = band(COUNT, ALARM)
    narrower = range(accepted[0] + 1, accepted[-1])
    assert outside(narrower, COUNT, 0.45) > ALARM / 2
    assert outside(narrower, COUNT, 0.55) > ALARM / 2


def test_a_server_that_drops_30_percent_is_seen() -> None:
    assert 1 - outside(band(COUNT, ALARM), COUNT, 0.70) < 1e-5
    assert 1 - outside(band(COUNT, ALARM), COUNT, 0.30) < 1e-5


@pytest.mark.parametrize("share", [0.42, 0.5, 0.58])
def test_decisions_by_themselves_depend_on_nothing(share: float) -> None:
    source = random.Random(1)
    for _ in range(20):
        pattern = [int(source.random() < share) for _ in range(COUNT)]
        assert dependence(pattern, [*range(1, LAGS + 1), 50], 2e-7) is None


@pytest.mark.parametrize(("ones", "zeros"), [(0, 3), (1, 1), (3, 4), (5, 2)])
def test_the_law_of_runs_is_that_of_all_orders(ones: int, zeros: int) -> None:
    orders = set(itertools.permutations([1] * ones + [0] * zeros))
    counted = Counter(runs(order) for order in orders)
    law = runs_law(ones, zeros)
    assert sum(law) == pytest.approx(1)
    for number, chance in enumerate(law):
        assert chance == pytest.approx(counted[number] / len(orders))


def test_every_second_of_each_client_by_itself_is_seen() -> None:
    # 50 clients in turn: all answered, none answered, all answered ...
    pattern = ([1] * 50 + [0] * 50) * 10
    shuffled = [(client, turn) for turn in range(20) for client in range(50)]
    begins = random.Random(2).choices([0, 1], k=50)
    by_client = [(begins[client] + turn) % 2 for client, turn in shuffled]
    assert dependence(pattern, [1], 2e-7) == 1
    assert dependence(by_client, [50], 2e-7) == 50


@pytest.mark.parametrize(
    ("pattern", "lag", "rule"),
    [
        ([0, 1] * 500, 1, "it drops every second datagram"),
        ([0, 0, 1, 1] * 250, 2, "its decisions repeat after 4 datagrams"),
        (([0] * 10 + [1] * 10) * 50, 1, "its decision depends on the datagram 1 before"),
        ([1] * COUNT, None, "it answers every datagram"),
        ([0] * COUNT, None, "it answers none"),
    ],
)
def test_a_pattern_is_seen_and_named(pattern: list[int], lag: int | None, rule: str) -> None:
    assert dependence(pattern, range(1, LAGS + 1), 2e-7) == lag
    assert rule_of(pattern, lag).startswith(rule)


def test_agreements_at_distance_one_are_the_runs_test() -> None:
    pattern = [0, 0, 1, 0, 1, 1]
    assert runs(pattern) == 4
    assert agreements(pattern, 1) == len(pattern) - runs(pattern)
