"""How an experiment goes through its cells, with a lab that is only pretended."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lab import experiment as command
from lab.errors import LabError
from lab.experiments.plan import Experiment, parse_text
from lab.experiments.runs import Run
from lab.experiments.site import ClientRun
from lab.scenario import Scenario
from lab.sidecars import Refused

TEXT = """
title = "T"
question = "Q"
exercise = "udp"
repetitions = 2
clients = 2
[axes]
drop = [0.5, 0]
loss = [0, 10]
[network]
from_server = "loss {loss}%"
[settings]
UDP_DROP = "{drop}"
"""
ANSWER = ClientRun(0, {"requests": []}, "")

Behaviour = Callable[[Scenario], dict[str, Any]]
"""What the receipt of a cell says, or an exception."""


class PretendedSite:
    """Notes what is measured; its clients answer ``ANSWER``, or what they are told to."""

    def __init__(self) -> None:
        self.measured: list[int] = []
        self.answers: list[ClientRun] = [ANSWER]

    @contextlib.contextmanager
    def opened(self, exercise: str) -> Iterator["PretendedSite"]:
        yield self

    def measure(self, clients: int, arguments: Sequence[str]) -> list[ClientRun]:
        self.measured.append(clients)
        return [self.answers[min(len(self.measured), len(self.answers)) - 1]] * clients


class Bench:
    """An experiment with a pretended site and pretended receipts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.site = PretendedSite()
        self.scenarios: list[Scenario] = []
        self.receipt: Behaviour = lambda scenario: {"valid": True, "because": []}
        self.experiment: Experiment = parse_text(TEXT, "mine")
        monkeypatch.setenv("LAB_RESULTS", str(folder))
        monkeypatch.setattr(command, "Site", self.site)
        monkeypatch.setattr(command, "measured", self._measured)
        self.run = Run.created(self.experiment, {})

    @contextlib.contextmanager
    def _measured(
        self, scenario: Scenario, folder: Path, exercises: Sequence[str]
    ) -> Iterator[dict[str, Any]]:
        self.scenarios.append(scenario)
        receipt: dict[str, Any] = {}
        told = self.receipt(scenario)
        yield receipt
        receipt |= told

    def conduct(self) -> list[str]:
        """Go through the cells; return the statuses in the order of the records."""
        command.conduct(self.experiment, self.run)
        return [record["status"] for record in self.run.records()]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    return Bench(monkeypatch, tmp_path)


def test_every_cell_is_measured_in_every_repetition(bench: Bench) -> None:
    assert bench.conduct() == ["measured"] * 8
    assert bench.site.measured == [2] * 8


def test_the_whole_grid_comes_before_its_repetition_and_settings_change_seldom(
    bench: Bench,
) -> None:
    bench.conduct()
    order = [scenario.settings["UDP_DROP"] for scenario in bench.scenarios]
    assert order == ["0", "0", "0.5", "0.5"] * 2


def test_a_cell_is_a_scenario_so_that_it_can_be_proven(bench: Bench) -> None:
    bench.conduct()
    assert bench.scenarios[1].network["udp"].from_server == "loss 10%"
    assert bench.scenarios[1].network["udp"].to_server == "off"
    assert bench.scenarios[1].name == "mine, drop 0, loss 10"


def test_what_is_there_is_not_measured_again(bench: Bench) -> None:
    bench.run.keep({"cell": 1, "repetition": 1, "status": "measured"})
    bench.run.keep({"cell": 2, "repetition": 1, "status": "refused"})
    bench.run.keep({"cell": 3, "repetition": 1, "status": "failed"})
    bench.conduct()
    assert len(bench.site.measured) == 6


def test_a_cell_without_a_valid_receipt_is_measured_once_more(bench: Bench) -> None:
    told = iter([{"valid": False, "because": ["the rule was gone"]}])
    bench.receipt = lambda scenario: next(told, {"valid": True, "because": []})
    assert bench.conduct() == ["measured"] * 8
    assert len(bench.site.measured) == 9


def test_a_cell_that_stays_without_one_is_invalid_and_kept_with_the_reason(bench: Bench) -> None:
    bench.receipt = lambda scenario: {"valid": False, "because": ["the rule was gone"]}
    assert bench.conduct() == ["invalid"] * 8
    assert all(record["because"] == ["the rule was gone"] for record in bench.run.records())


def test_what_this_kernel_cannot_do_is_kept_as_refused_with_the_reason(bench: Bench) -> None:
    def refuse(scenario: Scenario) -> dict[str, Any]:
        if scenario.network["udp"].from_server != "off":
            raise Refused("changing the network", "no sch_netem", "modprobe", by_kernel=True)
        return {"valid": True, "because": []}

    bench.receipt = refuse
    assert bench.conduct().count("refused") == 4
    assert len(bench.site.measured) == 4
    refused = [r for r in bench.run.records() if r["status"] == "refused"]
    assert all(record["because"] == ["no sch_netem"] for record in refused)


def test_any_other_refusal_ends_the_experiment(bench: Bench) -> None:
    def refuse(scenario: Scenario) -> dict[str, Any]:
        raise Refused("changing the network", "the sidecar is gone", "make up", by_kernel=False)

    bench.receipt = refuse
    with pytest.raises(LabError, match="sidecar is gone"):
        bench.conduct()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ClientRun(126, None, ""), "ended with 126"),
        (ClientRun(1, None, "cannot resolve udp"), "cannot resolve"),
        (ClientRun(1, {"ended_early": "refused: nothing listens"}, ""), "nothing listens"),
    ],
)
def test_a_client_that_fails_makes_its_cell_fail_with_its_words(
    bench: Bench, answer: ClientRun, why: str
) -> None:
    bench.site.answers = [answer, ANSWER]
    assert sorted(bench.conduct()) == ["failed", *["measured"] * 7]
    (failed,) = (record for record in bench.run.records() if record["status"] == "failed")
    assert why in failed["because"][0]


def test_a_request_that_was_given_up_is_a_result_and_no_failure(bench: Bench) -> None:
    bench.site.answers = [ClientRun(1, {"requests": [], "ended_early": None}, "no answer at all")]
    assert bench.conduct() == ["measured"] * 8


def test_a_ctrl_c_in_a_cell_keeps_those_before_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(clients: int, arguments: Sequence[str]) -> list[ClientRun]:
        if len(list(bench.run.records())) == 3:
            raise KeyboardInterrupt
        return [ANSWER]

    monkeypatch.setattr(bench.site, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.conduct()
    assert len(list(bench.run.records())) == 3


def test_without_a_name_the_experiments_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 0
    listed = capsys.readouterr().out
    assert "retries-and-loss" in listed
    assert "10 cells" in listed


def test_an_unknown_name_is_an_error_with_the_names_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["retries"]) == 1
    assert "retries-and-loss" in capsys.readouterr().err
