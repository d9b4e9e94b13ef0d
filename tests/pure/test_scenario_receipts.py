"""Receipts: what proves a run's network, and that everything which breaks it is caught."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import receipts
from lab.calibration import judged
from lab.receipts import Evidence, Stretch, broken, essence, headline, judge, new_folder
from lab.scenario import DIRECTIONS, Link, parsed
from lab.settings import EXERCISES
from services.netem.impairment import parse
from tests.pure.netem_probes import observed

SCENARIO = parsed(
    'description = "d."\nsource = "s"\n[all]\nto_server = "loss 10%"\nfrom_server = "loss 10%"\n'
    "[udp.settings]\nUDP_DROP = 0.25\n",
    Path("scenarios/mine.toml"),
)


def sidecar(exercise: str = "udp", sent: int = 0) -> dict[str, Any]:
    """Return a sidecar's receipt (format 2) after ``sent`` packets each way."""
    way = {
        "asked": "loss 10%",
        "source": "scenario mine",
        "since": "2026-01-01T00:00:00.000Z",
        "mechanism": "netem",
        "in_effect": "loss 10%",
        "limit": 1000,
        "seed": None,
        "repeatable": False,
        "single_packets": True,
        "not_verifiable": [],
        "fields": {"loss": 0.1},
        "counters": {
            "sent_packets": sent - sent // 10,
            "sent_bytes": 100 * sent,
            "dropped_packets": sent // 10,
            "overflowed_packets": 0,
            "waiting_packets": 0,
        },
    }
    return {
        "format": 2,
        "service": exercise,
        "interface": "eth0",
        "name": "mine",
        "verdict": "in effect",
        "because": [],
        "kernel": "6.12",
        "tc": "6.15.0",
        "nft": "1.1.3",
        "directions": {direction: copy.deepcopy(way) for direction in DIRECTIONS},
    }


def whole(
    before: dict[str, Any] | None = None, after: dict[str, Any] | None = None, **other: Any
) -> Evidence:
    """Return the evidence of a run in which all went well, but for what is given."""
    observation = observed("loss 10%")
    calibration = judged(observation, parse(["loss", "10%"]), "eth0", observation.sent)
    earlier = {exercise: sidecar(exercise, 1000) for exercise in EXERCISES}
    later = {exercise: sidecar(exercise, 3000) for exercise in EXERCISES}
    if before:
        earlier["udp"] = before
    if after:
        later["udp"] = after
    found = Evidence(
        scenario=SCENARIO,
        stretches=[Stretch("the run", SCENARIO.network, earlier, later)],
        calibration={e: dict.fromkeys(DIRECTIONS, calibration) for e in EXERCISES},
        settings={"UDP_DROP": "0.25"},
        applied_s=0.5,
        calibrated_s=3.0,
    )
    return replace(found, **other)


def changed(change: Callable[[dict[str, Any]], object], sent: int = 3000) -> dict[str, Any]:
    receipt = sidecar("udp", sent)
    change(receipt)
    return receipt


def test_a_run_whose_network_was_all_the_time_as_asked_for_is_valid() -> None:
    receipt = judge(whole())
    assert (receipt["verdict"], receipt["valid"], receipt["because"]) == ("in effect", True, [])
    way = receipt["services"]["udp"]["directions"]["to_server"]
    assert (
        way["counters_after"]["dropped_packets"] - way["counters_before"]["dropped_packets"] == 200
    )
    assert way["calibration"]["verdict"] == "in effect"
    assert receipt["calibration"]["wrong_less_often_than"] <= 1e-5
    assert json.loads(json.dumps(receipt)) == receipt


def no_rule(receipt: dict[str, Any]) -> None:
    receipt["verdict"] = "not in effect"
    receipt["because"] = ["to_server: asked for loss 10%, the kernel shows no impairment"]
    receipt["directions"]["to_server"]["counters"] = None


def put_back(receipt: dict[str, Any]) -> None:
    receipt["directions"]["from_server"]["since"] = "2026-01-01T00:00:07.000Z"


def counters_again_from_zero(receipt: dict[str, Any]) -> None:
    receipt["directions"]["from_server"]["counters"]["sent_packets"] = 12


def other_words(receipt: dict[str, Any]) -> None:
    receipt["directions"]["to_server"]["asked"] = "loss 20%"


def other_interface(receipt: dict[str, Any]) -> None:
    receipt["interface"] = "lo"


def queue_overflow(receipt: dict[str, Any]) -> None:
    receipt["directions"]["to_server"]["counters"]["overflowed_packets"] = 17


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (no_rule, "udp, the run: not in effect at the end: to_server: asked for loss 10%"),
        (put_back, "from server: taken away or changed in mid-run, and put back"),
        (counters_again_from_zero, "from server: sent_packets went back by 888 in mid-run"),
        (other_words, "to server: loss 10% was asked for, the sidecar now goes by loss 20%"),
        (other_interface, "the interface was eth0, now lo"),
        (queue_overflow, "to server: netem's queue of 1000 packets overflowed, 17 were lost"),
    ],
)
def test_whatever_breaks_the_network_in_mid_run_makes_the_run_invalid(
    change: Callable[[dict[str, Any]], object], says: str
) -> None:
    receipt = judge(whole(after=changed(change)))
    assert receipt["verdict"] == "not in effect"
    assert not receipt["valid"]
    (reason,) = receipt["because"]
    assert says in reason
    assert reason in headline(receipt)


