"""udp-client's round trips against a capture of the same packets, through a network with delays."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netem.namespaces import ROOT, SERVER, Namespaces, eventually, made
from tests.requirements_gate import missing

PORT, COUNT = 1234, 200
AGREE_WITHIN_S = 50e-6
"""The capture stamps a packet on its way out a little before the network driver does; an emulated
processor takes 10 to 20 us from one to the other."""

# Prints the kernel's stamp, in nanoseconds, and the direction of every ping's packet on eth0. It
# looks five times a second: a reader that waits is woken by each packet, in the very time between
# the tap's stamp and the driver's.
CAPTURE = """
import contextlib, re, select, socket, struct, sys
ping = re.compile(rb"(received .*)?ping [0-9a-f]{8} ([0-9]+)[.]1 #", re.S)
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as tap:
    tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    tap.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
    tap.bind(("eth0", 0))
    tap.setblocking(False)
    print("ready", flush=True)
    over = []
    while not over:
        over = select.select([sys.stdin], [], [], 0.2)[0]  # closed: that was all
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, ancillary, _, _ = tap.recvmsg(2000, 100)
                if match := ping.search(packet):
                    seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
                    print(bool(match[1]), match[2].decode(), seconds * 10**9 + nanoseconds)
"""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Namespaces]:
    with made(tmp_path) as namespaces:
        yield namespaces


def answers(pair: Namespaces, client: tuple[str, ...]) -> bool:
    one = (*client, "--count", "1", "--timeout", "1s", "--max-tries", "1")
    return pair.run(*one, namespace=pair.client, check=False).returncode == 0


def measured(pair: Namespaces) -> tuple[list[float], list[float]]:
    """Ping through it; return the round trips in seconds, as told and as captured."""
    argv = pair._argv((sys.executable, "-c", CAPTURE), pair.client)
    serve = (sys.executable, "-m", "services.udp", "--drop", "0", "--log", "off")
    with (
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as capture,
        subprocess.Popen(pair._argv(serve), cwd=ROOT) as server,
    ):
        try:
            assert capture.stdout is not None
            assert capture.stdout.readline() == "ready\n"
            client = (sys.executable, "-m", "clients.udp", "--host", SERVER, "--port", str(PORT))
            eventually(lambda: answers(pair, client), "the server answers")
            pace = ("--paced", "--interval", "10ms", "--count", str(COUNT), "--timeout", "3s")
            shown = pair.run(*client, *pace, "--json", namespace=pair.client).stdout
            packets = capture.communicate(timeout=30)[0].splitlines()
        finally:
            capture.kill()
            server.terminate()
    document: dict[str, Any] = json.loads(shown)
    told = {
        request["request"]: request["attempts"][0]["elapsed_s"] for request in document["requests"]
    }
    captured: dict[int, dict[bool, int]] = {}
    for packet in packets:
        back, number, stamp_ns = packet.split()
        captured.setdefault(int(number), {})[back == "True"] = int(stamp_ns)  # the last run's
    trips = {n: (both[True] - both[False]) / 1e9 for n, both in captured.items() if len(both) == 2}
    assert len(trips) == COUNT == sum(trip is not None for trip in told.values())
    return [told[n] for n in sorted(trips)], [trips[n] for n in sorted(trips)]


def test_without_delay_round_trips_are_those_of_the_capture(pair: Namespaces) -> None:
    told, captured = measured(pair)
    assert abs(statistics.median(told) - statistics.median(captured)) < AGREE_WITHIN_S


def test_with_50_ms_and_10_ms_of_jitter_the_mean_is_that_of_the_capture(pair: Namespaces) -> None:
    if pair.change("loss 1%")["mechanism"] != "netem":
        missing("netem", "this kernel has none; make test-vm")
    pair.set("delay 50ms 10ms")
    told, captured = measured(pair)
    assert abs(statistics.fmean(told) - statistics.fmean(captured)) < AGREE_WITHIN_S
    # Uniform over 40 to 60 ms; 200 of them average to within 5 sigma / sqrt(200) = 2 ms, and an
    # emulated processor adds its own.
    assert 0.048 < statistics.fmean(told) < 0.060


def test_a_delay_on_the_clients_own_side_is_in_the_round_trip(pair: Namespaces) -> None:
    delay = ("tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "20ms")
    if pair.run(*delay, namespace=pair.client, check=False).returncode:
        missing("netem", "this kernel has none; make test-vm")
    told, _ = measured(pair)
    assert min(told) >= 0.02
