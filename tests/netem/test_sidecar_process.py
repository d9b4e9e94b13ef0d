"""The sidecar as a process in a namespace, with whichever mechanism this kernel has."""

import concurrent.futures
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.netem.readback import DIRECTIONS
from tests.binomial import accepted
from tests.netem.namespaces import ALL_SYSTEMS, Namespaces, eventually, made

both_directions = pytest.mark.parametrize("direction", DIRECTIONS)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Namespaces]:
    with made(tmp_path) as namespaces:
        yield namespaces


@both_directions
def test_loss_is_the_share_asked_for_and_silent(pair: Namespaces, direction: str) -> None:
    receipt = pair.set("loss 30%", direction)
    assert receipt["verdict"] == "in effect"
    errors, arrived = pair.send(2000, direction)
    assert errors == 0
    assert arrived in accepted(2000, 0.7)
    counters = pair.shown(direction)["counters"]
    assert counters["dropped_packets"] >= 2000 - arrived
    assert counters["sent_packets"] >= arrived
    assert counters["overflowed_packets"] == 0


@both_directions
def test_loss_in_one_direction_leaves_the_other_alone(pair: Namespaces, direction: str) -> None:
    (other,) = {*DIRECTIONS} - {direction}
    pair.set("loss 100%", direction)
    assert pair.send(50, direction) == (0, 0)
    assert pair.send(50, other) == (0, 50)


@both_directions
def test_what_is_sent_to_all_is_neither_lost_nor_counted(pair: Namespaces, direction: str) -> None:
    """Every machine does so on every bridge that it has: routers are solicited, printers sought."""
    pair.set("loss 100%", direction)
    assert pair.send(30, direction, to=ALL_SYSTEMS) == (0, 30)
    assert pair.send(20, direction) == (0, 0)
    counters = pair.shown(direction)["counters"]
    assert (counters["dropped_packets"], counters["sent_packets"]) == (20, 0)


@both_directions
def test_a_change_never_leaves_the_interface_without_old_or_new(
    pair: Namespaces, direction: str
) -> None:
    """Both settings lose everything, so that a single arrival is a gap between them."""
    pair.set("loss 100%", direction)
    with pair.traffic(direction) as end:
        for _ in range(6):
            pair.set("loss random 100%", direction)
        sent, errors, arrived = end()
    assert sent > 100
    assert (errors, arrived) == (0, 0)


@both_directions
def test_a_change_loses_no_packet_by_itself(pair: Namespaces, direction: str) -> None:
    pair.set("loss 0%", direction)
    with pair.traffic(direction) as end:
        for words in ("off", "loss 0%", "loss 0%", "off", "loss random 0%"):
            pair.set(words, direction)
        sent, errors, arrived = end()
    assert sent > 100
    assert (errors, arrived) == (0, sent)


@both_directions
def test_off_lets_everything_through_and_leaves_no_mechanism(
    pair: Namespaces, direction: str
) -> None:
    pair.set("loss 50%", direction)
    assert pair.change("off", direction)["mechanism"] == "none"
    assert pair.send(500, direction) == (0, 500)
    assert pair.show()["verdict"] == "in effect"


def test_both_directions_are_changed_together(pair: Namespaces) -> None:
    done = pair.apply({"name": "awful", "from_server": "loss 100%", "to_server": "loss 20%"})
    receipt = json.loads(done.stdout)
    assert (receipt["name"], receipt["verdict"]) == ("awful", "in effect")
    assert pair.send(20, "from_server") == (0, 0)
    assert pair.send(1000, "to_server")[1] in accepted(1000, 0.8)
    assert {pair.shown(d)["source"] for d in DIRECTIONS} == {"scenario awful"}
    assert pair.set("off")["name"] == "", "what is changed by hand is that scenario no more"


def test_a_direction_that_is_not_named_is_off_and_default_is_the_environments(
    pair: Namespaces,
) -> None:
    assert pair.apply({"to_server": "loss 1%"}).returncode == 0
    assert pair.shown("from_server")["asked"] == "off"
    assert pair.apply({"from_server": "default"}).returncode == 0
    assert pair.shown("from_server")["source"] == "environment"
    assert pair.shown("to_server")["mechanism"] == "none"


@pytest.mark.parametrize("wrong", DIRECTIONS)
def test_where_one_direction_cannot_be_had_neither_is_changed(pair: Namespaces, wrong: str) -> None:
    (other,) = {*DIRECTIONS} - {wrong}
    pair.apply({"name": "old", "from_server": "loss 10%", "to_server": "loss 20%"})
    before = pair.show()
    for words, status in (("loss ten", 2), ("duplicate 1% 10%", 3)):  # tc forgets that correlation
        refused = pair.apply({"name": "new", other: "loss 30%", wrong: words})
        assert refused.returncode == status
        assert "the old setting stays" in refused.stderr
        after = pair.show()
        assert (after["name"], after["verdict"]) == ("old", "in effect")
        for direction in DIRECTIONS:
            asked = before["directions"][direction]["asked"]
            assert after["directions"][direction]["asked"] == asked


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"from_serve": "off"}, '"from_serve"'),
        ({"from_server": 5}, '"from_server"'),
        (["off"], "list"),
        ({"name": "a\nb"}, '"name"'),
    ],
)
def test_a_document_that_is_not_understood_is_refused_with_the_key(
    pair: Namespaces, document: object, named: str
) -> None:
    refused = pair.apply(document)
    assert refused.returncode == 2
    assert named in refused.stderr


