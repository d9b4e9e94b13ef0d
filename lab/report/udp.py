"""A UDP experiment: retries against the geometric law, and what a user waits. Pure but for drawing.

Predicted, of a cell whose server drops with probability d and whose network loses with q there and
r back, all independent: an attempt is answered with s = (1-q)(1-d)(1-r), p = 1-s, and

    P(answered at attempt k) = p^(k-1) s
    E(attempts) = (1 - p^N) / s
    E(time to confirmation) = sum of P(k) * (start of attempt k) / (1 - p^N), plus a round trip
    P(the server's drop | no answer) = (1-q) d / p

The round trip is the only part that is measured: the mean of the answered attempts, as the client's
program saw them. The attempt that counts is the one whose answer came first, also when that was
late, so the law holds on slow networks too, as long as the delay is constant.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clients.udp.schedule import Schedule
from lab.report import drawing
from lab.report.links import lawless, ways
from lab.report.model import USUAL, Figure, Grid, Prediction, Table, Value
from lab.report.theory import (
    Band,
    RetryLaw,
    count_band,
    distance_band,
    percentile,
    share_band,
)
from lab.report.versus import Entry, versus

ANSWERED, LATE = "answered", "answered late"
DROPPED, LOST_THERE, LOST_BACK = (
    "dropped by the server",
    "lost on the way there",
    "lost on the way back",
)
CAUSES = (DROPPED, LOST_THERE, LOST_BACK)


@dataclass(frozen=True)
class Expected:
    """What the settings of a cell lead to."""

    drop: float
    there: float
    back: float
    law: RetryLaw

    @property
    def of_unanswered(self) -> dict[str, float]:
        """The share of each cause among the attempts without an answer."""
        p = self.law.failure
        received = 1 - self.there
        chances = (received * self.drop, self.there, received * (1 - self.drop) * self.back)
        return dict(zip(CAUSES, (chance / p if p else 0.0 for chance in chances), strict=True))


@dataclass(frozen=True)
class UdpCell:
    """What was measured in one cell, all clients and repetitions together."""

    label: str
    parameters: Mapping[str, Value]
    requests: int
    answered_at: Counter[int]
    """Attempt whose answer came first: number of requests."""
    attempts: int
    outcomes: Counter[str]
    rtts_s: list[float]
    confirmations_s: list[float]
    round_trip_s: float
    """Mean of the answered attempts, between the program's own calls."""
    tries: int
    expected: Expected | None
    unpredicted: str
    """Why there is no prediction."""
    one_run: Mapping[str, Any]
    """The first client's document."""

    @property
    def answered(self) -> int:
        """How many requests were answered."""
        return sum(self.answered_at.values())

    def still_unanswered(self, attempts: int) -> float:
        """Return the share of requests that none of so many attempts had an answer to."""
        return 1 - sum(n for k, n in self.answered_at.items() if k <= attempts) / self.requests

    @property
    def mean_attempts(self) -> float:
        """The mean number of attempts until the answer, all of them where none came."""
        total = sum(k * n for k, n in self.answered_at.items())
        return (total + (self.requests - self.answered) * self.tries) / self.requests

    @property
    def mean_datagrams(self) -> float:
        """The mean number of attempts made, those in vain included."""
        return self.attempts / self.requests

    @property
    def is_slow(self) -> bool:
        """Whether answers came after their timeouts, so that datagrams were sent in vain."""
        return self.outcomes[LATE] > 0.01 * self.attempts

    @property
    def mean_confirmation_ms(self) -> float:
        """The mean time to confirmation of the answered requests, in milliseconds."""
        return 1e3 * sum(self.confirmations_s) / len(self.confirmations_s)


