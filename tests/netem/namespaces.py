"""Two network namespaces joined by a cable: "server" (the sidecar's) and "client", no engine.

The sidecar runs as a process in the server's namespace, as its container does. Needs root, and
``ip``, ``tc`` and ``nft``; the test is skipped, or fails by LAB_REQUIRE, where they are missing.
"""

import concurrent.futures
import contextlib
import ctypes
import functools
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest

from tests.requirements_gate import missing

ROOT = Path(__file__).resolve().parents[2]
SERVER, CLIENT, PORT = "192.0.2.1", "192.0.2.2", 5000  # RFC 5737: for documentation and tests
ALL_SYSTEMS = "224.0.0.1"
"""The group that every host is in (RFC 1112, section 4)."""
TARGETS = {"from_server": CLIENT, "to_server": SERVER}
DEADLINE_S = 20.0

CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE, SO_MEMINFO, SK_MEMINFO_DROPS = 33, 55, 8
"""Linux's numbers (sched.h, socket.h, sock_diag.h): Python does not name them, nor setns before
3.12."""

# Loads the sidecar once, and runs each command in a fork of itself: on an emulated processor,
# starting Python and importing takes ten times as long as what the command does.
RESIDENT = """
import json, os, sys, traceback
from services.netem.__main__ import main
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if not child:
        status = 70
        try:
            for descriptor, path in enumerate(order["files"]):
                os.dup2(os.open(path, os.O_RDWR), descriptor)
            status = main(order["arguments"])
        except SystemExit as ended:
            status = ended.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Put this thread into a namespace meanwhile; sockets made here stay in it."""
    with open("/proc/thread-self/ns/net") as own, open(f"/run/netns/{namespace}") as other:
        _enter(other)
        try:
            yield
        finally:
            _enter(own)


def _enter(namespace: TextIO) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace.fileno(), CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Resident:
    """The sidecar's program, waiting in a namespace for one command after the other."""

    def __init__(self, namespace: str) -> None:
        argv = ["ip", "netns", "exec", namespace, sys.executable, "-c", RESIDENT]
        self._process = subprocess.Popen(
            argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._statuses = self._process.stdin, self._process.stdout
        assert self._statuses.readline() == "ready\n"

    def run(self, arguments: Sequence[str], stdin: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, name) for name in ("in", "out", "err")]
            for file, content in zip(files, (stdin, "", ""), strict=True):
                file.write_text(content, encoding="utf-8")
            order = {"arguments": list(arguments), "files": [str(file) for file in files]}
            print(json.dumps(order), file=self._orders, flush=True)
            status = int(self._statuses.readline())
            _, out, err = (file.read_text(encoding="utf-8") for file in files)
        return subprocess.CompletedProcess(list(arguments), status, out, err)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


