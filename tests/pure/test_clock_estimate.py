"""The estimate of a clock's offset, and how it is told."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.clock.answers import COARSE_CLOCK_NS, parse_time, read_answer
from clients.clock.asking import Failure, Outcome
from clients.clock.estimate import Estimate, Sample, estimate
from clients.clock.report import document, outcome_line, shown_ns, summary_text
from services.clock.protocol import rfc3339

T0 = 1_795_374_198_000_000_000
S = 1_000_000_000


def sample(
    number: int,
    offset_ns: int,
    there_ns: int,
    back_ns: int,
    *,
    shows: str = "ns",
    at_ns: int = 0,
    ahead_ns: int = T0,
    retransmissions: int = 0,
) -> Sample:
    """A question to a clock that is truly ``offset_ns`` ahead, with these one-way delays."""
    server_ns = ahead_ns + at_ns + there_ns + offset_ns
    text = rfc3339(server_ns) if shows == "ns" else str(server_ns // S)
    received_ns = at_ns + there_ns + back_ns
    return Sample(
        number,
        at_ns,
        received_ns,
        ahead_ns,
        parse_time(text),
        retransmissions=retransmissions,
    )


def holds(found: Estimate, offset_ns: float) -> bool:
    return abs(found.offset_ns - offset_ns) <= found.bound_ns


DELAYS_NS = st.integers(0, 10 * S)


@given(
    offset_ns=st.integers(-100 * S, 100 * S),
    delays=st.lists(st.tuples(DELAYS_NS, DELAYS_NS), min_size=1, max_size=8),
    shows=st.sampled_from(["ns", "s"]),
)
def test_the_true_offset_is_within_the_bound_however_unequal_the_two_ways_are(
    offset_ns: int, delays: list[tuple[int, int]], shows: str
) -> None:
    samples = [sample(n, offset_ns, *delay, shows=shows) for n, delay in enumerate(delays, 1)]
    found = estimate(samples, 0.0)
    assert holds(found, offset_ns)
    assert found.sample.rtt_ns == min(there + back for there, back in delays)
    assert not found.steps
    if shows == "ns":  # 4: the last digit, and what is rounded outwards
        least_ns = min(there for there, _ in delays) + min(back for _, back in delays)
        assert 2 * found.bound_ns <= least_ns + 4


def test_the_bound_of_one_sample_is_half_of_its_delay_without_the_servers_time() -> None:
    text = "received 2026-11-22T19:03:18.000000100Z by kernel sent 2026-11-22T19:03:18.000500100Z"
    answer = read_answer(text, cut_off=False)
    found = estimate([Sample(1, 0, 500_200, T0, answer)], 0.0)
    assert found.sample.delay_ns == 201  # 100 each way, and the last digit
    assert found.bound_ns in (101, 102)
    assert abs(found.offset_ns) <= 1


def test_the_interval_is_narrower_than_that_of_any_sample() -> None:
    found = estimate([sample(1, S, 300, 100), sample(2, S, 100, 300)], 0.0)
    assert found.sample.number == 1
    assert found.sample.bound_ns == 201
    assert found.bound_ns <= 102
    assert abs(found.offset_ns - S) <= 1


def test_whole_seconds_widen_the_bound_by_half_a_second_and_half_a_tick() -> None:
    best = estimate([sample(1, 0, 1000, 1000, shows="s")])
    assert 0 <= best.bound_ns - (1000 + (S + COARSE_CLOCK_NS) // 2) <= 2


def test_no_samples_are_no_estimate() -> None:
    with pytest.raises(ValueError, match="empty"):
        estimate([])


def test_the_summary_counts_and_names_the_best_sample() -> None:
    outcomes: list[Outcome] = [
        sample(1, -2_500_000_000, 400_000, 400_000),
        Failure(2, "timed out", "no answer within 1 s"),
        sample(3, -2_500_000_000, 100_000, 100_000),
        Failure(4, "unreadable", "'hello' is not a time that can be read"),
    ]
    summary = summary_text(outcomes, "clock (172.18.0.3:1236)")
    assert "4 asked, 2 answered, 1 timed out, 1 unreadable" in summary
    assert "round trip min / average / max: 200.0 us / 500.0 us / 800.0 us" in summary
    assert "the server's clock is 2.500000 s behind this machine's, ± " in summary
    assert "best sample: question 3, -2.500000 s ± 100.0 us" in summary
    assert "zone" not in summary
    assert outcome_line(outcomes[1]) == "  2  no answer within 1 s"
    assert outcome_line(outcomes[2]) == (
        "  3  server 2026-11-22T19:03:15.500100000Z  difference -2.500000 s ± 100.0 us"
        "  round trip 200.0 us"
    )
    assert "nothing can be said" in summary_text(outcomes[1:2], "clock")


def test_the_summary_names_the_zone_that_it_assumed_and_the_resolution() -> None:
    answer = Sample(1, 0, 1000, T0, parse_time("Sun Nov 22 19:03:18 2026"))
    summary = summary_text([answer], "clock")
    assert "name no time zone: UTC is assumed" in summary
    assert "in steps of 1.000000 s" in summary


def test_the_document_keeps_every_reading_beside_the_statistics() -> None:
    outcomes: list[Outcome] = [
        sample(1, 5, 10, 20),
        Failure(2, "timed out", "no answer within 1 s"),
    ]
    made = json.loads(json.dumps(document(outcomes, {"count": 2}, "127.0.0.1:1236")))
    assert made["format"] == 1
    assert made["settings"] == {"count": 2}
    first, second = made["requests"]
    assert (first["sent_wall_ns"], first["received_wall_ns"]) == (T0, T0 + 30)
    assert (first["rtt_ns"], first["server_earliest_ns"]) == (30, T0 + 15)
    assert second == {"number": 2, "status": "timed out", "message": "no answer within 1 s"}
    summary = made["summary"]
    assert (summary["asked"], summary["answered"], summary["failed"]) == (2, 1, 1)
    assert abs(summary["offset_ns"] - first["offset_ns"]) <= 2
    assert 0 <= summary["bound_ns"] - first["bound_ns"] <= 2
    assert summary["at"] == rfc3339(summary["at_wall_ns"])
    assert summary["drift"] is None


@pytest.mark.parametrize(
    ("value_ns", "text"),
    [(0, "0.0 us"), (85_240, "85.2 us"), (-1_234_567, "-1.235 ms"), (2_500_013_000, "2.500013 s")],
)
def test_times_are_shown_in_a_unit_that_suits_them(value_ns: int, text: str) -> None:
    assert shown_ns(value_ns) == text
    assert shown_ns(abs(value_ns), signed=True) == "+" + text.lstrip("-")


def run_of(
    *offsets_ns: int, gap_ns: int = S // 10, way_ns: int = 50_000, ahead_ns: int = T0
) -> list[Sample]:
    return [
        sample(number, offset_ns, way_ns, way_ns, at_ns=number * gap_ns, ahead_ns=ahead_ns)
        for number, offset_ns in enumerate(offsets_ns, 1)
    ]


def test_a_step_of_the_servers_clock_is_said_and_the_result_is_that_of_after_it() -> None:
    found = estimate(run_of(*[0] * 6, *[-3 * S] * 4))
    (step,) = found.steps
    assert (step.clock, step.after_number, step.before_number) == ("the server", 6, 7)
    assert step.earliest_ns <= -3 * S <= step.latest_ns
    assert step.latest_ns - step.earliest_ns < 600_000
    assert holds(found, -3 * S)
    assert found.samples == 4
    assert set(found.rejected) == set(range(1, 7))
    summary = summary_text(run_of(*[0] * 6, *[-3 * S] * 4), "clock")
    assert "the server's clock was set between questions 6 and 7, by -3." in summary
    assert "3.000000 s behind" in summary


def test_a_step_of_the_servers_clock_after_all_but_one_question_is_no_drift() -> None:
    found = estimate(run_of(0, 2_000_000))
    assert [step.before_number for step in found.steps] == [2]
    assert holds(found, 2_000_000)


def test_a_step_of_this_machines_clock_moves_no_figure_and_is_said() -> None:
    step_ns = -7 * S
    before = run_of(*[S] * 5)
    # Its wall clock goes back by 7 s: the server's is now that much further ahead.
    after = [
        sample(
            number,
            S - step_ns,
            50_000,
            50_000,
            at_ns=number * S // 10,
            ahead_ns=T0 + step_ns,
        )
        for number in range(6, 11)
    ]
    found = estimate(before + after)
    (step,) = found.steps
    assert (step.clock, step.after_number, step.before_number) == ("this machine", 5, 6)
    assert step.earliest_ns == step.latest_ns == step_ns
    assert holds(found, S - step_ns)
    assert (found.samples, found.rejected) == (10, {})
    assert found.jitter_ns == pytest.approx(0, abs=2)
    assert "this machine's clock was set between questions 5 and 6, by -7." in summary_text(
        before + after, "clock"
    )


def test_a_server_whose_answers_have_nothing_to_do_with_each_other_is_not_believed_in_silence() -> (
    None
):
    found = estimate(run_of(0, 5 * S, -90 * S, 10**6 * S, 3))
    assert len(found.steps) == 4
    assert found.samples == 1


@pytest.mark.parametrize("drift_ppm", [-100_000, -2_000, 2_000, 100_000])
def test_a_drift_that_no_clock_should_have_is_found_out(drift_ppm: int) -> None:
    samples = run_of(*(number * drift_ppm * 100 for number in range(1, 21)))
    found = estimate(samples)
    assert not found.steps
    assert found.max_drift_ppm > 500
    low_ppm, high_ppm = found.drift_limits_ppm
    assert low_ppm - 1 <= drift_ppm <= high_ppm + 1
    assert found.drift is not None
    assert found.drift.ppm == pytest.approx(drift_ppm, rel=0.01)


def test_a_rejected_sample_is_named_with_its_reason_and_still_counts_for_the_bound() -> None:
    samples = run_of(*[0] * 20)
    # Its way there was the fastest of all, its answer was lost and sent again.
    samples[4] = sample(5, 0, 10, 200_000_000, at_ns=samples[4].sent_ns)
    samples[7] = sample(8, 0, 50_000, 50_000, at_ns=samples[7].sent_ns, retransmissions=1)
    found = estimate(samples)
    assert found.rejected == {5: "delay outlier", 8: "retransmission"}
    assert found.median_ns == pytest.approx(0, abs=2)
    assert holds(found, 0)
    assert found.bound_ns < 40_000  # (10 + 50,000) / 2, and the drift in 0.1 s
    records = document(samples, {}, None)["requests"]
    assert [record["rejected"] for record in records if record["rejected"]] == [
        "delay outlier",
        "retransmission",
    ]
    assert "not of the bound: 1 retransmission, 1 delay outlier" in summary_text(samples, "c")


def test_samples_that_were_all_retransmitted_are_better_than_none() -> None:
    samples = [sample(n, 0, 100, 100, at_ns=n * S, retransmissions=1) for n in range(1, 5)]
    assert estimate(samples).rejected == {}
