"""Exact bounds for counts of random events, so that a statistical check states its false alarms."""

from math import exp, lgamma, log, log1p


def accepted(trials: int, probability: float, false_alarm: float = 1e-6) -> range:
    """Return the counts that a Binomial(``trials``, ``probability``) variable may have.

    Outside this range it falls with a probability of at most ``false_alarm``, half on each side:
    the bounds are exact sums of the distribution, no normal approximation.
    """
    if not 0 < probability < 1:
        certain = trials if probability else 0
        return range(certain, certain + 1)
    lowest, highest = 0, trials
    tail = 0.0
    while (tail := tail + _mass(lowest, trials, probability)) <= false_alarm / 2:
        lowest += 1
    tail = 0.0
    while (tail := tail + _mass(highest, trials, probability)) <= false_alarm / 2:
        highest -= 1
    return range(lowest, highest + 1)


def _mass(count: int, trials: int, probability: float) -> float:
    ways = lgamma(trials + 1) - lgamma(count + 1) - lgamma(trials - count + 1)
    return exp(ways + count * log(probability) + (trials - count) * log1p(-probability))
