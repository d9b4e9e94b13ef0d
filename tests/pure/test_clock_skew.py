"""A clock that is wrong by a known amount, and the options that say by how much."""

import pytest

from services.clock.__main__ import parser
from services.clock.skew import SkewedClock


@pytest.mark.parametrize(
    ("offset_s", "drift_ppm", "elapsed_s", "wrong_by_ns"),
    [
        (0.0, 0.0, 1000, 0),
        (2.5, 0.0, 1000, 2_500_000_000),
        (-2.5, 0.0, 0, -2_500_000_000),
        (0.0, 50.0, 1000, 50_000_000),
        (1.0, -50.0, 1000, 1_000_000_000 - 50_000_000),
        (0.0, 0.001, 86_400, 86_400),
    ],
)
def test_offset_and_drift_add_up_as_the_formula_says(
    offset_s: float, drift_ppm: float, elapsed_s: int, wrong_by_ns: int
) -> None:
    wall_ns, monotonic_ns = 1_795_374_198_000_000_007, 77
    clock = SkewedClock(
        offset_s,
        drift_ppm,
        wall_clock_ns=lambda: wall_ns,
        monotonic_ns=lambda: monotonic_ns,
    )
    assert clock.started_wall_ns == wall_ns
    monotonic_ns += elapsed_s * 1_000_000_000
    wall_ns += 12_345  # a step of the machine's clock moves the reading by itself alone
    assert clock() == wall_ns + wrong_by_ns


@pytest.mark.parametrize(
    ("words", "offset_s", "drift_ppm"),
    [
        (["--offset", "2.5s"], 2.5, 0.0),
        (["--offset", "-2.5s"], -2.5, 0.0),
        (["--offset=-2.5s"], -2.5, 0.0),
        (["--offset", "-20ms", "--drift-ppm", "-50"], -0.02, -50.0),
        (["--offset", "-2", "--drift-ppm=-0.5"], -2.0, -0.5),
        ([], -1.0, 7.0),
    ],
)
def test_offset_and_drift_may_be_negative(
    words: list[str], offset_s: float, drift_ppm: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not words:
        monkeypatch.setenv("CLOCK_OFFSET", "-1s")
        monkeypatch.setenv("CLOCK_DRIFT_PPM", "7")
    settings = parser().parse_args(words)
    assert settings.offset == pytest.approx(offset_s)
    assert settings.drift_ppm == drift_ppm


@pytest.mark.parametrize(
    "words",
    [
        ["--offset", "-2y"],
        ["--offset", "1000000h"],
        ["--drift-ppm", "nan"],
        ["--drift-ppm", "1e9"],
        ["--max-clients", "0"],
        ["--port", "70000"],
    ],
)
def test_a_wrong_value_is_refused_by_name(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(words)
    assert f"argument {words[0]}: " in (message := capsys.readouterr().err)
    assert message.count("\n") == 1
