"""The polygon of offsets and drifts that agree with all samples."""

from hypothesis import given
from hypothesis import strategies as st

from clients.clock.agreement import Agreement, Bounds

S = 1_000_000_000
DELAY_NS = st.one_of(st.integers(0, 1000), st.integers(0, 10 * S))


def bounds(sent_ns: int, there_ns: int, back_ns: int, offset_ns: int, drift_ppb: int) -> Bounds:
    """What a sample says of a clock that is ``offset_ns`` ahead at 0 and gains ``drift_ppb``."""
    arrived_ns = sent_ns + there_ns
    received_ns = arrived_ns + back_ns
    server_ns = arrived_ns + offset_ns + arrived_ns * drift_ppb // S
    return Bounds(sent_ns, server_ns + 1 - sent_ns, received_ns, server_ns - received_ns)


@given(
    offset_ns=st.integers(-(10**18), 2 * 10**18),
    drift_ppb=st.integers(-500_000, 500_000),
    samples=st.lists(st.tuples(st.integers(0, 3 * S), DELAY_NS, DELAY_NS), min_size=1, max_size=12),
)
def test_the_truth_is_never_cut_off(
    offset_ns: int, drift_ppb: int, samples: list[tuple[int, int, int]]
) -> None:
    now_ns, said = 0, []
    for pause_ns, there_ns, back_ns in samples:
        said.append(bounds(now_ns + pause_ns, there_ns, back_ns, offset_ns, drift_ppb))
        now_ns = said[-1].received_ns
    agreement = Agreement(said[0], 500.0)
    assert all(agreement.cut(sample) for sample in said)
    best_ns = agreement.best_instant_ns(said[0].sent_ns, now_ns)
    assert said[0].sent_ns <= best_ns <= now_ns
    widths = []
    for instant_ns in (best_ns, 0, now_ns // 3, now_ns):
        earliest_ns, latest_ns = agreement.offsets_at(instant_ns)
        truth_ns = offset_ns + instant_ns * drift_ppb // S
        assert earliest_ns <= truth_ns + 2
        assert truth_ns - 1 <= latest_ns
        if said[0].sent_ns <= instant_ns:
            widths.append(latest_ns - earliest_ns)
    assert widths[0] <= min(widths) + 2
    low_ppm, high_ppm = agreement.drifts_ppm()
    assert low_ppm - 0.001 <= drift_ppb / 1000 <= high_ppm + 0.001


def test_two_samples_bound_the_drift_by_what_lies_between_them() -> None:
    agreement = Agreement(bounds(0, 100, 100, 0, 0), 500.0)
    assert agreement.cut(bounds(0, 100, 100, 0, 0))
    assert agreement.cut(bounds(10 * S, 100, 100, 0, 0))
    low_ppm, high_ppm = agreement.drifts_ppm()
    # From 100 ns below at 0 to 100 ns above at 10 s, or the other way round: 0.02 ppm.
    assert -0.021 < low_ppm < -0.019
    assert 0.019 < high_ppm < 0.021


def test_what_contradicts_is_refused_and_changes_nothing() -> None:
    agreement = Agreement(bounds(0, 100, 100, 0, 0), 500.0)
    assert agreement.cut(bounds(0, 100, 100, 0, 0))
    before = agreement.offsets_at(S), agreement.drifts_ppm()
    assert not agreement.cut(bounds(S, 100, 100, 501_000, 0))  # a gain of 501 us in 1 s
    assert (agreement.offsets_at(S), agreement.drifts_ppm()) == before
    assert agreement.cut(bounds(S, 100, 100, 499_000, 0))


def test_a_server_that_had_the_question_for_long_is_no_contradiction() -> None:
    # Of 10 s it lost 5 ms, at -500 ppm: T3 - T2 is longer or shorter than the round trip allows.
    said = Bounds(0, 100, 10 * S + 100, -5_000_000 - 100)
    agreement = Agreement(said, 500.0)
    assert agreement.cut(said)
    assert agreement.drifts_ppm()[0] < -499
