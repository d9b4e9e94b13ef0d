"""How long the lab takes to come and go, and how large it is; medians of three runs.

Runs in a lab of its own, with images that are built already.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lab.layers import ALL_AT_ONCE, FAST
from lab.settings import image
from tests.lab.driver import ROOT, Lab, engine

RUNS = 3
MIB = 2**20
SERVERS = ("udp", "clock", "http")


def main(arguments: list[str]) -> int:
    """Print each figure beside what it is to stay under; return 1 when one does not."""
    rows = [*_coming_and_going(), _image(), _fast_layers()]
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
        subprocess.run(argv, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    return ("test layers pure and loopback", _seconds(run), "s", 30)


def _seconds(act: Callable[[], object]) -> float:
    start = time.monotonic()
    act()
    return time.monotonic() - start