@dataclass
class Namespaces:
    """The pair, and the folder that stands for the settings volume."""

    name: str
    settings: Path

    @property
    def server(self) -> str:
        """The name of the server's namespace."""
        return f"{self.name}-s"

    @property
    def client(self) -> str:
        """The name of the client's namespace."""
        return f"{self.name}-c"

    def run(
        self, *argv: str, namespace: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the server's namespace, or another, to its end."""
        done = subprocess.run(
            self._argv(argv, namespace),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(argv)}: exit status {done.returncode}: {done.stderr}")
        return done

    def sidecar(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command of the sidecar to its end, whatever its exit status."""
        return self._resident.run([*self._settings_option(), *arguments], "")

    def sidecar_process(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Do the same in a process of its own, as beside other commands."""
        return self.run(*self._sidecar_argv(), *arguments, check=False)

    @functools.cached_property
    def _resident(self) -> Resident:
        return Resident(self.server)

    def close(self) -> None:
        """End what waits in the namespaces, and take them away."""
        if "_resident" in self.__dict__:
            self._resident.close()
        for namespace in (self.server, self.client):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)

    def set(self, words: str, direction: str = "from_server") -> dict[str, Any]:
        """Change one direction and return the receipt; fail when it is refused."""
        done = self.sidecar("set", "--direction", direction, words, "--json")
        assert done.returncode == 0, done.stderr
        receipt: dict[str, Any] = json.loads(done.stdout)
        return receipt

    def change(self, words: str, direction: str = "from_server") -> dict[str, Any]:
        """Change one direction and return its part of the receipt; fail when it is refused."""
        part: dict[str, Any] = self.set(words, direction)["directions"][direction]
        return part

    def apply(self, document: object) -> subprocess.CompletedProcess[str]:
        """Give the sidecar a JSON document for both directions, whatever its exit status."""
        arguments = [*self._settings_option(), "apply", "--json"]
        return self._resident.run(arguments, json.dumps(document))

    def show(self) -> dict[str, Any]:
        """Return the receipt of what is in effect."""
        receipt: dict[str, Any] = json.loads(self.sidecar("show", "--json").stdout)
        return receipt

    def shown(self, direction: str = "from_server") -> dict[str, Any]:
        """Return one direction's part of the receipt."""
        part: dict[str, Any] = self.show()["directions"][direction]
        return part

    @contextlib.contextmanager
    def running(self, default: str) -> Iterator["subprocess.Popen[str]"]:
        """Keep the sidecar's long-lived process going, with this setting in its environment."""
        argv = self._argv((*self._sidecar_argv(), "--default", default, "run"))
        with subprocess.Popen(
            argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextlib.contextmanager
    def traffic(
        self, direction: str = "from_server"
    ) -> Iterator[Callable[[], tuple[int, int, int]]]:
        """Send from server to client meanwhile, or the other way; the function given ends it.

        It returns how many were sent, how many of the sends failed, how many arrived.
        """
        over = threading.Event()
        with (
            self._receiver(direction) as receiver,
            self._sender(direction) as sender,
            concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="traffic") as pool,
        ):
            sending = pool.submit(_send, sender, over.is_set, pause_s=0.005, burst=5)
            receiving = pool.submit(_count, receiver, sending.done)

            def end() -> tuple[int, int, int]:
                over.set()
                return (*sending.result(DEADLINE_S), receiving.result(DEADLINE_S))

            try:
                yield end
            finally:
                over.set()

    def send(self, count: int, direction: str = "from_server", to: str = "") -> tuple[int, int]:
        """Send ``count`` datagrams that way, or ``to`` a group; return send errors and arrivals."""
        with self._receiver(direction, to) as receiver, self._sender(direction, to) as sender:
            # The receiver's buffer holds them all.
            sent, errors = _send(sender, lambda: False, count)
            assert sent == count
            return errors, _count(receiver, lambda: True)

    def transfer(self, size: int, direction: str = "from_server") -> None:
        """Send ``size`` bytes that way, over TCP."""
        source, target = self._ends(direction)
        with inside(target):
            listener = socket.create_server((TARGETS[direction], PORT))
        with (
            listener,
            concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="transfer") as pool,
        ):
            listener.settimeout(DEADLINE_S)
            received = pool.submit(_take_all, listener)
            with inside(source):
                connection = socket.create_connection((TARGETS[direction], PORT), DEADLINE_S)
            with connection:
                connection.sendall(bytes(size))
            assert received.result(DEADLINE_S) == size

    def _ends(self, direction: str) -> tuple[str, str]:
        """Return the namespaces where what goes that way comes from, and goes to."""
        ends = (self.server, self.client)
        return ends if direction == "from_server" else ends[::-1]

    @contextlib.contextmanager
    def _receiver(self, direction: str, group: str = "") -> Iterator[socket.socket]:
        with inside(self._ends(direction)[1]):
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with receiver:
            receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
            receiver.bind((group or TARGETS[direction], PORT))
            receiver.settimeout(0.3)
            yield receiver

    @contextlib.contextmanager
    def _sender(self, direction: str, group: str = "") -> Iterator[socket.socket]:
        with inside(self._ends(direction)[0]):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            if group:
                (own,) = {*TARGETS.values()} - {TARGETS[direction]}
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
            sender.connect((group or TARGETS[direction], PORT))
            yield sender

    def _argv(self, argv: Sequence[str], namespace: str = "") -> list[str]:
        return ["ip", "netns", "exec", namespace or self.server, *argv]

    def _sidecar_argv(self) -> tuple[str, ...]:
        return (sys.executable, "-m", "services.netem", *self._settings_option())

    def _settings_option(self) -> tuple[str, str]:
        return ("--settings", str(self.settings))