def cell(records: Sequence[Mapping[str, Any]], label: str) -> UdpCell:
    """Return what the records of one cell come to."""
    documents = [document for record in records for document in record["runs"]]
    answered_at: Counter[int] = Counter()
    outcomes: Counter[str] = Counter()
    rtts_s, confirmations_s, round_trips_s = [], [], []
    requests = 0
    for document in documents:
        for request in document["requests"]:
            requests += 1
            attempts = request["attempts"]
            outcomes.update(attempt["outcome"] for attempt in attempts)
            rtts_s += [a["rtt_s"] for a in attempts if a["rtt_s"] is not None]
            came = [a for a in attempts if a["received_ns"] is not None]
            round_trips_s += [(a["received_ns"] - a["sent_ns"]) / 1e9 for a in came]
            if request["answered"] and came:
                first = min(came, key=lambda attempt: attempt["received_ns"])
                answered_at[first["attempt"]] += 1
                confirmations_s.append(request["time_to_confirmation_s"])
    expected, unpredicted = _expected(records, documents)
    if expected and _ambiguous(expected, records[0], outcomes):
        expected, unpredicted = None, "with jitter, a later attempt's answer may come first"
    return UdpCell(
        label,
        records[0]["parameters"],
        requests,
        answered_at,
        outcomes.total(),
        outcomes,
        rtts_s,
        confirmations_s,
        _mean(round_trips_s),
        documents[0]["in_effect"]["max_tries"],
        expected,
        unpredicted,
        documents[0],
    )


def _expected(
    records: Sequence[Mapping[str, Any]], documents: Sequence[Mapping[str, Any]]
) -> tuple[Expected | None, str]:
    if why := lawless(records):
        return None, why
    network = ways(records[0])
    drops = {document["in_effect"]["server_drop"] for document in documents} - {None}
    if len(drops) != 1:
        return None, "the server did not tell the probability of its drop"
    settings = documents[0]["settings"]
    schedule = Schedule(
        settings["count"], settings["timeout_s"], settings["backoff"],
        documents[0]["in_effect"]["max_tries"], settings["interval_s"], settings["rto"],
        paced=settings["paced"],
    )  # fmt: skip
    drop = float(drops.pop())
    there, back = network["to_server"].loss, network["from_server"].loss
    failure = 1 - (1 - there) * (1 - drop) * (1 - back)
    try:
        return Expected(drop, there, back, RetryLaw.of(schedule, failure)), ""
    except ValueError as error:
        return None, str(error)


def _ambiguous(expected: Expected, record: Mapping[str, Any], outcomes: Counter[str]) -> bool:
    jitter = any(way.jitter_s for way in ways(record).values())
    return jitter and outcomes[LATE] > 0


def _mean(samples: Sequence[float]) -> float:
    return sum(samples) / len(samples) if samples else 0.0


def predictions(found: UdpCell) -> list[Prediction]:
    """Return what the law says of a cell, beside what was measured."""
    expected, attempts, confirmation = (
        found.expected, _attempts_band(found), _confirmation_band(found)
    )  # fmt: skip
    if expected is None or attempts is None or confirmation is None:
        return []
    law = expected.law
    distance = max(
        abs(found.still_unanswered(k) - law.unanswered_after(k)) for k in range(law.tries + 1)
    )

    def made(what: str, unit: str, measured: float, band: Callable[[float], Band]) -> Prediction:
        return Prediction(found.label, what, unit, measured, band)

    claims = [
        made("attempts per request, mean", "", found.mean_attempts, attempts),
        made(
            "attempts per request, greatest distance from the geometric law", "", distance,
            lambda alarm: distance_band(found.requests, alarm),
        ),
    ]  # fmt: skip
    if found.answered and law.failure:  # without loss there is no wait to predict
        mean_ms = found.mean_confirmation_ms
        claims.append(made("time to confirmation, mean", "ms", mean_ms, confirmation))
    if found.is_slow and (datagrams := _datagrams_band(found)):
        claims.append(made("datagrams per request, mean", "", found.mean_datagrams, datagrams))
    known = sum(found.outcomes[cause] for cause in CAUSES)
    if known and law.failure:
        share, chance = found.outcomes[DROPPED] / known, expected.of_unanswered[DROPPED]
        what = "dropped by the server, of the attempts without an answer"
        claims.append(made(what, "", share, lambda alarm: share_band(known, chance, alarm)))
    return claims


def figures(grid: Grid, cells: Sequence[UdpCell], alarm: float) -> list[Figure]:
    """Return the figures of all cells; ``alarm`` is the false alarms of each judged band."""
    made = [_fates(cells)]
    if any(found.expected and found.expected.law.failure for found in cells):
        made.append(_law(grid, cells, alarm))
    made.append(_mean_attempts(grid, cells, alarm))
    if any(found.is_slow for found in cells):
        made.append(_mean_datagrams(grid, cells, alarm))
    made += [
        _mean_confirmation(grid, cells, alarm),
        _confirmations(last_series(grid, cells)),
        _round_trips(last_series(grid, cells)),
        _over_time(last_series(grid, cells)),
    ]
    return made


