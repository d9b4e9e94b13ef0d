"""``make experiment NAME=...``: measure every cell of a grid, keep each at once, draw the report.

NAME is one of ``experiments/``, or the path of a file of your own (``my/grid.toml``). A run that
was stopped (Ctrl-C, ``kill``, a crash, a power cut) goes on where it was when the same experiment
is started again; ``NEW=1`` begins anew. ``CAPTURE=1`` also captures every cell.

Exit status: 0 measured, 1 the lab failed, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM (the report then
shows what there is).
"""

import contextlib
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab import ladder, lifecycle
from lab.capture import capturing, keep_log
from lab.conditions import measured
from lab.errors import LabError, files_have_a_way_out
from lab.experiments import plan
from lab.experiments.duration import expected_s
from lab.experiments.plan import Cell, Experiment
from lab.experiments.progress import Progress
from lab.experiments.runs import FAILED, INVALID, MEASURED, REFUSED, Run
from lab.experiments.site import ClientRun, Site, alone
from lab.interrupts import number_of, sigterm_as_interrupt
from lab.say import say
from lab.scenario import Link, Scenario
from lab.sidecars import Refused

DONE = (MEASURED, REFUSED)
"""What is not measured again when a run goes on."""


def main(arguments: Sequence[str]) -> int:
    """Measure the experiment of that name, or list what there is; return the exit status."""
    if len(arguments) != 1:
        print(listing())
        return 2 if arguments else 0
    try:
        experiment = plan.load(plan.path_of(arguments[0]))
        with files_have_a_way_out(), alone():
            return run_experiment(experiment)
    except LabError as error:
        print(error, file=sys.stderr)
        return 1


def listing() -> str:
    """Return the experiments that there are, a line each."""
    rows = [plan.load(plan.FOLDER / f"{name}.toml") for name in plan.names()]
    width = max((len(row.name) for row in rows), default=0)
    lines = [
        f"  {row.name:<{width}}  {len(row.cells):>3} cells, "
        f"{_minutes(sum(map(expected_s, row.cells)) * row.repetitions)}  {row.title}"
        for row in rows
    ]
    return "\n".join(["make experiment NAME=...", *lines])


def run_experiment(experiment: Experiment) -> int:
    """Measure what is still to be measured, then draw the report; return the exit status."""
    run = _run_to_go_on_with(experiment)
    status = 0
    try:
        with sigterm_as_interrupt():
            conduct(experiment, run)
    except KeyboardInterrupt as interrupt:
        status = 128 + number_of(interrupt)
        say("stopped; what was measured is kept, and the same command goes on with the rest")
    except LabError as error:
        status = 1
        print(error, file=sys.stderr)
        say("what was measured is kept, and the same command goes on with the rest")
    if any(run.records()):
        from lab import report  # only now: matplotlib takes a second or two to load

        report.draw(run)
    return status


def conduct(experiment: Experiment, run: Run) -> None:
    """Measure the cells that are not done, repetition by repetition. Raises LabError."""
    todo = [
        (cell, repetition)
        for repetition in range(1, experiment.repetitions + 1)
        for cell in sorted(experiment.cells, key=lambda cell: sorted(cell.settings.items()))
        if run.status(cell.number, repetition) not in DONE
    ]
    with Site.opened(experiment.exercise) as site, Progress(len(todo)) as progress:
        for position, (cell, repetition) in enumerate(todo):
            rest_s = [expected_s(other) for other, _ in todo[position:]]
            progress.begins(cell.label, rest_s)
            record = _measured_cell(site, experiment, run, cell, repetition)
            if record["status"] == INVALID:
                say(f"{cell.label}: measured again: {record['because'][0]}")
                record = _measured_cell(site, experiment, run, cell, repetition)
            run.keep(record)
            progress.ended(record["status"], record["because"])


def _measured_cell(
    site: Site, experiment: Experiment, run: Run, cell: Cell, repetition: int
) -> dict[str, Any]:
    """Return the record of one cell, whatever became of it. Raises LabError."""
    began, start = datetime.now(UTC).isoformat(timespec="milliseconds"), time.monotonic()
    record: dict[str, Any] = {
        "cell": cell.number,
        "repetition": repetition,
        "parameters": cell.parameters,
        "network": cell.network,
        "settings": cell.settings,
        "clients": cell.clients,
        "arguments": list(cell.arguments),
        "began": began,
        "receipt": None,
        "runs": [],
    }
    folder = run.cell_folder(cell.number, repetition)
    scenario = scenario_of(experiment, cell)
    try:
        with (
            measured(scenario, folder, exercises=[experiment.exercise]) as receipt,
            _captured(experiment.exercise, folder),
        ):
            runs = site.measure(cell.clients, cell.arguments)
    except Refused as refusal:
        if not refusal.by_kernel:
            raise
        return record | {"status": REFUSED, "because": [refusal.cause]}
    failures = list(dict.fromkeys(filter(None, map(_failure, runs))))
    invalid = [] if receipt["valid"] else receipt["because"]
    return record | {
        "status": FAILED if failures else INVALID if invalid else MEASURED,
        "because": failures + invalid,
        "took_s": round(time.monotonic() - start, 3),
        "receipt": receipt,
        "runs": [run.document for run in runs if run.document is not None],
    }


@contextlib.contextmanager
def _captured(exercise: str, folder: Path) -> Iterator[None]:
    """With ``CAPTURE=1``, leave a capture in the cell's folder, and a UDP run's ladder."""
    if os.environ.get("CAPTURE", "") in ("", "0"):
        yield
        return
    path = folder / f"{exercise}.pcapng"
    begun_s = time.time()
    with capturing(exercise, path):
        yield
    keep_log(exercise, begun_s, path.with_suffix(".log"))
    if exercise == "udp":
        with contextlib.suppress(LabError):  # nothing came through: there is nothing to draw
            ladder.drawn_beside(path)


def scenario_of(experiment: Experiment, cell: Cell) -> Scenario:
    """Return a cell's network and settings as a scenario: that is what can be proven."""
    return Scenario(
        f"{experiment.name}, {cell.label}",
        experiment.title,
        f"experiments/{experiment.name}.toml",
        {experiment.exercise: Link(**cell.network)},
        cell.settings,
    )


def _failure(run: ClientRun) -> str:
    """Return what went wrong with a client, or "". A request that was given up is a result."""
    if run.document is None:
        return run.complaint or f"a client printed nothing and ended with {run.exit_status}"
    if run.document.get("ended_early"):
        return str(run.document["ended_early"])
    return ""


def _run_to_go_on_with(experiment: Experiment) -> Run:
    facts = {
        "digest": experiment.digest,
        "source": lifecycle.source_hash(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
    }
    latest = Run.latest(experiment.name)
    if latest is not None and os.environ.get("NEW", "") in ("", "0"):
        there = latest.facts
        statuses = [
            latest.status(cell.number, repetition)
            for cell in experiment.cells
            for repetition in range(1, experiment.repetitions + 1)
        ]
        done = sum(status in DONE for status in statuses)
        if done < len(statuses) and all(there.get(name) == fact for name, fact in facts.items()):
            say(
                f"going on with the run of {there['began']}: {done} of {len(statuses)} cells are "
                "there (NEW=1 begins anew)"
            )
            return latest
    return Run.created(
        experiment, {"began": datetime.now(UTC).isoformat(timespec="seconds")} | facts
    )


def _minutes(seconds: float) -> str:
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
