"""What a calibration concludes from probes, against a simulated netem, right and wrong ones."""

from dataclasses import replace

import pytest

from lab.calibration import (
    ERROR,
    ERROR_EACH,
    FASTEST_PPS,
    HEADERS_BYTES,
    MOST,
    OWN_LOSS,
    PROBE_BYTES,
    Judged,
    Observation,
    delivery,
    judged,
    long_run_loss,
    plan,
)
from lab.chance import at_least, share_interval
from lab.scenario import DIRECTIONS, all_scenarios, meaning
from services.netem import respond
from services.netem.impairment import parse
from services.netem.respond import Order
from tests.pure.netem_probes import observed


def conclusion(
    asked: str, truth: str | None = None, seed: int = 1, seen: int | None = None
) -> Judged:
    observation = observed(asked if truth is None else truth, asked, seed)
    counted = observation.sent if seen is None and asked != "off" else seen
    return judged(observation, meaning(asked), "eth0", counted)


WORDS = [
    "off",
    "loss 1%",
    "loss 10%",
    "loss 50%",
    "loss 100%",
    "loss 10% duplicate 20%",
    "loss 5% corrupt 5%",
    "corrupt 10%",
    "duplicate 10%",
    "duplicate 30% 25%",
    "loss gemodel 1% 25% 70% 0.1%",
    "loss state 2% 60% 10% 50%",
    "loss 30% 25%",
    "delay 100ms",
    "delay 50ms 20ms",
    "delay 50ms 5ms distribution normal",
    "delay 20ms reorder 10%",
    "delay 20ms reorder 25% gap 5",
    "delay 20ms 5ms 25%",
    "rate 1mbit",
    "delay 40ms 5ms rate 6mbit",
    "delay 10ms rate 1mbit limit 50",
    "loss 0.1%",
    "delay 1ms",
]


@pytest.mark.parametrize("words", [words for words in WORDS if "state" not in words])
def test_what_acts_as_asked_is_in_effect(words: str) -> None:
    found = conclusion(words)
    assert found.verdict == "in effect", found


@pytest.mark.parametrize(
    "words", sorted({w for s in all_scenarios() for link in s.network.values()
                     for w in (getattr(link, d) for d in DIRECTIONS)})
)  # fmt: skip
def test_every_shipped_condition_can_be_seen_to_be_in_effect(words: str) -> None:
    # netem's table for "pareto" is not simulated; the lab's tests meet it on a real kernel.
    simulated = words.replace(" distribution pareto", "")
    assert conclusion(simulated).verdict == "in effect"


NOTICED = [words for words in WORDS if words not in ("off", "loss 0.1%", "delay 1ms")]


@pytest.mark.parametrize("words", NOTICED)
def test_where_nothing_acts_the_verdict_says_so(words: str) -> None:
    found = conclusion(words, truth="off")
    assert found.verdict == "not in effect"
    assert found.because


@pytest.mark.parametrize("words", [words for words in NOTICED if "state" not in words])
def test_where_nothing_was_to_act_but_something_does_the_verdict_says_so(words: str) -> None:
    assert conclusion("off", truth=words).verdict == "not in effect"


@pytest.mark.parametrize(
    ("asked", "truth"),
    [
        ("loss 10%", "loss 20%"),
        ("loss 10%", "loss 4%"),
        ("loss 1%", "loss 3%"),
        ("loss 100%", "loss 97%"),
        ("loss 10%", "loss 10% duplicate 10%"),
        ("loss 10%", "loss 10% delay 20ms"),
        ("loss gemodel 1% 25% 70% 0.1%", "loss 10%"),
        ("loss 30%", "loss 30% 50%"),
        ("delay 100ms", "delay 50ms"),
        ("delay 100ms", "delay 200ms"),
        ("delay 50ms 20ms", "delay 50ms"),
        ("delay 50ms", "delay 50ms 20ms"),
        ("delay 20ms reorder 10%", "delay 20ms"),
        ("delay 20ms reorder 10%", "delay 20ms reorder 40%"),
        ("rate 1mbit", "rate 3mbit"),
        ("duplicate 10%", "duplicate 30%"),
    ],
)
def test_another_impairment_than_asked_for_is_told_apart(asked: str, truth: str) -> None:
    assert conclusion(asked, truth).verdict == "not in effect"