def last_series(grid: Grid, cells: Sequence[UdpCell]) -> list[UdpCell]:
    """Return the cells of one curve, the last one: for the plots that have room for a few."""
    last = grid.series_of(cells[-1].parameters)
    return [found for found in cells if grid.series_of(found.parameters) == last]


def chosen(cells: Sequence[UdpCell], most: int) -> list[UdpCell]:
    """Return at most so many of the cells, spread evenly, first and last among them."""
    if len(cells) <= most:
        return list(cells)
    return [cells[round(i * (len(cells) - 1) / (most - 1))] for i in range(most)]


FATES = (
    (ANSWERED, "s3", ""),
    (LATE, "s5", ".."),
    (DROPPED, "s2", "//"),
    (LOST_THERE, "s4", "\\\\"),
    (LOST_BACK, "s1", "xx"),
)
"""What becomes of an attempt, its colour and its hatching."""


def _fates(cells: Sequence[UdpCell]) -> Figure:
    names = [fate for fate, *_ in FATES]
    other = sorted({name for found in cells for name in found.outcomes if name not in names})
    columns = [*names, *other]
    rows: list[list[Value]] = []
    for found in cells:
        row: list[Value] = [found.label, found.attempts]
        row += [found.outcomes[name] for name in columns]
        rows.append(row + [_chance(found, name) for name in CAUSES])

    def draw(canvas: Any) -> None:
        axes = canvas.subplots()
        labels = [found.label for found in cells]
        left = [0.0] * len(cells)
        for name, shade, hatch in FATES:
            if not any(found.outcomes[name] for found in cells):
                continue
            widths = [100 * found.outcomes[name] / found.attempts for found in cells]
            axes.barh(
                labels, widths, left=left, height=0.68, color=drawing.LIGHT[shade], hatch=hatch,
                edgecolor=drawing.LIGHT["paper"], linewidth=0.8, label=name,
            )  # fmt: skip
            left = [a + b for a, b in zip(left, widths, strict=True)]
        for position, found in enumerate(cells):
            reach = 0.0
            for share in _shares_in_order(found):
                reach += 100 * share
                if 0.5 < reach < 99.5:
                    axes.plot(
                        [reach, reach], [position - 0.46, position + 0.46],
                        color=drawing.LIGHT["ink"], linewidth=2.6,
                    )  # fmt: skip
        axes.plot([], [], color=drawing.LIGHT["ink"], linewidth=2.6, label="predicted")
        axes.set_xlabel("of all attempts (%)")
        axes.set_xlim(0, 100)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        drawing.legend(canvas, axes)

    return Figure(
        "fates",
        "What became of each attempt",
        "Two kinds of loss, told apart by the server's own account of each datagram: the program's "
        "deliberate drop and the network's loss. Strokes: where probability puts the borders.",
        "Stacked bars, one a cell: the shares of attempts answered, dropped by the server and lost "
        "in the network, with the predicted borders.",
        Table(
            ("cell", "attempts", *columns, *(f"{name}, predicted share" for name in CAUSES)), rows
        ),
        draw,
        (10.0, max(3.6, 1.7 + 0.44 * len(cells))),
    )


def _chance(found: UdpCell, cause: str) -> float | None:
    if found.expected is None:
        return None
    return found.expected.of_unanswered[cause] * found.expected.law.failure


def _shares_in_order(found: UdpCell) -> list[float]:
    """Return the predicted shares in the order of the bars."""
    expected = found.expected
    if expected is None:
        return []
    law, of_unanswered = expected.law, expected.of_unanswered
    return [1 - law.failure, *(of_unanswered[cause] * law.failure for cause in CAUSES)]


