"""Calibration: numbered probes through the very path, both directions apart, and what they prove.

The sidecar reads back what the kernel *says*; this measures what packets *undergo*. For each
server, probes go from a container on the lab's network to the address and through the interface
that its clients' packets take, and others come back (``services/netem/respond.py``). ``plan`` says
how many probes, ``run`` sends them, ``judged`` says what follows; only ``run`` does I/O.

**Verdict**, for each direction:

- *not in effect*: something contradicts what was asked for: an interval does not hold it, probes
  came in through another interface, or the place that is shaped has not seen them.
- *in effect*: nothing contradicts, and whatever can be told in a few thousand probes has been seen
  to be there: its interval excludes the case that nothing acts at all. What is too small for that
  (``loss 0.1%``), or cannot be told apart (a correlation), is vouched for by the read-back, and by
  the shaping place's own counter having seen every probe.
- *cannot tell*: anything else, with the reason.

**How often a verdict is wrong.** Let every interval miss what it is about with a chance of at most
a = ``ERROR_EACH``. A calibration has at most 3 servers x 2 directions x 6 intervals (loss,
duplicates, overtaking, and three quantiles of the delay) = 36. "Not in effect" although it is: one
of them has missed: at most 36 a. "In effect" although nothing acts: one that excludes "nothing" has
missed "nothing": at most 36 a. With a = 1e-5 / 36 each is wrong less than once in 100,000, by
Boole's inequality, so also where the intervals depend on one another. Counters, interfaces and
rates are no matter of chance.

The hypotheses are ranges, so that what the lab itself does is not held against it: its own network
may lose ``OWN_LOSS``, and hold a packet up by ``OWN_DELAY_S`` (the sender is interrupted between
reading the clock and sending); lower bounds of delays need no such allowance.

**What the words mean for probes** (net/sched/sch_netem.c of Linux). With loss L, duplication D,
corruption C: a packet that is both duplicated and lost is delivered once; a duplicate comes through
netem once more and may be lost there; a corrupted probe is lost at the receiver's checksum, but for
the few whose flipped bit is in the Ethernet source address. So, with a = 1 - C for each copy,

    P(none arrives) = (1-D) L + (L D + (1-L)(1-D)) (1-a) + D (1-L) (1-a)(1 - (1-L) a)
    P(two arrive)   = D (1-L)^2 a^2

Losses that depend on one another (gemodel, state, a correlation) have no exact interval: their
count is held against the bounds of their Markov chain (lab/chance.py). The delays of ``delay T J``
have the quantiles of iproute2's tables; where packets are also kept in order (``rate``), or are
correlated, only the range is certain.
"""

import json
import queue
import secrets
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from lab import compose
from lab.chance import (
    Chain,
    Interval,
    correlated,
    four_states,
    gilbert_elliott,
    independent,
    quantile_interval,
    reordering,
    share_interval,
    trials_needed,
)
from lab.errors import LabError
from lab.settings import image
from services.netem.impairment import Impairment
from services.netem.respond import LONGEST_S, Order

Says = Literal["agrees", "contradicts", "cannot tell"]
Verdict = Literal["in effect", "not in effect", "cannot tell"]

DIRECTIONS = ("to_server", "from_server")

ERROR = 1e-5
ERROR_EACH = ERROR / 36

OWN_LOSS = 0.0002
OWN_DELAY_S = 0.003
EARLY_S = 0.0002
"""A delay may seem shorter by so much: the clock's and netem's rounding."""

FEWEST, MOST = 1000, 4000
"""Probes each way, where no rate is asked for."""
LASTS_S = 2.0
FASTEST_PPS = 2000
SHARE_OF_RATE = 0.2
LARGEST_DOUBT = 0.05
"""Of an unimpaired way at least so much must be certain: it loses no more than this."""

PROBE_BYTES = 64
HEADERS_BYTES = 14 + 20 + 8
"""Ethernet, IPv4, UDP: netem counts them."""
SOURCE_ADDRESS_BYTES = 6
TRAIN_BYTES = 1000
TRAINS = 3
TRAIN_SPAN_S = 0.04
LONGEST_TRAIN = 200
UNLIMITED_TRAIN = 20

