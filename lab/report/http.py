"""An HTTP experiment: what it costs a user that TCP repairs losses. Pure but for drawing.

Predicted, with losses q there and r back, all independent: a connection is made at the first try
(no packet sent again) when neither the client's SYN nor the server's SYN-ACK is lost, so with

    P(first try) = (1-q)(1-r)

and otherwise a second later at the earliest, since nothing is known of the path yet (RFC 6298,
section 2.1). Half a second tells the two apart. What a loss costs within the connection depends on
what follows the lost packet (RACK-TLP, RFC 8985), and has no law so simple.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from clients.udp.statistics import Z95
from lab.report import drawing
from lab.report.links import lawless, ways
from lab.report.model import Figure, Grid, Prediction, Table, Value
from lab.report.theory import Band, percentile, share_band
from lab.report.versus import Entry, versus

FIRST_TRY_MS = 500
"""Before the second of a repeated SYN or SYN-ACK, and long after any round trip of the lab."""

SYN_TIMEOUT_MS = 1000
PHASES = (
    ("connect", "s2", "//", "TCP's handshake"),
    ("first byte", "s1", "xx", "from the request to the answer's first byte"),
    ("rest", "s3", "", "name lookup, and the rest of the answer"),
)


@dataclass(frozen=True)
class HttpCell:
    """What was measured in one cell, all clients and repetitions together; times in ms."""

    label: str
    parameters: Mapping[str, Value]
    fetches: int
    unanswered: int
    connects: list[float]
    first_bytes: list[float]
    totals: list[float]
    at_first_try: float | None
    """The predicted probability."""
    delay_ms: float
    unpredicted: str

    @property
    def measured_first_try(self) -> float:
        """The share of the fetches whose connection was made at the first try."""
        return sum(ms < FIRST_TRY_MS + self.delay_ms for ms in self.connects) / self.fetches

    @property
    def mean_ms(self) -> float:
        """The mean time of an answered fetch."""
        return sum(self.totals) / len(self.totals)

    @property
    def mean_error_ms(self) -> float:
        """Half of the width of the mean's 95 % interval."""
        n = len(self.totals)
        if n < 2:
            return 0.0
        variance = sum((ms - self.mean_ms) ** 2 for ms in self.totals) / (n - 1)
        return Z95 * sqrt(variance / n)


def cell(records: Sequence[Mapping[str, Any]], label: str) -> HttpCell:
    """Return what the records of one cell come to."""
    attempts = [a for record in records for run in record["runs"] for a in run["attempts"]]
    timings = [attempt["timing"] for attempt in attempts if attempt["timing"] is not None]
    network = ways(records[0])
    unpredicted = lawless(records)
    there, back = network["to_server"], network["from_server"]
    return HttpCell(
        label,
        records[0]["parameters"],
        len(attempts),
        len(attempts) - len(timings),
        [timing["connect_ms"] for timing in timings],
        [timing["first_byte_ms"] for timing in timings],
        [timing["total_ms"] for timing in timings],
        None if unpredicted else (1 - there.loss) * (1 - back.loss),
        1e3 * (there.delay_s + back.delay_s),
        unpredicted,
    )


def _band(found: HttpCell) -> Callable[[float], Band] | None:
    chance = found.at_first_try
    if chance is None:
        return None
    return lambda alarm: share_band(found.fetches, chance, alarm)


def predictions(found: HttpCell) -> list[Prediction]:
    """Return what probability says of a cell, beside what was measured."""
    band = _band(found)
    if band is None:
        return []
    what = "connections made at the first try"
    return [Prediction(found.label, what, "", found.measured_first_try, band)]


def figures(grid: Grid, cells: Sequence[HttpCell], alarm: float) -> list[Figure]:
    """Return the figures of all cells; ``alarm`` is the false alarms of each judged band."""
    answered = [found for found in cells if found.totals]
    return [
        _load_time(grid, answered),
        versus(
            grid,
            [
                Entry(c.label, c.parameters, c.fetches, c.measured_first_try, _band(c))
                for c in cells
            ],
            alarm,
            name="first-try",
            title="Connections made at the first try",
            quantity="share of the connections",
            caption="A connection is made at once when neither SYN nor SYN-ACK is lost, and "
            "otherwise about a second later: TCP does not know the path yet, so it waits long.",
        ),
        _distribution(answered),
        _phases(answered),
    ]