def _law(grid: Grid, cells: Sequence[UdpCell], alarm: float) -> Figure:
    shown = [found for found in cells if found.expected and 0 < found.expected.law.failure < 1]
    rows: list[list[Value]] = []
    for found in shown:
        law = found.expected.law  # type: ignore[union-attr]
        for k in range(1, law.tries + 1):
            p = law.unanswered_after(k)
            inner, outer = (count_band(found.requests, p, a) for a in (USUAL, alarm))
            measured = round(found.still_unanswered(k) * found.requests)
            row: list[Value] = [found.label, k, measured, found.requests, p * found.requests]
            rows.append([*row, inner.low, inner.high, outer.low, outer.high])

    series = list(dict.fromkeys(grid.series_of(found.parameters) for found in cells))

    def draw(canvas: Any) -> None:
        axes = canvas.subplots()
        smallest = 0.6 / max(found.requests for found in shown)
        named = set()
        for found in shown:
            law = found.expected.law  # type: ignore[union-attr]
            own = grid.series_of(found.parameters)
            shade, marker, _ = drawing.STYLES[series.index(own) % len(drawing.STYLES)]
            ks = [k for k in range(law.tries + 1) if law.unanswered_after(k) > smallest]
            bands = [share_band(found.requests, law.unanswered_after(k), USUAL) for k in ks]
            axes.fill_between(
                ks, [max(b.low, smallest) for b in bands], [b.high for b in bands],
                color=drawing.LIGHT[shade], alpha=0.13, linewidth=0,
            )  # fmt: skip
            ends = min(law.tries, math.log(smallest) / math.log(law.failure))
            axes.plot(
                [0, ends], [1, law.failure**ends], color=drawing.LIGHT[shade], linewidth=1.6,
            )  # fmt: skip
            axes.annotate(
                f"{law.failure:.3g}", (ends, law.failure**ends), (3, 4),
                textcoords="offset points", color=drawing.LIGHT[shade], fontweight="bold",
            )  # fmt: skip
            seen = [k for k in range(1, law.tries + 1) if found.still_unanswered(k) > smallest]
            axes.plot(
                seen, [found.still_unanswered(k) for k in seen], linestyle="none",
                color=drawing.LIGHT[shade], marker=marker, markeredgecolor=drawing.LIGHT["paper"],
                markeredgewidth=0.6, label=None if own in named else own or "measured",
            )  # fmt: skip
            named.add(own)
        axes.set_yscale("log")
        axes.set_ylim(smallest, 1.15)
        axes.set_xlim(left=0)
        drawing.plain_log(axes.yaxis)
        axes.set_xlabel("attempts")
        axes.set_ylabel("still without an answer")
        drawing.legend(canvas, axes)

    return Figure(
        "geometric-law",
        "Attempts per request against the geometric law",
        "The share of requests that still have no answer after k attempts. Independent losses with "
        "probability p leave p to the power k: a straight line on this scale. Lines: predicted, p "
        "at their ends; shaded: where 19 of 20 measured values lie; marks: measured.",
        "For each cell, the share of unanswered requests falls on a straight line on a logarithmic "
        "scale, steeper for smaller loss, with the measured values beside it.",
        Table(
            (
                "cell", "attempts k", "requests still unanswered", "of", "predicted",
                "95 % from", "95 % to", "judged from", "judged to",
            ),
            rows,
        ),
        draw,
        (10.0, 6.0),
    )  # fmt: skip


def _attempts_band(found: UdpCell) -> Callable[[float], Band] | None:
    expected = found.expected
    if expected is None:
        return None
    return lambda alarm: expected.law.attempts_band(found.requests, alarm)


def _datagrams_band(found: UdpCell) -> Callable[[float], Band] | None:
    expected = found.expected
    if expected is None:
        return None
    return lambda alarm: expected.law.datagrams_band(found.requests, found.round_trip_s, alarm)


def _confirmation_band(found: UdpCell) -> Callable[[float], Band] | None:
    """Return the band of the mean time to confirmation in ms: of the waits, and a round trip."""
    expected = found.expected
    if expected is None:
        return None

    def band(alarm: float) -> Band:
        waits = expected.law.wait_band(found.answered, alarm)
        low, mean, high = (
            1e3 * (wait_s + found.round_trip_s)
            for wait_s in (waits.low, waits.expected, waits.high)
        )
        return Band(low, mean, high, waits.false_alarm)

    return band


def _mean_attempts(grid: Grid, cells: Sequence[UdpCell], alarm: float) -> Figure:
    return versus(
        grid,
        [
            Entry(c.label, c.parameters, c.requests, c.mean_attempts, _attempts_band(c))
            for c in cells
        ],
        alarm,
        name="attempts",
        title="Mean number of attempts",
        quantity="attempts per request, mean",
        caption="E = (1 − p^N) / (1 − p). It does not matter who lost the datagram: only the "
        "probability p that an attempt stays without an answer counts.",
    )


