"""A process is killed; within five seconds the server answers again, through the same loss.

Whether both hold is measured by traffic, not read from a status: the server drops half, and the
network is set to lose half of the answers, so of 400 datagrams about 100 are answered; without
the impairment it would be 200, without the server 0.
"""

import os
import time

import pytest

from tests.binomial import accepted
from tests.lab.driver import Lab

COUNT = 400
IMPAIRED = accepted(COUNT, 0.5 * 0.5)
BACK_WITHIN_S = 60.0 if os.environ.get("LAB_EMULATED") else 5.0
"""On an emulated processor (make test-vm) a container alone takes several seconds to start."""


def test_the_bounds_tell_an_impaired_server_from_one_that_is_not() -> None:
    assert not set(IMPAIRED) & set(accepted(COUNT, 0.5))
    assert 0 not in IMPAIRED


@pytest.mark.parametrize(
    "killed",
    [
        pytest.param(("udp",), marks=pytest.mark.any_kernel),
        pytest.param(("udp-netem",), marks=pytest.mark.any_kernel),
        pytest.param(("udp", "udp-netem"), marks=pytest.mark.any_kernel),
        ("udp-netem", "udp"),
    ],
    ids=["server", "sidecar", "server then sidecar", "sidecar then server"],
)
def test_served_and_impaired_again_after_a_crash(network: Lab, killed: tuple[str, ...]) -> None:
    network.netem("udp", "loss 50%")
    assert network.exchange(COUNT).answered in IMPAIRED
    restarts = {service: network.container(service).attrs["RestartCount"] for service in killed}
    for service in killed:
        network.kill_process(service)
    killed_at = time.monotonic()
    while network.exchange(20, linger_s=0.1).answered == 0:
        assert time.monotonic() - killed_at < BACK_WITHIN_S, "no answer yet"
    assert network.exchange(COUNT).answered in IMPAIRED
    assert network.settled("udp")["directions"]["from_server"]["asked"] == "loss 50%"
    for service in killed:
        assert network.container(service).attrs["RestartCount"] == restarts[service] + 1
