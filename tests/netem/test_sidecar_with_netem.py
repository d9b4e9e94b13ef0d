"""What the sidecar does on a kernel with netem, in the kernel itself."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.netem.readback import nft_ruleset
from tests.netem.namespaces import ROOT, Namespaces, made
from tests.requirements_gate import missing

EVERYTHING = (
    "delay 10ms 5ms 20% distribution normal loss 5% 10% ecn corrupt 3% 4% duplicate 1% 2%"
    " reorder 5% 6% gap 7 rate 1mbit 1 2 3 slot 1ms 2ms packets 3 bytes 4 limit 99 seed 77"
)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Namespaces]:
    with made(tmp_path) as namespaces:
        if namespaces.set("loss 10%")["mechanism"] != "netem":
            missing("netem", "this kernel has none; make test-vm")
        yield namespaces


def test_every_field_is_taken_and_read_back(pair: Namespaces) -> None:
    for words in (
        EVERYTHING,
        "loss state 1% 20% 30% 40% 5%",
        "loss gemodel 1% 10% 70% 0.1%",
        "slot distribution normal 10ms 2ms packets 32",
        "rate 40gbit",
        "delay 1234567us 1500ns",
    ):
        receipt = pair.set(words)
        assert receipt["verdict"] == "in effect"
        assert receipt["mechanism"] == "netem"
        assert receipt["segmentation_offload"] == "off"


def test_nothing_of_the_old_setting_stays(pair: Namespaces) -> None:
    pair.set(EVERYTHING)
    fields = pair.set("loss 10%")["fields"]
    assert set(fields) == {"loss", "seed"}
    assert fields["loss"] == 0.1


def test_what_a_read_back_never_shows_is_said(pair: Namespaces) -> None:
    receipt = pair.set("delay 10ms 1ms distribution normal")
    assert receipt["not_verifiable"] == ["distribution normal"]
    assert receipt["in_effect"] == "delay 10ms 1ms distribution normal limit 2400"


def test_a_seed_is_read_back(pair: Namespaces) -> None:
    assert pair.set("loss 10% seed 42")["fields"]["seed"] == 42


def test_what_tc_takes_but_does_not_do_is_refused_and_the_old_setting_comes_back(
    pair: Namespaces,
) -> None:
    refused = pair.sidecar("set", "duplicate 1% 10%")  # tc forgets to send this correlation
    if refused.returncode == 0:
        pytest.skip("this tc sends the correlation of duplicate")
    assert refused.returncode == 3
    assert "duplicate_correlation" in refused.stderr
    assert pair.show()["fields"]["loss"] == 0.1
    assert pair.sidecar("check").returncode == 0


def test_a_field_changed_behind_the_sidecars_back_is_noticed(pair: Namespaces) -> None:
    shown = json.loads(pair.run("tc", "-j", "qdisc", "show", "dev", "eth0").stdout)
    (netem,) = (qdisc for qdisc in shown if qdisc["kind"] == "netem")
    place = ["parent", netem["parent"], "handle", netem["handle"]]
    pair.run("tc", "qdisc", "change", "dev", "eth0", *place, "netem", "loss", "10%", "limit", "7")
    failed = pair.sidecar("check")
    assert failed.returncode == 1
    assert "limit: asked for 1000, the kernel shows 7" in failed.stdout


def test_a_kernel_that_learns_netem_changes_over_and_leaves_no_table(pair: Namespaces) -> None:
    pair.set("off")
    table = pair.settings / "table.nft"
    table.write_text(nft_ruleset("eth0", 0.1), encoding="utf-8")
    pair.run("nft", "-f", str(table))
    assert pair.show()["mechanism"] == "nftables"
    assert pair.set("loss 10%")["mechanism"] == "netem"
    assert "progres_lab" not in pair.run("nft", "list", "ruleset").stdout


def test_the_captured_words_are_still_read_back_as_they_were(pair: Namespaces) -> None:
    """A new kernel or tc that prints something else must be noticed here, not in a lab."""
    captured = json.loads((ROOT / "tests/pure/netem_readbacks.json").read_text(encoding="utf-8"))
    for words, options in captured["readbacks"][::6]:
        if words.startswith("duplicate"):
            continue
        shown = pair.set(words)
        assert shown["verdict"] == "in effect", words
        assert options["limit"] == shown["fields"].get("limit", 1000), words
