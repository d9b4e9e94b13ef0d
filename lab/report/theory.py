"""What probability predicts, and between which bounds a measured value then lies. Pure.

A *band* holds a measured value of a right prediction in all but a stated share of runs, its *false
alarms*, half of them on either side. Every band here is exact or errs on the safe side:

============================ ======================================================================
a count of n                 the binomial distribution itself, summed (no normal approximation)
a sum of n attempts or waits the n-fold convolution of the distribution of one, by FFT. Waits grow
                             by a factor while their probability shrinks by another, so their sum is
                             far from normal even for hundreds of requests
a whole distribution         Dvoretzky, Kiefer, Wolfowitz 1956, with the constant of Massart 1990:
                             P(greatest distance > d) <= 2 exp(-2 n d^2)
============================ ======================================================================
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from clients.udp.schedule import Schedule

GRID = 1 << 16
"""Points of the convolution's grid."""

WRAPPED = 1e-12
"""The probability that a sum lies beyond the grid, by Chernoff's bound."""


@dataclass(frozen=True)
class Band:
    """The predicted value and where a measured one lies in all but ``false_alarm`` of runs.

    ``false_alarm`` 0: in every run, by logic and not by probability.
    """

    low: float
    expected: float
    high: float
    false_alarm: float

    def __contains__(self, measured: float) -> bool:
        return self.low <= measured <= self.high


@dataclass(frozen=True)
class RetryLaw:
    """Attempts at a request, independent of one another, until one is answered or none is left.

    ``failure`` is the probability that an attempt gets no answer, ``starts_s[k]`` when attempt k+1
    begins, in seconds after the first: P(K = k) = p^(k-1) (1 - p), cut off after ``tries``.
    """

    failure: float
    starts_s: tuple[float, ...]

    @classmethod
    def of(cls, schedule: Schedule, failure: float) -> "RetryLaw":
        """Return the law of a client's schedule. Raises ValueError for ``adaptive``: its waits
        depend on what was measured before.
        """
        if schedule.rto == "adaptive":
            raise ValueError("the waits of --rto adaptive depend on the round trips before")
        timeouts = schedule.timeouts()
        starts_s = [0.0]
        for attempt in range(1, schedule.max_tries):
            wait_ns = timeouts.timeout_ns(attempt) + timeouts.pause_ns(attempt)
            starts_s.append(starts_s[-1] + wait_ns / 1e9)
        return cls(failure, tuple(starts_s))

    @property
    def tries(self) -> int:
        """The most attempts at a request."""
        return len(self.starts_s)

    @property
    def gave_up(self) -> float:
        """The probability that no attempt is answered: p^N."""
        return float(self.failure**self.tries)

    @cached_property
    def answered_at(self) -> list[float]:
        """The probability that attempt 1, 2, ... is the first one answered."""
        return [self.failure**k * (1 - self.failure) for k in range(self.tries)]

    @property
    def attempts(self) -> float:
        """The mean number of attempts until the answer, or until the request is given up."""
        return sum(self.failure**k for k in range(self.tries))

    @property
    def wait_s(self) -> float:
        """The mean wait for lost attempts of a request that is answered in the end."""
        total = sum(p * start for p, start in zip(self.answered_at, self.starts_s, strict=True))
        return total / (1 - self.gave_up) if self.failure < 1 else 0.0

    def unanswered_after(self, attempts: int) -> float:
        """Return the probability that a request has no answer after so many attempts: p^k."""
        return float(self.failure**attempts)

    def attempts_band(self, requests: int, false_alarm: float) -> Band:
        """Return the band of the mean number of attempts of so many requests."""
        masses = list(self.answered_at)
        masses[-1] += self.gave_up
        return mean_band(range(1, self.tries + 1), masses, requests, false_alarm)

    def sent_by(self, attempt: int, round_trip_s: float) -> int:
        """Return how many datagrams have been sent when the answer to this attempt arrives.

        More than ``attempt`` where a round trip takes longer than a timeout: those are in vain.
        """
        arrives_s = self.starts_s[attempt - 1] + round_trip_s
        return sum(start_s < arrives_s for start_s in self.starts_s)

    def datagrams_band(self, requests: int, round_trip_s: float, false_alarm: float) -> Band:
        """Return the band of the mean number of datagrams sent for so many requests.

        Every round trip takes the same time. A request that is given up has sent all.
        """
        sent = [self.sent_by(k + 1, round_trip_s) for k in range(self.tries)]
        values, masses = [*sent, self.tries], [*self.answered_at, self.gave_up]
        return mean_band(values, masses, requests, false_alarm)

    def wait_band(self, answered: int, false_alarm: float) -> Band:
        """Return the band of the mean wait of so many answered requests, in seconds."""
        given = [mass / (1 - self.gave_up) for mass in self.answered_at]
        return mean_band(self.starts_s, given, answered, false_alarm)