def _mean_datagrams(grid: Grid, cells: Sequence[UdpCell], alarm: float) -> Figure:
    return versus(
        grid,
        [
            Entry(c.label, c.parameters, c.requests, c.mean_datagrams, _datagrams_band(c))
            for c in cells
        ],
        alarm,
        name="datagrams",
        title="Datagrams sent per request",
        quantity="datagrams per request, mean",
        caption="Where a round trip takes longer than a timeout, the client sends again although "
        "the answer is on its way: in vain, and it burdens a network that is slow already. Waits "
        "that grow soon end that.",
    )


def _mean_confirmation(grid: Grid, cells: Sequence[UdpCell], alarm: float) -> Figure:
    return versus(
        grid,
        [
            Entry(c.label, c.parameters, c.answered, c.mean_confirmation_ms, _confirmation_band(c))
            for c in cells
            if c.answered
        ],
        alarm,
        name="time-to-confirmation",
        title="Mean time to confirmation",
        quantity="time to confirmation, mean (ms)",
        caption="What a user waits: from the first sending to the first answer. Each lost attempt "
        "costs its timeout, and each timeout is longer than the one before, so a few unlucky "
        "requests weigh more than all the rest: the bands are wide, and not symmetric.",
    )


def _confirmations(cells: Sequence[UdpCell]) -> Figure:
    shown = chosen([found for found in cells if found.answered], 4)

    def draw(canvas: Any) -> None:
        axes = canvas.subplots()
        for index, found in enumerate(shown):
            shade, marker, dashes = drawing.STYLES[index]
            ordered = sorted(found.confirmations_s)
            shares = [(i + 1) / found.requests for i in range(len(ordered))]
            axes.step(
                [1e3 * t for t in ordered], shares, where="post", color=drawing.LIGHT[shade],
                linestyle=dashes, label=found.label,
            )  # fmt: skip
            if found.expected:
                law = found.expected.law
                ends = [1e3 * (start + ordered[0]) for start in law.starts_s[1:]]
                reached = [1 - law.unanswered_after(k + 1) for k in range(len(ends))]
                told = sum(share < 0.98 for share in reached)
                axes.plot(
                    ends[:told], reached[:told], linestyle="none", marker=marker, markersize=9,
                    zorder=4, markerfacecolor=drawing.LIGHT["paper"],
                    markeredgecolor=drawing.LIGHT[shade], markeredgewidth=2,
                )  # fmt: skip
        axes.set_xscale("log")
        drawing.plain_log(axes.xaxis)
        axes.set_ylim(0, 1.03)
        axes.set_xlabel("time to confirmation (ms)")
        axes.set_ylabel("share of all requests")
        drawing.legend(canvas, axes, 4)

    return Figure(
        "confirmation-ecdf",
        "How long it takes until so many are confirmed",
        "The share of requests confirmed within a time. The steps are the timeouts: nothing "
        "happens until the next attempt is sent. Hollow marks: how high probability predicts each "
        "step. Where a curve ends below 1, the rest was given up.",
        "Empirical distribution functions of the time to confirmation, rising in steps at the "
        "timeouts, with the predicted height of each step.",
        _quantiles(shown, lambda found: found.confirmations_s),
        draw,
        (10.0, 6.0),
    )


def _round_trips(cells: Sequence[UdpCell]) -> Figure:
    shown = chosen([found for found in cells if found.rtts_s], 4)

    def draw(canvas: Any) -> None:
        left, right = canvas.subplots(1, 2)
        smallest = min(min(found.rtts_s) for found in shown)
        largest = max(max(found.rtts_s) for found in shown)
        fewest = min(len(found.rtts_s) for found in shown)
        count = round(min(40, max(8, 2 * math.sqrt(fewest))))
        bins = drawing.log_bins(1e3 * smallest, 1e3 * largest, count)
        for index, found in enumerate(shown):
            shade, _, dashes = drawing.STYLES[index]
            samples = sorted(1e3 * rtt for rtt in found.rtts_s)
            left.hist(
                samples, bins, weights=[100 / len(samples)] * len(samples), histtype="step",
                color=drawing.LIGHT[shade], linestyle=dashes, linewidth=1.8, label=found.label,
            )  # fmt: skip
            shares = [(i + 1) / len(samples) for i in range(len(samples))]
            right.step(
                samples, shares, where="post", color=drawing.LIGHT[shade], linestyle=dashes,
            )  # fmt: skip
        for axes in (left, right):
            axes.set_xscale("log")
            drawing.plain_log(axes.xaxis)
            axes.set_xlabel("RTT (ms)")
        left.set_ylabel("of the answers (%)")
        right.set_ylabel("share of the answers")
        right.set_ylim(0, 1.02)
        drawing.legend(canvas, left)

    return Figure(
        "rtt-distribution",
        "Round trips: distribution and ECDF",
        "RTT is of one datagram and its own answer; waits for lost attempts are not in it. To "
        "average those waits and call the result RTT is the classic mistake: compare the scale "
        "with that of the plot before. (A processor that has rested between two datagrams is some "
        "microseconds slower: that much is left of the loss.)",
        "On the left histograms, on the right empirical distribution functions of the round trip "
        "times, a curve for each cell.",
        _quantiles(shown, lambda found: found.rtts_s),
        draw,
    )


