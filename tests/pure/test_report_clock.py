"""Clock reports: errors that asymmetry makes, and bounds that hold the truth."""

import random
from typing import Any

import pytest

from clients.clock.report import document
from lab.report import clock
from lab.report.model import Grid, judged
from tests.pure.clock_path import Path, run
from tests.pure.experiment_records import record

MS = 1_000_000


def measured(
    there_ms: float, back_ms: float, *, shown: tuple[float, float] | None = None, **settings: str
) -> dict[str, Any]:
    """Return a record of a network with these delays; its kernel shows ``shown``."""
    base_ns = round((there_ms + back_ms) * MS) + 300_000
    asymmetry = (there_ms * MS + 150_000) / base_ns - 0.5
    path = Path(base_rtt_ns=base_ns, asymmetry=asymmetry, jitter_ns=200_000)
    samples = run(path, 40, 10 * MS, random.Random(1)).samples
    there, back = shown or (there_ms, back_ms)
    return record(
        document(samples, {}, "peer"),
        to_server={"delay_s": there / 1e3} if there else {},
        from_server={"delay_s": back / 1e3} if back else {},
        settings=settings,
        parameters={"there": 20},
    )


@pytest.mark.parametrize(("there_ms", "back_ms"), [(0, 0), (40, 0), (0, 20), (20, 20), (10, 40)])
def test_the_error_is_half_of_the_difference_and_the_bound_holds_the_truth(
    there_ms: float, back_ms: float
) -> None:
    found = clock.cell([measured(there_ms, back_ms)], "a cell")
    claims = judged(clock.predictions(found))
    assert len(claims) == 2
    assert all(claim.holds for claim in claims)
    assert claims[0].prediction.measured == pytest.approx((there_ms - back_ms) / 2, abs=0.3)
    assert all(claim.band.false_alarm == 0 for claim in claims)


def test_a_delay_that_is_not_there_is_found_out() -> None:
    found = clock.cell([measured(0, 0, shown=(40, 0))], "not delayed")
    claims = judged(clock.predictions(found))
    assert not claims[0].holds


def test_a_delay_on_the_wrong_way_is_found_out() -> None:
    found = clock.cell([measured(0, 40, shown=(40, 0))], "wrong way")
    claims = judged(clock.predictions(found))
    assert not claims[0].holds


def test_a_clock_that_is_not_as_wrong_as_it_was_told_is_found_out() -> None:
    found = clock.cell([measured(0, 0, CLOCK_OFFSET="2.5s")], "right after all")
    assert not any(claim.holds for claim in judged(clock.predictions(found)))


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"CLOCK_DRIFT_PPM": "100"}},
        {"from_server": {"delay_s": 0.02, "jitter_s": 0.01}},
    ],
)
def test_what_moves_has_no_prediction_and_the_report_says_why(change: dict[str, Any]) -> None:
    moving = record(measured(20, 0)["runs"][0], **change)
    found = clock.cell([moving], "moving")
    assert clock.predictions(found) == []
    assert found.unpredicted


def test_every_figure_has_its_table() -> None:
    grid = Grid({"there": [20]}, {})
    for figure in clock.figures(grid, [clock.cell([measured(20, 0)], "a cell")], 1e-3):
        assert figure.table.rows
        assert all(len(row) == len(figure.table.columns) for row in figure.table.rows)