def count_band(trials: int, probability: float, false_alarm: float) -> Band:
    """Return the band of a count: Binomial(``trials``, ``probability``)."""
    probability = min(max(probability, 0.0), 1.0)
    if trials == 0 or probability in (0.0, 1.0):
        return Band(trials * probability, trials * probability, trials * probability, 0.0)
    counts = np.arange(trials + 1)
    up_to = special.bdtr(counts, trials, probability)
    above = special.bdtrc(counts, trials, probability)
    low = float(np.argmax(up_to > false_alarm / 2))
    high = float(np.argmax(above <= false_alarm / 2))
    return Band(low, trials * probability, high, false_alarm)


def share_band(trials: int, probability: float, false_alarm: float) -> Band:
    """Return the band of a share of so many trials."""
    band = count_band(trials, probability, false_alarm)
    return Band(band.low / trials, probability, band.high / trials, band.false_alarm)


def distance_band(samples: int, false_alarm: float) -> Band:
    """Return the band of the greatest distance of a sample's distribution from the right one."""
    high = float(np.sqrt(np.log(2 / false_alarm) / (2 * samples)))
    return Band(0.0, 0.0, min(high, 1.0), false_alarm)


def mean_band(
    values: Sequence[float], masses: Sequence[float], count: int, false_alarm: float
) -> Band:
    """Return the band of the mean of ``count`` independent values, with their probabilities.

    The values are put on a grid so that their mean stays the same, the distribution of one is
    raised to the power ``count`` by FFT.
    """
    x, p = np.asarray(values, float), np.asarray(masses, float)
    expected = float(x @ p)
    shifted = x - x.min()
    if count == 0 or not shifted[p > 0].any():
        return Band(expected, expected, expected, 0.0)
    whole = bool((shifted == np.round(shifted)).all())
    furthest = _furthest_sum(shifted, p, count)
    step = 1.0 if whole and furthest < GRID else furthest / (GRID - 1)
    one = np.zeros(GRID)
    below = np.minimum((shifted / step).astype(int), GRID - 2)
    part = np.clip(shifted / step - below, 0.0, 1.0)
    np.add.at(one, below, p * (1 - part))
    np.add.at(one, below + 1, p * part)
    law = np.fft.irfft(np.fft.rfft(one) ** count, GRID)
    up, down = np.cumsum(law), np.cumsum(law[::-1])[::-1]
    low = int(np.searchsorted(up, false_alarm / 2, side="right"))
    high = int(GRID - 1 - np.searchsorted(down[::-1], false_alarm / 2, side="right"))
    base = float(x.min())
    return Band(base + low * step / count, expected, base + high * step / count, false_alarm)


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return a percentile, linear between neighbours (Hyndman and Fan's method 7)."""
    return float(np.percentile(samples, percent))


def _furthest_sum(shifted: "np.ndarray", p: "np.ndarray", count: int) -> float:
    """Return a bound beyond which the sum lies with a probability of ``WRAPPED`` at most.

    Chernoff: P(S >= L) <= M(t)^n exp(-t L) for every t > 0, with M the moment generating function
    of one value; the smallest such L over a range of t.
    """
    largest = float(shifted[p > 0].max())
    t = np.geomspace(1e-4, 50, 400) / largest
    log_m = np.log(np.exp(np.outer(t, shifted - largest)) @ p) + t * largest
    bound = float(((count * log_m - np.log(WRAPPED)) / t).min())
    return min(bound, count * largest)
