"""Where datagrams go: the server's deliberate drop, the network's loss, and both together.

Counts are checked with exact binomial bounds at a false-alarm rate of 1 in 1,000,000 each.
"""

import re

import pytest

from tests.binomial import accepted
from tests.lab.driver import Lab

COUNT = 1500


def test_half_of_the_datagrams_are_dropped_by_the_server_alone(network: Lab) -> None:
    network.netem("udp", "off")
    assert network.exchange(COUNT).answered in accepted(COUNT, 0.5)


def test_loss_in_the_network_adds_to_the_servers_drop_as_probability_says(network: Lab) -> None:
    network.netem("udp", "loss 30%")
    assert network.exchange(COUNT).answered in accepted(COUNT, 0.5 * 0.7)


def test_the_default_lab_answers_what_drop_and_default_loss_leave(lab: Lab) -> None:
    assert lab.exchange(COUNT).answered in accepted(COUNT, 0.5 * 0.9)


def test_what_the_network_lost_had_been_answered_by_the_server(network: Lab) -> None:
    network.netem("udp", "loss 40%")
    exchange = network.exchange(COUNT)
    counters = network.direction("udp")["counters"]
    assert counters["sent_packets"] == exchange.answered, "what passed the sidecar arrived"
    assert exchange.answered + counters["dropped_packets"] in accepted(COUNT, 0.5)


def test_a_first_exchange_does_not_wait_for_lost_address_resolution(network: Lab) -> None:
    network.netem("udp", "loss 100%")
    exchange = network.exchange(30, linger_s=0.1)
    assert exchange.answered == 0
    assert network.direction("udp")["counters"]["dropped_packets"] in accepted(30, 0.5)


@pytest.mark.any_kernel
def test_health_checks_take_no_part_in_the_drop(lab: Lab) -> None:
    assert lab.healthy("udp")
    log = lab.container("udp").logs().decode()
    assert not re.search(r"client=127\.0\.0\.1", log)
