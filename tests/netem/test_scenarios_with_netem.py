"""Scenarios on a kernel that has netem: every shipped one in effect and proven, or caught."""

from pathlib import Path

import pytest

from lab import conditions
from lab.scenario import Scenario, all_names, named, parsed
from lab.settings import SETTINGS
from tests.lab.driver import Lab
from tests.requirements_gate import missing

HEAD = 'description = "d."\nsource = "s"\n'
NEEDS_NETEM = [name for name in all_names() if not named(name).is_loss_alone]


@pytest.fixture
def here(network: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lab:
    """The lab as this process's own, on a kernel with netem."""
    mechanism = network.direction("udp")["mechanism"]
    if mechanism != "netem":
        missing("netem", f"this kernel has none, loss is made by {mechanism}; make test-vm")
    for name in set(SETTINGS) - {"LAB_TAG"}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", network.project)
    monkeypatch.setenv("LAB_ENV_FILE", str(network.environment_file))
    monkeypatch.setenv("LAB_RESULTS", str(tmp_path))
    network.changed.add("udp")  # what these scenarios are about
    return network


def scenario(text: str) -> Scenario:
    return parsed(HEAD + text, Path("scenarios/mine.toml"))


@pytest.mark.parametrize("name", NEEDS_NETEM)
def test_a_shipped_scenario_is_in_effect_and_calibration_proves_it(
    here: Lab, tmp_path: Path, name: str
) -> None:
    with conditions.measured(named(name), tmp_path, exercises=["udp"]) as receipt:
        pass
    assert receipt["valid"], receipt["because"]
    for way in receipt["services"]["udp"]["directions"].values():
        assert way["mechanism"] == "netem"
        assert way["repeatable"] or way["seed"] is None


def test_a_queue_that_overflows_makes_the_run_invalid_unless_it_was_asked_for(
    here: Lab, tmp_path: Path
) -> None:
    for words, valid in (("rate 64kbit", False), ("rate 64kbit limit 20", True)):
        one = scenario(f'[udp]\nfrom_server = "{words}"\n')
        with conditions.measured(one, tmp_path, exercises=["udp"], calibrated=False) as receipt:
            here.exchange(2500, port=here.faithful_port, interval_s=0.0005)
        overflowed = any("overflowed" in reason for reason in receipt["because"])
        assert overflowed is not valid, receipt["because"]
        counters = receipt["services"]["udp"]["directions"]["from_server"]["counters_after"]
        assert counters["overflowed_packets"] > 0


def test_a_seeded_run_begins_its_sequence_anew_after_the_calibration(
    here: Lab, tmp_path: Path
) -> None:
    one = scenario('seed = 42\n[udp]\nfrom_server = "loss 30%"\n')
    lost = []
    for _ in range(2):
        with conditions.measured(one, tmp_path, exercises=["udp"]) as receipt:
            exchange = here.exchange(200, port=here.faithful_port)
        assert receipt["valid"], receipt["because"]
        lost.append(set(range(200)) - {number for number, _ in exchange.answers})
    assert lost[0] == lost[1]
    assert lost[0]
