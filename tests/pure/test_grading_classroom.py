import pytest

from grading.classroom import default_jobs, minutes, time_to_go
from grading.feedback.html import MEANINGS
from grading.feedback.report import VERDICTS


@pytest.mark.parametrize(
    ("processors", "available_mib", "jobs"),
    [(2, 24_000, 2), (16, 6_000, 4), (8, 500, 1), (1, 64_000, 1)],
)
def test_a_grader_has_a_processor_and_memory(
    processors: int, available_mib: int, jobs: int
) -> None:
    assert default_jobs(processors, available_mib) == jobs


def test_time_to_go_counts_the_running_ones_half() -> None:
    assert time_to_go([], 10, 2) is None
    assert time_to_go([60.0, 40.0], 10, 2) == pytest.approx(50 * 9 / 2)
    assert time_to_go([50.0], 1, 2) == pytest.approx(50 / 4)
    assert time_to_go([50.0], 0, 2) == 0


@pytest.mark.parametrize(("seconds", "said"), [(12.3, "12 s"), (89.0, "89 s"), (100.0, "2 min")])
def test_times_are_said_roughly(seconds: float, said: str) -> None:
    assert minutes(seconds) == said


def test_meanings_are_given_for_verdicts_that_exist() -> None:
    assert set(MEANINGS) <= set(VERDICTS)
