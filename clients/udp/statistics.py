"""The figures of a run: counts, and what the samples of a duration look like. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, sqrt

from clients.udp.ledger import Ledger, Outcome


@dataclass(frozen=True)
class Distribution:
    """Minimum, average, median, 95th percentile, maximum and standard deviation, in seconds."""

    samples: int
    min_s: float
    average_s: float
    median_s: float
    p95_s: float
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
    strays: int
    ambiguous: int
    outcomes: dict[Outcome, int]
    rtt: Distribution | None
    """Of each answered attempt, late ones too; waits for lost attempts are not in it."""
    time_to_confirmation: Distribution | None
    """Of each answered request, from its first sending; waits for lost attempts are in it."""


def statistics(ledger: Ledger) -> Statistics:
    """Return the figures of everything in the ledger, at any moment of the run."""
    attempts = [attempt for request in ledger.requests for attempt in request.attempts]
    outcomes = Counter(attempt.outcome for attempt in attempts)
    sent = [attempt for attempt in attempts if not attempt.send_error]
    confirmations = [request.time_to_confirmation_ns for request in ledger.requests]
    answered = [duration_ns for duration_ns in confirmations if duration_ns is not None]
    return Statistics(
        requests=len(ledger.requests),
        answered=len(answered),
        gave_up=sum(request.gave_up for request in ledger.requests),
        datagrams_sent=len(sent),
        retries=sum(attempt.number > 1 for attempt in sent),
        late=outcomes[Outcome.LATE],
        duplicates=ledger.duplicates,
        strays=ledger.strays.total(),
        ambiguous=ledger.ambiguous_answers,
        outcomes={outcome: outcomes[outcome] for outcome in Outcome},
        rtt=distribution([a.rtt_ns for a in attempts if a.rtt_ns is not None]),
        time_to_confirmation=distribution(answered),
    )