def test_reset_brings_back_the_default_and_can_be_repeated(pair: Namespaces) -> None:
    pair.apply({"name": "awful", "from_server": "loss 50%", "to_server": "loss 50%"})
    (pair.settings / "udp.json").write_text("{", encoding="utf-8")
    assert "make reset" in pair.sidecar("show").stderr
    for _ in range(2):
        assert pair.sidecar("--default", "loss 10%", "reset").returncode == 0
        assert not (pair.settings / "udp.json").exists()
    shown = json.loads(pair.sidecar("--default", "loss 10%", "show", "--json").stdout)
    assert shown["directions"]["from_server"]["asked"] == "loss 10%"
    assert shown["directions"]["to_server"]["mechanism"] == "none"
    assert pair.send(100, "to_server") == (0, 100)


def test_what_is_not_changed_keeps_its_counters_and_its_time(pair: Namespaces) -> None:
    pair.set("loss 0%", "to_server")
    pair.send(100, "to_server")
    before = pair.shown("to_server")
    pair.set("loss 10%", "from_server")
    after = pair.shown("to_server")
    assert after["since"] == before["since"]
    assert after["counters"]["sent_packets"] >= 100
    assert pair.change("loss 0%", "to_server")["since"] > after["since"]
    assert pair.shown("to_server")["counters"]["sent_packets"] < 100


def test_tcp_sends_single_packets(pair: Namespaces) -> None:
    """2 MB are at least 1,380 packets of 1,448 bytes; in super-packets they would be some 40."""
    pair.set("loss 0%")
    pair.transfer(2_000_000)
    assert pair.shown()["counters"]["sent_packets"] >= 2_000_000 // 1448


def test_wrong_words_are_named_and_leave_everything_as_it_was(pair: Namespaces) -> None:
    pair.set("loss 20%")
    for words, named in (
        ("lss 10%", 'What is "lss"?'),  # tc's own complaint
        ("loss ten", "Unknown loss parameter: ten"),
        ("loss 110%", '"110%"'),
        ("loss", '"loss" is the last word'),
        ("loss 1% x", 'What is "x"?'),
        ("delay 10", '"10" after "delay" has no unit'),
        ("delay 1ms 1ms distribution ../x", '"../x"'),
        ("dev lo", 'What is "dev"?'),
    ):
        refused = pair.sidecar("set", words)
        assert refused.returncode == 2, words
        assert named in refused.stderr
        assert "the old setting stays" in refused.stderr
    assert pair.shown()["asked"] == "loss 20%"
    assert pair.sidecar("check").returncode == 0


def test_no_words_at_all_are_wrong_usage(pair: Namespaces) -> None:
    assert pair.sidecar("set").returncode == 2
    assert pair.sidecar("set", " ").returncode == 2


def test_a_qdisc_of_somebody_else_is_refused_not_replaced(pair: Namespaces) -> None:
    pair.run("tc", "qdisc", "replace", "dev", "eth0", "root", "handle", "5:", "pfifo")
    refused = pair.sidecar("set", "loss 10%")
    assert refused.returncode == 1
    assert "pfifo 5: on eth0 is not the lab's" in refused.stderr
    assert "pfifo 5:" in pair.run("tc", "qdisc", "show", "dev", "eth0").stdout


def test_an_ingress_qdisc_of_somebody_else_is_refused_not_replaced(pair: Namespaces) -> None:
    pair.run("tc", "qdisc", "add", "dev", "eth0", "ingress")
    for direction in DIRECTIONS:
        refused = pair.sidecar("set", "--direction", direction, "loss 10%")
        assert refused.returncode == 1
        assert "ingress ffff: on eth0 is not the lab's: refused" in refused.stderr
    assert pair.sidecar("check").returncode == 1
    assert "ingress ffff:" in pair.run("tc", "qdisc", "show", "dev", "eth0").stdout


def test_a_filter_of_somebody_else_is_refused_not_replaced(pair: Namespaces) -> None:
    pair.run("tc", "qdisc", "add", "dev", "eth0", "ingress_block", "2208", "ingress")
    match = ("protocol", "ip", "pref", "7", "u32", "match", "u32", "0", "0")
    action = ("action", "mirred", "egress", "redirect", "dev", "lo")
    pair.run("tc", "filter", "add", "block", "2208", *match, *action)
    refused = pair.sidecar("set", "loss 10%")
    assert refused.returncode == 1
    assert "the filter u32 ip pref 7 on the ingress of eth0 is not the lab's" in refused.stderr
    assert "device lo" in pair.run("tc", "filter", "show", "block", "2208").stdout


