"""The random checks' arithmetic, exact: bands, independence, and the budget of false alarms. Pure.

A correct server drops each datagram with probability 1/2, independently of the others. Then

- the answered among N are binomial(N, 1/2);
- "datagrams i and i + lag had the same fate" has probability 1/2 for each i, and these events are
  independent, so the agreements among the N - lag pairs are binomial(N - lag, 1/2), exactly. Lag 1
  is the runs test (runs = N - agreements).

``FALSE_ALARMS`` lists every random check of a submission; together they stay below 1 in 1,000,000.
"""

from collections.abc import Sequence
from math import comb

FALSE_ALARMS = {
    "udp-server.confirms": 2.0**-40,
    "udp-server.drops-half": 1e-7,
    "udp-server.drops-at-random": 2e-7,
    "udp-server.several-clients": 4 * 2.0**-40,
    "udp-server.survives": 16 * 2.0**-40,
    "udp-client.exam": 1e-7,
}
"""Check: the chance that it fails a correct program, in one grading of a submission."""

TOTAL_FALSE_ALARMS = 1e-6

LAGS = 12
"""Dependence is looked for at distances 1 to 12, and at the number of sockets."""

TRIES = 40
"""How often a datagram is sent until "no answer" means that there is none: 2**-40."""


def band(count: int, alarm: float) -> range:
    """Return the counts of ``count`` fair decisions that have no less than ``alarm`` in all.

    Two-sided and symmetric: outside lies less than ``alarm``, half of it on each side.
    """
    tail, low = 0, 0
    whole = 1 << count
    while (tail + comb(count, low)) <= alarm / 2 * whole:
        tail += comb(count, low)
        low += 1
    return range(low, count - low + 1)


def agreements(pattern: Sequence[int], lag: int) -> int:
    """Return how many pairs ``lag`` apart are alike."""
    return sum(a == b for a, b in zip(pattern, pattern[lag:], strict=False))


def dependence(pattern: Sequence[int], lags: Sequence[int], alarm: float) -> int | None:
    """Return the smallest lag at which the pattern is not that of independent fair decisions.

    None: none of them. All lags together raise a false alarm less often than ``alarm``.
    """
    for lag in lags:
        pairs = len(pattern) - lag
        if pairs > 0 and agreements(pattern, lag) not in band(pairs, alarm / len(lags)):
            return lag
    return None


def rule_of(pattern: Sequence[int], lag: int | None) -> str:
    """Return by which rule a server seems to decide, in a sentence's words."""
    answered = sum(pattern)
    if answered == len(pattern):
        return "it answers every datagram"
    if not answered:
        return "it answers none"
    share = 100 * (1 - answered / len(pattern))
    for period in range(2, LAGS + 1):
        if agreements(pattern, period) == len(pattern) - period:
            if period == 2:
                return "it drops every second datagram"
            return f"its decisions repeat after {period} datagrams"
    if lag is not None:
        return f"its decision depends on the datagram {lag} before; it drops {share:.0f} %"
    return f"it drops each datagram with a chance of about {share:.0f} %"
