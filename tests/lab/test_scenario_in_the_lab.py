"""Scenarios on a running lab: in effect and proven; and every way to break a run is caught."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import calibration, conditions, receipts, sidecars, where
from lab.errors import LabError
from lab.say import say
from lab.scenario import Scenario, named, parsed
from lab.settings import EXERCISES, SETTINGS
from lab.where import Cause, Why
from services.netem.impairment import parse
from tests.binomial import accepted
from tests.lab.driver import DEFAULT_NETWORK, Lab, eventually, printed

HEAD = 'description = "d."\nsource = "s"\n'
BOTH_WAYS = '[udp]\nto_server = "loss 20%"\nfrom_server = "loss 30%"\n'


@pytest.fixture
def here(network: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Lab]:
    """The lab as this process's own, with results in a folder of the test's."""
    for name in set(SETTINGS) - {"LAB_TAG"}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", network.project)
    monkeypatch.setenv("LAB_ENV_FILE", str(network.environment_file))
    monkeypatch.setenv("LAB_RESULTS", str(tmp_path))
    yield network
    conditions.default()


def scenario(text: str, name: str = "mine") -> Scenario:
    return parsed(HEAD + text, Path(f"scenarios/{name}.toml"))


def make_scenario(lab: Lab, name: str, **other: str) -> subprocess.CompletedProcess[str]:
    results = {"LAB_RESULTS": os.environ["LAB_RESULTS"]}
    return lab.make("scenario", settings={"NAME": name, **results, **other}, check=False)


def identities(lab: Lab) -> dict[str, str]:
    return {c.labels["com.docker.compose.service"]: c.id
            for c in lab.containers() if "com.docker.compose.service" in c.labels}  # fmt: skip


@pytest.mark.any_kernel
def test_make_scenario_puts_one_into_effect_proves_it_and_takes_it_away(here: Lab) -> None:
    before = identities(here)
    done = make_scenario(here, "exam")
    assert done.returncode == 0, done
    assert done.stdout.startswith("exam: in effect (applied in ")
    path = Path(os.environ["LAB_RESULTS"], "exam", "latest", "receipt.json")
    receipt = json.loads(path.read_text())
    assert receipt["valid"], receipt["because"]
    for exercise in EXERCISES:
        for direction, way in receipt["services"][exercise]["directions"].items():
            assert way["asked"].startswith(getattr(named("exam").network[exercise], direction))
            assert way["calibration"]["verdict"] == "in effect"
            assert set(way["calibration"]["interfaces"]) == {"eth0"}
    assert here.exchange(800, port=here.faithful_port).answered in accepted(800, 0.9 * 0.9)
    assert "\n* exam " in make_scenario(here, "").stdout
    assert make_scenario(here, "off").returncode == 0
    for exercise, words in DEFAULT_NETWORK.items():
        assert here.direction(exercise)["asked"] == words
        assert here.direction(exercise, "to_server")["asked"] == "off"
    assert "\n* " not in make_scenario(here, "").stdout
    assert identities(here) == before, "no container was made anew, none is left over"


def test_a_run_under_a_scenario_that_nobody_disturbs_is_valid(here: Lab, tmp_path: Path) -> None:
    with conditions.measured(scenario(BOTH_WAYS), tmp_path, exercises=["udp"]) as receipt:
        assert receipt["verdict"] == "in effect"
        exchange = here.exchange(600, port=here.faithful_port)
    assert receipt["valid"], receipt["because"]
    assert json.loads((tmp_path / "receipt.json").read_text()) == receipt
    ways = receipt["services"]["udp"]["directions"]
    growth = {
        name: receipts.counters_growth(way["counters_before"], way["counters_after"])
        for name, way in ways.items()
    }
    there, back = growth["to_server"], growth["from_server"]
    assert there is not None
    assert back is not None
    # The probes of the calibration are not among these: the run's own account starts after it.
    assert there["sent_packets"] + there["dropped_packets"] == 600
    assert back["sent_packets"] + back["dropped_packets"] == 600 - there["dropped_packets"]
    assert exchange.answered == back["sent_packets"]


def take_the_rule_away(lab: Lab) -> None:
    """Remove it behind the sidecar's back, whatever makes it on this kernel."""
    sidecar = lab.container("udp-netem")
    for argv in (["nft", "delete", "table", "netdev", "progres_lab"],
                 ["tc", "qdisc", "del", "dev", "eth0", "root"]):  # fmt: skip
        sidecar.exec_run(argv)


def test_a_rule_that_goes_in_mid_run_and_is_put_back_makes_the_run_invalid(
    here: Lab, tmp_path: Path
) -> None:
    one = scenario(BOTH_WAYS)
    with conditions.measured(one, tmp_path, exercises=["udp"], calibrated=False) as receipt:
        since = here.direction("udp")["since"]
        take_the_rule_away(here)
        eventually(
            lambda: (
                here.receipt("udp")["verdict"] == "in effect"
                and here.direction("udp")["since"] != since
            ),
            "the sidecar has put it back",
        )
    assert receipt["verdict"] == "not in effect"
    assert any("taken away or changed in mid-run" in why for why in receipt["because"])