def test_on_the_wrong_interface_the_counters_stay_where_they_are(pair: Namespaces) -> None:
    """It is in effect there; that nothing passes it is what gives it away."""
    pair.run("ip", "link", "set", "lo", "up")
    for direction in DIRECTIONS:
        wrong = ("--interface", "lo", "set", "--direction", direction, "loss 50%", "--json")
        assert pair.sidecar(*wrong).returncode == 0
        assert pair.send(50, direction) == (0, 50)
    receipt = json.loads(pair.sidecar("--interface", "lo", "show", "--json").stdout)
    assert receipt["interface"] == "lo"
    for direction in DIRECTIONS:
        assert receipt["directions"][direction]["counters"]["sent_packets"] == 0


def test_an_interface_that_is_not_there_is_named(pair: Namespaces) -> None:
    failed = pair.sidecar("--interface", "eth7", "check")
    assert failed.returncode == 1
    assert "eth7" in failed.stderr


def test_run_applies_keeps_reports_and_removes(pair: Namespaces) -> None:
    with pair.running("loss 40%") as process:
        assert process.stdout is not None
        assert "in effect: server to clients: loss 40% (" in process.stdout.readline()
        receipt = json.loads(process.stdout.readline())
        assert (receipt["format"], receipt["verdict"]) == (2, "in effect")
        from_server = receipt["directions"]["from_server"]
        assert (from_server["asked"], from_server["source"]) == ("loss 40%", "environment")
        assert pair.sidecar("--default", "loss 40%", "check").returncode == 0

        pair.set("loss 60%")
        assert "in effect: server to clients: loss 60% (" in process.stdout.readline()
        receipt = json.loads(process.stdout.readline())
        assert receipt["directions"]["from_server"]["source"] == "make netem"

        process.send_signal(signal.SIGSTOP)  # or it would be back before anybody looks
        _take_away(pair)
        assert pair.sidecar("check").returncode == 1
        process.send_signal(signal.SIGCONT)
        eventually(lambda: pair.sidecar("check").returncode == 0, "it is applied again")

        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=10)
        assert process.returncode == 0
        assert rest.count("re-applied") == 1
    assert pair.shown()["mechanism"] == "none"
    assert "8a0:" not in pair.run("tc", "qdisc", "show").stdout
    assert "progres_lab" not in pair.run("nft", "list", "ruleset").stdout


def _take_away(pair: Namespaces) -> None:
    pair.run("nft", "flush", "ruleset")
    pair.run("tc", "qdisc", "del", "dev", "eth0", "root", check=False)


def test_a_setting_outlives_a_crash_of_run_and_default_forgets_it(pair: Namespaces) -> None:
    with pair.running("loss 5%") as process:
        eventually(lambda: pair.sidecar("check").returncode == 1, "the default is applied")
        pair.set("loss 60%")
        process.kill()
        process.wait(5)
        assert pair.sidecar("check").returncode == 0  # still in the kernel
        _take_away(pair)
    with pair.running("loss 5%") as process:
        assert process.stdout is not None
        assert "in effect: server to clients: loss 60% (" in process.stdout.readline()
        assert pair.sidecar("--default", "loss 5%", "set", "default").returncode == 0
        receipt = json.loads(pair.sidecar("--default", "loss 5%", "show", "--json").stdout)
        from_server = receipt["directions"]["from_server"]
        assert (from_server["asked"], from_server["source"]) == ("loss 5%", "environment")


def test_wrong_words_in_the_environment_end_run_with_their_name(pair: Namespaces) -> None:
    with pair.running("lss 5%") as process:
        _, said = process.communicate(timeout=10)
        assert process.returncode == 2
    assert said.count("\n") == 1
    assert "LAB_UDP_NETEM='lss 5%'" in said
    assert pair.sidecar("--default", "lss 5%", "check").returncode == 1


def test_run_ends_when_its_interface_has_gone(pair: Namespaces) -> None:
    with pair.running("loss 5%") as process:
        assert process.stdout is not None
        process.stdout.readline()
        pair.run("ip", "link", "del", "eth0")
        assert process.wait(15) == 1
        assert "interface eth0 is gone" in process.stdout.read()


def test_changes_at_the_same_time_come_one_after_the_other(pair: Namespaces) -> None:
    with concurrent.futures.ThreadPoolExecutor(4, thread_name_prefix="set") as pool:
        done = list(pool.map(lambda n: pair.sidecar_process("set", f"loss {n}%"), range(10, 16)))
    assert [each.returncode for each in done] == 6 * [0]
    assert pair.sidecar("check").returncode == 0
