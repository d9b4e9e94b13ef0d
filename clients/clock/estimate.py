r"""How far a server's clock is from this one, from samples of a round trip each: an interval.

::

    server                  T2          T3        offset theta = ((T2 - T1) + (T3 - T4)) / 2
                            ^            \        delay  delta = (T4 - T1) - (T3 - T2)
                           /              v
    this machine         T1                T4     theta - delta/2 <= true offset <= theta + delta/2

That is RFC 5905 section 8. A server that says only what time it is has read its clock once, at an
instant between T1 and T4, so T2 = T3 = its answer: Cristian's estimate (Probabilistic clock
synchronization, Distributed Computing 3, 1989), with half the round trip for a bound.

The bound holds however unequal the two ways are, and there is none that is better: an answer whose
way back took the whole delay looks the same as one whose way there did. But the samples differ, and
the truth agrees with all of them: ``agreement.py`` cuts their intervals to what they have in
common, which is as narrow as the fastest way there plus the fastest way back, even when no single
sample had both. Averaging knows nothing of this.

When the samples contradict each other, the server's clock was stepped (or drifts faster than any
clock should: that is tried too). The samples are then split where they do, and the estimate is that
of the last run of samples. A step of this machine's clock is seen against its monotonic clock, and
taken out of every figure.

Samples are *rejected*, for a retransmission or an outlying delay, from the median, the jitter and
the drift, which are statistics. They stay in the interval: a long delay makes a sample's interval
wide, never wrong, so no rule for rejection, good or bad, can lose the truth there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from clients.clock.agreement import Agreement, Bounds
from clients.clock.answers import ServerTime

MAX_DRIFT_PPM = 500.0
"""Of one clock against another, unless the samples show more: what NTP can correct (RFC 5905
appendix A.1.1, MAXFREQ). Crystals keep within 100."""

WIDE_DRIFT_PPM = 100_000.0
"""Tried when the samples do not agree on a drift within the limit; as far as ours can be set."""

WIDE_DRIFT_SAMPLES = 3
"""Any two samples lie on some line; three do not lie on one by chance."""

OUTLIER_SAMPLES = 8
"""Needed before a delay can be called an outlier."""

OUTLIER_FACTOR = 6
OUTLIER_FLOOR_NS = 100_000
"""A delay is one when it is this much above the smallest, and ``OUTLIER_FACTOR`` times as far above
as the first quartile is. The quartile, because half of all samples may have been retransmitted."""

DRIFT_POINTS = 40
DRIFT_POINTS_NEEDED = 8
"""The drift is taken from at most so many samples, the fastest of each stretch of the run."""

CONFIDENCE = 0.95
_CONFIDENCE_Z = 1.96  # standard deviations of a normal variable, both sides


@dataclass(frozen=True)
class Sample:
    """One question that was answered with a time; whole nanoseconds.

    ``sent_ns`` (T1) and ``received_ns`` (T4) are by this machine's clock with its steps taken out,
    that is, by its monotonic clock; ``wall_ahead_ns`` is what its wall clock was ahead of that.
    ``stamped_by`` says who noted T1 and T4, ``kernel`` or ``process``. ``retransmissions`` are the
    segments that this machine had to send again in the meantime.
    """

    number: int
    sent_ns: int
    received_ns: int
    wall_ahead_ns: int
    server: ServerTime
    stamped_by: tuple[str, str] = ("process", "process")
    retransmissions: int = 0

    @property
    def sent_wall_ns(self) -> int:
        """T1 by the wall clock, nanoseconds since the epoch."""
        return self.sent_ns + self.wall_ahead_ns

    @property
    def received_wall_ns(self) -> int:
        """T4 by the wall clock, nanoseconds since the epoch."""
        return self.received_ns + self.wall_ahead_ns

    @property
    def rtt_ns(self) -> int:
        """From the question to the answer, T4 - T1, with what the server took."""
        return self.received_ns - self.sent_ns

    @property
    def earliest_offset_ns(self) -> int:
        """The smallest offset that agrees with this sample."""
        return self.server.transmit_earliest_ns - self.received_wall_ns

    @property
    def latest_offset_ns(self) -> int:
        """The largest offset that agrees with this sample."""
        return self.server.receive_latest_ns - self.sent_wall_ns

    @property
    def offset_ns(self) -> int:
        """The middle between these: the server's clock minus this machine's."""
        return (self.earliest_offset_ns + self.latest_offset_ns) // 2

    @property
    def delay_ns(self) -> int:
        """The round trip without the server's time, and no less than 0 (RFC 5905 section 8)."""
        return max(0, self.latest_offset_ns - self.earliest_offset_ns)

    @property
    def bound_ns(self) -> int:
        r"""How far the true offset may be from ``offset_ns``: half the delay, rounded up."""
        return (self.delay_ns + 1) // 2

    @property
    def bounds(self) -> Bounds:
        """What this says of the server's clock minus this machine's monotonic one."""
        return Bounds(
            self.sent_ns,
            self.server.receive_latest_ns - self.sent_ns,
            self.received_ns,
            self.server.transmit_earliest_ns - self.received_ns,
        )


