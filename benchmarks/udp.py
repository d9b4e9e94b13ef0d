"""UDP ping against the best tools, the wire itself, and the same server loop in C.

``python3 -m benchmarks udp [saturated] [hogs] [containers] [wire] [account]``; all take about three
minutes, on a machine that does nothing else. Needs the Debian packages gcc, irtt and tshark; the
part ``containers`` needs Docker and the image that ``make up`` builds.
"""

import csv
import io
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from lab.settings import image

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent

ROUNDS = 3
SATURATED_ROUNDS, SATURATED_S = 15, 0.4
HOG = ("sh", "-c", "while :; do :; done")
PINGS, INTERVAL_MS = 200, 20
LENGTH = 60  # bytes of each datagram, ours and irtt's, whose smallest with all stamps it is
PROBES, PROBE_INTERVAL = 100_000, "250us"
DROP, LOSS, COPIES, REORDER = 0.5, 0.1, 0.05, 0.05
START_S = 10.0


def main(arguments: list[str]) -> int:
    """Run the parts that are named, or all; return 1 when one does not reach what it should."""
    parts: dict[str, Callable[[], bool]] = {
        "saturated": _saturated,
        "hogs": _hogs,
        "containers": _containers,
        "wire": _wire,
        "account": _account,
    }
    if unknown := set(arguments) - set(parts):
        print(f"no part {unknown.pop()!r}; there are {', '.join(parts)}", file=sys.stderr)
        return 2
    good = [part() for name, part in parts.items() if not arguments or name in arguments]
    return int(not all(good))


def _row(what: str, value: str, target: str, good: bool) -> bool:
    print(f"{what:<52} {value:>18}  ({target}){'' if good else '   NOT REACHED'}", flush=True)
    return good


def _lacking(part: str, *programs: str) -> bool:
    """Say which programs are missing; a part that cannot run is not a failure."""
    packages = {"docker": "docker.io"}
    missing = [packages.get(p, p) for p in programs if shutil.which(p) is None]
    if missing:
        print(f"{part}: skipped; install the packages {', '.join(missing)}")
    return bool(missing)