def test_probes_that_came_in_elsewhere_prove_the_wrong_interface() -> None:
    observation = observed("loss 10%", interface="eth1")
    found = judged(observation, parse(["loss", "10%"]), "eth0", observation.sent)
    assert found.verdict == "not in effect"
    assert found.because == ("interface: asked for eth0, measured eth1",)


def test_a_place_that_has_not_seen_the_probes_shapes_something_else() -> None:
    found = conclusion("loss 0.1%", seen=12)
    assert found.verdict == "not in effect"
    assert "came by where it acts: asked for at least" in found.because[0]


def test_what_is_too_small_to_measure_rests_on_the_counters_that_saw_every_probe() -> None:
    assert conclusion("loss 0.1%").verdict == "in effect"
    alone = judged(observed("loss 0.1%"), parse(["loss", "0.1%"]), "eth0", None)
    assert alone.verdict == "cannot tell"
    assert "too few to say" in alone.because[0]


def test_too_few_probes_tell_nothing() -> None:
    few = Order(("", 0), 10, 1_000_000, PROBE_BYTES)
    found = judged(observed("off", order=few), None, "eth0", None)
    assert found.verdict == "cannot tell"
    assert "only 10 probes" in found.because[0]


def test_probes_that_found_the_receivers_buffer_full_are_not_held_against_the_network() -> None:
    observation = observed("loss 10%", "off")
    assert judged(observation, None, "eth0", None).verdict == "not in effect"
    full = replace(observation, overflowed=observation.missing)
    assert judged(full, None, "eth0", None).verdict != "not in effect"


def test_a_clock_that_was_set_leaves_the_delay_untold() -> None:
    observation = replace(observed("delay 100ms"), clock_step_s=0.05)
    found = judged(observation, parse(["delay", "100ms"]), "eth0", None)
    assert found.verdict == "cannot tell"
    assert "the clock was set by +0.050 s" in found.because[0]


def test_a_busy_machine_that_holds_senders_up_is_no_impairment() -> None:
    for words in ("off", "delay 50ms"):
        observation = observed(words, own_delay_s=0.004)
        counted = None if words == "off" else observation.sent
        assert judged(observation, meaning(words), "eth0", counted).verdict == "in effect"


# The stated error ---------------------------------------------------------------------------------


def chance_of_a_contradiction(loss: float, asked: float, trials: int) -> float:
    total = 0.0
    for count in range(trials + 1):
        chance = at_least(count, trials, loss) - at_least(count + 1, trials, loss)
        if chance < 1e-15:
            continue
        copies = {number: 1 for number in range(trials - count)}
        observation = Observation(trials, copies, {})
        words = f"loss {100 * asked:g}%".split()
        found = judged(observation, parse(words) if asked else None, "eth0", None)
        total += chance * (found.verdict == "not in effect")
    return total


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.1])
def test_a_true_loss_is_contradicted_no_more_often_than_stated(loss: float) -> None:
    assert chance_of_a_contradiction(loss, loss, 600) <= ERROR_EACH
    # Also where the lab's own network loses as much as it may.
    assert chance_of_a_contradiction(loss + (1 - loss) * OWN_LOSS, loss, 600) <= ERROR_EACH