@dataclass(frozen=True)
class Step:
    """A clock that was set: whose, between which questions, by how much (within these bounds).

    ``clock`` is ``this machine`` or ``the server``. Positive is forward; nanoseconds.
    """

    clock: str
    after_number: int
    before_number: int
    earliest_ns: int
    latest_ns: int


@dataclass(frozen=True)
class Drift:
    """What the server's clock gains on this one, in ppm, and the confidence interval of that."""

    ppm: float
    low_ppm: float
    high_ppm: float


@dataclass(frozen=True)
class Estimate:
    """What the samples say together; nanoseconds, offsets are server minus this machine.

    The true offset at the instant ``at_wall_ns`` (of this machine's clock, as it is since its last
    step) was ``offset_ns`` ± ``bound_ns``. ``sample`` is the one with the smallest bound of those
    that this is from, ``samples`` how many they are. ``median_ns`` and ``jitter_ns`` are as of the
    same instant: the drift, if known, is taken out. ``drift`` is None when the run is too short;
    ``drift_limits_ppm`` always holds it. ``max_drift_ppm`` is what was taken for possible.
    ``rejected`` has a reason for each sample, by its number, that the statistics leave out.
    """

    offset_ns: int
    bound_ns: int
    at_wall_ns: int
    sample: Sample
    samples: int
    median_ns: int
    jitter_ns: float | None
    drift: Drift | None
    drift_limits_ppm: tuple[float, float]
    max_drift_ppm: float
    steps: list[Step] = field(default_factory=list)
    rejected: dict[int, str] = field(default_factory=dict)


@dataclass
class _Run:
    """Samples in a row that agree with each other."""

    samples: list[Sample]
    agreement: Agreement


def estimate(samples: Sequence[Sample], max_drift_ppm: float = MAX_DRIFT_PPM) -> Estimate:
    """Return what ``samples``, in the order of their questions, say together.

    Raises ValueError when there are none.
    """
    if not samples:
        raise ValueError("no estimate can be made of an empty list of samples")
    runs, limit_ppm = _agreeing_runs(samples, max_drift_ppm)
    last = runs[-1]
    first_ns, last_ns = last.samples[0].sent_ns, last.samples[-1].received_ns
    at_ns = last.agreement.best_instant_ns(first_ns, last_ns)
    earliest_ns, latest_ns = last.agreement.offsets_at(at_ns)
    wall_ahead_ns = samples[-1].wall_ahead_ns

    rejected = {sample.number: "before a step" for run in runs[:-1] for sample in run.samples}
    rejected |= _outliers(last.samples)
    accepted = [sample for sample in last.samples if sample.number not in rejected]
    drift = _drift(accepted, last.agreement.drifts_ppm(), max_drift_ppm)
    offsets_ns = [
        _middle_ns(s) - (drift.ppm * (_instant_ns(s) - at_ns) / 1e6 if drift else 0.0)
        for s in accepted
    ]
    best = min(last.samples, key=lambda sample: (sample.bound_ns, sample.rtt_ns))
    return Estimate(
        offset_ns=(earliest_ns + latest_ns) // 2 - wall_ahead_ns,
        bound_ns=(latest_ns - earliest_ns + 1) // 2,
        at_wall_ns=at_ns + wall_ahead_ns,
        sample=best,
        samples=len(last.samples),
        median_ns=round(median(offsets_ns)) - wall_ahead_ns,
        jitter_ns=_jitter_ns(accepted, offsets_ns),
        drift=drift,
        drift_limits_ppm=last.agreement.drifts_ppm(),
        max_drift_ppm=limit_ppm,
        steps=sorted(
            _steps_of_this_machine(samples) + _steps_of_the_server(runs),
            key=lambda step: step.before_number,
        ),
        rejected=rejected,
    )


def _agreeing_runs(samples: Sequence[Sample], max_drift_ppm: float) -> tuple[list[_Run], float]:
    """Return the samples as runs that agree, and the limit of the drift under which they do."""
    runs = _split(samples, max_drift_ppm)
    if len(runs) > 1 and max_drift_ppm < WIDE_DRIFT_PPM:
        wide = _split(samples, WIDE_DRIFT_PPM)
        if len(wide) < len(runs) and len(wide[-1].samples) >= WIDE_DRIFT_SAMPLES:
            return wide, WIDE_DRIFT_PPM
    return runs, max_drift_ppm


