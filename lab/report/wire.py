"""What a cell's server saw on the wire, as a ladder: where the experiment was captured."""

from collections.abc import Mapping, Sequence
from typing import Any

from lab.errors import LabError
from lab.experiments.plan import Experiment
from lab.experiments.runs import MEASURED, Run
from lab.ladder import captured_runs, of_run, summary_of
from lab.report.model import Figure, Table
from lab.report.page import Drawn
from lab.say import say

REQUESTS = 4
"""So many can be followed on a projector."""


def ladders(run: Run, experiment: Experiment, records: Sequence[Mapping[str, Any]]) -> list[Drawn]:
    """Return the beginning of one captured run as a ladder: of the last valid cell that has one."""
    if experiment.exercise != "udp":
        return []
    for record in reversed(records):
        path = run.cell_folder(record["cell"], record["repetition"]) / "udp.pcapng"
        if record["status"] == MEASURED and path.is_file():
            try:
                return [_ladder(record, captured_runs(path))]
            except LabError as error:  # cut short by a crash, or nothing in it
                say(f"no ladder: {error.cause}")
    return []


def _ladder(record: Mapping[str, Any], runs: Sequence[Any]) -> Drawn:
    """Return the ladder of the first client of a cell."""
    document = record["runs"][0]
    captured = next((run for run in runs if run.name == document["run"]), runs[0])
    shown = range(1, REQUESTS + 1)
    label = ", ".join(f"{name} {value}" for name, value in record["parameters"].items())
    table = Table(
        ("request", "attempt", "sent (s)", "outcome", "RTT (ms)"),
        [
            [
                request["request"], attempt["attempt"], attempt["sent_ns"] / 1e9,
                attempt["outcome"], None if attempt["rtt_s"] is None else 1e3 * attempt["rtt_s"],
            ]
            for request in document["requests"][:REQUESTS]
            for attempt in request["attempts"]
        ],
    )  # fmt: skip
    figure = Figure(
        "ladder",
        "On the wire",
        f"The first {REQUESTS} requests of one client ({label}), from a capture at the server's "
        "interface. What is lost on its way out never reaches that: the server's account tells.",
        summary_of(captured, shown),
        table,
        lambda canvas: None,
    )
    return Drawn(figure, of_run(captured, shown), b"", own_style=True)
