"""Experiment files: what they come to, and what is said when one is wrong."""

import os
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.experiments.duration import expected_s
from lab.experiments.plan import Experiment, load, names, parse_text, path_of
from lab.scenario import named

GOOD = """
title = "T"
question = "Q"
exercise = "udp"
repetitions = 2
clients = 3
[axes]
loss = [0, 10]
drop = [0, 0.5]
[labels]
loss = "loss (%)"
[network]
from_server = "loss {loss}% delay 20ms"
[settings]
UDP_DROP = "{drop}"
[client]
count = 7
timeout = "50ms"
"""


def read(text: str) -> Experiment:
    return parse_text(text, "mine")


def complaint(text: str) -> LabError:
    with pytest.raises(LabError) as caught:
        read(text)
    return caught.value


def test_every_combination_is_a_cell_in_the_order_of_the_file() -> None:
    cells = read(GOOD).cells
    assert [cell.label for cell in cells] == [
        "loss 0, drop 0", "loss 0, drop 0.5", "loss 10, drop 0", "loss 10, drop 0.5",
    ]  # fmt: skip
    assert [cell.number for cell in cells] == [1, 2, 3, 4]


def test_a_cell_has_its_network_settings_and_command_line() -> None:
    cell = read(GOOD).cells[3]
    assert cell.network == {"to_server": "off", "from_server": "loss 10% delay 20ms"}
    assert cell.settings == {"UDP_DROP": "0.5"}
    assert cell.clients == 3
    assert cell.arguments == ("--count=7", "--timeout=50ms")
    assert cell.options["timeout"] == 0.05


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("loss {loss}%", "off"),
        ("loss {loss}% delay {loss}ms", "off"),
        ("delay 10ms loss {loss}%", "delay 10ms"),
        ("loss {loss}.0% duplicate 0%", "off"),
        ("delay 1{loss}ms", "delay 10ms"),
    ],
)
def test_nothing_is_no_impairment(words: str, left: str) -> None:
    text = GOOD.replace("loss {loss}% delay 20ms", words)
    assert read(text).cells[0].network["from_server"] == left


def test_a_scenario_can_be_an_axis() -> None:
    text = GOOD.replace("loss = [0, 10]", 'scenario = ["perfect", "asymmetric"]')
    text = text.replace('loss = "loss (%)"', "")
    text = text.replace('from_server = "loss {loss}% delay 20ms"', 'scenario = "{scenario}"')
    link = named("asymmetric").network["udp"]
    network = read(text).cells[2].network
    assert network == {"to_server": link.to_server, "from_server": link.from_server}


def test_options_without_a_value_are_true_or_false() -> None:
    assert "--paced" in read(GOOD + 'paced = true\ninterval = "1ms"').cells[0].arguments
    assert "--paced" not in read(GOOD + "paced = false").cells[0].arguments


@pytest.mark.parametrize(
    ("old", "new", "key", "right"),
    [
        ('title = "T"', "", "title", "a sentence"),
        ('exercise = "udp"', 'exercise = "dns"', "exercise", "udp, clock, http"),
        ("repetitions = 2", "repetitions = 0", "repetitions", "1 to 1000"),
        ("repetitions = 2", "repetition = 2", "repetition", "repetitions"),
        ("clients = 3", "clients = 99", "clients", "1 to 16"),
        ("clients = 3", 'clients = "{drop}"', "clients", "1 to 16"),
        ("loss = [0, 10]", "loss = []", "axes.loss", "[0, 10, 20]"),
        ("loss = [0, 10]", "loss = 10", "axes.loss", "[0, 10, 20]"),
        ("loss = [0, 10]", "loss = [1, 1]", "axes.loss", "once"),
        ("loss = [0, 10]", "loss = [0, [10]]", "axes.loss", "numbers or texts"),
        ("drop = [0, 0.5]", "Drop = [0, 0.5]", "axes.Drop", "small letters"),
        ("{loss}%", "10%", "axes.loss", "{loss}"),
        ("{loss}%", "{lost}%", "network.from_server", "loss, drop"),
        ("loss {loss}% delay 20ms", "lost {loss}%", "network.from_server", "tc netem's words"),
        ("from_server =", "from_client =", "network.from_client", "to_server or from_server"),
        ('loss = "loss (%)"', 'lost = "loss (%)"', "labels.lost", "loss, drop"),
        ("UDP_DROP", "CLOCK_OFFSET", "settings.CLOCK_OFFSET", "UDP_DROP"),
        ("UDP_DROP", "UDP_LOG", "settings.UDP_LOG", "UDP_DROP"),
        ('"{drop}"', '"7"', "settings.UDP_DROP", "make up UDP_DROP"),
        ("count = 7", "count = 0", "client", "command line"),
        ("count = 7", "counts = 7", "client", "command line"),
        ("count = 7", "json = true", "client.json", "other options"),
        ("count = 7", 'host = "elsewhere"', "client.host", "other options"),
        ("[axes]", "[axes", "line", "TOML"),
    ],
)
def test_a_complaint_names_the_file_the_key_and_what_is_right(
    old: str, new: str, key: str, right: str
) -> None:
    assert old in GOOD
    error = complaint(GOOD.replace(old, new))
    assert "mine.toml" in error.step
    assert key in error.cause
    assert right in error.remedy


def test_a_grid_that_nobody_would_wait_for_is_refused() -> None:
    huge = GOOD.replace("[0, 10]", str(list(range(201))))
    assert "402 cells" in complaint(huge).cause


def test_a_scenario_with_a_timeline_is_no_cell() -> None:
    text = GOOD.replace(
        'from_server = "loss {loss}% delay 20ms"', 'scenario = "partition-and-heal"'
    )
    assert "timeline" in complaint(text).cause


def test_this_machines_settings_do_not_reach_the_clients_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UDP_PORT", "0")  # "any free one" for make up, no port for a client
    assert read(GOOD).cells
    assert os.environ["UDP_PORT"] == "0"


def test_an_unknown_name_shows_those_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "here.toml").write_text(GOOD)
    with pytest.raises(LabError, match="here"):
        load(tmp_path / "there.toml")


def test_a_path_is_a_file_of_ones_own(tmp_path: Path) -> None:
    assert path_of("some/grid.toml") == Path("some/grid.toml")
    assert path_of("backoff").name == "backoff.toml"


@pytest.mark.parametrize("name", names())
def test_the_shipped_experiments_are_right_and_short_enough_for_a_lecture(name: str) -> None:
    experiment = load(path_of(name))
    assert experiment.name == name
    whole_s = experiment.repetitions * sum(expected_s(cell) for cell in experiment.cells)
    assert whole_s < (150 if name == "retries-and-loss" else 300)


def test_there_are_experiments_for_all_three_exercises() -> None:
    found = {load(path_of(name)).exercise for name in names()}
    assert found == {"udp", "clock", "http"}
    assert len(names()) >= 3


def test_the_digest_tells_files_apart() -> None:
    assert read(GOOD).digest == read(GOOD).digest
    assert read(GOOD).digest != read(GOOD + "\n").digest