def _quantiles(cells: Sequence[UdpCell], samples_of: Any) -> Table:
    percents = (0, 5, 25, 50, 75, 95, 99, 100)
    rows: list[list[Value]] = []
    for found in cells:
        samples = samples_of(found)
        rows.append([found.label, len(samples), *(1e3 * percentile(samples, p) for p in percents)])
    names = ["min", *(f"p{p}" for p in percents[1:-1]), "max"]
    return Table(("cell", "samples", *(f"{name} (ms)" for name in names)), rows)


def _over_time(cells: Sequence[UdpCell]) -> Figure:
    shown = chosen(cells, 5)
    seen = {a["outcome"] for found in shown for a in _attempts(found.one_run)}
    marks = [mark for mark in _MARKS if mark[0] in seen]

    def draw(canvas: Any) -> None:
        strips = canvas.subplots(len(shown), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
        for axes, found in zip(strips, shown, strict=True):
            attempts = _attempts(found.one_run)
            axes.plot(
                [a["sent_ns"] / 1e9 for a in attempts if a["rtt_s"] is not None],
                [1e3 * a["rtt_s"] for a in attempts if a["rtt_s"] is not None],
                linestyle="none", marker="o", markersize=4, color=drawing.LIGHT["s3"],
                label="answered: its RTT",
            )  # fmt: skip
            for name, shade, marker, height in marks:
                axes.plot(
                    [a["sent_ns"] / 1e9 for a in attempts if a["outcome"] == name],
                    [height] * sum(a["outcome"] == name for a in attempts),
                    linestyle="none", marker=marker, markersize=7, markeredgewidth=1.8,
                    color=drawing.LIGHT[shade], transform=axes.get_xaxis_transform(), label=name,
                )  # fmt: skip
            axes.set_title(found.label, loc="left", fontsize=12)
        axes.set_yscale("log")
        drawing.plain_log(axes.yaxis)
        low, high = axes.get_ylim()
        axes.set_ylim(low / 1.5, high * 6)
        axes.set_xlim(left=0)
        strips[-1].set_xlabel("time since the client's first datagram (s)")
        canvas.supylabel("RTT (ms)", fontsize=13)
        drawing.legend(canvas, strips[-1], 4)

    return Figure(
        "rtt-over-time",
        "Round trips over time, losses marked",
        "One client of each cell. Dots: round trips of answered attempts. Crosses and strokes "
        "along the top: attempts without an answer, when they were sent, and who lost them.",
        "A strip for each cell: round trip times over time as dots, and marks along the top edge "
        "for attempts dropped by the server and lost in the network.",
        Table(
            ("cell", "request", "attempt", "sent (s)", "outcome", "RTT (ms)"),
            [
                [
                    found.label, a["request"], a["attempt"], a["sent_ns"] / 1e9, a["outcome"],
                    None if a["rtt_s"] is None else 1e3 * a["rtt_s"],
                ]
                for found in shown
                for a in _attempts(found.one_run)
            ],
        ),
        draw,
        (10.0, 1.6 + 1.6 * len(shown)),
    )  # fmt: skip


_MARKS = (
    (DROPPED, "s2", "x", 0.9),
    (LOST_BACK, "s1", "|", 0.78),
    (LOST_THERE, "s4", "|", 0.78),
)


def _attempts(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"request": request["request"], **attempt}
        for request in document["requests"]
        for attempt in request["attempts"]
    ]
