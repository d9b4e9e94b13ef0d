"""How long the lab takes to come and go, how large it is, and what an idle sidecar costs.

Runs in a lab of its own, with images that are built already; medians of three runs.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lab.layers import ALL_AT_ONCE, FAST, environment
from lab.settings import image
from tests.lab.driver import ROOT, Lab, engine

RUNS = 3
DIFFERENCES = 17
MIB = 2**20
SERVERS = ("udp", "clock", "http")


def main(arguments: list[str]) -> int:
    """Print each figure beside what it is to stay under; return 1 when one does not."""
    rows = [*_coming_and_going(), _idle_sidecar(), _image(), _fast_layers()]
    for what, value, unit, limit in rows:
        verdict = "" if value <= limit else "   TOO MUCH"
        print(f"{what:<50} {value:8.1f} {unit:<4} (at most {limit:g}){verdict}")
    return int(any(value > limit for _, value, _, limit in rows))


Row = tuple[str, float, str, float]


def _coming_and_going() -> list[Row]:
    free_ports = {"UDP_PORT": "0", "CLOCK_PORT": "0", "HTTP_PORT": "0"}
    up, again, down, memory, applied = [], [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(engine(), Path(folder) / "settings.env", free_ports)
        try:
            lab.make("up", settings=free_ports)
            lab.make("down")
            for _ in range(RUNS):
                up.append(_seconds(lambda: lab.make("up", settings=free_ports)))
                again.append(_seconds(lambda: lab.make("up")))
                memory.append(max(_memory(lab, server) for server in SERVERS))
                applied.append(_scenario_applied(lab, folder))
                down.append(_seconds(lambda: lab.make("down")))
        finally:
            lab.make("down")
    return [
        ("make up, images built", statistics.median(up), "s", 10),
        ("make up again", statistics.median(again), "s", 10),
        ("make down", statistics.median(down), "s", 5),
        ("memory of the largest idle server", statistics.median(memory), "MiB", 25),
        ("a scenario applied to all three servers", statistics.median(applied), "s", 1),
    ]


def _scenario_applied(lab: Lab, folder: str) -> float:
    """Put one into effect and return the seconds until all sidecars have read it back."""
    settings = {"NAME": "exam", "CALIBRATE": "no", "LAB_RESULTS": folder}
    printed = lab.make("scenario", settings=settings).stdout
    found = re.search(r"applied in ([\d.]+) s", printed)
    if found is None:
        raise SystemExit(f"make scenario did not say how long it took: {printed}")
    return float(found[1])


def _idle_sidecar() -> Row:
    """What a sidecar without an impairment adds to the round trip, as far as can be told.

    The same server twice, once in a namespace with a sidecar and once in one without, asked in
    turn. The row's value is how far the median difference is from 0 for certain: that end of its
    98.7 % interval which is nearer to 0 (the 4th and the 14th of 17 differences in order; sign
    test, Conover 1999, section 3.2), and 0 where 0 is inside.
    """
    free_ports = {"UDP_PORT": "0", "CLOCK_PORT": "0", "HTTP_PORT": "0", "LAB_UDP_NETEM": "off"}
    added = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Lab.started(engine(), Path(folder), free_ports) as lab,
    ):
        without = lab.engine.containers.run(
            image("progres-lab"),
            ["python3", "-m", "services.udp", "--drop", "0", "--log", "off"],
            name=f"{lab.project}-without",
            detach=True,
            init=True,
            network=f"{lab.project}_lab",
            labels={"com.docker.compose.project": lab.project},
        )
        servers = [("udp", lab.faithful_port), (without.name, 1234)]
        for number in range(DIFFERENCES):
            in_turn = servers if number % 2 else servers[::-1]
            trips = {name: _round_trip_us(lab, name, port) for name, port in in_turn}
            added.append(trips["udp"] - trips[without.name])
    low, middle, high = (sorted(added)[place] for place in (3, DIFFERENCES // 2, -4))
    what = f"an idle sidecar adds {middle:.1f} us ({low:.1f} to {high:.1f}): from 0"
    return (what, max(0.0, low, -high), "us", 0)


def _round_trip_us(lab: Lab, host: str, port: int) -> float:
    """Return the median of 500 round trips to a UDP server of the lab's network."""
    where = ["--host", host, "--port", str(port)]
    pace = ["--paced", "--interval", "2ms", "--count", "500", "--timeout", "1s"]
    asked = lab.prober.exec_run(["python3", "-m", "clients.udp", *where, *pace, "--json"])
    return float(json.loads(asked.output)["statistics"]["rtt"]["median_s"]) * 1e6


def _memory(lab: Lab, server: str) -> float:
    used: int = lab.container(server).stats(stream=False)["memory_stats"]["usage"]
    return used / MIB


def _image() -> Row:
    """The server image, less the layer that is its base."""
    server = engine().images.get(image("progres-lab"))
    layers = [layer["Size"] for layer in reversed(server.history())]
    base = next(size for size in layers if size)
    return ("server image over its base", (sum(layers) - base) / MIB, "MiB", 45)


def _fast_layers() -> Row:
    argv = [sys.executable, "-m", "pytest", "-q", *ALL_AT_ONCE, *FAST]

    def run() -> None:
        subprocess.run(
            argv, cwd=ROOT, env=environment(os.environ), check=True, stdout=subprocess.DEVNULL
        )

    return ("test layers pure and loopback", _seconds(run), "s", 30)


def _seconds(act: Callable[[], object]) -> float:
    start = time.monotonic()
    act()
    return time.monotonic() - start