def _split(samples: Sequence[Sample], max_drift_ppm: float) -> list[_Run]:
    runs: list[_Run] = []
    for sample in samples:
        if runs and runs[-1].agreement.cut(sample.bounds):
            runs[-1].samples.append(sample)
        else:
            agreement = Agreement(sample.bounds, max_drift_ppm)
            agreement.cut(sample.bounds)
            runs.append(_Run([sample], agreement))
    return runs


def _steps_of_this_machine(samples: Sequence[Sample]) -> list[Step]:
    return [
        Step("this machine", before.number, after.number, step_ns, step_ns)
        for before, after in zip(samples, samples[1:], strict=False)
        if (step_ns := after.wall_ahead_ns - before.wall_ahead_ns)
    ]


def _steps_of_the_server(runs: Sequence[_Run]) -> list[Step]:
    steps = []
    for before, after in zip(runs, runs[1:], strict=False):
        last, first = before.samples[-1], after.samples[0]
        between_ns = (last.received_ns + first.sent_ns) // 2
        was, became = (run.agreement.offsets_at(between_ns) for run in (before, after))
        steps.append(
            Step("the server", last.number, first.number, became[0] - was[1], became[1] - was[0])
        )
    return steps


def _outliers(samples: Sequence[Sample]) -> dict[int, str]:
    rejected = {s.number: "retransmission" for s in samples if s.retransmissions}
    if len(samples) >= OUTLIER_SAMPLES:
        delays = sorted(sample.delay_ns for sample in samples)
        above = max(OUTLIER_FACTOR * (delays[len(delays) // 4] - delays[0]), OUTLIER_FLOOR_NS)
        limit_ns = delays[0] + above
        rejected |= {
            s.number: "delay outlier"
            for s in samples
            if s.delay_ns > limit_ns and s.number not in rejected
        }
    if len(rejected) == len(samples):  # retransmitted, all of them: there is nothing better
        return {}
    return rejected


def _instant_ns(sample: Sample) -> int:
    return (sample.sent_ns + sample.received_ns) // 2


def _middle_ns(sample: Sample) -> int:
    """Return the sample's offset from the monotonic clock, which steps of the other leave alone."""
    return sample.offset_ns + sample.wall_ahead_ns


def _jitter_ns(accepted: Sequence[Sample], offsets_ns: Sequence[float]) -> float | None:
    """Return RFC 5905 section 10's: root mean square of the offsets, seen from the best one's."""
    if len(accepted) < 2:
        return None
    best = min(range(len(accepted)), key=lambda index: accepted[index].delay_ns)
    squares = sum((offset - offsets_ns[best]) ** 2 for offset in offsets_ns)
    return math.sqrt(squares / (len(offsets_ns) - 1))


def _drift(
    accepted: Sequence[Sample], limits_ppm: tuple[float, float], max_drift_ppm: float
) -> Drift | None:
    """Return the median slope between samples, with Sen's confidence interval, if that says much.

    P. K. Sen, Estimates of the Regression Coefficient Based on Kendall's Tau, JASA 63, 1968: no
    assumption on how delays are distributed, but that it is the same all the time. ``limits_ppm``
    are certain, so the interval is cut to them.
    """
    points = [(_instant_ns(s), _middle_ns(s)) for s in _fastest_of_each_stretch(accepted)]
    count = len(points)
    if count < DRIFT_POINTS_NEEDED:
        return None
    slopes = sorted(
        (later_offset - offset) / (later - sooner) * 1e6
        for index, (sooner, offset) in enumerate(points)
        for later, later_offset in points[index + 1 :]
        if later > sooner
    )
    if not slopes:
        return None
    spread = _CONFIDENCE_Z * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low = slopes[max(0, math.floor((len(slopes) - spread) / 2) - 1)]
    high = slopes[min(len(slopes) - 1, math.ceil((len(slopes) + spread) / 2))]
    ppm, low, high = (_within(value, limits_ppm) for value in (median(slopes), low, high))
    if high - low > max_drift_ppm:  # it says no more than what was known before
        return None
    return Drift(ppm, low, high)


def _within(value: float, limits: tuple[float, float]) -> float:
    return min(max(value, limits[0]), limits[1])


def _fastest_of_each_stretch(samples: Sequence[Sample]) -> list[Sample]:
    stretches = min(DRIFT_POINTS, len(samples))
    borders = [len(samples) * index // stretches for index in range(stretches + 1)]
    return [
        min(samples[begin:end], key=lambda sample: sample.delay_ns)
        for begin, end in zip(borders, borders[1:], strict=False)
    ]