QUANTILES = (0.1, 0.5, 0.9)
UNIFORM = (-0.8, 0.0, 0.8)
TABLES = {
    "": (-1.0, UNIFORM, 1.0),
    "normal": (-4.0, (-1.2822, 0.0, 1.2811), 3.5227),
    "pareto": (-0.6667, (-0.6191, -0.3201, 0.8717), 4.0),
    "paretonormal": (-1.5021, (-0.7849, -0.2400, 0.9740), 3.8805),
    "experimental": (-1.2911, (-0.9304, -0.2538, 1.2538), 4.0),
}
"""Least, the three quantiles and most of iproute2 6.15's tables, in jitters from the delay.

The tests compare them with the tables in the sidecar's image."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what was asked for, what was measured, what that says."""

    what: str
    asked: str
    measured: str
    says: Says


@dataclass(frozen=True)
class Observation:
    """What one direction's probes underwent.

    ``delays_s`` are those of the first copy of each probe that arrived, by number; ``trains`` has
    arrival and delay of each packet of each train. ``overflowed`` probes found the receiver's
    buffer full.
    """

    sent: int
    copies: Mapping[int, int]
    delays_s: Mapping[int, float]
    trains: Sequence[Sequence[tuple[float, float]]] = ()
    interfaces: Mapping[str, int] = field(default_factory=dict)
    sources: Mapping[str, int] = field(default_factory=dict)
    overflowed: int = 0
    clock_step_s: float = 0.0

    @property
    def missing(self) -> int:
        """How many probes did not arrive at all."""
        return self.sent - len(self.copies)


