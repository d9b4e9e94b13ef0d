"""``make capture`` on a running lab: what is in the file, who wrote it, and how it ends."""

import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import ladder, pcapng
from tests.lab.driver import ROOT, Lab, eventually, printed

NET_RAW = 1 << 13
"""CAP_NET_RAW of linux/capability.h as a bit mask."""


class Capturing:
    """``make capture`` in the background."""

    def __init__(self, lab: Lab, exercise: str, results: Path, seconds: str = "") -> None:
        self.lab = lab
        self.folder = results / "capture"
        settings = {
            "COMPOSE_PROJECT_NAME": lab.project,
            "LAB_ENV_FILE": str(lab.environment_file),
            "LAB_RESULTS": str(results),
            "SERVICE": exercise,
            "SECONDS": seconds,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lab", "capture"],
            cwd=ROOT,
            env=os.environ | settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.path = self.folder / "latest" / f"{exercise}.pcapng"
        eventually(self.path.is_file, "the capture has begun", 120)

    def containers(self) -> list[str]:
        """Return the names of the containers that capture."""
        names = [container.name for container in self.lab.containers()]
        return [name for name in names if "-capture-" in name]

    def ended(self, number: signal.Signals | None = None) -> tuple[int, str]:
        """Signal it, wait for its end, and return status and output."""
        if number is not None:
            self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, out

    def read(self) -> pcapng.Capture:
        return pcapng.parse(self.path.read_bytes())


@contextlib.contextmanager
def capturing(lab: Lab, exercise: str, results: Path, seconds: str = "") -> Iterator[Capturing]:
    running = Capturing(lab, exercise, results, seconds)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


def test_capture_and_account_tell_what_the_client_found_out(network: Lab, tmp_path: Path) -> None:
    network.netem("udp", "loss 30%")
    network.netem("udp", "loss 30%", "to_server")
    with capturing(network, "udp", tmp_path) as running:
        document = network.client_json(
            "udp", "--paced", "--count", "100", "--interval", "5ms", "--timeout", "1s"
        )
        status, shown = running.ended(signal.SIGINT)
    assert status == 0, shown
    assert "none missed" in shown
    told = Counter(a["outcome"] for r in document["requests"] for a in r["attempts"])
    (run,) = (r for r in ladder.captured_runs(running.path) if r.name == document["run"])
    assert Counter(str(trip.outcome) for trip in run.trips) == told
    # What is lost on the way out never reaches the tap; what is lost on the way in has passed it.
    assert told["lost on the way there"] > 0
    assert told["lost on the way back"] > 0
    assert all(trip.asked_ns for trip in run.trips)
    assert not any(trip.answers for trip in run.trips if trip.outcome == "lost on the way back")
    # The kernel's stamp of the tap is the one that the server tells.
    assert all(
        answer.times is None or answer.times.received_ns >= trip.asked_ns[0]
        for trip in run.trips
        for answer in trip.answers
    )


@pytest.mark.any_kernel
def test_the_container_has_net_raw_and_nothing_else(lab: Lab, tmp_path: Path) -> None:
    with capturing(lab, "udp", tmp_path) as running:
        (name,) = running.containers()
        container = lab.engine.containers.get(name)
        host = container.attrs["HostConfig"]
        assert host["CapDrop"] == ["ALL"]
        assert host["CapAdd"] in (["NET_RAW"], ["CAP_NET_RAW"])
        assert host["ReadonlyRootfs"] is True
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert not container.attrs["Mounts"]
        status = printed(container, ["cat", "/proc/1/status"])
        assert f"CapEff:\t{NET_RAW:016x}" in status
        assert running.ended(signal.SIGTERM)[0] == 143
        assert running.containers() == []
    assert running.read().whole


@pytest.mark.any_kernel
@pytest.mark.parametrize("exercise", ["clock", "http"])
def test_the_other_servers_for_so_many_seconds(exercise: str, lab: Lab, tmp_path: Path) -> None:
    prober = lab.prober  # there before the seconds begin
    with capturing(lab, exercise, tmp_path, "3s") as running:
        # From inside the namespace, so that this needs no start of a client.
        probe = "import socket; socket.create_connection(({!r}, {}), 5).close()"
        port = {"clock": 1236, "http": 12345}[exercise]
        assert prober.exec_run(["python3", "-c", probe.format(exercise, port)]).exit_code == 0
        status, shown = running.ended()
    assert status == 0, shown
    file = running.read()
    assert len(file.packets) >= 6  # hands shaken and waved, both ways
    assert {packet.outgoing for packet in file.packets} == {True, False}
    assert file.missed == 0


@pytest.mark.any_kernel
def test_killed_with_its_terminal_it_leaves_a_valid_file_and_no_container(
    lab: Lab, tmp_path: Path
) -> None:
    with capturing(lab, "udp", tmp_path) as running:
        lab.exchange(20)
        running.ended(signal.SIGKILL)
        eventually(lambda: not running.containers(), "the container has gone")
    assert len(running.read().packets) >= 20


@pytest.mark.any_kernel
def test_when_its_container_is_killed_the_file_is_valid_and_it_says_so(
    lab: Lab, tmp_path: Path
) -> None:
    with capturing(lab, "udp", tmp_path) as running:
        lab.exchange(20)
        (name,) = running.containers()
        eventually(lambda: len(running.read().packets) >= 20, "the packets are in the file")
        lab.engine.containers.get(name).kill()
        status, shown = running.ended()
    assert status == 1
    assert "nobody knows" in shown
    file = running.read()
    assert (file.whole, file.missed) == (True, None)