def test_a_rule_that_was_missing_at_the_beginning_is_told_too() -> None:
    receipt = judge(whole(before=changed(no_rule, 1000)))
    assert "not in effect at the beginning" in receipt["because"][0]
    assert not receipt["valid"]


def test_a_queue_that_overflows_on_purpose_is_a_part_of_the_scenario() -> None:
    words = "rate 1mbit limit 50"

    def full(receipt: dict[str, Any]) -> None:
        queue_overflow(receipt)
        receipt["directions"]["to_server"]["asked"] = words

    link = Link(words, "loss 10%")
    before = changed(lambda receipt: receipt["directions"]["to_server"].update(asked=words), 1000)
    assert broken(link, before, changed(full)) == []


def test_probes_through_another_interface_make_the_run_invalid() -> None:
    elsewhere = observed("loss 10%", interface="eth1")
    calibration = judged(elsewhere, parse(["loss", "10%"]), "eth0", elsewhere.sent)
    receipt = judge(whole(calibration={"udp": {"to_server": calibration}}))
    assert receipt["verdict"] == "not in effect"
    assert receipt["because"] == ["udp, to server: interface: asked for eth0, measured eth1"]


def test_a_kernel_without_netem_leaves_a_receipt_that_says_so() -> None:
    refused = Evidence(SCENARIO, refused="udp: this kernel (6.1) cannot do delay 1s")
    receipt = judge(refused)
    assert (receipt["verdict"], receipt["valid"]) == ("not in effect", False)
    assert receipt["because"] == ["udp: this kernel (6.1) cannot do delay 1s"]


def test_a_server_with_other_settings_makes_the_run_invalid() -> None:
    receipt = judge(whole(settings={"UDP_DROP": "0.5"}))
    assert receipt["because"] == ["UDP_DROP is 0.5 in the server, not 0.25"]
    receipt = judge(whole(settings={}))
    assert receipt["because"] == ["UDP_DROP is not set in the server, not 0.25"]
    assert not receipt["valid"]


def test_without_a_calibration_or_with_a_run_cut_short_nobody_can_tell() -> None:
    for other, says in (
        ({"calibration": None}, "not calibrated"),
        ({"cut_short": "SIGINT"}, "cut short: SIGINT"),
        ({"stretches": []}, "nothing was read back"),
    ):
        receipt = judge(whole(**other))
        assert receipt["verdict"] == "cannot tell"
        assert not receipt["valid"]
        assert says in receipt["because"][0]


def test_what_contradicts_outweighs_what_nobody_can_tell() -> None:
    receipt = judge(whole(after=changed(no_rule), calibration=None))
    assert receipt["verdict"] == "not in effect"
    assert len(receipt["because"]) == 2


def test_every_stretch_of_a_timeline_is_looked_at() -> None:
    good = whole().stretches[0]
    bad = whole(after=changed(put_back)).stretches[0]
    receipt = judge(whole(stretches=[replace(bad, what="after step 1"), good]))
    assert receipt["because"][0].startswith("udp, after step 1: from server: taken away")


def test_the_essence_says_what_was_asked_for_by_what_and_what_was_measured() -> None:
    text = essence(judge(whole()))
    first, _, row = text.splitlines()[:3]
    assert first == (
        "mine: in effect (applied in 0.50 s; calibrated in 3.0 s, wrong less than once in 100,000)"
    )
    assert row.startswith("udp    to server    loss 10%   netem  1000   lost ")
    assert "UDP_DROP=0.25" in text
    assert "kernel 6.12, tc 6.15.0, nft 1.1.3" in text
    assert "CANNOT TELL" in essence(judge(whole(calibration=None)))


def test_a_seed_that_the_kernel_does_not_take_is_said() -> None:
    def seeded(receipt: dict[str, Any]) -> None:
        receipt["directions"]["to_server"].update(asked="loss 10%", seed=7, repeatable=False)

    assert "loss 10% (no seed here)" in essence(judge(whole(after=changed(seeded))))


def test_each_run_has_a_folder_of_its_own_and_latest_leads_to_the_newest(tmp_path: Path) -> None:
    first, second = new_folder("mine", tmp_path), new_folder("mine", tmp_path)
    assert first != second
    assert (tmp_path / "mine" / "latest").resolve() == second.resolve()
    path = receipts.write({"verdict": "in effect"}, second)
    assert json.loads(path.read_text()) == {"verdict": "in effect"}
    assert [entry.name for entry in second.iterdir()] == ["receipt.json"]


def test_results_go_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_RESULTS", "/somewhere")
    assert receipts.results_folder() == Path("/somewhere")
