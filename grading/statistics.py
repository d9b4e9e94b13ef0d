"""The random checks' arithmetic, exact: bands, independence, and the budget of false alarms. Pure.

A correct server drops each datagram by itself, with a chance that is about one half: ``HALF`` says
what is accepted as that. Then

- the answered among N are binomial; the band is that of both ends of ``HALF`` (``band``);
- however large the chance is: given how many were answered, every order of them is equally likely.
  So the number of runs (stretches of equal fate) is known exactly (Wald and Wolfowitz, 1940). At a
  distance ``lag``, the datagrams are taken as ``lag`` interleaved sequences, and their runs added
  up: that sees a server that decides by the datagram ``lag`` before, as one that counts for each of
  ``lag`` clients by itself.

``FALSE_ALARMS`` lists every random check of a submission; together they stay below 1 in 1,000,000.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import comb, sqrt

from lab.chance import at_least

HALF = (0.45, 0.55)
"""The share of dropped datagrams that is accepted as one half."""

TRIES = 40
"""How often a datagram is sent until "no answer" means that there is none."""

NO_ANSWER = HALF[1] ** TRIES
"""The chance that a server that drops no more than that answers none of them."""

FALSE_ALARMS = {
    "udp-server.confirms": NO_ANSWER,
    "udp-server.drops-half": 1e-7,
    "udp-server.drops-at-random": 2e-7,
    "udp-server.several-clients": 4 * NO_ANSWER,
    "udp-server.survives": 4 * NO_ANSWER,
}
"""Check: the chance that it fails a correct program, in one grading of a submission.

The exam scenario loses datagrams at random, too; but what is judged there is what the client did
after the losses that the kernel counted, so chance fails nobody.
"""

TOTAL_FALSE_ALARMS = 1e-6

LAGS = 12
"""Dependence is looked for at distances 1 to 12, and at the number of sockets."""

_NOTABLE = 4.0
"""Standard deviations below which no number of runs comes near any of these alarms."""


def band(count: int, alarm: float) -> range:
    """Return how many of ``count`` a server may answer that drops a share within ``HALF``.

    Outside lies less than ``alarm``, for any such share: half of it on each side.
    """
    low = 0
    while 1 - at_least(low + 1, count, 1 - HALF[1]) <= alarm / 2:
        low += 1
    high = count
    while at_least(high, count, 1 - HALF[0]) <= alarm / 2:
        high -= 1
    return range(low, high + 1)


def agreements(pattern: Sequence[int], lag: int) -> int:
    """Return how many pairs ``lag`` apart are alike."""
    return sum(a == b for a, b in zip(pattern, pattern[lag:], strict=False))


def runs(pattern: Sequence[int]) -> int:
    """Return the number of runs: stretches of equal fate."""
    return sum(i == 0 or pattern[i] != pattern[i - 1] for i in range(len(pattern)))


@lru_cache(maxsize=4096)
def runs_law(ones: int, zeros: int) -> tuple[float, ...]:
    """Return the chance of each number of runs (by index) when every order is equally likely."""
    if not ones or not zeros:
        return (0.0, 1.0) if ones + zeros else (1.0,)
    ways = [0] * (2 * min(ones, zeros) + 2)
    for half in range(1, min(ones, zeros) + 1):
        a, b = comb(ones - 1, half - 1), comb(zeros - 1, half - 1)
        ways[2 * half] = 2 * a * b
        ways[2 * half + 1] = a * comb(zeros - 1, half) + comb(ones - 1, half) * b
    whole = comb(ones + zeros, ones)
    return tuple(way / whole for way in ways)


def dependence(pattern: Sequence[int], lags: Sequence[int], alarm: float) -> int | None:
    """Return the smallest lag at which the pattern is not that of independent decisions.

    None: none of them. All lags together raise a false alarm less often than ``alarm``.
    """
    for lag in lags:
        parts = [pattern[start::lag] for start in range(lag) if start < len(pattern)]
        seen = sum(runs(part) for part in parts)
        mean, variance = _moments(parts)
        if abs(seen - mean) <= _NOTABLE * sqrt(variance):
            continue
        law = [1.0]
        for part in parts:
            law = _sum_of(law, runs_law(sum(part), len(part) - sum(part)))
        each_side = alarm / (2 * len(lags))
        if sum(law[: seen + 1]) <= each_side or sum(law[seen:]) <= each_side:
            return lag
    return None


def _moments(parts: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Return mean and variance of the number of runs in all parts together."""
    mean = variance = 0.0
    for part in parts:
        n, ones = len(part), sum(part)
        mixed = 2 * ones * (n - ones)
        mean += 1 + mixed / n
        variance += mixed * (mixed - n) / (n * n * (n - 1)) if n > 1 else 0.0
    return mean, variance


def _sum_of(one: Sequence[float], other: Sequence[float]) -> list[float]:
    law = [0.0] * (len(one) + len(other) - 1)
    for i, p in enumerate(one):
        if p:
            for j, q in enumerate(other):
                law[i + j] += p * q
    return law


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
