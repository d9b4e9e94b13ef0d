"""udp-client as a student runs it, in the default lab."""

from itertools import pairwise
from statistics import fmean

import pytest

from tests.lab.driver import Lab


@pytest.mark.any_kernel
def test_retries_succeed_in_spite_of_the_loss(lab: Lab) -> None:
    # With the default of 16 tries, 1 run in 1,400 gives up on a request; with 32, 1 in 20 million.
    shown = lab.client("udp", "--max-tries", "32")
    assert shown.returncode == 0, shown
    assert "answered" in shown.stdout
    assert "average" in shown.stdout


@pytest.mark.any_kernel
def test_timeouts_grow_and_the_average_is_that_of_the_samples(lab: Lab) -> None:
    document = lab.client_json("udp", "--count", "12", "--timeout", "0.05", "--interval", "0")
    retried = 0
    for request in document["requests"]:
        timeouts = [attempt["timeout_s"] for attempt in request["attempts"]]
        assert all(earlier < later for earlier, later in pairwise(timeouts))
        retried += len(timeouts) - 1
    assert retried == document["statistics"]["retries"]
    samples = [
        attempt["rtt_s"]
        for request in document["requests"]
        for attempt in request["attempts"]
        if attempt.get("rtt_s") is not None
    ]
    assert document["statistics"]["rtt"]["average_s"] == pytest.approx(fmean(samples))
