"""``make netem``: a running lab's network changes, stays changed, and never lies about it."""

import pytest

from tests.binomial import accepted
from tests.lab.driver import DEFAULT_NETWORK, Lab


def test_the_default_is_loss_alone_and_in_effect(lab: Lab) -> None:
    for exercise, words in DEFAULT_NETWORK.items():
        receipt = lab.receipt(exercise)
        assert receipt["verdict"] == "in effect", receipt
        assert receipt["asked"] == words
        assert receipt["source"] == "environment"
        assert receipt["mechanism"] in ("netem", "nftables")
        assert receipt["direction"] == "from_server"


def test_a_change_shows_in_make_netem_and_in_the_traffic(network: Lab) -> None:
    network.changed.add("udp")
    assert network.make_netem("udp", "loss 100%").returncode == 0
    assert "loss 100%" in network.make("netem").stdout
    assert network.exchange(50).answered == 0
    assert network.make_netem("udp", "off").returncode == 0
    assert network.receipt("udp")["mechanism"] == "none"
    assert network.exchange(200).answered in accepted(200, 0.5)
    assert network.make_netem("udp", "default").returncode == 0
    assert network.receipt("udp")["asked"] == DEFAULT_NETWORK["udp"]


def test_wrong_words_are_refused_with_the_word_and_the_old_setting_stays(network: Lab) -> None:
    refused = network.make_netem("udp", "loss ten")
    assert refused.returncode != 0
    assert "ten" in refused.stderr
    assert network.receipt("udp")["asked"] == DEFAULT_NETWORK["udp"]
    assert network.receipt("udp")["verdict"] == "in effect"


@pytest.mark.parametrize("service", ["udp", "udp-netem", "udp-net"])
def test_a_setting_survives_the_restart_of_any_container(network: Lab, service: str) -> None:
    network.netem("udp", "loss 25%")
    network.container(service).restart(timeout=5)
    assert network.settled("udp")["asked"] == "loss 25%"
    assert network.exchange(800).answered in accepted(800, 0.5 * 0.75)


def test_a_plain_compose_run_after_a_change_changes_nothing(network: Lab) -> None:
    network.netem("udp", "loss 20%")
    before = {c.id: c.attrs["State"]["StartedAt"] for c in network.containers()}
    network.client("udp", "--count", "1")
    assert {c.id: c.attrs["State"]["StartedAt"] for c in network.containers()} == before
    assert network.receipt("udp")["asked"] == "loss 20%"


def test_an_unknown_service_is_named(lab: Lab) -> None:
    refused = lab.make_netem("dns", "loss 1%")
    assert refused.returncode == 1
    assert "'dns'" in refused.stderr
    assert "udp, clock, http" in refused.stderr
