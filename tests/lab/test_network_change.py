"""``make netem``: a running lab's network changes, stays changed, and never lies about it."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.binomial import accepted
from tests.lab.driver import DEFAULT_NETWORK, Lab, eventually
from tests.netem.namespaces import backlog_drops

PAIRS = 10 if os.environ.get("LAB_EMULATED") else 50
"""Of changes, one in each direction. An emulated processor takes two seconds for one."""

# In one process: what takes time is not to be the starting of a hundred of them.
MANY_CHANGES = f"""
from services.netem.__main__ import main
for number in range({PAIRS}):
    words = ("loss 0%", "loss random 0%", "off")[number % 3]
    for direction in ("from_server", "to_server"):
        status = main(["set", "--direction", direction, "--json", words])
        if status:
            raise SystemExit(status)
"""


def test_the_default_is_loss_alone_and_in_effect(lab: Lab) -> None:
    for exercise, words in DEFAULT_NETWORK.items():
        receipt = lab.receipt(exercise)
        assert receipt["verdict"] == "in effect", receipt
        from_server, to_server = (receipt["directions"][d] for d in ("from_server", "to_server"))
        assert from_server["asked"] == words
        assert from_server["source"] == to_server["source"] == "environment"
        assert from_server["mechanism"] in ("netem", "nftables")
        assert (to_server["asked"], to_server["mechanism"]) == ("off", "none")


@pytest.mark.any_kernel
def test_a_change_shows_in_make_netem_and_in_the_traffic(network: Lab) -> None:
    network.changed.add("udp")
    assert network.make_netem("udp", "loss 100%").returncode == 0
    assert "loss 100%" in network.make("netem").stdout
    assert network.exchange(50).answered == 0
    assert network.make_netem("udp", "off").returncode == 0
    assert network.direction("udp")["mechanism"] == "none"
    assert network.exchange(200).answered in accepted(200, 0.5)
    assert network.make_netem("udp", "default").returncode == 0
    assert network.direction("udp")["asked"] == DEFAULT_NETWORK["udp"]


def test_the_other_direction_is_changed_by_name_and_both_are_shown(network: Lab) -> None:
    network.changed.add("udp")
    done = network.make_netem("udp", "loss 100%", "to_server")
    assert done.returncode == 0, done.stderr
    shown = network.make("netem").stdout
    assert "server to clients" in shown
    assert "clients to server" in shown
    assert "loss 10%" in shown
    assert "loss 100%" in shown
    assert network.exchange(50).answered == 0
    assert network.direction("udp")["counters"]["sent_packets"] == 0, "none reached the server"


def test_reset_brings_back_network_and_servers_after_a_crash(network: Lab) -> None:
    network.netem("udp", "loss 70%", "from_server")
    network.netem("udp", "loss 30%", "to_server")
    network.netem("clock", "off")
    network.container("udp-netem").exec_run(["sh", "-c", "echo '{' > /settings/udp.json"])
    network.container("udp-netem").stop(timeout=5)
    network.container("http").kill()
    shown = network.make("reset").stdout
    assert shown.count("unimpaired") == 3
    for exercise, words in DEFAULT_NETWORK.items():
        receipt = network.receipt(exercise)
        assert receipt["verdict"] == "in effect"
        assert receipt["directions"]["from_server"]["asked"] == words
        assert receipt["directions"]["to_server"]["mechanism"] == "none"
        assert network.healthy(exercise)


@pytest.mark.any_kernel
def test_reset_does_nothing_where_all_is_as_it_should_be(lab: Lab) -> None:
    shown = lab.make("netem").stdout
    before = {c.id: c.attrs["State"]["StartedAt"] for c in lab.containers()}
    assert lab.make("reset").stdout == shown
    assert {c.id: c.attrs["State"]["StartedAt"] for c in lab.containers()} == before


@pytest.mark.any_kernel
def test_an_unknown_direction_is_named(lab: Lab) -> None:
    refused = lab.make_netem("udp", "loss 1%", "upwards")
    assert refused.returncode == 1
    assert "'upwards'" in refused.stderr
    assert "from_server, to_server" in refused.stderr


def test_wrong_words_are_refused_with_the_word_and_the_old_setting_stays(network: Lab) -> None:
    refused = network.make_netem("udp", "loss ten")
    assert refused.returncode != 0
    assert "ten" in refused.stderr
    assert network.direction("udp")["asked"] == DEFAULT_NETWORK["udp"]
    assert network.receipt("udp")["verdict"] == "in effect"


@pytest.mark.parametrize(
    "service",
    [
        pytest.param("udp", marks=pytest.mark.any_kernel),
        pytest.param("udp-netem", marks=pytest.mark.any_kernel),
        "udp-net",
    ],
)
def test_a_setting_survives_the_restart_of_any_container(network: Lab, service: str) -> None:
    network.netem("udp", "loss 25%")
    network.container(service).restart(timeout=5)
    assert network.settled("udp")["directions"]["from_server"]["asked"] == "loss 25%"
    assert network.exchange(800).answered in accepted(800, 0.5 * 0.75)


def test_a_sidecar_is_healthy_only_while_it_sees_in_the_kernel_what_was_asked(
    network: Lab,
) -> None:
    network.changed.add("udp")
    sidecar = network.container("udp-netem")
    (kind, check) = sidecar.attrs["Config"]["Healthcheck"]["Test"]
    assert kind == "CMD-SHELL"

    def done(line: str) -> bool:
        return bool(sidecar.exec_run(["sh", "-c", line]).exit_code == 0)

    eventually(lambda: done(check), "it is healthy")
    # Somebody else's qdisc is refused, not replaced: the setting is not in effect.
    assert done("tc qdisc replace dev eth0 root handle 5: pfifo")
    try:
        eventually(lambda: not done(check), "it sees that", 60)
    finally:
        assert done("tc qdisc del dev eth0 root")
    eventually(lambda: done(check), "it has put things right", 60)
    # One that hangs sees nothing: the word that it gave last grows old.
    assert done("kill -STOP -1")
    try:
        eventually(lambda: not done(check), "its word is too old", 60)
    finally:
        assert done("kill -CONT -1")
    eventually(lambda: done(check), "it is healthy again", 60)


@pytest.mark.any_kernel
def test_a_plain_compose_run_after_a_change_changes_nothing(network: Lab) -> None:
    network.netem("udp", "loss 20%")
    before = {c.id: c.attrs["State"]["StartedAt"] for c in network.containers()}
    network.client("udp", "--count", "1")
    assert {c.id: c.attrs["State"]["StartedAt"] for c in network.containers()} == before
    assert network.direction("udp")["asked"] == "loss 20%"


def test_many_changes_on_a_running_lab_lose_no_packet(network: Lab) -> None:
    """Between none and two that do nothing: the path comes, changes and goes."""
    network.netem("udp", "off")
    before = backlog_drops()
    sent = answered = 0
    with ThreadPoolExecutor(1, thread_name_prefix="changes") as pool:
        argv = ["python3", "-c", MANY_CHANGES]
        changes = pool.submit(network.container("udp-netem").exec_run, argv)
        while not changes.done():
            # An emulated processor was seen to stop for two seconds: what comes late is not lost.
            exchange = network.exchange(2000, port=network.faithful_port, linger_s=3)
            answered += exchange.answered
            sent += 2000
        done = changes.result()
    assert done.exit_code == 0, done.output.decode()
    assert done.output.count(b'"verdict": "in effect"') == 2 * PAIRS
    # What a machine without time loses at the end of a cable is no fault of a change.
    assert sent - (backlog_drops() - before) <= answered <= sent


@pytest.mark.any_kernel
def test_an_unknown_service_is_named(lab: Lab) -> None:
    refused = lab.make_netem("dns", "loss 1%")
    assert refused.returncode == 1
    assert "'dns'" in refused.stderr
    assert "udp, clock, http" in refused.stderr
