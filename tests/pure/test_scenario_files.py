"""Scenario files: what they mean, and that every mistake in one names file, key and way out."""

from pathlib import Path

import pytest

from lab.errors import LabError
from lab.scenario import (
    DIRECTIONS,
    FOLDER,
    PARTITION,
    Link,
    Scenario,
    all_scenarios,
    load,
    named,
    parsed,
    rules,
    settings_for,
)
from lab.settings import EXERCISES

HEAD = 'description = "d"\nsource = "s"\n'
SHIPPED = {
    "perfect", "home-wifi", "bursty-wifi", "mobile-3g", "mobile-4g", "transatlantic", "satellite",
    "congested-uplink", "reordering", "duplicating", "asymmetric", "partition-and-heal", "exam",
}  # fmt: skip


def scenario(text: str, name: str = "mine") -> Scenario:
    return parsed(HEAD + text, Path(f"scenarios/{name}.toml"))


def test_the_scenarios_that_come_with_the_lab_are_all_right() -> None:
    found = {one.name: one for one in all_scenarios()}
    assert set(found) >= SHIPPED
    for one in found.values():
        assert one.description.endswith((".", "?"))
        assert set(one.network) == set(EXERCISES)


def test_the_scenario_that_programs_are_judged_under_works_on_every_kernel() -> None:
    judged = named("exam")
    assert judged.is_loss_alone
    assert not judged.settings
    assert not judged.timeline
    assert named("partition-and-heal").is_loss_alone
    assert not named("satellite").is_loss_alone


def test_what_is_not_named_is_unimpaired_and_the_narrower_table_wins() -> None:
    one = scenario('[all]\nto_server = "loss 1%"\n[udp]\nto_server = "loss  5%"\n')
    assert one.network == {
        "udp": Link("loss 5%", "off"),
        "clock": Link("loss 1%", "off"),
        "http": Link("loss 1%", "off"),
    }


def test_settings_are_those_of_the_server_as_make_up_takes_them() -> None:
    one = scenario(
        '[udp.settings]\nUDP_DROP = 0.25\nUDP_SEED = 7\n[clock.settings]\nCLOCK_OFFSET = "-2.5s"\n'
    )
    assert one.settings == {"UDP_DROP": "0.25", "UDP_SEED": "7", "CLOCK_OFFSET": "-2.5s"}
    assert one.settings_of("clock") == {"CLOCK_OFFSET": "-2.5s"}
    assert one.settings_of("http") == {}


def test_every_setting_that_a_scenario_may_have_is_checked_by_the_servers_own_rule() -> None:
    assert set(rules()) == {name for exercise in EXERCISES for name in settings_for(exercise)}


def test_a_timeline_holds_the_whole_network_at_each_moment() -> None:
    one = scenario(
        '[all]\nfrom_server = "loss 3%"\n'
        '[[timeline]]\nat = "10s"\nall = "partition"\nclock.to_server = "loss 7%"\n'
        '[[timeline]]\nat = "20.5s"\nudp = "heal"\n'
    )
    first, second = one.timeline
    cut = Link(PARTITION, PARTITION)
    assert (first.at_s, second.at_s) == (10, 20.5)
    assert first.network == {"udp": cut, "clock": Link("loss 7%", PARTITION), "http": cut}
    assert second.network == {**first.network, "udp": Link("off", "loss 3%")}
    assert first.changes == (
        "udp, http: partition; clock: to_server loss 7%, from_server loss 100%"
    )
    assert second.changes == "udp: heal"


