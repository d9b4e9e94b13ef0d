"""Two network namespaces joined by a cable: "server" (the sidecar's) and "client", no engine.

The sidecar runs as a process in the server's namespace, as its container does. Needs root, and
``ip``, ``tc`` and ``nft``; the test is skipped, or fails by LAB_REQUIRE, where they are missing.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.requirements_gate import missing

ROOT = Path(__file__).resolve().parents[2]
SERVER, CLIENT, PORT = "192.0.2.1", "192.0.2.2", 5000  # RFC 5737: for documentation and tests
TARGETS = {"from_server": CLIENT, "to_server": SERVER}
DEADLINE_S = 20.0

# Counts the datagrams that arrive at argv[1] until its standard input ends and nothing is left.
RECEIVER = f"""
import socket, sys, threading
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
count = 0
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    s.bind((sys.argv[1], {PORT}))
    s.settimeout(0.3)
    print("ready", flush=True)
    while True:
        try:
            s.recv(100)
            count += 1
        except TimeoutError:
            if over.is_set():
                break
print(count)
"""

# Sends datagrams to argv[1], argv[2] of them, or until its standard input ends; prints how many,
# and errors.
SENDER = f"""
import socket, sys, threading, time
over = threading.Event()
limit = int(sys.argv[2]) if len(sys.argv) > 2 else 0
if not limit:
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
sent = errors = 0
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    while not over.is_set() and (not limit or sent < limit):
        try:
            s.sendto(b"x", (sys.argv[1], {PORT}))
        except OSError:
            errors += 1
        sent += 1
        if sent % 20 == 0:
            time.sleep(0.002)
print(sent, errors)
"""

TCP_RECEIVER = f"""
import socket, sys
with socket.create_server((sys.argv[1], {PORT})) as s:
    s.settimeout(20)
    print("ready", flush=True)
    c, _ = s.accept()
    with c:
        c.settimeout(20)
        count = 0
        while data := c.recv(65536):
            count += len(data)
print(count)
"""

TCP_SENDER = f"""
import socket, sys
with socket.create_connection((sys.argv[1], {PORT}), 20) as s:
    s.sendall(bytes(int(sys.argv[2])))
"""


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
        self, *argv: str, namespace: str = "", check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the server's namespace, or another, to its end."""
        done = subprocess.run(
            self._argv(argv, namespace),
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(argv)}: exit status {done.returncode}: {done.stderr}")
        return done

    def sidecar(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command of the sidecar to its end, whatever its exit status."""
        return self.run(*self._sidecar_argv(), *arguments, check=False)

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
        return self.run(
            *self._sidecar_argv(), "apply", "--json", check=False, stdin=json.dumps(document)
        )

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
        with self._receiver(direction) as arrived:
            argv = self._sender_argv(direction)
            with subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as sender:

                def end() -> tuple[int, int, int]:
                    said, _ = sender.communicate(timeout=DEADLINE_S)
                    sent, errors = map(int, said.split())
                    return sent, errors, arrived()

                try:
                    yield end
                finally:
                    sender.kill()

    def send(self, count: int, direction: str = "from_server") -> tuple[int, int]:
        """Send ``count`` datagrams that way; return send errors and arrivals."""
        with self._receiver(direction) as arrived:
            argv = self._sender_argv(direction, str(count))
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
            return int(done.stdout.split()[1]), arrived()

    def transfer(self, size: int, direction: str = "from_server") -> None:
        """Send ``size`` bytes that way, over TCP."""
        namespace = self.client if direction == "from_server" else self.server
        argv = self._argv((sys.executable, "-c", TCP_RECEIVER, TARGETS[direction]), namespace)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as receiver:
            try:
                assert receiver.stdout is not None
                assert receiver.stdout.readline() == "ready\n"
                source = self.server if direction == "from_server" else self.client
                program = (sys.executable, "-c", TCP_SENDER, TARGETS[direction], str(size))
                self.run(*program, namespace=source)
                assert int(receiver.stdout.read()) == size
            finally:
                receiver.kill()

    @contextlib.contextmanager
    def _receiver(self, direction: str) -> Iterator[Callable[[], int]]:
        namespace = self.client if direction == "from_server" else self.server
        argv = self._argv((sys.executable, "-c", RECEIVER, TARGETS[direction]), namespace)
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as receiver:
            assert receiver.stdout is not None
            assert receiver.stdout.readline() == "ready\n"

            def arrived() -> int:
                said, _ = receiver.communicate(timeout=DEADLINE_S)
                return int(said)

            try:
                yield arrived
            finally:
                receiver.kill()

    def _sender_argv(self, direction: str, *arguments: str) -> list[str]:
        namespace = self.server if direction == "from_server" else self.client
        program = (sys.executable, "-c", SENDER, TARGETS[direction], *arguments)
        return self._argv(program, namespace)

    def _argv(self, argv: Sequence[str], namespace: str = "") -> list[str]:
        return ["ip", "netns", "exec", namespace or self.server, *argv]

    def _sidecar_argv(self) -> tuple[str, ...]:
        return (sys.executable, "-m", "services.netem", "--settings", str(self.settings))


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
        for namespace in (pair.server, pair.client):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        missing("root", f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