def _send(
    sender: socket.socket,
    over: Callable[[], bool],
    limit: int | None = None,
    pause_s: float = 0.002,
    burst: int = 20,
) -> tuple[int, int]:
    """Send ``limit`` datagrams, or until it is over; return how many, and how many failed.

    A pause after each burst: without one an emulated processor has no time for anything else.
    """
    sent = errors = 0
    while not over() and sent != limit:
        try:
            sender.send(b"x")
        except ConnectionRefusedError:  # about one before: nobody listens there any more
            pass
        except OSError:
            errors += 1
        sent += 1
        if sent % burst == 0:
            time.sleep(pause_s)
    return sent, errors


def _count(receiver: socket.socket, over: Callable[[], bool]) -> int:
    """Return how many datagrams came, when it is over and nothing came for a while.

    Those that found the receiver's buffer full have come, too: the network has not lost them.
    """
    count = 0
    while True:
        try:
            receiver.recv(100)
            count += 1
        except TimeoutError:
            if over():
                memory = receiver.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 9 * 4)
                return count + int(struct.unpack("9I", memory)[SK_MEMINFO_DROPS])


def _take_all(listener: socket.socket) -> int:
    """Take one connection; return how many bytes came."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(DEADLINE_S)
        count = 0
        while data := connection.recv(65536):
            count += len(data)
        return count


def backlog_drops() -> int:
    """Return how many packets found a processor's queue for received ones full, since the start.

    A cable between two namespaces ends in that queue (Documentation/networking/scaling.rst).
    """
    lines = Path("/proc/net/softnet_stat").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1], 16) for line in lines)


def eventually(look: Callable[[], bool], what: str) -> None:
    """Wait until ``look`` is true; fail after the deadline."""
    end = time.monotonic() + DEADLINE_S
    while not look():
        if time.monotonic() > end:
            pytest.fail(f"not within {DEADLINE_S} s: {what}")
        time.sleep(0.05)


@contextlib.contextmanager
def made(settings: Path) -> Iterator[Namespaces]:
    """Make the two namespaces, and take them away whatever happens."""
    absent = [program for program in ("ip", "tc", "nft") if shutil.which(program) is None]
    if absent or os.geteuid() != 0:
        missing("root", f"network namespaces need root, ip, tc and nft; absent: {absent}")
    pair = Namespaces(f"lab-{uuid.uuid4().hex[:6]}", settings)
    try:
        _ip("netns", "add", pair.server)
        _ip("netns", "add", pair.client)
        peer = ("peer", "name", "eth0", "netns", pair.client)
        _ip("link", "add", "eth0", "netns", pair.server, "type", "veth", *peer)
        for namespace, address in ((pair.server, SERVER), (pair.client, CLIENT)):
            _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", namespace, "link", "set", "eth0", "up")
        # Loss would hit address resolution too, and make the first datagrams wait.
        for namespace, other, address in (
            (pair.server, pair.client, CLIENT),
            (pair.client, pair.server, SERVER),
        ):
            link = json.loads(_ip("-n", other, "-j", "link", "show", "eth0"))
            mac = ("lladdr", link[0]["address"], "dev", "eth0", "nud", "permanent")
            _ip("-n", namespace, "neighbour", "add", address, *mac)
        yield pair
    finally:
        pair.close()


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        missing("root", f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
