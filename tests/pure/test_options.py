import pytest

from services import options
from services.options import OptionParser


def parser(environment: dict[str, str]) -> OptionParser:
    made = OptionParser("UDP", prog="udp", environment=environment)
    made.add_setting("drop", default=0.5, type=options.probability, help="share dropped, 50%")
    made.add_setting("log", default="human", choices=("human", "json"), help="log lines")
    return made


def test_the_command_line_wins_over_the_environment_and_that_over_the_default() -> None:
    assert parser({}).parse_args([]).drop == 0.5
    assert parser({"UDP_DROP": "20%"}).parse_args([]).drop == 0.2
    assert parser({"UDP_DROP": "20%"}).parse_args(["--drop", "0.1"]).drop == 0.1


def test_an_empty_variable_counts_as_unset() -> None:
    assert parser({"UDP_DROP": ""}).parse_args([]).drop == 0.5


@pytest.mark.parametrize(
    ("environment", "name"), [({"UDP_DROP": "2"}, "UDP_DROP"), ({"UDP_LOG": "xml"}, "UDP_LOG")]
)
def test_a_bad_value_in_the_environment_names_the_variable(
    environment: dict[str, str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser(environment).parse_args([])
    assert stopped.value.code == 2
    assert name in capsys.readouterr().err


def test_a_bad_option_says_what_would_be_right(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser({}).parse_args(["--drop", "most"])
    assert stopped.value.code == 2
    assert "number from 0 to 1" in capsys.readouterr().err


def test_help_shows_variable_and_default() -> None:
    shown = parser({}).format_help()
    assert "$UDP_DROP; default 0.5" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2.5", 2.5), ("2.5s", 2.5), ("20ms", 0.02), ("-1min", -60.0), ("3us", 3e-6), (".5h", 1800.0)],
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert options.duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "1 day", "1e3s", "--1", "nan", "1.2.3"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        options.duration_s(text)


@pytest.mark.parametrize("text", ["-1", "65536", "http", "", "²", "1.0"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a port is"):
        options.port(text)


@pytest.mark.parametrize("text", ["nan", "inf", "-0.1", "101%", "half"])
def test_what_is_no_probability_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a probability is"):
        options.probability(text)
