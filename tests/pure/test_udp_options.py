"""The options of the UDP server and client."""

import pytest

from clients.udp.__main__ import main, parser, run_identifier
from clients.udp.schedule import Schedule
from services.udp.__main__ import parse
from services.udp.drop import DROP_PROBABILITY
from services.udp.protocol import PORT


def test_the_clients_defaults_are_those_of_its_schedule() -> None:
    given = parser().parse_args([])
    asked = Schedule(given.count, given.timeout, given.backoff, given.max_tries, given.interval)
    assert asked == Schedule()
    assert (given.host, given.port, given.size, given.seed) == ("127.0.0.1", PORT, None, None)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--count 0", "at least 1"),
        ("--count many", "whole number"),
        ("--backoff 1", "longer than the attempt before"),
        ("--backoff nan", "longer than the attempt before"),
        ("--backoff 1e9", "longer than the attempt before"),
        ("--timeout 0", "more than 0"),
        ("--timeout soon", "a duration is"),
        ("--interval -1", "cannot be negative"),
        ("--port 0", "at least 1"),
        ("--size 65508", "at most 65507"),
        ("--max-tries 0", "at least 1"),
        ("--no-such-option", "--no-such-option"),
        ("two messages", "messages"),
        ("--rto sometimes", "choose from"),
        ("--min-rto 0", "more than 0"),
        ("--expect drop=2", "a probability"),
        ("--expect back", "back=10%"),
        ("--expect back=1,back=1", "back=10%"),
        ("--json --csv", "not allowed with"),
    ],
)
def test_wrong_usage_of_the_client_is_status_2_and_says_what_would_be_right(
    arguments: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(arguments.split())
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_a_seed_names_the_run_and_no_seed_makes_each_run_another() -> None:
    assert run_identifier(7) == run_identifier(7) != run_identifier(8)
    names = [run_identifier(None) for _ in range(8)]
    assert len(set(names)) > 1  # all alike: once in 2^224
    assert all(len(name) == 8 and int(name, 16) >= 0 for name in [*names, run_identifier(7)])


def test_the_servers_defaults_are_those_of_the_exercise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "PORT", "DROP", "SEED", "DROP_SCHEDULE", "LOG", "INTERFACE"):
        monkeypatch.delenv(f"UDP_{name}", raising=False)
    given = parse([])
    assert (given.host, given.port, given.drop) == ("0.0.0.0", PORT, DROP_PROBABILITY)
    assert (given.drop_schedule, given.seed, given.interface) == (None, None, None)


def test_the_servers_settings_come_from_the_environment_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UDP_DROP", "30%")
    monkeypatch.setenv("UDP_DROP_SCHEDULE", "4,1")
    given = parse(["--drop", "0.2"])
    assert given.drop == 0.2
    assert given.drop_schedule == {1, 4}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [("--drop 1.5", "probability"), ("--drop-schedule 0", "1,3,4"), ("--seed x", "whole number")],
)
def test_wrong_usage_of_the_server_is_status_2_and_says_what_would_be_right(
    arguments: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments.split())
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("arguments", ["--min-rto 2s --max-rto 1s", "--paced --interval 0"])
def test_options_that_do_not_go_together_are_wrong_usage(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_is_known_of_the_lab_may_be_said_in_parts() -> None:
    given = parser().parse_args(["--expect", "back=10%, drop=0.5"])
    assert given.expect == {"back": 0.1, "drop": 0.5}
