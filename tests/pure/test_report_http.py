"""HTTP reports: handshakes that are lost, and what that costs."""

import pytest

from lab.report import http
from lab.report.model import Grid, judged
from tests.pure.experiment_records import http_document, record

LOSS = 0.1


def found(seed: int = 1, *, lost: float = LOSS, count: int = 400) -> http.HttpCell:
    document = http_document(count, seed, lost=lost)
    told = record(document, parameters={"loss": 10}, from_server={"loss": LOSS})
    return http.cell([told], "a cell")


def test_handshakes_are_lost_as_often_as_predicted() -> None:
    (claim,) = judged(http.predictions(found()), 1e-6)
    assert claim.band.expected == pytest.approx(1 - LOSS)
    assert claim.holds


@pytest.mark.parametrize("lost", [0.0, 0.25])
def test_a_network_that_loses_more_or_less_than_it_shows_is_outside(lost: float) -> None:
    (claim,) = judged(http.predictions(found(lost=lost)), 1e-6)
    assert not claim.holds


def test_losses_both_ways_meet_in_the_handshake() -> None:
    both = record(http_document(10, 1, lost=0), from_server={"loss": 0.1}, to_server={"loss": 0.2})
    assert http.cell([both], "").at_first_try == pytest.approx(0.9 * 0.8)


def test_delay_does_not_make_a_handshake_look_repeated() -> None:
    document = http_document(20, 1, lost=0)
    for attempt in document["attempts"]:
        attempt["timing"]["connect_ms"] += 600
    slow = http.cell([record(document, from_server={"delay_s": 0.6})], "")
    assert slow.measured_first_try == 1


def test_fetches_without_an_answer_are_counted() -> None:
    document = http_document(20, 1, lost=0)
    document["attempts"][3]["timing"] = None
    assert http.cell([record(document)], "").unanswered == 1


def test_mean_and_interval_are_those_of_the_samples() -> None:
    cell = found(lost=0.0)
    assert cell.mean_ms == pytest.approx(1.2)
    assert cell.mean_error_ms == pytest.approx(0, abs=1e-9)


def test_every_figure_has_its_table() -> None:
    grid = Grid({"loss": [10]}, {"loss": "loss (%)"})
    figures = http.figures(grid, [found()], 1e-3)
    assert [figure.name for figure in figures] == [
        "load-time", "first-try", "load-time-ecdf", "phases",
    ]  # fmt: skip
    for figure in figures:
        assert figure.table.rows
        assert all(len(row) == len(figure.table.columns) for row in figure.table.rows)