def _load_time(grid: Grid, cells: Sequence[HttpCell]) -> Figure:
    def draw(canvas: Any) -> None:
        axes = canvas.subplots()
        xs = [grid.x_of(found.parameters) for found in cells]
        axes.errorbar(
            xs, [found.mean_ms for found in cells],
            yerr=[found.mean_error_ms for found in cells],
            linestyle="none", marker="o", color=drawing.LIGHT["s1"], capsize=5, elinewidth=2,
            label="mean, with its 95 % interval",
        )  # fmt: skip
        for percent, shade, marker in ((50, "s3", "^"), (95, "s2", "s")):
            axes.plot(
                xs, [percentile(found.totals, percent) for found in cells],
                linestyle="none", marker=marker, color=drawing.LIGHT[shade],
                label="median" if percent == 50 else f"{percent} % are faster",
            )  # fmt: skip
        law = sorted(
            (grid.x_of(found.parameters), (1 - found.at_first_try) * SYN_TIMEOUT_MS)
            for found in cells
            if found.at_first_try is not None and found.at_first_try < 1
        )
        axes.plot(
            [x for x, _ in law], [ms for _, ms in law], color=drawing.LIGHT["s1"],
            linestyle=(0, (5, 2)), label="a second for each lost handshake, and nothing else",
        )  # fmt: skip
        axes.set_yscale("log")
        drawing.plain_log(axes.yaxis)
        drawing.x_axis(axes, grid)
        axes.set_ylabel("load time (ms)")
        drawing.legend(canvas, axes, 2)

    rows: list[list[Value]] = []
    for found in cells:
        quantiles = [percentile(found.totals, percent) for percent in (0, 50, 95, 99, 100)]
        row: list[Value] = [found.label, found.fetches, found.unanswered]
        rows.append([*row, found.mean_ms, found.mean_error_ms, *quantiles])
    return Figure(
        "load-time",
        "Load time against loss",
        "Compare median and mean: the median is a page that lost no packet that matters, the mean "
        "pays for all of them. The dashed line is what lost handshakes alone would cost.",
        "Mean, median and 95th percentile of the load time against the loss in the network.",
        Table(
            (
                "cell", "fetches", "unanswered", "mean (ms)", "± (ms)", "min (ms)",
                "median (ms)", "p95 (ms)", "p99 (ms)", "max (ms)",
            ),
            rows,
        ),
        draw,
    )  # fmt: skip


def _distribution(cells: Sequence[HttpCell]) -> Figure:
    shown = cells if len(cells) <= len(drawing.STYLES) else cells[:: len(cells) // 5]
    percents = (5, 25, 50, 75, 80, 85, 90, 95, 99)

    def draw(canvas: Any) -> None:
        axes = canvas.subplots()
        for index, found in enumerate(shown):
            shade, _, dashes = drawing.STYLES[index % len(drawing.STYLES)]
            ordered = sorted(found.totals)
            shares = [(i + 1) / found.fetches for i in range(len(ordered))]
            axes.step(
                ordered, shares, where="post", color=drawing.LIGHT[shade], linestyle=dashes,
                label=found.label,
            )  # fmt: skip
        axes.axvline(SYN_TIMEOUT_MS, color=drawing.LIGHT["muted"], linewidth=1.2)
        axes.annotate(
            "1 s: SYN-ACK again", (SYN_TIMEOUT_MS, 0.03), (-6, 0), ha="right",
            textcoords="offset points", color=drawing.LIGHT["muted"],
        )  # fmt: skip
        axes.set_xscale("log")
        drawing.plain_log(axes.xaxis)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("load time (ms)")
        axes.set_ylabel("share of the pages")
        drawing.legend(canvas, axes)

    return Figure(
        "load-time-ecdf",
        "How many pages are there within a time",
        "Within a connection the packets after a lost one tell of it, and TCP repairs it in "
        "milliseconds. When nothing follows, a timer has to: 200 ms within a connection, a second "
        "for the handshake. Look for steps there.",
        "Empirical distribution functions of the load time, with a step at one second that grows "
        "with the loss.",
        Table(
            ("cell", "fetches", *(f"p{percent} (ms)" for percent in percents)),
            [[c.label, c.fetches, *(percentile(c.totals, p) for p in percents)] for c in shown],
        ),
        draw,
        (10.0, 6.0),
    )


def _parts(found: HttpCell) -> list[float]:
    n = len(found.totals)
    connect, first_byte = sum(found.connects) / n, sum(found.first_bytes) / n
    return [connect, first_byte, max(found.mean_ms - connect - first_byte, 0.0)]


def _phases(cells: Sequence[HttpCell]) -> Figure:
    def draw(canvas: Any) -> None:
        axes = canvas.subplots()
        labels, left = [found.label for found in cells], [0.0] * len(cells)
        for index, (name, shade, hatch, _) in enumerate(PHASES):
            widths = [_parts(found)[index] for found in cells]
            axes.barh(
                labels, widths, left=left, height=0.68, color=drawing.LIGHT[shade], hatch=hatch,
                edgecolor=drawing.LIGHT["paper"], linewidth=0.8, label=name,
            )  # fmt: skip
            left = [a + b for a, b in zip(left, widths, strict=True)]
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("mean load time (ms)")
        drawing.legend(canvas, axes)

    told = "; ".join(f"{name}: {what}" for name, *_, what in PHASES)
    return Figure(
        "phases",
        "Where the time goes",
        f"Mean times of the parts of a fetch. {told[0].upper()}{told[1:]}.",
        "Stacked bars, one a cell: the mean times of handshake, first byte and rest.",
        Table(
            ("cell", "fetches", *(f"{name}, mean (ms)" for name, *_ in PHASES)),
            [[found.label, found.fetches, *_parts(found)] for found in cells],
        ),
        draw,
        (10.0, max(3.6, 1.7 + 0.44 * len(cells))),
    )
