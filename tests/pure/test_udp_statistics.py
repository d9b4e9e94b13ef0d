"""The figures of a run."""

import statistics as reference

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.udp.statistics import distribution, percentile


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


def test_a_single_sample_has_no_standard_deviation() -> None:
    figures = distribution([7_000_000])
    assert figures is not None
    assert (figures.average_s, figures.p95_s, figures.stddev_s) == (0.007, 0.007, None)


def test_no_sample_has_no_distribution() -> None:
    assert distribution([]) is None


def test_a_percentile_lies_between_neighbours() -> None:
    assert percentile([10, 20, 30, 40, 50], 95) == pytest.approx(48)
    assert percentile([10, 20], 50) == 15
