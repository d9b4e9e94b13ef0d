"""Intervals and bounds against exact sums, published values and simulated chains (seeded)."""

import random
from collections.abc import Callable
from math import comb

import pytest

from lab.chance import (
    Chain,
    at_least,
    beta_cdf,
    correlated,
    four_states,
    gilbert_elliott,
    independent,
    quantile_interval,
    reordering,
    share_interval,
    trials_needed,
)


def tail(count: int, trials: int, p: float) -> float:
    return sum(comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(count, trials + 1))


@pytest.mark.parametrize(("trials", "p"), [(1, 0.5), (30, 0.2), (200, 0.01), (200, 0.97)])
def test_tails_of_the_binomial_are_the_sums_that_define_them(trials: int, p: float) -> None:
    for count in range(trials + 1):
        assert at_least(count, trials, p) == pytest.approx(tail(count, trials, p), abs=1e-12)
    assert at_least(trials + 1, trials, p) == 0


def test_the_incomplete_beta_function_at_known_points() -> None:
    assert beta_cdf(0.3, 2, 5) == pytest.approx(0.579825, abs=1e-12)
    assert beta_cdf(0.5, 40, 40) == pytest.approx(0.5, abs=1e-12)
    assert (beta_cdf(0, 2, 3), beta_cdf(1, 2, 3)) == (0, 1)


def test_the_interval_of_clopper_and_pearson() -> None:
    # 10 of 100 at 95 %: 4.90 % to 17.62 % in every table.
    assert share_interval(10, 100, 0.05) == pytest.approx((0.0490047, 0.1762226), abs=1e-6)
    assert share_interval(0, 100, 0.05) == pytest.approx((0, 1 - 0.025**0.01), abs=1e-12)
    assert share_interval(100, 100, 0.05)[1] == 1
    assert share_interval(0, 0, 0.05) == (0, 1)


@pytest.mark.parametrize("p", [0.0, 0.004, 0.1, 0.5, 0.93, 1.0])
def test_the_interval_misses_the_truth_no_more_often_than_it_says(p: float) -> None:
    error, trials = 0.01, 60
    missed = sum(
        comb(trials, k) * p**k * (1 - p) ** (trials - k)
        for k in range(trials + 1)
        if not share_interval(k, trials, error)[0] - 1e-12
        <= p
        <= share_interval(k, trials, error)[1] + 1e-12
    )
    assert missed <= error


def test_the_interval_of_a_quantile_is_made_of_order_statistics() -> None:
    ordered = list(map(float, range(1, 101)))
    low, high = quantile_interval(ordered, 0.5, 0.05)
    # Tables for n = 100: the 40th and the 61st hold the median with 95.4 %.
    assert (low, high) == (40, 61)
    for quantile in (0.1, 0.5, 0.9):
        low, high = quantile_interval(ordered, quantile, 1e-3)
        below = 1 - at_least(int(low), 100, quantile)
        above = at_least(int(high), 100, quantile)
        assert 1e-5 < below + above <= 1e-3


def test_too_few_samples_for_a_quantile_leave_the_side_open() -> None:
    assert quantile_interval([], 0.5, 0.01) == (float("-inf"), float("inf"))
    low, high = quantile_interval([1.0, 2.0, 3.0], 0.9, 0.01)
    assert high == float("inf")


@pytest.mark.parametrize("p", [0.01, 0.3])
def test_independent_losses_are_the_simplest_chain(p: float) -> None:
    chain = independent(p)
    assert chain.loss == pytest.approx(p)
    assert chain.variance == pytest.approx(p * (1 - p))
    low, high = chain.count_bounds(4000, 1e-6)
    # Chernoff's bound is wider than the exact one, but not by much.
    exact = [k for k in range(4001) if at_least(k + 1, 4000, p) > 5e-7 < 1 - at_least(k, 4000, p)]
    assert low <= exact[0] + 1
    assert high >= exact[-1] - 1
    assert high - low < 1.25 * (exact[-1] - exact[0])


