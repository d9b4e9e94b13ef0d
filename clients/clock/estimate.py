r"""How far a server's clock is from this one: Cristian's estimate, as intervals.

::

    this machine   m0,w0 |--------- rtt ---------| m1       rtt    = m1 - m0      (monotonic clock)
                          \                     /           offset = server's clock - this clock
    server                 `----> reads S -----'

The server read its clock at some instant between ``m0`` and ``m1``; which, nobody can know from
here. This machine's clock then showed something from ``w0`` to ``w0 + rtt``, so::

    S.earliest - (w0 + rtt)  <=  offset  <  S.latest - w0

The middle is the estimate, half the width its bound: ``rtt / 2`` and half the resolution of the
server's answer (F. Cristian, Probabilistic clock synchronization, Distributed Computing 3, 1989).
The bound holds however unequal the two ways are; an estimate that took the longer way for half of
the round trip would be wrong by up to ``rtt / 2``, so the sample with the smallest round trip says
most, and averaging says less.

``m0`` is read before ``w0``, ``w0`` before the question is sent, and the round trip begins with
``m0``: a pause of the process in between widens the interval and cannot make it wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from clients.clock.answers import ServerTime


@dataclass(frozen=True)
class Sample:
    """One question that was answered with a time; nanoseconds.

    ``sent_wall_ns`` is this machine's clock just before the question was sent (w0),
    ``received_wall_ns`` just after the answer had come; ``rtt_ns`` is by the monotonic clock.
    """

    number: int
    sent_wall_ns: int
    received_wall_ns: int
    rtt_ns: int
    server: ServerTime

    @property
    def earliest_offset_ns(self) -> int:
        """The smallest offset that agrees with this sample."""
        return self.server.earliest_ns - self.sent_wall_ns - self.rtt_ns

    @property
    def latest_offset_ns(self) -> int:
        """The largest offset that agrees with this sample."""
        return self.server.latest_ns - self.sent_wall_ns

    @property
    def offset_ns(self) -> int:
        """The middle between these: the server's clock minus this machine's."""
        return (self.earliest_offset_ns + self.latest_offset_ns) // 2

    @property
    def bound_ns(self) -> int:
        r"""How far the true offset may be from ``offset_ns``: half the interval, rounded up."""
        return (self.latest_offset_ns - self.earliest_offset_ns + 1) // 2


@dataclass(frozen=True)
class Estimate:
    """The offset of the server's clock, ``offset_ns`` ± ``bound_ns``, and whose sample it is."""

    offset_ns: int
    bound_ns: int
    sample: Sample


def estimate(samples: Sequence[Sample]) -> Estimate:
    """Return the estimate of the sample with the smallest bound; the first of equal ones.

    That is the one with the smallest round trip, as long as all answers have one resolution.
    Raises ValueError when there are no samples.
    """
    best = min(samples, key=lambda sample: (sample.bound_ns, sample.rtt_ns))
    return Estimate(best.offset_ns, best.bound_ns, best)
