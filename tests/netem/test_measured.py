"""Layer 5: what netem was told is what the traffic shows, measured container to container.

The server that answers here drops nothing, so that every difference comes from the network. netem
shapes one way, from the server to its clients: a delay of 100 ms there adds 100 ms to a round trip.
Statistical bounds have a false-alarm rate of 1 in 1,000,000 each. Bounds on time are wide enough
for an emulated processor, and narrow enough to reject half or double of what was configured.
"""

from statistics import quantiles

import pytest

from tests.binomial import accepted
from tests.lab.driver import Exchange, Lab
from tests.requirements_gate import missing


@pytest.fixture(autouse=True)
def _netem(lab: Lab) -> None:
    mechanism = lab.direction("udp")["mechanism"]
    if mechanism != "netem":
        missing("netem", f"this kernel has none, loss is made by {mechanism}; make test-vm")


def measured(network: Lab, words: str, count: int, interval_s: float = 0.005) -> Exchange:
    """Set the network and send ``count`` datagrams through it, all answers awaited."""
    network.netem("udp", words)
    return network.exchange(count, port=network.faithful_port, interval_s=interval_s, linger_s=1.0)


def test_delay_is_added_once_to_the_round_trip(network: Lab) -> None:
    plain = measured(network, "off", 60)
    delayed = measured(network, "delay 100ms", 60)
    assert delayed.answered == 60
    assert min(delayed.rtt_s) >= 0.1
    # The quickest of each: beside other work an emulated processor takes 50 ms for the median one.
    added = min(delayed.rtt_s) - min(plain.rtt_s)
    assert 0.095 < added < 0.150, f"{added * 1000:.1f} ms were added"


def test_jitter_spreads_the_round_trips_evenly_around_the_delay(network: Lab) -> None:
    spread = measured(network, "delay 100ms 40ms", 400)
    assert spread.answered == 400
    assert min(spread.rtt_s) >= 0.060
    # Uniform over 60 to 140 ms: the quartiles are 40 ms apart, in 400 samples never off by 15 ms.
    # Quartiles, because a busy host stops an emulated processor now and then for longer than that.
    first, _, third = quantiles(spread.rtt_s, n=4)
    assert 0.025 < third - first < 0.055
    early = sum(rtt < 0.080 for rtt in spread.rtt_s)
    assert early < accepted(400, 0.25).stop


def test_duplication_doubles_the_configured_share_of_the_answers(network: Lab) -> None:
    doubled = measured(network, "duplicate 30%", 400)
    assert doubled.answered == 400
    assert len(doubled.answers) - doubled.answered in accepted(400, 0.3)


def test_reordering_lets_the_configured_share_overtake(network: Lab) -> None:
    overtaken = measured(network, "delay 200ms reorder 25%", 400)
    assert overtaken.answered == 400
    at_once = sum(rtt < 0.150 for rtt in overtaken.rtt_s)
    assert at_once in accepted(400, 0.25)
    numbers = [number for number, _ in overtaken.answers]
    assert numbers != sorted(numbers)


def test_loss_is_the_configured_share(network: Lab) -> None:
    assert measured(network, "loss 20%", 800).answered in accepted(800, 0.8)


def test_loss_with_a_seed_repeats_datagram_by_datagram(network: Lab) -> None:
    def lost_of(count: int) -> set[int]:
        network.netem("udp", "loss 30% seed 42")
        exchange = network.exchange(count, port=network.faithful_port)
        counters = network.direction("udp")["counters"]
        assert counters["sent_packets"] + counters["dropped_packets"] == count, "answers alone"
        return set(range(count)) - {number for number, _ in exchange.answers}

    first = lost_of(200)
    assert 200 - len(first) in accepted(200, 0.7)
    assert lost_of(200) == first


def test_a_delay_that_is_changed_leaves_nothing_of_the_old_setting(network: Lab) -> None:
    measured(network, "delay 50ms reorder 50% duplicate 20%", 20)
    plain = measured(network, "delay 50ms", 200)
    assert len(plain.answers) == plain.answered == 200
    assert min(plain.rtt_s) >= 0.05