def test_gilbert_elliott_in_closed_form() -> None:
    p, r, bad, good = 0.01, 0.25, 0.7, 0.001
    chain = gilbert_elliott(p, r, bad, good)
    in_bad = p / (p + r)
    loss = in_bad * bad + (1 - in_bad) * good
    remembered = 1 - p - r
    covariance = in_bad * (1 - in_bad) * (bad - good) ** 2 * remembered / (1 - remembered)
    assert chain.loss == pytest.approx(loss)
    assert chain.variance == pytest.approx(loss * (1 - loss) + 2 * covariance)


def test_a_chain_that_only_alternates_has_hardly_any_variance() -> None:
    chain = four_states(1, 1, 0, 0, 0)  # lost, kept, lost, kept
    assert chain.loss == pytest.approx(0.5)
    assert chain.variance == pytest.approx(0, abs=1e-9)
    low, high = chain.count_bounds(1000, 1e-6)
    assert 480 < low < high < 520


def netem_correlated(loss: float, correlation: float, chance: random.Random) -> Callable[[], bool]:
    last = chance.random()

    def lost() -> bool:
        nonlocal last
        last = (1 - correlation) * chance.random() + correlation * last
        return last <= loss

    return lost


def netem_gemodel(
    p: float, r: float, bad: float, good: float, chance: random.Random
) -> Callable[[], bool]:
    is_bad = False

    def lost() -> bool:
        nonlocal is_bad
        now = is_bad
        if chance.random() < (r if now else p):
            is_bad = not now
        return chance.random() < (bad if now else good)

    return lost


def netem_state(
    p13: float, p31: float, p32: float, p23: float, p14: float, chance: random.Random
) -> Callable[[], bool]:
    state = 1

    def lost() -> bool:
        nonlocal state
        x = chance.random()
        match state:
            case 1:
                state = 4 if x < p14 else 3 if x < p14 + p13 else 1
            case 2:
                state = 3 if x < p23 else 2
            case 3:
                state = 2 if x < p32 else 1 if x < p32 + p31 else 3
            case _:
                state = 1
        return state in (3, 4)

    return lost


CHANCE = random.Random(5)
SIMULATED = [
    ("gemodel", gilbert_elliott(0.02, 0.3, 0.8, 0.01), netem_gemodel(0.02, 0.3, 0.8, 0.01, CHANCE)),
    ("state", four_states(0.05, 0.3, 0.2, 0.4, 0.02),
     netem_state(0.05, 0.3, 0.2, 0.4, 0.02, CHANCE)),
    ("correlated", correlated(0.3, 0.5), netem_correlated(0.3, 0.5, CHANCE)),
    ("little correlated", correlated(0.05, 0.25), netem_correlated(0.05, 0.25, CHANCE)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("chain", "lost"), [s[1:] for s in SIMULATED], ids=[s[0] for s in SIMULATED]
)
def test_chains_lose_what_the_kernels_algorithm_loses(
    chain: Chain, lost: Callable[[], bool]
) -> None:
    trials = 50_000
    count = sum(lost() for _ in range(trials))
    assert abs(count - trials * chain.loss) < 6 * (trials * chain.variance) ** 0.5
    low, high = chain.count_bounds(trials, 1e-6)
    assert low < count < high
    # The bound is of use: not much wider than six standard deviations each way.
    assert high - low < 16 * (trials * chain.variance) ** 0.5


def test_correlation_makes_netem_lose_less_than_it_was_told() -> None:
    assert correlated(0.1, 0.25).loss < 0.02
    assert correlated(0.5, 0.25).loss == pytest.approx(0.5, abs=1e-6)


def test_reordering_with_a_gap() -> None:
    assert reordering(0.25, 1).loss == pytest.approx(0.25)
    assert reordering(0.25, 5).loss == pytest.approx(1 / (4 + 1 / 0.25))


def test_how_many_packets_show_a_loss() -> None:
    for loss in (0.01, 0.1, 0.5):
        trials = trials_needed(loss, 0.001, 1e-6)
        fewest = next(k for k in range(trials) if share_interval(k, trials, 1e-6)[0] > 0.001)
        assert at_least(fewest, trials, loss) >= 1 - 1e-3
    assert trials_needed(1.0, 0.001, 1e-6) == 100
