"""Which printed number is the difference of two clocks, and which only looks like it."""

import pytest

from grading.differences import Told, agreed, in_another_unit, matches

SECOND = 1_000_000_000
NOW = 1_795_374_198_975_123_456
"""2026-11-22T19:03:18.975123456Z"""

AHEAD, BEHIND = 83.4, -57.3


def run(offset_s: float, output: str, resolution_s: float = 1e-6, dated: bool = True) -> Told:
    return Told(offset_s, resolution_s, output, (NOW + round(offset_s * SECOND),), dated=dated)


@pytest.mark.parametrize(
    ("ahead", "behind"),
    [
        ("difference: 83.4003 s", "difference: -57.2998 s"),
        ("Difference : -83.4 s", "Difference : 57.3 s"),
        ("the server is 83.4 s ahead", "the server is 57.3 s behind"),
        ("écart : 83399,871 ms", "écart : -57300,2 ms"),
        ("ecart en microsecondes : 83400120", "ecart en microsecondes : -57299880"),
        ("83.4 (round trip 0.0004)", "-57.3 (round trip 0.0004)"),
        ("1: server 19:04:42.375, difference 1m23.4s", "1: difference -57.3001s"),
        ("difference : 0:01:23.400120", "difference : -1 day, 23:59:02.700000"),
        ("difference : -1 day, 23:58:36.6", "difference : 0:00:57.3"),
        ("83400", "-57300"),
    ],
)
def test_a_number_that_follows_is_the_difference(ahead: str, behind: str) -> None:
    assert agreed([run(AHEAD, ahead), run(BEHIND, behind)])


@pytest.mark.parametrize(
    ("ahead", "behind"),
    [
        ("Heure : 2026-11-22 19:04:42\nDifference : 83.0", "Difference : -58.0"),
        ("Difference : -84 s", "Difference : 56 s"),
        ("difference: 82.5", "difference: -58.2"),
    ],
)
def test_clocks_that_show_whole_seconds_may_be_a_second_off(ahead: str, behind: str) -> None:
    assert agreed([run(AHEAD, ahead, 1.0), run(BEHIND, behind, 1.0)])
    assert not agreed([run(AHEAD, ahead), run(BEHIND, behind)])


@pytest.mark.parametrize(
    ("ahead", "behind"),
    [
        ("Difference : 0.4 s", "Difference : -0.3 s"),  # .microsecond less .microsecond
        ("Difference : 0.0003 s", "Difference : 0.0002 s"),  # the round trip
        ("Serveur : 2026-11-22 19:04:42.375", "Serveur : 2026-11-22 19:02:21.675"),
        ("83.4", "86342.7"),  # .seconds of a negative timedelta
        ("83.4 s", "83.4 s"),
        ("83.4 s", "57300"),  # seconds, and then milliseconds without saying so
        ("", ""),
    ],
)
def test_a_number_that_does_not_follow_is_not(ahead: str, behind: str) -> None:
    seconds_named = "83.4 s" in ahead and behind == "57300"
    assert agreed([run(AHEAD, ahead), run(BEHIND, behind)]) is seconds_named


def test_a_wrong_unit_is_told_apart_from_a_wrong_number() -> None:
    wrong = run(AHEAD, "Difference : 83.4 ms")
    assert not matches(wrong)
    found = in_another_unit(wrong)
    assert found is not None
    assert (found[0].text, found[1]) == ("83.4 ms", "s")
    assert in_another_unit(run(AHEAD, "Difference : 12 ms")) is None


def test_a_time_of_day_just_after_midnight_is_no_difference() -> None:
    midnight = 1_795_392_000 * SECOND
    shown = Told(AHEAD, 1.0, "Serveur : 00:01:23", (midnight + 83 * SECOND,))
    assert not matches(shown)


def test_across_midnight_a_time_without_a_date_is_off_by_a_day() -> None:
    text = "difference : -86316.6 s"
    assert matches(run(AHEAD, text, 1.0, dated=False))
    assert not matches(run(AHEAD, text, 1.0))


def test_an_answer_that_came_late_may_be_that_much_older() -> None:
    late = Told(AHEAD, 1e-6, "83.0 s", (NOW,), late_s=0.24)
    assert matches(late)
    assert not matches(run(AHEAD, "83.0 s"))