def test_the_errors_of_all_intervals_together_are_the_stated_one() -> None:
    servers, directions = 3, len(DIRECTIONS)
    loss, duplicates, overtaking, quantiles = 1, 1, 1, 3
    intervals = servers * directions * (loss + duplicates + overtaking + quantiles)
    assert intervals * ERROR_EACH == pytest.approx(ERROR)
    assert ERROR <= 1e-5
    most = 0
    for words in ("off", "delay 20ms 2ms reorder 10% loss 5% duplicate 5%", "loss 5% corrupt 5%"):
        checks = conclusion(words).checks
        chances = [
            c for c in checks if c.what not in ("rate", "interface") and "packets" not in c.what
        ]
        most = max(most, len(chances))
    assert most <= intervals / servers / directions


def test_nothing_passes_for_a_loss_no_more_often_than_stated() -> None:
    # "In effect" for loss needs an interval above the lab's own loss.
    for asked in ("loss 1%", "loss 10%"):
        trials = plan(parse(asked.split())).count
        least = next(
            k for k in range(trials) if share_interval(k, trials, ERROR_EACH)[0] > OWN_LOSS
        )
        assert at_least(least, trials, OWN_LOSS) <= ERROR_EACH


# What the words mean ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "loss 30% duplicate 40%",
        "loss 20% duplicate 30% corrupt 25%",
        "corrupt 40%",
        "duplicate 50%",
    ],
)
def test_delivery_is_what_netems_algorithm_delivers(words: str) -> None:
    trials = 20_000
    order = Order(("", 0), trials, 1000, PROBE_BYTES)
    seen = observed(words, order=order)
    (none_low, none_high), (two_low, two_high) = delivery(parse(words.split()))
    low, high = share_interval(seen.missing, trials, 1e-6)
    assert low <= none_high
    assert high >= none_low
    twice = sum(count == 2 for count in seen.copies.values())
    low, high = share_interval(twice, trials, 1e-6)
    assert low <= two_high
    assert high >= two_low


def test_the_long_run_loss_of_each_model() -> None:
    assert long_run_loss(None) == 0
    assert long_run_loss(parse(["loss", "10%"])) == pytest.approx(0.1)
    assert long_run_loss(parse(["loss", "10%", "duplicate", "50%"])) == pytest.approx(0.05)
    gemodel = long_run_loss(parse(["loss", "gemodel", "1%", "25%", "70%", "0.1%"]))
    assert gemodel == pytest.approx(0.01 / 0.26 * 0.7 + 0.25 / 0.26 * 0.001)


# How many probes ----------------------------------------------------------------------------------


def test_a_plan_takes_seconds_and_never_fills_a_queue() -> None:
    for words in WORDS:
        impairment = meaning(words)
        order = plan(impairment)
        assert order.count >= 20
        assert order.count <= MOST
        assert order.count * order.interval_ns <= 3e9, words
        assert order.interval_ns >= 1e9 / FASTEST_PPS * 0.99
        if impairment and impairment.rate_bytes_per_s:
            used = (PROBE_BYTES + HEADERS_BYTES) * 1e9 / order.interval_ns
            assert used <= 0.21 * impairment.rate_bytes_per_s
            assert order.train_packets <= impairment.limit / 2


def test_a_slow_rate_gets_fewer_probes_and_an_absurd_one_no_train() -> None:
    assert plan(parse(["rate", "256kbit"])).count < 500
    assert plan(parse(["rate", "1kbit"])).trains == 0
    assert plan(parse(["delay", "10s", "limit", "20"])).interval_ns >= 1e8


def test_a_pause_between_reading_the_two_clocks_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading takes a microsecond; between two of them the machine stops for 8 ms."""
    now_ns = 0
    reads = 0

    def read(lead_ns: int) -> int:
        nonlocal now_ns, reads
        reads += 1
        now_ns += 8_000_000 if reads == 6 else 1000
        return now_ns + lead_ns

    lead_ns = 1_700_000_000_000_000_000
    monkeypatch.setattr("time.time_ns", lambda: read(lead_ns))
    monkeypatch.setattr("time.monotonic_ns", lambda: read(0))
    assert abs(respond._lead_ns() - lead_ns) <= 1000