@dataclass(frozen=True)
class Judged:
    """What follows for one direction."""

    verdict: Verdict
    because: tuple[str, ...]
    checks: tuple[Check, ...]
    summary: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return it for the receipt."""
        return {
            "verdict": self.verdict,
            "because": list(self.because),
            "checks": [asdict(check) for check in self.checks],
            **self.summary,
        }


# How many probes ----------------------------------------------------------------------------------


def plan(impairment: Impairment | None, peer: tuple[str, int] = ("", 0)) -> Order:
    """Return how many probes to send, and how fast, so as to see this impairment in seconds."""
    if impairment is None:
        return _with_trains(_paced(peer, FEWEST, FASTEST_PPS), Impairment())
    smallest = [
        loss
        for loss in (impairment.loss, impairment.corrupt, impairment.duplicate)
        if loss > OWN_LOSS
    ]
    count = MOST if chain_of(impairment) else FEWEST
    if smallest:
        count = max(count, min(MOST, trials_needed(min(smallest), OWN_LOSS, ERROR_EACH)))
    pps = float(FASTEST_PPS)
    rate = impairment.rate_bytes_per_s
    if rate:
        pps = min(pps, SHARE_OF_RATE * rate / (PROBE_BYTES + HEADERS_BYTES))
    if (longest_s := longest_delay_s(impairment)) > 0:
        pps = min(pps, max(2.0, impairment.limit / 2 / longest_s))
    return _with_trains(_paced(peer, count, pps), impairment)


def _with_trains(order: Order, impairment: Impairment) -> Order:
    packets, packet_s = UNLIMITED_TRAIN, 0.0
    if rate := impairment.rate_bytes_per_s:
        packet_s = (TRAIN_BYTES + HEADERS_BYTES + impairment.packet_overhead_bytes) / rate
        packets = int(min(max(TRAIN_SPAN_S / packet_s, 8), LONGEST_TRAIN))
    packets = min(packets, impairment.limit // 2)
    if packet_s * packets > 5 or packets < 2:  # slower than 13 kbit/s: it would take too long
        return order
    gap_s = packet_s * packets * 1.5 + longest_delay_s(impairment) + 0.1
    return replace(
        order,
        trains=TRAINS,
        train_packets=packets,
        train_bytes=TRAIN_BYTES,
        train_gap_ns=round(gap_s * 1e9),
    )


def _paced(peer: tuple[str, int], count: int, pps: float) -> Order:
    count = max(20, min(count, int(pps * LASTS_S * 1.2)))
    pps = min(pps, max(count / LASTS_S, 20))
    return Order(peer, count, round(1e9 / pps), PROBE_BYTES)


def longest_delay_s(impairment: Impairment | None) -> float:
    """Return about the longest time that netem holds a packet, waiting for a rate left out."""
    if impairment is None:
        return 0.0
    most = TABLES.get(impairment.distribution, TABLES[""])[2]
    slots_s = max(impairment.slot_max_s, impairment.slot_delay_s + 4 * impairment.slot_jitter_s)
    return impairment.delay_s + most * impairment.jitter_s + slots_s


# What follows -------------------------------------------------------------------------------------


def judged(
    observation: Observation,
    impairment: Impairment | None,
    interface: str,
    seen_by_counters: int | None,
) -> Judged:
    """Return what the probes of one direction prove about what was asked for.

    ``interface`` is the one that is shaped; ``seen_by_counters`` how many packets its counters say
    have come by meanwhile, None where nothing is shaped and nothing counts.
    """
    asked = impairment or Impairment()
    checks: list[Check] = []
    if observation.interfaces:
        checks.append(_interface_check(observation, interface))
    if seen_by_counters is not None:
        checks.append(_counter_check(observation, seen_by_counters))
    checks += _loss_checks(observation, asked)
    checks += _delay_checks(observation, asked)
    checks.append(_rate_check(observation, asked))
    contradicting = [check for check in checks if check.says == "contradicts"]
    summary = _summary(observation)
    if contradicting:
        because = tuple(
            f"{check.what}: asked for {check.asked}, measured {check.measured}"
            for check in contradicting
        )
        return Judged("not in effect", because, tuple(checks), summary)
    doubts = _doubts(observation, checks, seen_by_counters)
    return Judged("cannot tell" if doubts else "in effect", doubts, tuple(checks), summary)


def _doubts(
    observation: Observation, checks: Sequence[Check], seen_by_counters: int | None
) -> tuple[str, ...]:
    """Return why nothing can be said, although nothing contradicts."""
    if observation.sent < 20:
        return (f"only {observation.sent} probes could be sent",)
    if seen_by_counters is not None:
        return ()  # the shaped place has seen every probe, and no measurement contradicts
    return tuple(
        f"{check.what}: asked for {check.asked}, measured {check.measured}: too few to say"
        for check in checks
        if check.says == "cannot tell"
    )


def _summary(observation: Observation) -> dict[str, Any]:
    ordered = sorted(observation.delays_s.values())
    highest, overtaken = -1, 0
    for number in observation.delays_s:
        overtaken += number < highest
        highest = max(highest, number)
    return {
        "probes": observation.sent,
        "arrived": len(observation.copies),
        "lost": observation.missing,
        "loss_interval": list(_missing_interval(observation)),
        "duplicated": sum(count > 1 for count in observation.copies.values()),
        "reordered": overtaken,
        "mean_burst": _mean_burst(observation),
        "delay_quantiles_s": [_at(ordered, q) for q in QUANTILES] if ordered else None,
        "interfaces": dict(observation.interfaces),
        "receive_buffer_overflows": observation.overflowed,
    }


def _at(ordered: Sequence[float], quantile: float) -> float:
    return ordered[min(int(quantile * len(ordered)), len(ordered) - 1)]


def _mean_burst(observation: Observation) -> float | None:
    """Return how many probes in a row are lost, on average; None where none is."""
    runs = sum(
        number not in observation.copies and (number == 0 or number - 1 in observation.copies)
        for number in range(observation.sent)
    )
    return observation.missing / runs if runs else None


def _interface_check(observation: Observation, interface: str) -> Check:
    shown = ", ".join(observation.interfaces)
    says: Says = "agrees" if set(observation.interfaces) == {interface} else "contradicts"
    return Check("interface", interface, shown, says)


def _counter_check(observation: Observation, seen: int) -> Check:
    says: Says = "agrees" if seen >= observation.sent else "contradicts"
    return Check(
        "packets that came by where it acts",
        f"at least {observation.sent}",
        f"{seen}",
        says,
    )


def _missing_interval(observation: Observation) -> Interval:
    """Return where the share of probes that the network loses lies."""
    certain = max(0, observation.missing - observation.overflowed)
    low = share_interval(certain, observation.sent, ERROR_EACH)[0]
    return low, share_interval(observation.missing, observation.sent, ERROR_EACH)[1]


def _loss_checks(observation: Observation, asked: Impairment) -> list[Check]:
    if chain := chain_of(asked):
        if asked.corrupt or asked.duplicate:
            return [Check("loss", "several kinds at once", f"{observation.missing}", "cannot tell")]
        return [_chain_check("loss", chain, observation.sent, observation.missing)]
    checks = [_plain_loss_check(observation, asked)]
    if observation.overflowed:
        return checks
    twice = sum(count > 1 for count in observation.copies.values())
    if asked.duplicate_correlation:
        chain = correlated(asked.duplicate, asked.duplicate_correlation)
        if not asked.loss and not asked.corrupt:
            checks.append(_chain_check("duplicates", chain, observation.sent, twice))
        return checks
    (_, high), (low_two, high_two) = delivery(asked)
    interval = share_interval(twice, observation.sent, ERROR_EACH)
    checks.append(
        Check(
            "duplicates",
            _percent(high_two),
            f"{twice} of {observation.sent}: {_percents(interval)}",
            _compared(interval, low_two, high_two),
        )
    )
    return checks


def _plain_loss_check(observation: Observation, asked: Impairment) -> Check:
    (low, high), _ = delivery(asked)
    interval = _missing_interval(observation)
    says = _compared(interval, low, high)
    if says == "agrees" and high <= OWN_LOSS and interval[1] > LARGEST_DOUBT:
        says = "cannot tell"
    measured = f"{observation.missing} of {observation.sent} lost: {_percents(interval)}"
    return Check("loss", _percent(high), measured, says)


def _compared(interval: Interval, low: float, high: float) -> Says:
    """Return what an interval says about a share that is to lie between ``low`` and ``high``."""
    if interval[1] < low or interval[0] > 1 - (1 - high) * (1 - OWN_LOSS):
        return "contradicts"
    seen = high <= OWN_LOSS or interval[0] > OWN_LOSS
    # Nothing asked for agrees with nothing seen; something must be told apart from nothing.
    return "agrees" if seen and (high == 0 or high > OWN_LOSS) else "cannot tell"


def delivery(asked: Impairment) -> tuple[Interval, Interval]:
    """Return the ranges of P(no copy arrives) and P(two arrive), for independent events.

    Ranges, since a corrupted probe may survive where the flipped bit does no harm.
    """
    length = PROBE_BYTES + HEADERS_BYTES
    harmless = (SOURCE_ADDRESS_BYTES + 1) / length
    loss, twice = asked.loss, asked.duplicate
    none, two = [], []
    for dies in (asked.corrupt * (1 - harmless), asked.corrupt):
        lives = 1 - dies
        one_sent = loss * twice + (1 - loss) * (1 - twice)
        two_sent = twice * (1 - loss)
        again = (1 - loss) * lives
        none.append((1 - twice) * loss + one_sent * dies + two_sent * dies * (1 - again))
        two.append(two_sent * lives * again)
    return (min(none), max(none)), (min(two), max(two))


def chain_of(asked: Impairment) -> Chain | None:
    """Return the Markov chain of losses that depend on one another, if these do."""
    if asked.loss_gemodel:
        return gilbert_elliott(*asked.loss_gemodel)
    if asked.loss_state:
        return four_states(*asked.loss_state)
    if asked.loss and asked.loss_correlation:
        return correlated(asked.loss, asked.loss_correlation)
    return None


def long_run_loss(asked: Impairment | None) -> float:
    """Return the share of packets that is lost in the long run, queues left out."""
    if asked is None:
        return 0.0
    if chain := chain_of(asked):
        return chain.loss
    return delivery(asked)[0][1]


def _chain_check(what: str, chain: Chain, trials: int, count: int) -> Check:
    low, high = chain.count_bounds(trials, ERROR_EACH)
    own = independent(OWN_LOSS).count_bounds(trials, ERROR_EACH)[1]
    says: Says = "agrees" if count > own else "cannot tell"
    if not low <= count <= high + own:
        says = "contradicts"
    asked = f"{_percent(chain.loss)} in the long run: {low:.0f} to {high:.0f} of {trials}"
    return Check(what, asked, f"{count} of {trials}", says)


def _delay_checks(observation: Observation, asked: Impairment) -> list[Check]:
    if abs(observation.clock_step_s) > EARLY_S:
        step = f"the clock was set by {observation.clock_step_s:+.3f} s"
        return [Check("one-way delay", _delay_words(asked), step, "cannot tell")]
    delays_s = list(observation.delays_s.values())
    checks = []
    least, table, most = TABLES.get(asked.distribution, TABLES[""])
    least_s = asked.delay_s + least * asked.jitter_s
    most_s = longest_delay_s(asked)
    if asked.reorder:
        if least_s < 4 * OWN_DELAY_S:  # those that go ahead cannot be told from the others
            return [Check("overtaking", _percent(asked.reorder), "not told", "cannot tell")]
        ahead = [delay_s for delay_s in delays_s if delay_s < least_s / 2]
        delays_s = [delay_s for delay_s in delays_s if delay_s >= least_s / 2]
        checks.append(_ahead_check(observation, asked, len(ahead)))
    if not delays_s:
        return checks
    ordered = sorted(delays_s)
    slack_s = OWN_DELAY_S + 0.1 * asked.delay_s
    rate = asked.rate_bytes_per_s
    if rate:
        slack_s += 3 * (PROBE_BYTES + HEADERS_BYTES + asked.packet_overhead_bytes) / rate
    only_the_range = bool(rate or asked.delay_correlation or asked.slot_max_s or asked.slot_delay_s)
    for quantile, place in zip(QUANTILES, table, strict=True):
        wanted_s = max(0.0, asked.delay_s + place * asked.jitter_s)
        low_s = max(0.0, least_s) if asked.delay_correlation else wanted_s
        high_s = (most_s if only_the_range else wanted_s) + slack_s
        interval = quantile_interval(ordered, quantile, ERROR_EACH)
        # What holds a sender up now and then spoils the slowest; the others are bound both ways.
        too_slow = quantile < QUANTILES[-1] and interval[0] > high_s
        says: Says = "agrees"
        if interval[1] < low_s - EARLY_S or too_slow:
            says = "contradicts"
        elif interval[0] <= OWN_DELAY_S < low_s or 0 < wanted_s <= OWN_DELAY_S:
            says = "cannot tell"
        what = f"one-way delay, {'median' if quantile == 0.5 else f'{quantile:.0%} are quicker'}"
        words = f"{_ms(low_s)} to {_ms(high_s)}" if only_the_range else _ms(wanted_s)
        checks.append(Check(what, words, f"{_ms(interval[0])} to {_ms(interval[1])}", says))
    return checks


def _ahead_check(observation: Observation, asked: Impairment, ahead: int) -> Check:
    arrived = len(observation.delays_s)
    if asked.reorder_correlation or asked.loss or chain_of(asked) or asked.duplicate:
        words = f"{ahead} of {arrived}"
        return Check("overtaking", _percent(asked.reorder), words, "cannot tell")
    if asked.gap > 1:
        return _chain_check("overtaking", reordering(asked.reorder, asked.gap), arrived, ahead)
    interval = share_interval(ahead, arrived, ERROR_EACH)
    # A sender that is held up makes some of them look like the others.
    says = _compared(interval, 0.8 * asked.reorder, asked.reorder)
    return Check("overtaking", _percent(asked.reorder), _percents(interval), says)


def _rate_check(observation: Observation, asked: Impairment) -> Check:
    if not asked.rate_bytes_per_s:
        return _no_rate_check(observation, asked)
    rate = asked.rate_bytes_per_s
    words = _rate(rate)
    packet_s = (TRAIN_BYTES + HEADERS_BYTES + asked.packet_overhead_bytes) / rate
    spans = [
        ((max(train)[0] - min(train)[0]) / (len(train) - 1), len(train))
        for train in observation.trains
        if len(train) > 1
    ]
    if not spans or asked.cell_size_bytes:
        return Check("rate", words, "not measured", "cannot tell")
    # A first packet that is held up makes a train look shorter: the longest one counts.
    gap_s, packets = max(spans)
    measured = _rate(packet_s / gap_s * rate) if gap_s else "more than can be measured"
    span_s, wanted_s = gap_s * (packets - 1), packet_s * (packets - 1)
    says: Says = "cannot tell"
    if span_s < 0.9 * wanted_s - OWN_DELAY_S:
        says = "contradicts"
    elif wanted_s > 3 * OWN_DELAY_S and span_s < 1.5 * wanted_s + OWN_DELAY_S:
        says = "agrees"
    return Check("rate", words, f"{measured} (trains of {packets} packets)", says)


def _no_rate_check(observation: Observation, asked: Impairment) -> Check:
    """A rate that nobody asked for holds up the later packets of every train."""
    holds_up = asked.jitter_s or asked.slot_max_s or asked.slot_delay_s or asked.reorder
    growths_s = [max(train)[1] - min(train)[1] for train in observation.trains if len(train) > 1]
    if holds_up or not growths_s:
        return Check("rate", "none", "not told", "agrees")
    growth_s = min(growths_s)
    says: Says = "contradicts" if growth_s > 3 * OWN_DELAY_S else "agrees"
    return Check("rate", "none", f"the last of a train waited {_ms(growth_s)} longer", says)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"


def _percents(interval: Interval) -> str:
    return f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f} %"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.4g} ms"


def _rate(bytes_per_s: float) -> str:
    return f"{bytes_per_s * 8 / 1e6:.4g} Mbit/s"


def _delay_words(asked: Impairment) -> str:
    return f"{_ms(asked.delay_s)} +- {_ms(asked.jitter_s)}"


# Sending them -------------------------------------------------------------------------------------

START_WITHIN_S = 60.0
"""An emulated processor takes long to start a container and a Python."""

Asked = Mapping[str, Mapping[str, Impairment | None]]
"""Exercise: direction: what was asked for."""


def run(
    asked: Asked, sidecars: Mapping[str, str], prober: "Prober | None" = None
) -> dict[str, dict[str, Observation]]:
    """Send the probes of all directions at once and return what they underwent.

    ``sidecars`` maps Compose services to containers. Raises LabError when an end does not answer.
    """
    near = (prober or Prober(len(asked))).end
    far: dict[str, _End] = {}
    try:
        for exercise in asked:
            container = sidecars[f"{exercise}-netem"]
            argv = ["docker", "exec", "--interactive", container, *_RESPOND]
            far[exercise] = _End(f"calibration in the sidecar of {exercise}", argv)
        return _conversation(asked, near, far)
    finally:
        _close(near, *far.values())


_RESPOND = ("python3", "-m", "services.netem.respond")


class Prober:
    """The end on the lab's network: a container of its own, gone when this is closed.

    It takes half a second to start, so begin early. ``network`` is the lab's if not given.
    """

    def __init__(self, streams: int, network: str = "") -> None:
        project = compose.project_name()
        argv = [
            "docker", "run", "--rm", "--interactive", "--init",
            "--name", f"{project}-calibration-{secrets.token_hex(3)}",
            "--label", f"{compose.PROJECT_LABEL}={project}",
            "--network", network or f"{project}_lab", "--pull", "never",
            "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--read-only",
            "--memory", "128m", "--pids-limit", "32",
            image("progres-lab"), *_RESPOND, "--streams", str(streams),
        ]  # fmt: skip
        self.end = _End("calibration on the lab's network", argv)

    def close(self) -> None:
        """End it; ``run`` does that, too."""
        _close(self.end)


class _End:
    """A running end, reached through its standard streams."""

    def __init__(self, what: str, argv: list[str]) -> None:
        self._what = what
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is ours to handle; it ends when its input does
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name=what, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def told(self, within_s: float) -> dict[str, Any]:
        """Return the next thing that it says. Raises LabError."""
        try:
            line = self._lines.get(timeout=within_s)
            found: dict[str, Any] = json.loads(line)
        except (queue.Empty, ValueError):
            raise LabError("calibrating the network", self._complaint(), "make up") from None
        return found

    def tell(self, what: Mapping[str, Any]) -> None:
        """Say something to it. Raises LabError."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise LabError("calibrating the network", self._complaint(), "make up") from None

    def let_go(self) -> None:
        """Tell it to stop: its input ends."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:  # it has gone already
            pass

    def close(self) -> None:
        """Wait until it has stopped."""
        process = self._process
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join(timeout=10)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def _complaint(self) -> str:
        self._process.kill()
        self._process.wait()
        assert self._process.stderr is not None
        lines = self._process.stderr.read().strip().splitlines()
        return f"{self._what}: {lines[-1] if lines else 'no answer'}"


def _close(*ends: _End) -> None:
    for end in ends:
        end.let_go()
    for end in ends:
        end.close()


def _conversation(
    asked: Asked, near: _End, far: Mapping[str, _End]
) -> dict[str, dict[str, Observation]]:
    here = near.told(START_WITHIN_S)
    there = {exercise: end.told(START_WITHIN_S) for exercise, end in far.items()}
    token = secrets.token_hex(8)
    towards = [
        plan(asked[exercise]["to_server"], (exercise, there[exercise]["ports"][0]))
        for exercise in far
    ]
    for port, (exercise, end) in zip(here["ports"], far.items(), strict=True):
        back = plan(asked[exercise]["from_server"], (here["address"], port))
        end.tell({"run": token, "streams": [asdict(back)]})
    near.tell({"run": token, "streams": [asdict(order) for order in towards]})
    for end in (near, *far.values()):
        end.told(LONGEST_S)
    linger_s = 0.3 + max(
        longest_delay_s(impairment) for ways in asked.values() for impairment in ways.values()
    )
    time.sleep(linger_s)
    for end in (near, *far.values()):
        end.tell({"end": True})
    said = {exercise: end.told(START_WITHIN_S) for exercise, end in far.items()}
    near_said = near.told(START_WITHIN_S)
    found = {}
    for index, exercise in enumerate(far):
        towards_it, from_it = near_said["streams"][index], said[exercise]["streams"][0]
        step_s = (abs(near_said["clock_step_ns"]) + abs(said[exercise]["clock_step_ns"])) / 1e9
        impairments = asked[exercise]
        found[exercise] = {
            "to_server": _observation(towards_it, from_it, plan(impairments["to_server"]), step_s),
            "from_server": _observation(
                from_it, towards_it, plan(impairments["from_server"]), step_s
            ),
        }
    return found


def _observation(
    sender: Mapping[str, Any], receiver: Mapping[str, Any], order: Order, step_s: float
) -> Observation:
    """Join what one end has sent with what the other has received."""
    unsent = set(sender["unsent"])
    renumbered = {n: i for i, n in enumerate(n for n in range(order.count) if n not in unsent)}
    copies = Counter(receiver["numbers"])
    delays_s: dict[int, float] = {}
    for number, delay_ns in zip(receiver["numbers"], receiver["delays_ns"], strict=True):
        if number in renumbered:
            delays_s.setdefault(renumbered[number], delay_ns / 1e9)
    trains: list[list[tuple[float, float]]] = [[] for _ in range(order.trains)]
    for number, arrived_ns, delay_ns in receiver["train"]:
        train = (number - order.count) // order.train_packets
        trains[train].append((arrived_ns / 1e9, delay_ns / 1e9))
    return Observation(
        sent=len(renumbered),
        copies={renumbered[n]: count for n, count in copies.items() if n in renumbered},
        delays_s=delays_s,
        trains=trains,
        interfaces=receiver["interfaces"],
        sources=receiver["sources"],
        overflowed=receiver["overflowed"],
        clock_step_s=step_s,
    )
