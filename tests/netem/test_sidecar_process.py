"""The sidecar as a process in a namespace, with whichever mechanism this kernel has."""

import concurrent.futures
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.binomial import accepted
from tests.netem.namespaces import Namespaces, eventually, made


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Namespaces]:
    with made(tmp_path) as namespaces:
        yield namespaces


def test_loss_is_the_share_asked_for_and_silent(pair: Namespaces) -> None:
    receipt = pair.set("loss 30%")
    assert receipt["verdict"] == "in effect"
    errors, arrived = pair.send(2000)
    assert errors == 0
    assert arrived in accepted(2000, 0.7)
    counters = pair.show()["counters"]
    assert counters["dropped_packets"] >= 2000 - arrived
    assert counters["sent_packets"] >= arrived


def test_loss_is_one_way_from_server_to_client(pair: Namespaces) -> None:
    pair.set("loss 100%")
    assert pair.send(50) == (0, 0)
    before = _received(pair)
    pair.run(
        sys.executable,
        "-c",
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM)\n"
        "for _ in range(50): s.sendto(b'x', ('192.0.2.1', 9))",
        namespace=pair.client,
    )
    assert _received(pair) - before >= 50


def _received(pair: Namespaces) -> int:
    link = json.loads(pair.run("ip", "-s", "-j", "link", "show", "eth0").stdout)
    return int(link[0]["stats64"]["rx"]["packets"])


def test_a_change_never_leaves_the_interface_without_old_or_new(pair: Namespaces) -> None:
    """Both settings lose everything, so that a single arrival is a gap between them."""
    pair.set("loss 100%")
    with pair.traffic() as end:
        for _ in range(6):
            pair.set("loss random 100%")
        sent, errors, arrived = end()
    assert sent > 500
    assert (errors, arrived) == (0, 0)


def test_a_change_loses_no_packet_by_itself(pair: Namespaces) -> None:
    pair.set("loss 0%")
    with pair.traffic() as end:
        for words in ("off", "loss 0%", "loss 0%", "off", "loss random 0%"):
            pair.set(words)
        sent, errors, arrived = end()
    assert sent > 500
    assert (errors, arrived) == (0, sent)


def test_off_lets_everything_through_and_leaves_no_mechanism(pair: Namespaces) -> None:
    pair.set("loss 50%")
    assert pair.set("off")["mechanism"] == "none"
    assert pair.send(500) == (0, 500)
    assert pair.show()["verdict"] == "in effect"


def test_tcp_sends_single_packets(pair: Namespaces) -> None:
    """2 MB are at least 1,380 packets of 1,448 bytes; in super-packets they would be some 40."""
    pair.set("loss 0%")
    receiver = (
        "import socket, threading\n"
        "with socket.create_server(('192.0.2.2', 6000)) as s:\n"
        "    s.settimeout(20); print('ready', flush=True); c, _ = s.accept()\n"
        "    with c:\n"
        "        c.settimeout(20)\n"
        "        while c.recv(65536): pass\n"
    )
    sender = (
        "import socket\n"
        "with socket.create_connection(('192.0.2.2', 6000), 20) as s: s.sendall(bytes(2_000_000))"
    )
    argv = ["ip", "netns", "exec", pair.client, sys.executable, "-c", receiver]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        pair.run(sys.executable, "-c", sender)
    assert pair.show()["counters"]["sent_packets"] >= 2_000_000 // 1448


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
    assert pair.show()["asked"] == "loss 20%"
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


def test_an_interface_that_is_not_there_is_named(pair: Namespaces) -> None:
    failed = pair.sidecar("--interface", "eth7", "check")
    assert failed.returncode == 1
    assert "eth7" in failed.stderr


def test_run_applies_keeps_reports_and_removes(pair: Namespaces) -> None:
    with pair.running("loss 40%") as process:
        assert process.stdout is not None
        assert "loss 40% is in effect" in process.stdout.readline()
        receipt = json.loads(process.stdout.readline())
        assert (receipt["format"], receipt["verdict"]) == (1, "in effect")
        assert (receipt["asked"], receipt["source"]) == ("loss 40%", "environment")
        assert pair.sidecar("--default", "loss 40%", "check").returncode == 0

        pair.set("loss 60%")
        assert "loss 60% is in effect" in process.stdout.readline()
        assert json.loads(process.stdout.readline())["source"] == "make netem"

        process.send_signal(signal.SIGSTOP)  # or it would be back before anybody looks
        _take_away(pair)
        assert pair.sidecar("check").returncode == 1
        process.send_signal(signal.SIGCONT)
        eventually(lambda: pair.sidecar("check").returncode == 0, "it is applied again")

        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=10)
        assert process.returncode == 0
        assert rest.count("re-applied") == 1
    assert pair.show()["mechanism"] == "none"
    assert "8a0:" not in pair.run("tc", "qdisc", "show", "dev", "eth0").stdout
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
        assert "loss 60% is in effect" in process.stdout.readline()
        assert pair.sidecar("--default", "loss 5%", "set", "default").returncode == 0
        receipt = json.loads(pair.sidecar("--default", "loss 5%", "show", "--json").stdout)
        assert (receipt["asked"], receipt["source"]) == ("loss 5%", "environment")


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
        done = list(pool.map(lambda n: pair.sidecar("set", f"loss {n}%"), range(10, 16)))
    assert [each.returncode for each in done] == 6 * [0]
    assert pair.sidecar("check").returncode == 0
