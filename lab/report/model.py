"""What a report is made of: predictions with what was measured, figures with their tables. Pure.

A report makes many predictions, and each may be missed by chance. So that all of them together are
right in all but ``FALSE_ALARM`` of reports, each one's band is made for its part of that
(Bonferroni): the more predictions, the wider the bands.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.report.theory import Band

FALSE_ALARM = 1e-3
"""The share of reports on a faultless lab that find any value outside its band."""

USUAL = 0.05
"""The plots' inner bands: one value in twenty is outside."""

Value = str | int | float | None


@dataclass(frozen=True)
class Prediction:
    """One thing predicted and measured. ``band`` gives the band for a share of false alarms."""

    cell: str
    what: str
    unit: str
    measured: float
    band: Callable[[float], Band]


@dataclass(frozen=True)
class Claim:
    """A prediction with the band that it is judged by."""

    prediction: Prediction
    band: Band

    @property
    def holds(self) -> bool:
        """Whether the measured value is in the band."""
        return self.prediction.measured in self.band


def judged(predictions: Sequence[Prediction], false_alarm: float = FALSE_ALARM) -> list[Claim]:
    """Return each prediction with its band; all together are wrong in ``false_alarm`` of runs."""
    return [Claim(p, p.band(false_alarm / len(predictions))) for p in predictions]


@dataclass(frozen=True)
class Table:
    """The figures behind a plot: column names with their units, and rows of raw values."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Value]]


@dataclass(frozen=True)
class Figure:
    """A plot: ``draw`` puts it on a matplotlib figure; ``alternative`` tells it in words."""

    name: str
    title: str
    caption: str
    alternative: str
    table: Table
    draw: Callable[[Any], None]
    size: tuple[float, float] = (10.0, 5.6)


@dataclass(frozen=True)
class Grid:
    """The axes of an experiment, as its plots need them."""

    axes: Mapping[str, Sequence[Value]]
    labels: Mapping[str, str]

    @property
    def x(self) -> str:
        """The axis that is the plots' x axis: the first; "" where there is none."""
        return next(iter(self.axes), "")

    def x_label(self) -> str:
        """Return the words under the x axis."""
        return self.labels.get(self.x, self.x)

    def numeric(self) -> bool:
        """Return whether the x axis is one of numbers."""
        return all(isinstance(value, int | float) for value in self.axes.get(self.x, []))

    def x_of(self, parameters: Mapping[str, Value]) -> float:
        """Return where a cell stands on the x axis; texts stand side by side."""
        value = parameters.get(self.x)
        if self.numeric() and isinstance(value, int | float):
            return float(value)
        return float(list(self.axes.get(self.x, [value])).index(value))

    def series_of(self, parameters: Mapping[str, Value]) -> str:
        """Return what tells a cell's curve from the others: ``server drops 0.5``."""
        return ", ".join(
            f"{self.labels.get(name, name)}: {value}"
            for name, value in parameters.items()
            if name != self.x
        )


@dataclass
class Analysis:
    """What the measurements of one experiment come to; ``remarks`` say what has no prediction."""

    predictions: list[Prediction] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
