"""What is said of a capture when it has ended."""

import pytest

from lab.capture import Outcome


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome("end of input", 20, 0), ""),
        (Outcome("time is up", 20, 0), ""),
        (Outcome("the file is full", 20, 0), "ended early: the file is full"),
        (Outcome("end of input", 20, 3), "3 missed: they came faster"),
        (Outcome("interface eth0 has gone", 20, 3), "could write; ended early: interface"),
        (Outcome("it was ended: status 137", None, None), "nobody knows"),
    ],
)
def test_what_it_has_not_kept_is_said(outcome: Outcome, said: str) -> None:
    assert said in outcome.not_kept
    assert bool(said) == bool(outcome.not_kept)
