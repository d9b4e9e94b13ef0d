"""A clock experiment: how wrong the estimate is when the two ways differ. Pure but for drawing.

Predicted, when the network delays the way there by a and the way back by b at least: the middle of
the client's interval is wrong by (a - b) / 2, and by no more besides than half of what is left of
the fastest round trip when a and b are taken out of it. No chance is in that: with the fastest way
there a + e, the fastest way back b + f, and e, f >= 0,

    error = (a - b) / 2 + (e - f) / 2        bound = (a + b) / 2 + (e + f) / 2

so |error - (a - b) / 2| <= bound - (a + b) / 2. If the network were faster than asked for, that
would be negative, and the claim false. And |error| <= bound: the interval holds the truth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.report import drawing
from lab.report.links import lawless, ways
from lab.report.model import Figure, Grid, Prediction, Table, Value
from lab.report.theory import Band
from services.clock.__main__ import offset_s


@dataclass(frozen=True)
class Estimated:
    """What one client came to: the error of its estimate and its bound, in milliseconds."""

    error_ms: float
    bound_ms: float
    samples: list[tuple[float, float]]
    """Of each answer: delay, and error of its own estimate."""


@dataclass(frozen=True)
class ClockCell:
    """What was measured in one cell; delays in milliseconds."""

    label: str
    parameters: Mapping[str, Value]
    there_ms: float
    back_ms: float
    runs: list[Estimated]
    unpredicted: str

    @property
    def asymmetry_ms(self) -> float:
        """The predicted error: half of the difference of the ways."""
        return (self.there_ms - self.back_ms) / 2

    def band(self, run: Estimated) -> Band:
        """Return where the error of this run is, whatever chance does."""
        left_ms = run.bound_ms - (self.there_ms + self.back_ms) / 2
        return Band(self.asymmetry_ms - left_ms, self.asymmetry_ms, self.asymmetry_ms + left_ms, 0)


def cell(records: Sequence[Mapping[str, Any]], label: str) -> ClockCell:
    """Return what the records of one cell come to."""
    network = ways(records[0])
    settings = records[0]["settings"]
    unpredicted = lawless(records)
    if any(way.jitter_s for way in network.values()):
        unpredicted = unpredicted or "with jitter, no delay is the smallest one"
    if float(settings.get("CLOCK_DRIFT_PPM", 0)):
        unpredicted = unpredicted or "the server's clock drifts"
    truth_ns = 1e9 * offset_s(settings.get("CLOCK_OFFSET", "0s"))
    documents = [document for record in records for document in record["runs"]]
    return ClockCell(
        label,
        records[0]["parameters"],
        1e3 * network["to_server"].delay_s,
        1e3 * network["from_server"].delay_s,
        [_estimated(d, truth_ns) for d in documents if "offset_ns" in d["summary"]],
        unpredicted,
    )


def _estimated(document: Mapping[str, Any], truth_ns: float) -> Estimated:
    summary = document["summary"]
    return Estimated(
        (summary["offset_ns"] - truth_ns) / 1e6,
        summary["bound_ns"] / 1e6,
        [
            (request["delay_ns"] / 1e6, (request["offset_ns"] - truth_ns) / 1e6)
            for request in document["requests"]
            if request["status"] == "answered"
        ],
    )


def predictions(found: ClockCell) -> list[Prediction]:
    """Return what must be so in a cell, beside what was measured."""
    if found.unpredicted:
        return []
    made = []
    for number, run in enumerate(found.runs, start=1):
        label = found.label + (f", client {number}" if len(found.runs) > 1 else "")
        band, bound_ms = found.band(run), run.bound_ms
        made += [
            Prediction(
                label, "error of the middle of the interval", "ms", run.error_ms,
                lambda _, band=band: band,  # type: ignore[misc]
            ),
            Prediction(
                label, "error, by the bound that the client prints", "ms", run.error_ms,
                lambda _, b=bound_ms: Band(-b, 0.0, b, 0),  # type: ignore[misc]
            ),
        ]  # fmt: skip
    return made


def figures(grid: Grid, cells: Sequence[ClockCell], alarm: float) -> list[Figure]:
    """Return the figures of all cells. The bands are certain, so ``alarm`` changes nothing."""
    return [_error(grid, cells), _wedge(cells)]


def _error(grid: Grid, cells: Sequence[ClockCell]) -> Figure:
    def draw(canvas: Any) -> None:
        axes = canvas.subplots()
        xs = [found.asymmetry_ms for found in cells]
        margin = 0.08 * (max(xs) - min(xs)) or 1.0
        ends = [min(xs) - margin, max(xs) + margin]
        axes.plot(
            ends, ends, color=drawing.LIGHT["muted"], linestyle=(0, (5, 2)),
            label="predicted: half of the difference of the ways",
        )  # fmt: skip
        axes.axhline(0, color=drawing.LIGHT["s3"], linewidth=2.4, label="the truth")
        series = list(dict.fromkeys(grid.series_of(found.parameters) for found in cells))
        for index, name in enumerate(series):
            own = [found for found in cells if grid.series_of(found.parameters) == name]
            shade, marker, _ = drawing.STYLES[(index + (index > 1)) % len(drawing.STYLES)]
            shift = margin / 8 * (index - (len(series) - 1) / 2)
            axes.errorbar(
                [found.asymmetry_ms + shift for found in own for _ in found.runs],
                [run.error_ms for found in own for run in found.runs],
                yerr=[run.bound_ms for found in own for run in found.runs],
                linestyle="none", marker=marker, color=drawing.LIGHT[shade], capsize=6,
                elinewidth=2, label=name or "measured, with the client's bound",
            )  # fmt: skip
        axes.set_xlabel("(way there − way back) / 2, as asked for (ms)")
        axes.set_ylabel("error of the estimate (ms)")
        drawing.legend(canvas, axes, 2)

    rows: list[list[Value]] = []
    for found in cells:
        for number, run in enumerate(found.runs, start=1):
            row: list[Value] = [found.label, number, found.there_ms, found.back_ms]
            rows.append([*row, found.asymmetry_ms, run.error_ms, run.bound_ms])
    return Figure(
        "clock-error",
        "Clock error against asymmetry",
        "Nobody can tell from four time stamps which way took longer. The middle of the interval "
        "is wrong by half of the difference, and no clever average changes that; the interval "
        "still reaches the truth, always.",
        "The error of the estimate falls on a line of slope one against half of the difference of "
        "the ways, and the error bars all reach zero, the truth.",
        Table(
            (
                "cell", "client", "way there, asked (ms)", "way back, asked (ms)",
                "predicted error (ms)", "error (ms)", "bound ± (ms)",
            ),
            rows,
        ),
        draw,
        (10.0, 6.4),
    )  # fmt: skip


def _wedge(cells: Sequence[ClockCell]) -> Figure:
    shown = [found for found in cells if found.runs]

    def draw(canvas: Any) -> None:
        axes = canvas.subplots()
        furthest = max(delay for found in shown for delay, _ in found.runs[0].samples)
        axes.fill_between(
            [0, furthest], [0, furthest / 2], [0, -furthest / 2],
            color=drawing.LIGHT["grid"], alpha=0.6, linewidth=0, label="where errors can be",
        )  # fmt: skip
        for index, found in enumerate(shown):
            shade, marker, _ = drawing.STYLES[index % len(drawing.STYLES)]
            axes.plot(
                [delay for delay, _ in found.runs[0].samples],
                [error for _, error in found.runs[0].samples],
                linestyle="none", marker=marker, markersize=5, color=drawing.LIGHT[shade],
                markerfacecolor="none" if index >= len(drawing.STYLES) else drawing.LIGHT[shade],
                label=found.label,
            )  # fmt: skip
        axes.set_xlabel("delay of the sample: round trip without the server's time (ms)")
        axes.set_ylabel("error of the sample (ms)")
        drawing.legend(canvas, axes, 4)

    return Figure(
        "wedge",
        "Each answer: its error against its delay",
        "An error is half of the delay at most, so all samples lie in the wedge. On its edges all "
        "of the delay was on one way; in the middle the ways were equal. Fast answers are right.",
        "Samples as dots in a wedge that opens to the right; the cells with one slow way lie on "
        "its edges.",
        Table(
            ("cell", "delay (ms)", "error (ms)"),
            [
                [found.label, delay, error]
                for found in shown
                for delay, error in found.runs[0].samples
            ],
        ),
        draw,
        (10.0, 6.4),
    )