def test_a_rule_that_stays_away_makes_the_run_invalid(here: Lab, tmp_path: Path) -> None:
    one = scenario(BOTH_WAYS)
    sidecar = here.container("udp-netem")
    try:
        with conditions.measured(one, tmp_path, exercises=["udp"], calibrated=False) as receipt:
            sidecar.exec_run(["sh", "-c", "kill -STOP -1"])  # so that it cannot put it back
            take_the_rule_away(here)
    finally:
        sidecar.exec_run(["sh", "-c", "kill -CONT -1"])
    assert receipt["verdict"] == "not in effect"
    assert any("not in effect at the end" in why for why in receipt["because"])


def test_another_setting_in_mid_run_makes_the_run_invalid(here: Lab, tmp_path: Path) -> None:
    one = scenario(BOTH_WAYS)
    with conditions.measured(one, tmp_path, exercises=["udp"], calibrated=False) as receipt:
        here.netem("udp", "loss 5%")
    assert receipt["verdict"] == "not in effect"
    assert any("the sidecar now goes by loss 5%" in why for why in receipt["because"])


@pytest.mark.any_kernel
def test_an_error_in_the_run_is_passed_on_and_the_receipt_tells_it(
    here: Lab, tmp_path: Path
) -> None:
    one = scenario(BOTH_WAYS)
    with (
        pytest.raises(ZeroDivisionError),
        conditions.measured(one, tmp_path, exercises=["udp"], calibrated=False),
    ):
        raise ZeroDivisionError
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert not receipt["valid"]
    assert "cut short: ZeroDivisionError" in receipt["because"]


def test_probes_that_come_in_through_another_interface_are_noticed(here: Lab) -> None:
    name = f"{here.project}-other"
    labels = {"com.docker.compose.project": here.project}
    other = here.engine.networks.create(name, driver="bridge", labels=labels)
    owner = here.container("udp-net")
    try:
        other.connect(owner, aliases=["udp"])
        asked: calibration.Asked = {"udp": {"to_server": None, "from_server": None}}
        prober = calibration.Prober(1, network=name)
        observed = calibration.run(asked, sidecars.running(), prober)["udp"]["to_server"]
        found = calibration.judged(observed, None, "eth0", None)
        assert found.verdict == "not in effect"
        assert found.because == ("interface: asked for eth0, measured eth1",)
    finally:
        other.disconnect(owner, force=True)
        other.remove()


def test_the_calibration_tells_when_something_else_acts_than_was_asked_for(here: Lab) -> None:
    here.netem("udp", "loss 25%", "to_server")
    here.netem("udp", "off")
    asked: calibration.Asked = {
        "udp": {"to_server": None, "from_server": parse(["loss", "25%"])}  # the wrong way round
    }
    observed = calibration.run(asked, sidecars.running())["udp"]
    for direction, wanted in asked["udp"].items():
        found = calibration.judged(observed[direction], wanted, "eth0", None)
        assert found.verdict == "not in effect", (direction, found)


def test_a_kernel_that_cannot_do_it_refuses_before_anything_changes(
    here: Lab, tmp_path: Path
) -> None:
    if here.direction("udp")["mechanism"] == "netem":
        pytest.skip("this kernel has netem, so it refuses nothing")
    one = scenario('[udp]\nto_server = "loss 7%"\n[clock]\nfrom_server = "delay 1s"\n')
    before = {exercise: here.receipt(exercise) for exercise in EXERCISES}
    with (
        pytest.raises(sidecars.Refused, match="cannot do delay 1s") as caught,
        conditions.measured(one, tmp_path),
    ):
        pytest.fail("it was not to begin")
    assert caught.value.by_kernel
    assert "modprobe sch_netem" in caught.value.remedy
    for exercise, receipt in before.items():
        now = here.receipt(exercise)
        for direction, was in receipt["directions"].items():
            for name in ("asked", "source", "since"):
                assert now["directions"][direction][name] == was[name]
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert (receipt["verdict"], receipt["valid"]) == ("not in effect", False)


@pytest.mark.any_kernel
def test_a_servers_own_settings_restart_that_server_alone(here: Lab) -> None:
    before = identities(here)
    one = scenario("[udp.settings]\nUDP_DROP = 0.2\nUDP_SEED = 3\n")
    applied = conditions.apply(one)
    assert conditions.server_settings()["UDP_DROP"] == "0.2"
    first = here.exchange(400)
    assert first.answered in accepted(400, 0.8)
    after = identities(here)
    assert {name for name in before if before[name] != after[name]} == {"udp"}
    conditions.apply(one)
    again = here.exchange(400)
    assert {n for n, _ in again.answers} == {n for n, _ in first.answers}, "the seed begins anew"
    conditions.restore(applied.before)
    assert "UDP_DROP" not in conditions.server_settings()
    assert here.direction("udp")["asked"] == DEFAULT_NETWORK["udp"]