@contextmanager
def _process(
    *command: str, core: int | None = None, priority: int = 20, **options: Any
) -> Iterator[Any]:
    """Run a program, and end it afterwards; on one core of its own, if that is said.

    There it has real-time priority where the user may give that (root), so that nothing else on the
    machine takes part; the kernel leaves the others 50 ms of each second.
    """

    def pin() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})
            with suppress(PermissionError):
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))

    process = subprocess.Popen(command, cwd=ROOT, preexec_fn=pin, text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(START_S)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


def _server(port: int, *options: str) -> list[str]:
    return _python("services.udp", "--host", "127.0.0.1", "--port", str(port), *options)


def _peer(name: str, port: int) -> list[str]:
    return _python("benchmarks._udp_peer", name, str(port))


def _wait_for_server(port: int) -> None:
    """Return when something answers, whoever it is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(0.05)
        for _ in range(round(START_S / 0.05)):
            try:
                sock.send(b"hello?")
                sock.recv(100)
                return
            except TimeoutError:
                pass
            except ConnectionRefusedError:
                time.sleep(0.05)
    raise RuntimeError(f"nothing answers on port {port}")


# --- saturated: answers a second, one core for the server and one for the load


def _saturated() -> bool:
    if _lacking("saturated", "gcc"):
        return True
    if (os.cpu_count() or 1) < 2:
        print("saturated: skipped; it needs two cores, one for the server and one for the load")
        return True
    with tempfile.TemporaryDirectory() as folder:
        loop, load = f"{folder}/udp_loop", f"{folder}/udp_load"
        for program in (loop, load):
            source = HERE / f"{Path(program).name}.c"
            subprocess.run(["gcc", "-O2", "-Wall", "-o", program, str(source)], check=True)
        no_drop = ["--drop", "0"]
        servers: dict[str, tuple[str, Callable[[int], list[str]]]] = {
            "C": ("plain", lambda port: [loop, str(port), "0", "plain"]),
            "ours, log off": ("plain", lambda port: _server(port, *no_drop, "--log", "off")),
            "ours, logging": ("plain", lambda port: _server(port, *no_drop)),
            "C, times and account": ("numbered", lambda port: [loop, str(port), "0", "numbered"]),
            "ours, times and account": (
                "numbered",
                lambda port: _server(port, *no_drop, "--log", "off"),
            ),
            "asyncio": ("plain", lambda port: _peer("asyncio", port)),
            "socketserver": ("plain", lambda port: _peer("socketserver", port)),
        }
        rates: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(SATURATED_ROUNDS):
            for name, (kind, command) in servers.items():
                rates[name].append(_rate(load, kind, command))
    median = {name: statistics.median(found) for name, found in rates.items()}
    for name, rate in median.items():
        print(f"{'answers a second, ' + name:<52} {rate:>18,.0f}")

    def ratio(name: str, other: str, least: float) -> bool:
        """Compare within each round: what else the machine does counts for both."""
        ratios = [one / two for one, two in zip(rates[name], rates[other], strict=True)]
        found = statistics.median(ratios)
        spread = f"{found:.2f} [{min(ratios):.2f} to {max(ratios):.2f}]"
        target = f"at least {least:g}" if least else "no figure asked for"
        return _row(f"{name} / {other}", spread, target, found >= least)

    return all(
        [
            ratio("ours, log off", "C", 0.65),
            ratio("ours, logging", "C", 0.5),
            ratio("ours, logging", "asyncio", 2.5),
            ratio("ours, times and account", "C, times and account", 0),
        ]
    )


def _rate(load: str, kind: str, command: Callable[[int], list[str]]) -> float:
    """Return the answers a second of a server on core 0; its log goes through a pipe, to core 1."""
    port = _free_port()
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    with (
        _process("cat", core=1, priority=30, **piped) as reader,
        _process(*command(port), core=0, stdout=reader.stdin),
    ):
        _wait_for_server(port)
        argv = [load, str(port), str(SATURATED_S), kind]
        with _process(*argv, core=1, stdout=subprocess.PIPE) as loading:
            return float(loading.communicate()[0])


# --- hogs and containers: the spread of round trips on a busy machine


def _hogs() -> bool:
    if _lacking("hogs", "irtt"):
        return True
    with ExitStack() as running:
        ours_port, irtt_port = _free_port(), _free_port()
        server = _server(ours_port, "--drop", "0", "--log", "off")
        running.enter_context(_process(*server))
        running.enter_context(_irtt_server("irtt", irtt_port))
        _wait_for_server(ours_port)
        return _compare_spread(
            "loopback",
            lambda: _ours(_python("clients.udp", "--port", str(ours_port))),
            lambda: _irtt(["irtt"], f"127.0.0.1:{irtt_port}"),
            [HOG] * 4,
        )


@contextmanager
def _irtt_server(program: str, port: int) -> Iterator[None]:
    with _process(program, "server", "-b", f"127.0.0.1:{port}", stdout=subprocess.DEVNULL):
        time.sleep(0.5)
        yield


def _ours(command: list[str], *more: str) -> dict[str, Any]:
    pace = ["--paced", "--interval", f"{INTERVAL_MS}ms", "--count", str(PINGS)]
    size = ["--size", str(LENGTH), "--timeout", "1s"]
    argv = [*command, *pace, *size, "--json", *more]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


def _irtt(command: list[str], address: str) -> dict[str, Any]:
    duration = f"{PINGS * INTERVAL_MS}ms"
    pace = ["-i", f"{INTERVAL_MS}ms", "-d", duration, "-l", str(LENGTH)]
    argv = [*command, "client", "-Q", *pace, "-o", "-", address]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    document = json.loads(done.stdout[done.stdout.index("{") :])
    assert isinstance(document, dict)
    return document


def _compare_spread(
    where: str,
    ours: Callable[[], dict[str, Any]],
    irtt: Callable[[], dict[str, Any]],
    hogs: Sequence[Sequence[str]],
) -> bool:
    spreads: dict[str, list[float]] = {"ours": [], "irtt": []}
    by_kernel = samples = 0
    with ExitStack() as hogging:
        for command in hogs:
            hogging.enter_context(_process(*command))
        for _ in range(ROUNDS):
            figures = ours()["statistics"]
            spreads["irtt"].append(irtt()["stats"]["rtt"]["stddev"] / 1e3)
            spreads["ours"].append(figures["rtt"]["stddev_s"] * 1e6)
            by_kernel += figures["rtt_by_kernel"]
            samples += figures["rtt"]["samples"]
    for name, found in spreads.items():
        each = ", ".join(f"{spread:.1f}" for spread in found)
        print(f"stddev of RTT, {where}, {len(hogs)} hogs, {name}: {each} us")
    print(f"  of our {samples} samples, {by_kernel} are from kernel stamp to kernel stamp")
    ratio = statistics.median(spreads["ours"]) / statistics.median(spreads["irtt"])
    what = f"stddev of RTT, {where}: ours / irtt's"
    return _row(what, f"1/{1 / ratio:.0f}", "at most 1/20", ratio <= 1 / 20)


def _containers() -> bool:
    """Do the same from container to container, with irtt's program mounted into the lab's image."""
    if _lacking("containers", "irtt", "docker"):
        return True
    if subprocess.run(
        ["docker", "image", "inspect", image("progres-lab")], capture_output=True
    ).returncode:
        print("containers: skipped; the image progres-lab is not built (make up builds it)")
        return True
    name = f"progres-lab-bench-udp-{os.getpid()}"
    irtt = f"{shutil.which('irtt')}:/irtt:ro"
    mounts = ["-v", f"{ROOT}:/lab:ro", "-v", irtt, "-w", "/lab"]

    def docker(*arguments: str) -> None:
        subprocess.run(["docker", *arguments], check=True, capture_output=True)

    def start(suffix: str, *command: str) -> None:
        options = ["-d", "--rm", "--init", "--name", f"{name}-{suffix}", "--network", name]
        docker("run", *options, *mounts, image("progres-lab"), *command)

    # "docker run" itself costs a second of CPU: the clients run in containers that are there.
    client = ["docker", "exec", f"{name}-client"]
    with ExitStack() as cleaning:
        docker("network", "create", name)
        cleaning.callback(docker, "network", "rm", name)
        for suffix, command in {
            "udp": ["python3", "-m", "services.udp", "--drop", "0", "--log", "off"],
            "irtt": ["/irtt", "server"],
            "client": ["sleep", "infinity"],
        }.items():
            start(suffix, *command)
            cleaning.callback(docker, "rm", "-f", f"{name}-{suffix}")
        time.sleep(2)
        return _compare_spread(
            "container to container",
            lambda: _ours([*client, "python3", "-m", "clients.udp", "--host", f"{name}-udp"]),
            lambda: _irtt([*client, "/irtt"], f"{name}-irtt"),
            # In the containers: outside, they would disturb nobody, because the kernel shares the
            # processors among groups first, and all containers are one.
            [
                ["docker", "exec", f"{name}-{suffix}", *HOG]
                for suffix in ("client", "client", "udp", "irtt")
            ],
        )


# --- wire: the median round trip against the packets as tshark captured them


def _wire() -> bool:
    if _lacking("wire", "irtt", "tshark"):
        return True
    errors: dict[str, list[float]] = {"ours": [], "irtt": []}
    for _ in range(ROUNDS):
        ours_port, irtt_port = _free_port(), _free_port()
        with ExitStack() as running:
            folder = running.enter_context(tempfile.TemporaryDirectory())
            running.enter_context(_process(*_server(ours_port, "--drop", "0", "--log", "off")))
            running.enter_context(_irtt_server("irtt", irtt_port))
            _wait_for_server(ours_port)
            for name, port in (("ours", ours_port), ("irtt", irtt_port)):
                with _capture(f"{folder}/{name}", port):
                    if name == "ours":
                        document = _ours(_python("clients.udp", "--port", str(port)))
                        told = _our_trips(document)
                    else:
                        told = _irtt_trips(_irtt(["irtt"], f"127.0.0.1:{port}"))
                wire = _wire_trips(f"{folder}/{name}", port)
                if len(wire) < PINGS * 0.9:
                    raise RuntimeError(f"tshark has seen {len(wire)} round trips of {PINGS}")
                difference = statistics.median(told) - statistics.median(wire)
                errors[name].append(difference * 1e6)
    for name, found in errors.items():
        each = ", ".join(f"{error:+.1f}" for error in found)
        print(f"median round trip less that on the wire, {name}: {each} us")
    ours, irtt = (statistics.median(map(abs, errors[name])) for name in ("ours", "irtt"))
    within = _row("median against the wire, ours", f"{ours:.1f} us", "at most 20 us", ours <= 20)
    closer = _row("the same, irtt", f"{irtt:.1f} us", "ours is closer", ours < irtt)
    return within and closer


@contextmanager
def _capture(path: str, port: int) -> Iterator[None]:
    """Capture on the loopback interface; round trips contain the server's time there."""
    tshark = ["tshark", "-q", "-i", "lo", "-f", f"udp port {port}", "-w", path]
    with _process(*tshark, stderr=subprocess.PIPE) as capturing:
        for line in capturing.stderr:
            if "Capture started" in line:
                break
        time.sleep(1)
        yield
        time.sleep(1)
        capturing.send_signal(signal.SIGINT)
        capturing.wait(START_S)
        capturing.stderr.close()


def _our_trips(document: dict[str, Any]) -> list[float]:
    """Return the round trips with the server's time in them, in seconds."""
    attempts = (a for request in document["requests"] for a in request["attempts"])
    return [attempt["elapsed_s"] for attempt in attempts if attempt["elapsed_s"] is not None]


def _irtt_trips(document: dict[str, Any]) -> list[float]:
    trips = [t["timestamps"]["client"] for t in document["round_trips"] if t["lost"] == "false"]
    return [(t["receive"]["monotonic"] - t["send"]["monotonic"]) / 1e9 for t in trips]


def _wire_trips(path: str, port: int) -> list[float]:
    """Return the round trips on the wire, in seconds; nothing is lost or overtaken there."""
    fields = ["-T", "fields", "-e", "frame.time_epoch", "-e", "udp.dstport", "-e", "udp.length"]
    argv = ["tshark", "-r", path, *fields]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    asked_s: deque[float] = deque()
    trips: list[float] = []
    for line in done.stdout.splitlines():
        moment, destination, length = line.split("\t")
        if int(length) < LENGTH + 8:  # irtt's handshake; our answers are longer than questions
            continue
        if destination == str(port):
            if int(length) == LENGTH + 8:  # no question for an account
                asked_s.append(float(moment))
        elif asked_s:
            trips.append(float(moment) - asked_s.popleft())
    return trips


# --- account: what became of each of 100,000 probes, against the server's log and the path's own


def _account() -> bool:
    server_port = _free_port()
    with ExitStack() as running:
        log = running.enter_context(tempfile.TemporaryFile("w+"))
        server = _server(server_port, "--drop", str(DROP), "--seed", "1")
        serving = running.enter_context(_process(*server, stdout=log))
        _wait_for_server(server_port)
        relay = _python("benchmarks._udp_relay", str(server_port))
        path = [str(LOSS), str(COPIES), str(REORDER), "1"]
        relaying = running.enter_context(_process(*relay, *path, stdout=subprocess.PIPE))
        port = relaying.stdout.readline().strip()
        pace = ["--paced", "--interval", PROBE_INTERVAL, "--count", str(PROBES)]
        client = _python("clients.udp", "--port", port, *pace, "--timeout", "1s", "--csv")
        done = subprocess.run(client, cwd=ROOT, capture_output=True, text=True, check=False)
        relaying.terminate()
        noted = [line.split() for line in relaying.communicate()[0].splitlines()]
        serving.terminate()
        serving.wait(START_S)
        log.seek(0)
        ends = {"answered": set[str](), "dropped": set[str]()}
        for line in log:
            if found := re.search(r" (answered|dropped) .* ping=\w+/(\S+)$", line):
                ends[found[1]].add(found[2])
    back = {name: int(copies) for name, _, copies, _ in noted}
    dwell_s = {name: int(dwell_ns) / 1e9 for name, _, _, dwell_ns in noted}
    right = wrong_credit = late = 0
    told: dict[str, int] = {}
    for row in csv.DictReader(io.StringIO(done.stdout)):
        name, outcome = f"{row['request']}.{row['attempt']}", row["outcome"]
        told[outcome] = told.get(outcome, 0) + 1
        late += outcome == "answered late"
        if back.get(name, 0):
            truth = "answered"
        elif name in ends["answered"]:
            truth = "lost on the way back"
        elif name in ends["dropped"]:
            truth = "dropped by the server"
        else:
            truth = "lost on the way there"
        right += outcome.removesuffix(" late") == truth
        if row["elapsed_s"]:  # the path has handed over its answer, and had it no longer than that
            more_s = float(row["elapsed_s"]) - dwell_s.get(name, 0.0)
            wrong_credit += not back.get(name, 0) or more_s < 0
    for outcome, count in sorted(told.items()):
        print(f"  {outcome:<50} {count:>18,}")
    total = sum(told.values())
    share = f"{right / PROBES:.3%}"
    return all(
        [
            _row(
                f"{PROBES:,} probes attributed right",
                share,
                "at least 99.9 %",
                right >= 0.999 * PROBES,
            ),
            _row("sum of the outcomes", f"{total:,}", f"exactly {PROBES:,}", total == PROBES),
            _row("samples credited to a wrong attempt", str(wrong_credit), "0", wrong_credit == 0),
        ]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
