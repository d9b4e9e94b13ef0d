"""The figures of a run: counts, what the samples of a duration look like, what to expect. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, sqrt

from clients.udp.ledger import Attempt, Ledger, Outcome

Z95 = 1.959963984540054
"""The normal distribution has 95 % within so many standard deviations of its mean."""


@dataclass(frozen=True)
class Distribution:
    """Minimum, average, percentiles, maximum and standard deviation, in seconds."""

    samples: int
    min_s: float
    average_s: float
    median_s: float
    p95_s: float
    p99_s: float
    max_s: float
    stddev_s: float | None
    """Of the path, estimated from the samples (divisor n - 1); None for a single one."""


def distribution(samples_ns: Sequence[int]) -> Distribution | None:
    """Return the distribution of samples in nanoseconds, or None where there are none."""
    if not samples_ns:
        return None
    ordered = sorted(samples_ns)
    count = len(ordered)
    average_ns = sum(ordered) / count
    squares = fsum((sample - average_ns) ** 2 for sample in ordered)
    return Distribution(
        count,
        ordered[0] / 1e9,
        average_ns / 1e9,
        percentile(ordered, 50) / 1e9,
        percentile(ordered, 95) / 1e9,
        percentile(ordered, 99) / 1e9,
        ordered[-1] / 1e9,
        sqrt(squares / (count - 1)) / 1e9 if count > 1 else None,
    )


def percentile(ordered: Sequence[int], percent: float) -> float:
    """Return a percentile of ascending samples, interpolated linearly between neighbours.

    The smallest sample is the 0th, the largest the 100th (method 7 of Hyndman and Fan, "Sample
    quantiles in statistical packages", 1996; numpy's and R's default).
    """
    position = (len(ordered) - 1) * percent / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def jitter_s(answered: Sequence[Attempt]) -> float | None:
    """Return the jitter of RFC 3550 (section 6.4.1), of round trips, in seconds.

    ``answered`` is in the order of arrival: J += (|D| - J) / 16, with D the change from one round
    trip to the next. None for fewer than two.
    """
    if len(answered) < 2:
        return None
    jitter_ns = 0.0
    before_ns = answered[0].rtt_ns or 0
    for attempt in answered[1:]:
        rtt_ns = attempt.rtt_ns or 0
        jitter_ns += (abs(rtt_ns - before_ns) - jitter_ns) / 16
        before_ns = rtt_ns
    return jitter_ns / 1e9


def delay_variations_ns(attempts: Sequence[Attempt]) -> list[int]:
    """Return the IPDV of RFC 3393, of round trips: the change from each datagram to the next.

    Absolute values, in nanoseconds; only where both were answered. ``attempts`` in sending order.
    """
    rtts = [attempt.rtt_ns for attempt in attempts]
    return [
        abs(later - earlier)
        for earlier, later in zip(rtts, rtts[1:], strict=False)
        if earlier is not None and later is not None
    ]


@dataclass(frozen=True)
class Share:
    """``count`` of ``of``, and where the probability behind it lies with 95 % confidence."""

    count: int
    of: int
    fraction: float
    low: float
    high: float


def share(count: int, of: int) -> Share | None:
    """Return a share with its interval by Wilson (1927), or None of none.

    Wilson's interval keeps its 95 % for small numbers and shares near 0 and 1, where the usual
    "plus or minus" does not (Brown, Cai and DasGupta, "Interval estimation for a binomial
    proportion", 2001).
    """
    if of == 0:
        return None
    fraction = count / of
    denominator = 1 + Z95**2 / of
    middle = (fraction + Z95**2 / (2 * of)) / denominator
    half = Z95 * sqrt(fraction * (1 - fraction) / of + Z95**2 / (4 * of**2)) / denominator
    low = 0.0 if count == 0 else max(middle - half, 0.0)
    high = 1.0 if count == of else min(middle + half, 1.0)
    return Share(count, of, fraction, low, high)


@dataclass(frozen=True)
class Expectation:
    """What the lab's settings lead one to expect.

    ``drop`` is the server's probability, ``there`` and ``back`` the network's losses each way, all
    independent. So an attempt is answered with ``answered``, attempts are geometrically
    distributed, and a request with N tries gives up with ``(1 - answered) ** N``.
    """

    drop: float
    there: float
    back: float
    tries: int

    @property
    def outcomes(self) -> dict[Outcome, float]:
        """The probability of each end of an attempt; late answers count as answers."""
        received = 1 - self.there
        return {
            Outcome.ANSWERED: self.answered,
            Outcome.DROPPED: received * self.drop,
            Outcome.LOST_THERE: self.there,
            Outcome.LOST_BACK: received * (1 - self.drop) * self.back,
        }

    @property
    def answered(self) -> float:
        """The probability that an attempt is answered."""
        return (1 - self.there) * (1 - self.drop) * (1 - self.back)

    @property
    def gave_up(self) -> float:
        """The probability that a request is given up."""
        return (1 - self.answered) ** self.tries

    @property
    def attempts_per_request(self) -> float:
        """The mean of a geometric distribution that is cut off after ``tries``."""
        return (1 - self.gave_up) / self.answered if self.answered else float(self.tries)


@dataclass(frozen=True)
class Statistics:
    """What a run comes to. ``outcomes`` counts attempts, and its sum is the number of attempts."""

    requests: int
    answered: int
    gave_up: int
    datagrams_sent: int
    retries: int
    late: int
    duplicates: int
    reordered: int
    strays: int
    ambiguous: int
    outcomes: dict[Outcome, int]
    loss: Share | None
    """Datagrams sent that got no answer, whatever became of them."""
    rtt: Distribution | None
    """Of each answered attempt, late ones too; waits for lost attempts are not in it, and the
    server's holding is taken out where the server tells it."""
    rtt_by_kernel: int
    """How many of these samples are from kernel stamp to kernel stamp."""
    held: Distribution | None
    """How long the server held the datagrams that it answered."""
    ipdv: Distribution | None
    jitter_s: float | None
    time_to_confirmation: Distribution | None
    """Of each answered request, from its first sending; waits for lost attempts are in it."""


def statistics(ledger: Ledger) -> Statistics:
    """Return the figures of everything in the ledger, at any moment of the run."""
    attempts = ledger.attempts
    answered_attempts = ledger.answers_in_order
    outcomes = Counter(attempt.outcome for attempt in attempts)
    sent = [attempt for attempt in attempts if not attempt.send_error]
    confirmations = [request.time_to_confirmation_ns for request in ledger.requests]
    answered = [duration_ns for duration_ns in confirmations if duration_ns is not None]
    without_answer = len(sent) - len(answered_attempts) - ledger.ambiguous_answers
    return Statistics(
        requests=len(ledger.requests),
        answered=len(answered),
        gave_up=sum(request.gave_up for request in ledger.requests),
        datagrams_sent=len(sent),
        retries=sum(attempt.number > 1 for attempt in sent),
        late=outcomes[Outcome.LATE],
        duplicates=ledger.duplicates,
        reordered=ledger.reordered,
        strays=ledger.strays.total(),
        ambiguous=ledger.ambiguous_answers,
        outcomes={outcome: outcomes[outcome] for outcome in Outcome},
        loss=share(without_answer, len(sent)),
        rtt=distribution([a.rtt_ns for a in answered_attempts if a.rtt_ns is not None]),
        rtt_by_kernel=sum(attempt.by_kernel for attempt in answered_attempts),
        held=distribution([a.held_ns for a in answered_attempts if a.held_ns is not None]),
        ipdv=distribution(delay_variations_ns(attempts)),
        jitter_s=jitter_s(answered_attempts),
        time_to_confirmation=distribution(answered),
    )
