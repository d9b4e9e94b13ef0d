"""UDP reports: a faithful lab keeps every prediction, an unfaithful one is found out."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from clients.udp.schedule import Schedule
from lab.report import udp
from lab.report.model import Claim, judged
from tests.pure.experiment_records import Drop, independent, record, udp_document

ALARM = 1e-6
HALF = independent(0.5)
SCHEDULE = Schedule(count=400, first_timeout_s=0.05, backoff=1.25, max_tries=16, interval_s=0.001)


def claims_of(*records: Mapping[str, Any]) -> dict[str, Claim]:
    found = udp.cell(list(records), "a cell")
    return {c.prediction.what: c for c in judged(udp.predictions(found), ALARM)}


def outside(*records: Mapping[str, Any]) -> set[str]:
    return {what for what, claim in claims_of(*records).items() if not claim.holds}


def run(
    drop: Drop = HALF,
    *,
    schedule: Schedule = SCHEDULE,
    told_drop: float = 0.5,
    there: float = 0.0,
    back: float = 0.1,
    seed: int = 1,
    rtt_s: float = 0.0005,
    **shown: Any,
) -> dict[str, Any]:
    """Return a record whose receipt shows the losses that there really were, if not told else."""
    document = udp_document(
        schedule, seed, drop=drop, told_drop=told_drop, there=there, back=back, rtt_s=rtt_s
    )
    loss = {"from_server": {"loss": back} if back else {}, "to_server": {"loss": there}}
    return record(document, **(loss | shown))


@pytest.mark.parametrize(
    ("drop", "there", "back"), [(0.5, 0.0, 0.1), (0.0, 0.2, 0.3), (0.3, 0.1, 0.0), (0.0, 0.0, 0.0)]
)
def test_independent_losses_are_where_they_are_predicted(
    drop: float, there: float, back: float
) -> None:
    assert not outside(run(independent(drop), told_drop=drop, there=there, back=back))


def test_every_kind_of_prediction_is_made() -> None:
    assert set(claims_of(run())) == {
        "attempts per request, mean",
        "attempts per request, greatest distance from the geometric law",
        "time to confirmation, mean",
        "dropped by the server, of the attempts without an answer",
    }


def test_a_server_that_drops_every_second_datagram_does_not_follow_the_geometric_law() -> None:
    every_second: Drop = lambda number, draw: number % 2 == 0  # noqa: E731
    assert "attempts per request, greatest distance from the geometric law" in outside(
        run(every_second, back=0.0)
    )


def test_a_server_that_drops_less_than_it_says_is_outside() -> None:
    assert "attempts per request, mean" in outside(run(independent(0.3)))


def test_an_impairment_that_was_not_there_is_found_out() -> None:
    assert "dropped by the server, of the attempts without an answer" in outside(
        run(back=0.0, from_server={"loss": 0.4})
    )


def test_a_client_whose_timeouts_do_not_grow_as_told_is_outside() -> None:
    faster = replace(SCHEDULE, backoff=1.01)
    told = run(independent(0.6), told_drop=0.6, schedule=faster)
    told["runs"][0]["settings"]["backoff"] = 2.0
    assert "time to confirmation, mean" in outside(told)


def test_answers_that_come_after_their_timeouts_count_for_their_attempts() -> None:
    slow = run(rtt_s=0.12, from_server={"loss": 0.1, "delay_s": 0.12})
    assert udp.cell([slow], "slow").outcomes["answered late"] > 0
    assert "datagrams per request, mean" in claims_of(slow)
    assert not outside(slow)


def test_datagrams_in_vain_that_nobody_sent_are_missed() -> None:
    slow = run(rtt_s=0.12, from_server={"loss": 0.1, "delay_s": 0.12})
    for request in slow["runs"][0]["requests"]:
        answered = [a["attempt"] for a in request["attempts"] if a["rtt_s"] is not None]
        request["attempts"] = request["attempts"][: min(answered, default=99)]
    assert "datagrams per request, mean" in outside(slow)


def test_late_answers_with_jitter_have_no_prediction() -> None:
    jittery = run(rtt_s=0.12, from_server={"loss": 0.1, "delay_s": 0.12, "jitter_s": 0.02})
    found = udp.cell([jittery], "jittery")
    assert udp.predictions(found) == []
    assert "jitter" in found.unpredicted


@pytest.mark.parametrize("field", ["loss_gemodel", "loss_correlation", "duplicate", "reorder"])
def test_losses_without_a_simple_law_have_no_prediction_and_the_report_says_why(field: str) -> None:
    found = udp.cell([run(from_server={field: 0.2})], "bursts")
    assert udp.predictions(found) == []
    assert found.unpredicted.startswith("from_server: it")


def test_a_server_that_does_not_tell_its_drop_has_no_prediction() -> None:
    untold = run()
    untold["runs"][0]["in_effect"]["server_drop"] = None
    assert udp.predictions(udp.cell([untold], "untold")) == []


def test_adaptive_timeouts_have_no_prediction() -> None:
    adaptive = run()
    adaptive["runs"][0]["settings"]["rto"] = "adaptive"
    assert "adaptive" in udp.cell([adaptive], "adaptive").unpredicted


def test_clients_and_repetitions_are_taken_together() -> None:
    both = udp.cell([run(seed=1), run(seed=2)], "both")
    assert both.requests == 2 * SCHEDULE.count


def test_losses_that_repeat_from_a_seed_are_not_independent_in_repetitions() -> None:
    once = run()
    once["receipt"]["services"]["any"]["directions"]["from_server"] |= {
        "seed": 7,
        "repeatable": True,
    }
    assert udp.cell([once], "once").expected is not None
    twice = udp.cell([once, once], "twice")
    assert udp.predictions(twice) == []
    assert "seed" in twice.unpredicted


def test_requests_that_are_given_up_count_all_their_attempts() -> None:
    short = replace(SCHEDULE, max_tries=2)
    found = udp.cell([run(independent(0.7), told_drop=0.7, schedule=short)], "short")
    assert found.answered < found.requests
    assert found.still_unanswered(2) == pytest.approx(1 - found.answered / found.requests)
    assert 1.5 < found.mean_attempts <= 2
    assert not outside(run(independent(0.7), told_drop=0.7, schedule=short))


def test_a_cell_in_which_nothing_was_answered_is_shown_without_times() -> None:
    dead = run(independent(1.0), told_drop=1.0, schedule=replace(SCHEDULE, count=5, max_tries=3))
    claims = claims_of(dead)
    assert "time to confirmation, mean" not in claims
    assert all(claim.holds for claim in claims.values())


def test_bands_are_missed_about_as_often_as_they_say() -> None:
    draw = random.Random(7)
    schedule = replace(SCHEDULE, count=60)
    missed = 0
    for _ in range(25):
        found = udp.cell([run(schedule=schedule, seed=draw.getrandbits(32))], "")
        missed += any(not claim.holds for claim in judged(udp.predictions(found), 0.5))
    assert 2 <= missed <= 13  # 25 x 0.5 at most: Boole's inequality is generous