@pytest.mark.any_kernel
def test_a_setting_that_keeps_a_server_from_starting_is_taken_back(here: Lab) -> None:
    # The rules of the file let no such value through, so this one goes in behind them.
    one = scenario("[udp.settings]\nUDP_DROP = 0.2\n")
    broken = Scenario(**{**vars(one), "settings": {"UDP_DROP": "many"}})
    with pytest.raises(LabError, match="did not become healthy"):
        conditions.apply(broken)
    assert "UDP_DROP" not in conditions.server_settings()
    assert here.direction("udp")["asked"] == DEFAULT_NETWORK["udp"]
    assert here.healthy("udp")


@pytest.mark.any_kernel
def test_ctrl_c_in_a_timeline_brings_back_what_was_before(
    here: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here.netem("udp", "loss 15%", "to_server")
    monkeypatch.setenv("CALIBRATE", "no")
    one = scenario(
        '[[timeline]]\nat = "2.5s"\nall = "partition"\n[[timeline]]\nat = "60s"\nall = "heal"\n'
    )

    told: list[str] = []

    def tell(text: str) -> None:
        say(text)
        told.append(text)

    monkeypatch.setattr(conditions, "say", tell)

    def interrupt() -> None:
        # When all three are cut, not one: a step that is interrupted in its middle is taken back.
        eventually(lambda: any(text.endswith("partition") for text in told), "cut", 40)
        assert here.direction("udp")["asked"] == "loss 100%"
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt, name="interrupter")
    interrupter.start()
    status = conditions.put_into_effect(one)
    interrupter.join()
    assert status == 130
    assert "what was before is in effect again" in capsys.readouterr().err
    assert here.direction("udp", "to_server")["asked"] == "loss 15%"
    assert here.direction("clock")["asked"] == DEFAULT_NETWORK["clock"]
    path = Path(os.environ["LAB_RESULTS"], "mine", "latest", "receipt.json")
    receipt: dict[str, Any] = json.loads(path.read_text())
    assert "cut short: SIGINT" in receipt["because"]
    (step,) = receipt["timeline"]
    assert step["changes"] == "udp, clock, http: partition"
    assert step["in_effect_s"] >= 2.5


@pytest.mark.any_kernel
def test_only_one_scenario_at_a_time_is_put_into_effect(here: Lab) -> None:
    with conditions.alone():
        refused = make_scenario(here, "perfect")
    assert refused.returncode == 1
    assert "another make scenario is at work" in refused.stderr


@pytest.mark.any_kernel
def test_every_missing_answer_of_a_run_is_attributed(here: Lab) -> None:
    conditions.apply(scenario(BOTH_WAYS), ["udp"])
    document, found = where.explain_a_run(["--paced", "--count", "600", "--interval", "3ms"])
    assert len(found.attempts) == 600
    assert found.disagreements == []
    counts = found.counts
    assert counts[Cause.UNKNOWN] == 0
    there, back = counts[Cause.TO_SERVER], counts[Cause.FROM_SERVER]
    received, sent_back = 600 - there, 600 - there - counts[Cause.DROPPED]
    assert there in accepted(600, 0.2)
    assert counts[Cause.DROPPED] in accepted(received, 0.5)
    assert back in accepted(sent_back, 0.3)
    for direction, lost in (("to_server", there), ("from_server", back)):
        assert found.reasons[direction] == {Why.NETWORK: lost}
        # What the network lost of the account's questions and answers comes on top.
        assert lost <= found.ways[direction].dropped <= lost + 25
    assert [one.probability for one in found.expected] == [0.5, 0.2, pytest.approx(0.3)]
    assert document["run"] == found.run


@pytest.mark.any_kernel
def test_where_nothing_comes_back_the_servers_log_still_tells(here: Lab) -> None:
    conditions.apply(scenario('[udp]\nfrom_server = "loss 100%"\n'), ["udp"])
    _, found = where.explain_a_run(["--paced", "--count", "60", "--interval", "3ms"])
    counts = found.counts
    assert counts[Cause.DROPPED] + counts[Cause.FROM_SERVER] == 60
    assert counts[Cause.DROPPED] in accepted(60, 0.5)
    assert found.settled_by_log == 60


def test_the_quantiles_of_netems_tables_are_those_of_the_installed_tables(lab: Lab) -> None:
    sidecar = lab.container("udp-netem")
    for name in sorted(set(calibration.TABLES) - {""}):
        shown = printed(sidecar, ["sh", "-c", f"cat /usr/lib/*/tc/{name}.dist"])
        values = sorted(
            int(word) / 8192
            for line in shown.splitlines()
            if not line.startswith("#")
            for word in line.split()
        )
        least, middle, most = calibration.TABLES[name]
        assert (values[0], values[-1]) == pytest.approx((least, most), abs=1e-3), name
        there = [values[int(len(values) * quantile)] for quantile in calibration.QUANTILES]
        assert there == pytest.approx(middle, abs=1e-3), name
