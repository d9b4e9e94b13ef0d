"""The figures of a run."""

import statistics as reference

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.udp.ledger import Attempt, Outcome
from clients.udp.statistics import (
    Expectation,
    delay_variations_ns,
    distribution,
    jitter_s,
    percentile,
    share,
)


@given(st.lists(st.integers(0, 10**12), min_size=2, max_size=60))
def test_a_distribution_agrees_with_the_standard_library(samples: list[int]) -> None:
    figures = distribution(samples)
    assert figures is not None
    assert figures.samples == len(samples)
    assert (figures.min_s, figures.max_s) == (min(samples) / 1e9, max(samples) / 1e9)
    assert figures.average_s == pytest.approx(reference.fmean(samples) / 1e9)
    assert figures.median_s == pytest.approx(reference.median(samples) / 1e9)
    assert figures.stddev_s == pytest.approx(reference.stdev(samples) / 1e9, abs=1e-9)
    cuts = reference.quantiles(samples, n=20, method="inclusive")
    assert figures.p95_s == pytest.approx(cuts[18] / 1e9)
    assert figures.p95_s <= figures.p99_s <= figures.max_s


def test_a_single_sample_has_no_standard_deviation() -> None:
    figures = distribution([7_000_000])
    assert figures is not None
    assert (figures.average_s, figures.p95_s, figures.stddev_s) == (0.007, 0.007, None)


def test_no_sample_has_no_distribution() -> None:
    assert distribution([]) is None


def test_a_percentile_lies_between_neighbours() -> None:
    assert percentile([10, 20, 30, 40, 50], 95) == pytest.approx(48)
    assert percentile([10, 20], 50) == 15


def attempts(*rtts_ns: int | None) -> list[Attempt]:
    return [
        Attempt(1, number, number, 1000, 10**9, received_ns=rtt_ns and 1000 + rtt_ns)
        for number, rtt_ns in enumerate(rtts_ns, 1)
    ]


def test_jitter_is_that_of_rfc_3550() -> None:
    assert jitter_s(attempts(100)) is None
    # |D| is 160, then 80: J = 160/16 = 10, then 10 + (80 - 10)/16
    assert jitter_s(attempts(100, 260, 180)) == pytest.approx(14.375e-9)


def test_ipdv_is_taken_between_neighbours_that_were_both_answered() -> None:
    assert delay_variations_ns(attempts(100, 140, None, 500, 490)) == [40, 10]


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [  # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_a_share_has_wilsons_interval(count: int, of: int, low: float, high: float) -> None:
    found = share(count, of)
    assert found is not None
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


@given(st.integers(1, 10**6), st.data())
def test_a_share_lies_within_its_interval(of: int, data: st.DataObject) -> None:
    found = share(data.draw(st.integers(0, of)), of)
    assert found is not None
    assert 0 <= found.low <= found.fraction <= found.high <= 1


def test_a_share_of_nothing_is_none() -> None:
    assert share(0, 0) is None


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(1, 20))
def test_what_is_expected_adds_up(drop: float, there: float, back: float, tries: int) -> None:
    expected = Expectation(drop, there, back, tries)
    assert sum(expected.outcomes.values()) == pytest.approx(1)
    attempts_summed = sum((1 - expected.answered) ** n for n in range(tries))
    if expected.answered == 0 or expected.answered > 1e-6:
        assert expected.attempts_per_request == pytest.approx(attempts_summed)


def test_the_default_lab_is_expected_to_give_up_once_in_ten_thousand_requests() -> None:
    expected = Expectation(drop=0.5, there=0.0, back=0.1, tries=16)
    assert expected.outcomes[Outcome.ANSWERED] == pytest.approx(0.45)
    assert expected.gave_up == pytest.approx(0.55**16)
