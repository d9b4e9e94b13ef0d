"""How plots look: legible on a projector, in light and in dark, told apart without colour, too.

Text stays text in the SVG, in the reader's own font. Colours of the drawing are those of ``LIGHT``;
in the page each becomes a CSS variable, so that the plots follow the page's theme. The same data
give the same bytes.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, NullFormatter

from lab.report.model import Figure, Grid
from lab.report.theory import Band

LIGHT = {
    "paper": "#fdfdfc",
    "ink": "#1b1f24",
    "muted": "#5b636d",
    "grid": "#d9dce1",
    "s1": "#0066a6",
    "s2": "#c2500a",
    "s3": "#007a5a",
    "s4": "#9b3d86",
    "s5": "#8a6d00",
    "s6": "#4b4fc4",
    "alarm": "#c4122f",
}
DARK = {
    "paper": "#14171b",
    "ink": "#eef1f5",
    "muted": "#a9b2bd",
    "grid": "#343b44",
    "s1": "#5cb8ff",
    "s2": "#ff9d57",
    "s3": "#3fd3a4",
    "s4": "#f091d8",
    "s5": "#e6c84b",
    "s6": "#a3a8ff",
    "alarm": "#ff6b7d",
}
"""Every colour of a series has a contrast of 4.5 or more to its paper."""

STYLES = (
    ("s1", "o", "-"),
    ("s2", "s", (0, (5, 2))),
    ("s3", "^", (0, (1, 1.5))),
    ("s4", "D", (0, (5, 1.5, 1, 1.5))),
    ("s5", "v", (0, (3, 1))),
    ("s6", "P", (0, (8, 2))),
)
"""Colour, marker and line of the first, second, ... series."""

_FONT_PT = 13
_RC: Any = {  # matplotlib's own type names all keys
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": _FONT_PT,
    "axes.titlesize": _FONT_PT,
    "axes.labelsize": _FONT_PT,
    "xtick.labelsize": _FONT_PT - 1,
    "ytick.labelsize": _FONT_PT - 1,
    "legend.fontsize": _FONT_PT - 1,
    "text.color": LIGHT["ink"],
    "axes.labelcolor": LIGHT["ink"],
    "axes.edgecolor": LIGHT["muted"],
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.labelcolor": LIGHT["ink"],
    "ytick.labelcolor": LIGHT["ink"],
    "axes.facecolor": LIGHT["paper"],
    "figure.facecolor": LIGHT["paper"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.0,
    "lines.markersize": 7.5,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
}


def colour(index: int) -> str:
    """Return the colour of a series, from 0."""
    return LIGHT[STYLES[index % len(STYLES)][0]]


def drawn(figure: Figure) -> tuple[str, bytes]:
    """Return a plot as SVG, a document of its own, and as PNG, 2,000 pixels wide."""
    with mpl.rc_context({**_RC, "svg.hashsalt": figure.name}):
        canvas = Canvas(figsize=figure.size)
        figure.draw(canvas)
        svg, png = io.StringIO(), io.BytesIO()
        canvas.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        canvas.set_layout_engine("none")  # all has its place by now
        canvas.savefig(png, format="png", dpi=200, metadata={"Software": None})
    return svg.getvalue(), png.getvalue()


def inline(document: str, alternative: str) -> str:
    """Return such an SVG as a part of the page: its colours are the page's variables."""
    body = document[document.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1">', body, count=1)
    for name, code in LIGHT.items():
        body = body.replace(code, f"var(--{name})")
    body = re.sub(r"font: (\S+) [^;\"]*", r"font-size: \1", body)
    return body.replace("<svg ", f'<svg role="img" aria-label="{alternative}" ', 1)


@dataclass(frozen=True)
class Point:
    """A measured value on a plot, its usual band and the one that it is judged by."""

    series: str
    x: float
    measured: float
    inner: Band | None = None
    outer: Band | None = None

    @property
    def outside(self) -> bool:
        """Whether the value is where the prediction says that it is not."""
        return self.outer is not None and self.measured not in self.outer


def against(axes: Axes, points: Sequence[Point]) -> None:
    """Draw measured values against the x axis, with the predicted lines and bands."""
    for index, (series, group) in enumerate(groupby(points, lambda point: point.series)):
        shade, marker, dashes = STYLES[index % len(STYLES)]
        own = sorted(group, key=lambda point: point.x)
        predicted = [(p.x, p.inner, p.outer) for p in own if p.inner and p.outer]
        xs = [x for x, _, _ in predicted]
        for bands, alpha in (
            ([b for _, b, _ in predicted], 0.28),
            ([b for *_, b in predicted], 0.13),
        ):
            low, high = ([getattr(b, end) for b in bands] for end in ("low", "high"))
            if len(xs) > 1:
                axes.fill_between(xs, low, high, color=LIGHT[shade], alpha=alpha, linewidth=0)
            else:
                axes.vlines(xs, low, high, color=LIGHT[shade], alpha=alpha, linewidth=14)
        axes.plot(
            xs, [b.expected for _, b, _ in predicted],
            color=LIGHT[shade], linestyle=dashes, label=None,
        )  # fmt: skip
        axes.plot(
            [p.x for p in own], [p.measured for p in own],
            marker=marker, linestyle="none", color=LIGHT[shade], markeredgecolor=LIGHT["paper"],
            markeredgewidth=0.8, label=series or "measured", zorder=4,
        )  # fmt: skip
    wrong = [point for point in points if point.outside]
    axes.plot(
        [p.x for p in wrong], [p.measured for p in wrong], linestyle="none", marker="o",
        markersize=18, markerfacecolor="none", markeredgecolor=LIGHT["alarm"], markeredgewidth=2.5,
        zorder=5, label="outside its band" if wrong else None,
    )  # fmt: skip


def x_axis(axes: Axes, grid: Grid) -> None:
    """Label the x axis with the values of the experiment's first axis."""
    axes.set_xlabel(grid.x_label())
    values = list(grid.axes.get(grid.x, []))
    if grid.numeric():
        axes.set_xticks([float(value) for value in values if isinstance(value, int | float)])
        axes.set_xticklabels([str(value) for value in values])
    else:
        axes.set_xticks(range(len(values)), [str(value) for value in values])


def log_bins(low: float, high: float, count: int) -> list[float]:
    """Return the borders of so many bins of equal width on a logarithmic scale."""
    low = low / 1.02
    ratio = (high * 1.02 / low) ** (1 / count)
    return [low * ratio**i for i in range(count + 1)]


def legend(canvas: Canvas, axes: Axes, columns: int = 3) -> None:
    """Put the legend of some axes above the plots, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        canvas.legend(
            handles, labels, loc="outside upper left", ncols=columns, handletextpad=0.5,
            columnspacing=1.6,
        )  # fmt: skip


def plain_log(axis: "mpl.axis.Axis") -> None:
    """Label a logarithmic axis with plain numbers: 0.1, 1, 10."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
