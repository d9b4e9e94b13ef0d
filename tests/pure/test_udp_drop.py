"""Which datagrams the UDP server drops on purpose."""

import random

import pytest

from services.udp.drop import ScheduledDrop, positions, random_drop
from tests.binomial import accepted


def test_random_drops_come_as_often_as_the_probability_says() -> None:
    for probability in (0.0, 0.3, 0.5, 1.0):
        drop = random_drop(probability, random.Random(1).random)
        assert sum(drop("client") for _ in range(5000)) in accepted(5000, probability)


def test_random_drops_do_not_depend_on_the_one_before() -> None:
    drop = random_drop(0.5, random.Random(2).random)
    decisions = [drop("client") for _ in range(5001)]
    changes = sum(a != b for a, b in zip(decisions, decisions[1:], strict=False))
    assert changes in accepted(5000, 0.5)


def test_the_same_seed_makes_the_same_decisions_and_another_seed_others() -> None:
    def decisions(seed: int) -> list[bool]:
        drop = random_drop(0.5, random.Random(seed).random)
        return [drop("client") for _ in range(64)]

    assert decisions(7) == decisions(7)
    assert decisions(7) != decisions(8)


def test_a_schedule_drops_exactly_its_positions_for_each_client() -> None:
    drop = ScheduledDrop({1, 3, 4})
    interleaved = [(drop(("10.0.0.1", 5000)), drop(("10.0.0.1", 5001))) for _ in range(6)]
    expected = [True, False, True, True, False, False]
    assert [first for first, _ in interleaved] == expected
    assert [second for _, second in interleaved] == expected


def test_a_schedule_forgets_the_client_that_has_been_silent_longest() -> None:
    drop = ScheduledDrop({1}, clients_remembered=2)
    assert drop("a")
    assert drop("b")
    assert not drop("a")
    assert drop("c")  # b, the silent one, is forgotten
    assert not drop("a")
    assert drop("b")


@pytest.mark.parametrize("text", ["1,3,4", " 4, 3 ,1", "1,1,3,4"])
def test_a_schedule_is_read_in_any_order(text: str) -> None:
    assert positions(text) == {1, 3, 4}


@pytest.mark.parametrize("text", ["", "0", "1,,2", "a", "1-3", "-1", "\u0661", "1.5"])
def test_a_schedule_that_makes_no_sense_says_what_would(text: str) -> None:
    with pytest.raises(ValueError, match="1,3,4"):
        positions(text)
