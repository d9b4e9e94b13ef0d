"""A clock that is wrong by a known amount, and the options that say by how much."""

import pytest

from services.clock.__main__ import parser
from services.clock.skew import OLDEST_STAMP_NS, SkewedClock


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


S = 1_000_000_000


def test_a_stamp_of_the_past_is_skewed_as_the_clock_was_then() -> None:
    wall_ns, monotonic_ns = 5_000 * S, 0
    clock = SkewedClock(
        2.0, 100.0, wall_clock_ns=lambda: wall_ns, monotonic_ns=lambda: monotonic_ns
    )
    monotonic_ns += 10 * S
    wall_ns += 10 * S
    then_wall_ns, then_shown_ns = wall_ns, clock()
    monotonic_ns += 3 * S
    wall_ns += 3 * S
    assert clock.at(then_wall_ns) == then_shown_ns == 5_012 * S + 1_000_000
    assert clock.at(wall_ns) == clock()


@pytest.mark.parametrize("step_ns", [-1, -S, -3_000 * S, OLDEST_STAMP_NS + 1, 3_000 * S])
def test_a_stamp_of_before_a_step_of_the_machines_clock_is_none(step_ns: int) -> None:
    wall_ns = 5_000 * S
    clock = SkewedClock(wall_clock_ns=lambda: wall_ns, monotonic_ns=lambda: 0)
    stamp_wall_ns = wall_ns
    wall_ns += step_ns
    assert clock.at(stamp_wall_ns) is None


class Paused:
    """Both clocks of a machine: each reading comes so much later, and later on 100 ns."""

    def __init__(self, *pauses_ns: int) -> None:
        self.now_ns = 0
        self._pauses_ns = iter(pauses_ns)

    def __call__(self) -> int:
        self.now_ns += next(self._pauses_ns, 100)
        return self.now_ns


def test_a_pause_between_the_readings_of_both_clocks_does_not_bend_the_time() -> None:
    # Three readings at the start; then the third of three comes late.
    read = Paused(0, 0, 0, 0, 0, 10_000_000)
    clock = SkewedClock(0.0, 100_000.0, wall_clock_ns=read, monotonic_ns=read)
    shown_ns = clock()
    assert abs(shown_ns - read.now_ns - read.now_ns // 10) < 200


@pytest.mark.parametrize("late", [1, 2])
def test_a_pause_at_the_start_does_not_part_the_start_from_when_it_is_said_to_be(late: int) -> None:
    """Clients are held against ``started_wall_ns``: 1.6 ms of pause at 1 % are 16 us."""
    read = Paused(*[0] * late, 1_600_000)
    clock = SkewedClock(0.0, 10_000.0, wall_clock_ns=read, monotonic_ns=read)
    shown_ns = clock()
    assert abs(shown_ns - read.now_ns - (read.now_ns - clock.started_wall_ns) * 0.01) < 300


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
