"""Reports: from an experiment's raw data to claims, plots, tables and one page of HTML.

``make report NAME=...`` draws it again, from the newest run of that experiment or from the folder
that is named.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.errors import LabError, files_have_a_way_out
from lab.experiments.plan import Experiment
from lab.experiments.runs import MEASURED, Run, write_whole
from lab.report import clock, drawing, http, udp, wire
from lab.report.model import FALSE_ALARM, Analysis, Claim, Grid, judged
from lab.report.page import Drawn, as_csv, claims_table, page, sentence

EXERCISES = {"udp": udp, "clock": clock, "http": http}
"""Each has cell(records, label), predictions(cell) and figures(grid, cells, alarm)."""


def main(arguments: Sequence[str]) -> int:
    """Draw the report of a run again; return the exit status."""
    try:
        with files_have_a_way_out():
            draw(_run(arguments[0] if arguments else ""))
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def draw(run: Run) -> list[Claim]:
    """Write the report of a run beside its raw data, print what it comes to. Raises LabError."""
    experiment, records = run.experiment, list(run.records())
    analysis = analysed(experiment, records)
    claims = judged(analysis.predictions)
    drawn = [Drawn(figure, *drawing.drawn(figure)) for figure in analysis.figures]
    drawn += wire.ladders(run, experiment, records)
    text = page(experiment, run.facts, records, claims, analysis.remarks, drawn)
    for folder in ("plots", "tables"):
        (run.folder / folder).mkdir(exist_ok=True)
    for one in drawn:
        write_whole(run.folder / "plots" / f"{one.figure.name}.svg", one.svg)
        if one.png:
            write_whole(run.folder / "plots" / f"{one.figure.name}.png", one.png)
        write_whole(run.folder / "tables" / f"{one.figure.name}.csv", as_csv(one.figure.table))
    if claims:
        write_whole(run.folder / "tables" / "claims.csv", as_csv(claims_table(claims)))
    write_whole(run.folder / "report.html", text)
    print(sentence(claims))
    for claim in claims:
        if not claim.holds:
            p, band = claim.prediction, claim.band
            print(
                f"  outside: {p.cell}: {p.what}: {p.measured:.4g} {p.unit}, "
                f"predicted {band.expected:.4g} (from {band.low:.4g} to {band.high:.4g})"
            )
    print(run.folder / "report.html")
    return claims


def analysed(experiment: Experiment, records: Sequence[Mapping[str, Any]]) -> Analysis:
    """Return predictions and figures of the valid cells, repetitions taken together."""
    grid = Grid(experiment.axes, experiment.labels)
    valid: dict[int, list[Mapping[str, Any]]] = {}
    for record in records:
        if record["status"] == MEASURED:
            valid.setdefault(record["cell"], []).append(record)
    labels = {cell.number: cell.label for cell in experiment.cells}
    analysis = Analysis()
    if not valid:
        return analysis
    exercise: Any = EXERCISES[experiment.exercise]
    cells = [exercise.cell(found, labels[number]) for number, found in sorted(valid.items())]
    for cell in cells:
        analysis.predictions += exercise.predictions(cell)
        if cell.unpredicted:
            analysis.remarks.append(f"{cell.label}: no prediction: {cell.unpredicted}.")
    alarm = FALSE_ALARM / max(1, len(analysis.predictions))
    analysis.figures += exercise.figures(grid, cells, alarm)
    return analysis


def _run(name: str) -> Run:
    if not name:
        found = Run.newest()
    elif (Path(name) / "run.json").is_file():
        found = Run(Path(name))
    else:
        found = Run.latest(name)
    if found is None:
        raise LabError(
            "drawing a report",
            f"there is no run of {name!r}" if name else "there is no run yet",
            "make experiment NAME=... makes one",
        )
    return found
