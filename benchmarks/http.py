"""The web server beside nginx and the threaded Python servers: rates, latency, files, memory.

``python3 -m benchmarks http [--repeats 5] [--seconds 2] [keep-alive] [connections] [file] [idle]``;
all four parts take about four minutes. The load comes from wrk on the same machine.

All servers run from the start and may use every core; each is loaded in turn, and that round is
repeated. A ratio is of two rates of the same round, so that what else the machine does meanwhile
counts for both; what is printed is the median of the rounds, and the least and the greatest.
"""

import argparse
import json
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._http_peer import PAGE
from lab.errors import LabError
from lab.settings import image
from lab.venv import ensure_venv

ROOT = Path(__file__).resolve().parents[1]
CONNECTIONS = 32
FILE_BYTES = 2**20
FILE_CONNECTIONS = 8
IDLE_CONNECTIONS = 10_000
PROBES = 300
START_S = 15.0

OURS, OURS_LOGGING, OURS_TWO = "ours, log off", "ours", "ours, 2 workers"
PEERS = ("gunicorn gthread", "waitress", "cheroot", "http.server")
GUNICORN_TWO = "gunicorn, 2 workers"

# Heads as browsers send them, in turn: four programs in three languages.
WRK_SCRIPT = """
local html = "text/html,application/xhtml+xml,application/xml;q=0.9,"
local agents = {
  {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 "
   .. "Safari/537.36", html .. "image/avif,image/webp,image/apng,*/*;q=0.8"},
  {"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0",
   html .. "*/*;q=0.8"},
  {"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
   .. "Version/18.1 Safari/605.1.15", html .. "*/*;q=0.8"},
  {"curl/8.11.0", "*/*"}}
local languages = {"en-US,en;q=0.9", "de,en-US;q=0.7,en;q=0.3", "fr-CH,fr;q=0.9"}
local requests, n, i = {}, 0, 0
init = function(args)
  for _, agent in ipairs(agents) do for _, language in ipairs(languages) do
    local headers = {
      ["Host"] = wrk.headers["Host"], ["User-Agent"] = agent[1], ["Accept"] = agent[2],
      ["Accept-Language"] = language, ["Accept-Encoding"] = "gzip, deflate, br",
      ["Upgrade-Insecure-Requests"] = "1", ["Connection"] = args[1]}
    n = n + 1
    requests[n] = wrk.format("GET", wrk.path, headers)
  end end
end
request = function() i = i % n + 1; return requests[i] end
"""