@pytest.mark.parametrize(
    ("text", "key", "wrong", "right"),
    [
        ('[upd]\nto_server = "loss 1%"', "upd", "no such key", "udp?"),
        ('[udp]\nto_sever = "loss 1%"', "udp.to_sever", "no such key", "to_server?"),
        ('[udp]\nto_server = "loss ten"', "udp.to_server", '"ten"', "loss 10%"),
        ('[udp]\nto_server = "lose 1%"', "udp.to_server", '"lose"', "tc netem's words"),
        ('[udp]\nto_server = "delay 100"', "udp.to_server", "no unit", "tc netem's words"),
        ('[udp]\nto_server = "default"', "udp.to_server", '"default"', '"off"'),
        ('[udp]\nto_server = ""', "udp.to_server", "no words", "loss 10%"),
        ("[udp]\nto_server = 10", "udp.to_server", "10 are no words", "loss 10%"),
        ('udp = "off"', "udp", "no table", "[udp]"),
        ("[udp.settings]\nUDP_DROP = 1.5", "udp.settings.UDP_DROP", "0 to 1", "make up UDP_DROP"),
        ('[udp.settings]\nUDP_DORP = "1"', "udp.settings.UDP_DORP", "no such key", "UDP_DROP?"),
        ("[udp.settings]\nUDP_PORT = 1", "udp.settings.UDP_PORT", "no such key", "UDP_"),
        ("[udp.settings]\nUDP_DROP = true", "udp.settings.UDP_DROP", "no setting", "number"),
        ("[udp.settings]\nCLOCK_OFFSET = 1", "udp.settings.CLOCK_OFFSET", "no such key", "UDP_"),
        ("[all.settings]\nUDP_DROP = 1", "all.settings", "no such key", "to_server"),
        ('[timeline]\nat = "1s"', "timeline", "no list", "[[timeline]]"),
        ('[[timeline]]\nall = "heal"', "timeline 1: at", "no time", '"10s"'),
        ('[[timeline]]\nat = "soon"\nall = "heal"', "timeline 1: at", "'soon'", '"10s"'),
        ('[[timeline]]\nat = 10\nall = "heal"', "timeline 1: at", "10", '"10s"'),
        ('[[timeline]]\nat = "1s"', "timeline 1", "nothing changes", "partition"),
        ('[[timeline]]\nat = "1s"\nall = "heal"', "timeline 1", "nothing changes", "partition"),
        ('[[timeline]]\nat = "1s"\nudp = "cut"', "timeline 1: udp", "'cut'", '"partition"'),
        ('[[timeline]]\nat = "1s"\nudp.x = "off"', "timeline 1: udp.x", "no such key", "to_server"),
        (
            '[[timeline]]\nat = "5s"\nall = "partition"\n[[timeline]]\nat = "5s"\nall = "heal"',
            "timeline 2: at", "no later time", "after 5 s",
        ),
    ],
)  # fmt: skip
def test_a_mistake_names_file_key_what_was_wrong_and_what_would_be_right(
    text: str, key: str, wrong: str, right: str
) -> None:
    with pytest.raises(LabError) as caught:
        scenario(text)
    assert "scenarios/mine.toml" in caught.value.step
    assert caught.value.cause.startswith(f"{key}: ")
    assert wrong in caught.value.cause
    assert right in caught.value.remedy


def test_one_seed_gives_each_direction_its_own_wherever_something_is_drawn() -> None:
    one = scenario(
        'seed = 5\n[all]\nfrom_server = "loss 3%"\n[udp]\nto_server = "loss 1% seed 77"\n'
        '[clock]\nto_server = "delay 1ms"\n[[timeline]]\nat = "1s"\nall = "partition"\n'
        '[[timeline]]\nat = "2s"\nudp = "heal"\n'
    )
    assert one.network == {
        "udp": Link("loss 1% seed 77", "loss 3% seed 6"),
        "clock": Link("delay 1ms", "loss 3% seed 8"),
        "http": Link("off", "loss 3% seed 10"),
    }
    assert one.timeline[1].network["udp"] == one.network["udp"]
    assert one.timeline[1].changes == "udp: heal"
    assert scenario('seed = 5\n[all]\nto_server = "loss 1%"').is_loss_alone


@pytest.mark.parametrize("seed", ["0", "-1", "1.5", '"7"', "true", str(2**33)])
def test_a_seed_is_a_whole_number_that_netem_takes(seed: str) -> None:
    with pytest.raises(LabError, match="seed: .* is no seed"):
        scenario(f"seed = {seed}")


def test_description_and_source_are_required() -> None:
    for text, key in (('source = "s"', "description"), ('description = "d"', "source")):
        with pytest.raises(LabError, match=f"{key}: it is missing"):
            parsed(text, Path("scenarios/mine.toml"))
    with pytest.raises(LabError, match="description: it has 201 characters"):
        parsed(f'description = "{201 * "d"}"\nsource = "s"', Path("scenarios/mine.toml"))


def test_text_that_is_not_toml_names_the_line() -> None:
    with pytest.raises(LabError, match="line 3"):
        scenario("to_server: loss 1%")


@pytest.mark.parametrize("name", ["off", "Home Wifi", "ünal"])
def test_a_file_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="no name for a scenario"):
        parsed(HEAD, Path(f"{name}.toml"))


def test_a_file_that_is_not_there_or_not_text_is_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(LabError, match="not UTF-8"):
        load(tmp_path / "bytes.toml")


def test_a_name_in_the_file_is_the_files_own() -> None:
    assert scenario('name = "mine"').name == "mine"
    with pytest.raises(LabError, match="name: it is not 'yours'"):
        scenario('name = "yours"')


def test_an_unknown_name_shows_the_nearest_and_all_there_are() -> None:
    with pytest.raises(LabError) as caught:
        named("sattelite")
    assert "did you mean 'satellite'?" in caught.value.cause
    assert "perfect" in caught.value.remedy
    with pytest.raises(LabError, match="there is no scenario"):
        named("../scenarios/perfect")


def test_directions_are_spelled_as_the_sidecar_spells_them() -> None:
    assert DIRECTIONS == ("to_server", "from_server")
    assert FOLDER.is_dir()
