"""A measured value of each cell against the experiment's first axis, beside its prediction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.report import drawing
from lab.report.model import USUAL, Figure, Grid, Table, Value
from lab.report.theory import Band

HOW_TO_READ = (
    "Lines: predicted; darker bands: 19 of 20 measured values; lighter bands: what this report "
    "judges by; marks: measured."
)


@dataclass(frozen=True)
class Entry:
    """One cell's value. ``band`` gives its band for a share of false alarms; None: no prediction.

    ``samples`` is how many requests it is of.
    """

    label: str
    parameters: Mapping[str, Value]
    samples: int
    measured: float
    band: Callable[[float], Band] | None


def versus(
    grid: Grid,
    entries: Sequence[Entry],
    alarm: float,
    *,
    name: str,
    title: str,
    quantity: str,
    caption: str,
) -> Figure:
    """Return the figure; ``quantity`` says with its unit what is measured, on the y axis."""
    points = [_point(grid, entry, alarm) for entry in entries]
    by_series = sorted(points, key=lambda point: point.series)

    def draw(canvas: Any) -> None:
        axes = canvas.subplots()
        drawing.against(axes, by_series)
        values = [point.measured for point in points if point.measured > 0]
        if values and max(values) > 30 * min(values):
            axes.set_yscale("log")
            drawing.plain_log(axes.yaxis)
        elif values and min(values) < max(values) / 2:
            axes.set_ylim(bottom=0)
        drawing.x_axis(axes, grid)
        axes.set_ylabel(quantity)
        drawing.legend(canvas, axes)

    return Figure(
        name,
        title,
        f"{caption} {HOW_TO_READ}",
        f"{quantity} against {grid.x_label()}: measured values with predicted lines and bands.",
        Table(
            (
                "cell", "samples", "measured", "predicted", "95 % from", "95 % to",
                "judged from", "judged to", "in its band",
            ),
            [
                [entry.label, entry.samples, entry.measured, *_row(point)]
                for entry, point in zip(entries, points, strict=True)
            ],
        ),
        draw,
    )  # fmt: skip


def _point(grid: Grid, entry: Entry, alarm: float) -> drawing.Point:
    series, x = grid.series_of(entry.parameters), grid.x_of(entry.parameters)
    if entry.band is None:
        return drawing.Point(series, x, entry.measured)
    return drawing.Point(series, x, entry.measured, entry.band(USUAL), entry.band(alarm))


def _row(point: drawing.Point) -> list[Value]:
    if point.inner is None or point.outer is None:
        return [None, None, None, None, None, "no prediction"]
    values = [point.inner.expected, point.inner.low, point.inner.high]
    values += [point.outer.low, point.outer.high]
    return [*values, "no, outside" if point.outside else "yes"]