NGINX_CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 1000000000; sendfile on; tcp_nopush on;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port};
    location = / {{ default_type text/html; return 200 "{page}"; }}
    location /file.bin {{ root {folder}/pages; }}
  }}
}}
"""


def main(arguments: list[str]) -> int:
    """Run the parts that are named, or all; return 1 when one does not reach what it should."""
    parts = {
        "keep-alive": _keep_alive,
        "connections": _new_connections,
        "file": _file,
        "idle": _idle,
    }
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks http", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--seconds", type=int, default=2, help="of each load (default 2)")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(parts):
        parser.error(f"no part {unknown.pop()!r}; there are {', '.join(parts)}")
    good = [
        part(options.repeats, options.seconds)
        for name, part in parts.items()
        if not options.parts or name in options.parts
    ]
    return int(not all(good))


# --- the parts


def _keep_alive(repeats: int, seconds: int) -> bool:
    if _lacking("keep-alive", "wrk", "nginx"):
        return True
    with _fleet((OURS, OURS_LOGGING, OURS_TWO, "nginx", *PEERS, GUNICORN_TWO)) as fleet:
        rounds = _rounds(fleet, repeats, lambda s: fleet.load(s, seconds, CONNECTIONS))
    print(f"keep-alive, {CONNECTIONS} connections:")
    _print_rates(rounds)
    best = _best(rounds, PEERS)
    p99 = [r[OURS].p99_ms / r["nginx"].p99_ms for r in rounds]
    return all(
        [
            _row(f"ours over {best}", _ratios(rounds, OURS_LOGGING, best), 5),
            _row(
                f"ours over {GUNICORN_TWO}, 2 workers each",
                _ratios(rounds, OURS_TWO, GUNICORN_TWO),
                5,
            ),
            _row("ours over nginx, log off", _ratios(rounds, OURS, "nginx"), 0.5),
            _row("ours over nginx, log on", _ratios(rounds, OURS_LOGGING, "nginx"), 0.4),
            _row("ours over nginx, 2 workers, log off", _ratios(rounds, OURS_TWO, "nginx"), 0.8),
            _row("p99 of ours over that of nginx", p99, 8, at_most=True),
        ]
    )


def _new_connections(repeats: int, seconds: int) -> bool:
    if _lacking("connections", "wrk"):
        return True
    with _fleet((OURS_LOGGING, *PEERS)) as fleet:
        rounds = _rounds(
            fleet, repeats, lambda s: fleet.load(s, seconds, CONNECTIONS, connection="close")
        )
    print("a new connection for each request:")
    _print_rates(rounds)
    best = _best(rounds, PEERS)
    return _row(f"ours over {best}", _ratios(rounds, OURS_LOGGING, best), 1.5)


def _file(repeats: int, seconds: int) -> bool:
    if _lacking("file", "wrk", "nginx"):
        return True
    with _fleet((OURS, "nginx")) as fleet:
        before = fleet.peak_kib(OURS)
        rounds = _rounds(
            fleet, repeats, lambda s: fleet.load(s, seconds, FILE_CONNECTIONS, path="/file.bin")
        )
        grown = fleet.peak_kib(OURS) - before
    print(f"a file of 1 MiB, {FILE_CONNECTIONS} connections:")
    _print_rates(rounds)
    return all(
        [
            _row("ours over nginx with sendfile", _ratios(rounds, OURS, "nginx"), 0.8),
            _row("more memory of ours at its peak, KiB", [grown], 1024, at_most=True),
        ]
    )


def _idle(repeats: int, seconds: int) -> bool:
    if _lacking("idle", "docker"):
        return True
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit < IDLE_CONNECTIONS + 100:
        print(f"idle: skipped; it takes {IDLE_CONNECTIONS + 100} descriptors, the limit is {limit}")
        return True
    resource.setrlimit(resource.RLIMIT_NOFILE, (IDLE_CONNECTIONS + 100, limit))
    with _container() as container, ExitStack() as stack:
        _ask_anew(container)  # so that whatever is loaded once is loaded
        empty = container.memory_kib()
        for _ in range(IDLE_CONNECTIONS):
            client = stack.enter_context(socket.create_connection(container.address, START_S))
            _ask(client)
        full = container.memory_kib()
        waits_ms = []
        for _ in range(PROBES):
            start = time.perf_counter()
            _ask_anew(container)
            waits_ms.append((time.perf_counter() - start) * 1e3)
            time.sleep(0.005)
    print(f"{IDLE_CONNECTIONS} idle connections, as the container accounts them:")
    each = (full - empty) / IDLE_CONNECTIONS
    p99 = statistics.quantiles(waits_ms, n=100)[98]
    return all(
        [
            _row("memory of each, KiB", [each], 56, at_most=True),
            _row("memory in all, MiB", [full / 1024], 640, at_most=True),
            _row("p99 of a new request meanwhile, ms", [p99], 10, at_most=True),
        ]
    )


# --- measuring


@dataclass(frozen=True)
class Load:
    """What wrk saw of a server: requests a second, the 99th percentile of latency."""

    rate_hz: float
    p99_ms: float


Round = dict[str, Load]


@dataclass
class _Fleet:
    """Servers that run, by name."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def load(
        self,
        name: str,
        seconds: int,
        connections: int,
        *,
        path: str = "/",
        connection: str = "keep-alive",
    ) -> Load:
        """Load a server with wrk. Raises RuntimeError if it answers anything but 2xx."""
        url = f"http://127.0.0.1:{self.ports[name]}{path}"
        script = str(self.folder / "heads.lua")
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script, url]
        done = subprocess.run([*argv, "--", connection], capture_output=True, text=True, check=True)
        if "Non-2xx" in done.stdout:
            raise RuntimeError(f"{name} answered with errors:\n{done.stdout}")
        rate = re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)
        p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
        if rate is None or p99 is None:
            raise RuntimeError(f"wrk said of {name}:\n{done.stdout}{done.stderr}")
        return Load(float(rate[1]), float(p99[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[p99[2]])

    def peak_kib(self, name: str) -> float:
        """Return the most resident memory that a server has had."""
        status = Path(f"/proc/{self.processes[name].pid}/status").read_text(encoding="ascii")
        peak = re.search(r"VmHWM:\s*(\d+)", status)
        assert peak is not None
        return float(peak[1])


def _rounds(fleet: _Fleet, repeats: int, load: Callable[[str], Load]) -> list[Round]:
    return [{name: load(name) for name in fleet.ports} for _ in range(repeats)]


def _rate(rounds: Sequence[Round], name: str) -> float:
    return statistics.median(r[name].rate_hz for r in rounds)


def _best(rounds: Sequence[Round], names: Sequence[str]) -> str:
    return max((n for n in names if n in rounds[0]), key=lambda n: _rate(rounds, n))


def _ratios(rounds: Sequence[Round], one: str, other: str) -> list[float]:
    return [r[one].rate_hz / r[other].rate_hz for r in rounds]


def _print_rates(rounds: Sequence[Round]) -> None:
    for name in rounds[0]:
        rates = [r[name].rate_hz for r in rounds]
        p99 = statistics.median(r[name].p99_ms for r in rounds)
        print(
            f"  {name:<22} {statistics.median(rates):9,.0f} /s  [{min(rates):,.0f} to "
            f"{max(rates):,.0f}]   p99 {p99:.2f} ms"
        )


def _row(what: str, values: Sequence[float], target: float, *, at_most: bool = False) -> bool:
    value = statistics.median(values)
    good = value <= target if at_most else value >= target
    spread = f"[{min(values):.2f} to {max(values):.2f}]" if len(values) > 1 else ""
    print(
        f"{what:<46} {value:8.2f} {spread:<18} (at {'most' if at_most else 'least'} {target:g})"
        f"{'' if good else '   NOT REACHED'}",
        flush=True,
    )
    return good


def _lacking(part: str, *programs: str) -> bool:
    """Say which programs are missing; a part that cannot run is not a failure."""
    packages = {"docker": "docker.io", "nginx": "nginx-light"}
    missing = [packages.get(p, p) for p in programs if shutil.which(p) is None]
    if missing:
        print(f"{part}: skipped; install the packages {', '.join(missing)}")
    return bool(missing)


# --- the servers


@contextmanager
def _fleet(names: Sequence[str]) -> Iterator[_Fleet]:
    """Run these servers, all of the same page and file."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "heads.lua").write_text(WRK_SCRIPT, encoding="ascii")
        pages = folder / "pages"
        pages.mkdir(mode=0o755)
        folder.chmod(0o755)  # nginx's worker is another user
        (pages / "index.html").write_bytes(PAGE)
        (pages / "file.bin").write_bytes(b"x" * FILE_BYTES)
        fleet = _Fleet(folder)
        for server in names:
            port = _free_port()
            command = _command(server, port, folder)
            if command is None:
                continue
            log = stack.enter_context(open(folder / f"{server}.log", "wb"))
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
            stack.callback(_end, process)
            fleet.ports[server], fleet.processes[server] = port, process
        for server, port in fleet.ports.items():
            _wait_for(server, port)
        yield fleet


def _command(name: str, port: int, folder: Path) -> list[str] | None:
    pages, where = folder / "pages", ["--host", "127.0.0.1", "--port", str(port)]
    ours = [sys.executable, "-m", "services.http", *where, "--pages", str(pages)]
    application = "benchmarks._http_peer:application"
    bind = ["--bind", f"127.0.0.1:{port}"]
    gunicorn = ["gunicorn", "--worker-class=gthread", "--threads=32", "--keep-alive=75", *bind]
    if name == "nginx":
        text = NGINX_CONFIGURATION.format(folder=folder, port=port, page=PAGE.decode())
        (folder / "nginx.conf").write_text(text, encoding="ascii")
        return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    own = {
        OURS: [*ours, "--log", "off"],
        OURS_LOGGING: ours,
        OURS_TWO: [*ours, "--log", "off", "--workers", "2"],
        "http.server": [
            *(sys.executable, "-m", "http.server", "--protocol", "HTTP/1.1"),
            *("--bind", "127.0.0.1", "--directory", str(pages), str(port)),
        ],
    }
    if name in own:
        return own[name]
    python = _peers()
    if python is None:
        return None
    peers = {
        "gunicorn gthread": [*gunicorn, application],
        GUNICORN_TWO: [*gunicorn, "--workers=2", application],
        "waitress": ["waitress", f"--listen=127.0.0.1:{port}", "--threads=32", application],
        "cheroot": ["cheroot", *bind, "--threads=32", application],
    }
    return [str(python), "-m", *peers[name]]


_PEERS: dict[str, Path | None] = {}


def _peers() -> Path | None:
    """Return the Python that has the peers installed, None (said once) if they cannot be had."""
    if "python" not in _PEERS:
        try:
            _PEERS["python"] = ensure_venv(("bench",))
        except LabError as error:
            print(f"without gunicorn, waitress and cheroot: {error}")
            _PEERS["python"] = None
    return _PEERS["python"]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_for(name: str, port: int) -> None:
    end = time.monotonic() + START_S
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as client:
                _ask(client)
                return
        except OSError:
            if time.monotonic() > end:
                raise RuntimeError(f"{name} does not answer") from None
            time.sleep(0.05)


def _ask(client: socket.socket) -> None:
    """Ask for the page and read the beginning of the answer."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")
    answer = client.recv(65536)
    if not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
        raise OSError(f"answered {answer[:60]!r}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(START_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(START_S)


@dataclass(frozen=True)
class _Container:
    name: str
    address: tuple[str, int]

    def memory_kib(self) -> float:
        """Return what the container is accounted: processes, kernel memory, sockets."""
        from tests.lab.driver import engine

        used = engine().containers.get(self.name).stats(stream=False)["memory_stats"]["usage"]
        return float(used) / 1024


def _ask_anew(container: _Container) -> None:
    with socket.create_connection(container.address, START_S) as client:
        _ask(client)


@contextmanager
def _container() -> Iterator[_Container]:
    """Run the server in a container with the limits that compose.yaml gives it."""
    argv = ["docker", "compose", "--file", "compose.yaml", "config", "--format", "json"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    service = json.loads(done.stdout)["services"]["http"]
    run = ["docker", "run", "--detach", "--rm", "--init", "--cap-drop=ALL", "--read-only"]
    limits = [f"--memory={service['mem_limit']}", f"--pids-limit={service['pids_limit']}"]
    # Only to have the time to open all of them before the first is closed.
    command = [image("progres-lab"), "python3", "-m", "services.http", "--idle-timeout", "10min"]
    started = subprocess.run([*run, *limits, *command], capture_output=True, text=True, check=True)
    name = started.stdout.strip()
    try:
        inspect = subprocess.run(
            ["docker", "inspect", name], capture_output=True, text=True, check=True
        )
        address = json.loads(inspect.stdout)[0]["NetworkSettings"]["IPAddress"]
        end = time.monotonic() + START_S
        while True:
            try:
                with socket.create_connection((address, 12345), 1) as client:
                    _ask(client)
                    break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        yield _Container(name, (address, 12345))
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)
