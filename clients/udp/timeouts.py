"""How long an attempt waits for its answer, and how long a retry waits after that. Pure.

Three ways (``--rto``); in each, the time from one sending to the next grows while nothing is
answered, as RFC 8085 (section 3.1) asks of programs that send datagrams again:

``backoff``   attempt k of a request waits ``first * factor ** (k - 1)``: the exercise
``fixed``     every attempt waits ``first``; then the retry pauses, until ``backoff`` would send it
``adaptive``  the retransmission timeout of TCP, computed from the round trips (RFC 6298)
"""

from dataclasses import dataclass
from typing import Protocol

CENTURY_S = 3.2e9

WAYS = ("backoff", "fixed", "adaptive")

MIN_RTO_S = 0.2
MAX_RTO_S = 60.0
"""RFC 6298 would have a minimum of 1 s (2.4); Linux's TCP takes 200 ms, and so does this lab. The
maximum, if there is one, has to be at least 60 s (2.5)."""

ALPHA = 1 / 8
BETA = 1 / 4
K = 4
GRANULARITY_S = 0.001
"""RFC 6298's symbols (2.2, 2.3); G is how exactly this program's waits end."""


class Timeouts(Protocol):
    """One way to choose timeouts; it is told of every round trip and of every timeout."""

    def timeout_ns(self, attempt: int) -> int:
        """Return how long this attempt (from 1) waits, in nanoseconds."""

    def pause_ns(self, attempt: int) -> int:
        """Return how long after this attempt's timeout the next one is sent."""

    def sampled(self, elapsed_ns: int) -> str:
        """Take in a round trip; return what that changed, in words, or ""."""

    def expired(self) -> str:
        """Take in a timeout; return what that changed, in words, or ""."""


@dataclass(frozen=True)
class Backoff:
    """Attempt k waits ``first_s * factor ** (k - 1)``, a century at most."""

    first_s: float
    factor: float

    def timeout_ns(self, attempt: int) -> int:
        """Return how long this attempt (from 1) waits, in nanoseconds."""
        try:
            seconds = min(self.first_s * self.factor ** (attempt - 1), CENTURY_S)
        except OverflowError:
            seconds = CENTURY_S
        return round(seconds * 1e9)

    def pause_ns(self, attempt: int) -> int:
        """Return 0: the next attempt follows at once."""
        return 0

    def sampled(self, elapsed_ns: int) -> str:
        """Change nothing."""
        return ""

    def expired(self) -> str:
        """Change nothing."""
        return ""


@dataclass(frozen=True)
class Fixed(Backoff):
    """Every attempt waits ``first_s``; pauses bring the retries to the times of Backoff."""

    def timeout_ns(self, attempt: int) -> int:
        """Return the same for all, in nanoseconds."""
        return round(self.first_s * 1e9)

    def pause_ns(self, attempt: int) -> int:
        """Return what Backoff would have waited longer."""
        return super().timeout_ns(attempt) - self.timeout_ns(attempt)


class Adaptive:
    """RFC 6298, all of it but its default minimum.

    Karn's rule (3: no sample from a retransmitted segment, whose answer may be to either sending)
    is kept by better means: each answer names its attempt, so every sample is of one sending.
    """

    def __init__(self, first_s: float, min_s: float = MIN_RTO_S, max_s: float = MAX_RTO_S) -> None:
        self.srtt_s: float | None = None
        self.rttvar_s = 0.0
        self.rto_s = min(first_s, max_s)  # (2.1), the user's instead of 1 s
        self._min_s = min_s
        self._max_s = max_s

    def timeout_ns(self, attempt: int) -> int:
        """Return the timeout as of now, in nanoseconds, for a first attempt and a retry alike."""
        return round(self.rto_s * 1e9)

    def pause_ns(self, attempt: int) -> int:
        """Return 0: the next attempt follows at once, with a doubled timeout."""
        return 0

    def sampled(self, elapsed_ns: int) -> str:
        """Take in a round trip (2.2, 2.3, 2.4); this also ends a backoff (5)."""
        r_s = elapsed_ns / 1e9
        if self.srtt_s is None:
            self.srtt_s, self.rttvar_s = r_s, r_s / 2
        else:
            self.rttvar_s = (1 - BETA) * self.rttvar_s + BETA * abs(self.srtt_s - r_s)
            self.srtt_s = (1 - ALPHA) * self.srtt_s + ALPHA * r_s
        computed_s = self.srtt_s + max(GRANULARITY_S, K * self.rttvar_s)
        self.rto_s = min(max(computed_s, self._min_s), self._max_s)
        bound = {self._min_s: " (the minimum)", self._max_s: " (the maximum)"}
        return (
            f"R = {_ms(r_s)}: SRTT = {_ms(self.srtt_s)}, RTTVAR = {_ms(self.rttvar_s)}, "
            f"RTO = {_ms(self.rto_s)}{bound.get(self.rto_s, '')}"
        )

    def expired(self) -> str:
        """Double the timeout (5.5)."""
        self.rto_s = min(2 * self.rto_s, self._max_s)
        return f"timed out: RTO doubled to {_ms(self.rto_s)}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.4g} ms" if seconds < 10 else f"{seconds:.4g} s"
