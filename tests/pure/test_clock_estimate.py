"""The estimate of a clock's offset, and how it is told."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.clock.answers import parse_time
from clients.clock.estimate import Sample, estimate
from clients.clock.report import Failure, Outcome, document, outcome_line, shown_ns, summary_text
from services.clock.protocol import rfc3339

T0 = 1_795_374_198_000_000_000
S = 1_000_000_000


def sample(
    number: int, offset_ns: int, there_ns: int, back_ns: int, *, shows: str = "ns"
) -> Sample:
    """A question to a clock that is truly ``offset_ns`` ahead, with these one-way delays."""
    server_ns = T0 + there_ns + offset_ns
    text = rfc3339(server_ns) if shows == "ns" else str(server_ns // S)
    rtt_ns = there_ns + back_ns
    return Sample(number, T0, T0 + rtt_ns, rtt_ns, parse_time(text))


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
    best = estimate(samples)
    assert abs(best.offset_ns - offset_ns) <= best.bound_ns
    assert best.sample.rtt_ns == min(there + back for there, back in delays)


def test_the_bound_is_half_the_round_trip() -> None:
    best = estimate([sample(1, S, 300, 100), sample(2, S, 100, 100), sample(3, S, 100, 100)])
    assert best.sample.number == 2
    assert best.bound_ns == 101  # 200 / 2, and half of the answer's last digit, rounded up
    assert best.offset_ns == S


def test_whole_seconds_widen_the_bound_by_half_a_second() -> None:
    best = estimate([sample(1, 0, 1000, 1000, shows="s")])
    assert best.bound_ns == 1000 + S // 2


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
    assert "the server's clock is 2.500000 s behind this machine's, ± 100.0 us" in summary
    assert "from question 3" in summary
    assert "zone" not in summary
    assert outcome_line(outcomes[1]) == "  2  no answer within 1 s"
    assert outcome_line(outcomes[2]) == (
        "  3  server 2026-11-22T19:03:15.500100000Z  difference -2.500000 s ± 100.0 us"
        "  round trip 200.0 us"
    )
    assert "nothing can be said" in summary_text(outcomes[1:2], "clock")


def test_the_summary_names_the_zone_that_it_assumed_and_the_resolution() -> None:
    answer = Sample(1, T0, T0, 1000, parse_time("Sun Nov 22 19:03:18 2026"))
    summary = summary_text([answer], "clock")
    assert "name no time zone: UTC is assumed" in summary
    assert "in steps of 1.000000 s" in summary


def test_the_document_keeps_every_reading_beside_the_statistics() -> None:
    outcomes: list[Outcome] = [
        sample(1, 5, 10, 20),
        Failure(2, "timed out", "no answer within 1 s"),
    ]
    made = json.loads(json.dumps(document(outcomes, {"count": 2}, "127.0.0.1:1236", False)))
    assert made["format"] == 1
    assert made["settings"] == {"count": 2}
    first, second = made["requests"]
    assert (first["sent_wall_ns"], first["received_wall_ns"]) == (T0, T0 + 30)
    assert (first["rtt_ns"], first["server_earliest_ns"]) == (30, T0 + 15)
    assert second == {"number": 2, "status": "timed out", "message": "no answer within 1 s"}
    summary = made["summary"]
    assert (summary["asked"], summary["answered"], summary["failed"]) == (2, 1, 1)
    assert (summary["offset_ns"], summary["bound_ns"]) == (first["offset_ns"], first["bound_ns"])


@pytest.mark.parametrize(
    ("value_ns", "text"),
    [(0, "0.0 us"), (85_240, "85.2 us"), (-1_234_567, "-1.235 ms"), (2_500_013_000, "2.500013 s")],
)
def test_times_are_shown_in_a_unit_that_suits_them(value_ns: int, text: str) -> None:
    assert shown_ns(value_ns) == text
    assert shown_ns(abs(value_ns), signed=True) == "+" + text.lstrip("-")
