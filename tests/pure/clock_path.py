"""A clock server, a client and the TCP path between them, in virtual time.

The server is the real one without its sockets: its protocol core answers, from its skewed clock.
The client reads that answer as it does any other. Delay, jitter and retransmissions are drawn from
a seeded generator. So the truth is known, and a thousand runs take seconds.
"""

import random
from dataclasses import dataclass

from clients.clock.answers import read_answer
from clients.clock.estimate import Sample
from services.clock.protocol import Receipt, Request, reply
from services.clock.skew import SkewedClock

S = 1_000_000_000
EPOCH_NS = 1_795_374_198 * S
"""This machine's wall clock at the start of a run; its monotonic clock begins at 0."""

RTO_NS = 200_000_000
"""The first retransmission of Linux's TCP, which doubles with each further one."""


@dataclass(frozen=True)
class Path:
    """One-way delays: nanoseconds, fractions, parts per million.

    ``asymmetry`` is by how much the way there has more than half of ``base_rtt_ns``. The jitter of
    each way is exponential with mean ``jitter_ns``. A lost segment comes after its retransmission.
    """

    offset_ns: int = 0
    drift_ppm: float = 0.0
    base_rtt_ns: int = 2_000_000
    asymmetry: float = 0.0
    jitter_ns: int = 0
    loss: float = 0.0
    exact: bool = True


@dataclass(frozen=True)
class Run:
    """The samples of a run, and the truth about it."""

    path: Path
    samples: list[Sample]
    least_there_ns: int
    least_back_ns: int

    def true_offset_ns(self, at_wall_ns: int) -> float:
        """Return the server's clock minus this machine's, when that showed ``at_wall_ns``."""
        return self.path.offset_ns + self.path.drift_ppm * (at_wall_ns - EPOCH_NS) / 1e6


def run(path: Path, count: int, interval_ns: int, draw: random.Random) -> Run:
    """Ask ``count`` questions, ``interval_ns`` apart if the answers allow it."""
    now_ns = 0
    clock = SkewedClock(
        path.offset_ns / S,
        path.drift_ppm,
        wall_clock_ns=lambda: EPOCH_NS + now_ns,
        monotonic_ns=lambda: now_ns,
    )
    request = Request.EXACT_TIME if path.exact else Request.TIME
    samples, ways_there, ways_back = [], [], []
    for number in range(1, count + 1):
        sent_ns = now_ns = max(now_ns, (number - 1) * interval_ns)
        there_ns, sent_again = _delay(path, 0.5 + path.asymmetry, draw)
        now_ns += there_ns
        receipt = Receipt(clock(), "kernel")
        now_ns += int(draw.expovariate(1 / 30_000))  # until the server's thread has its turn
        answer = reply(request, receipt, clock).decode().strip()
        back_ns, _ = _delay(path, 0.5 - path.asymmetry, draw)
        now_ns += back_ns
        server = read_answer(answer, cut_off=False)
        samples.append(
            Sample(number, sent_ns, now_ns, EPOCH_NS, server, retransmissions=sent_again)
        )
        ways_there.append(there_ns)
        ways_back.append(back_ns)
    return Run(path, samples, min(ways_there), min(ways_back))


def _delay(path: Path, share: float, draw: random.Random) -> tuple[int, int]:
    """Return how long a segment was on its way, and how often it was sent again."""
    delay_ns = share * path.base_rtt_ns
    if path.jitter_ns:
        delay_ns += draw.expovariate(1 / path.jitter_ns)
    lost = 0
    while draw.random() < path.loss:
        delay_ns += RTO_NS << lost
        lost += 1
    return int(delay_ns), lost
