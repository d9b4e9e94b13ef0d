"""When to send: requests, and how long each attempt waits for its answer.

By default every retry waits longer than the one before (``timeouts`` has other ways): attempt k of
a request waits ``first_timeout_s * backoff ** (k - 1)``, so with the defaults 200 ms, 250 ms,
312 ms, ... and 5.7 s for the sixteenth. Only one attempt at a time is unexpired.

Why these defaults. In the default lab the server drops half of the datagrams, and the network
loses a tenth of the answers, so an attempt stays without an answer with probability

    p = 1 - 0.5 * 0.9 = 0.55

and, drops being independent, a request that may try N = 16 times stays without one with p^N:

    P(all ten answered) = (1 - 0.55^16)^10 = 0.9993          (N = 15 would be 0.9987)

A request waits for lost attempts 0.2 s * p * (1 + p*1.25 + (p*1.25)^2 + ...) = 0.35 s in the mean.
Summing the exact distribution over ten requests, each begun 0.2 s after the one before or later:

    P(all ten answered within 10 s) = 0.97, half of the runs within 3.8 s

RFC 6298 (section 2.1) starts at 1 s, because it may meet any path; the tenfold wait would add
nothing in a lab whose round trips take less than a millisecond. Nor does a path that is slower
than the first timeout fail: a late answer completes its request just as well.
"""

from dataclasses import dataclass

from clients.udp.timeouts import MAX_RTO_S, MIN_RTO_S, Adaptive, Backoff, Fixed, Timeouts

FIRST_TIMEOUT_S = 0.2
BACKOFF = 1.25
MAX_TRIES = 16
COUNT = 10
INTERVAL_S = 0.2

SMALLEST_BACKOFF = 1.01
"""A retry must wait longer than the attempt before it, and so much that one can see it."""


@dataclass(frozen=True)
class Schedule:
    """When to send: ``count`` requests, ``interval_s`` apart or more, each tried ``max_tries``.

    ``rto`` is one of ``timeouts.WAYS``. ``paced``: at every interval, whatever came back, and with
    no retries.
    """

    count: int = COUNT
    first_timeout_s: float = FIRST_TIMEOUT_S
    backoff: float = BACKOFF
    max_tries: int = MAX_TRIES
    interval_s: float = INTERVAL_S
    rto: str = "backoff"
    min_rto_s: float = MIN_RTO_S
    max_rto_s: float = MAX_RTO_S
    paced: bool = False

    def timeouts(self) -> Timeouts:
        """Return what chooses the timeouts of a run."""
        if self.paced or self.rto == "fixed":
            return Fixed(self.first_timeout_s, self.backoff)
        if self.rto == "adaptive":
            return Adaptive(self.first_timeout_s, self.min_rto_s, self.max_rto_s)
        return Backoff(self.first_timeout_s, self.backoff)

    def timeout_ns(self, attempt: int) -> int:
        """Return how long this attempt (from 1) waits if nothing is known yet, in nanoseconds."""
        return self.timeouts().timeout_ns(attempt)
