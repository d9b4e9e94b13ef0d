"""Layer 2: the real servers and clients as processes, on free loopback ports."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
START_DEADLINE_S = 30.0
"""A test waits for what happens, not for this long: an emulated processor took more than 10 s."""


@dataclass
class Server:
    """A server process and what it logged (``--log json``), by ``event`` name and order."""

    process: subprocess.Popen[str]
    port: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    _arrived: "queue.Queue[dict[str, Any]]" = field(default_factory=queue.Queue)

    def wait_for(self, event: str, deadline_s: float = 20.0, **fields: Any) -> dict[str, Any]:
        """Return the first event of that name with those fields, past or still to come."""
        end = time.monotonic() + deadline_s
        position = 0
        while True:
            while position < len(self.events):
                found = self.events[position]
                position += 1
                if found["event"] == event and fields.items() <= found.items():
                    return found
            try:
                self.events.append(self._arrived.get(timeout=max(0.0, end - time.monotonic())))
            except queue.Empty:
                log = "\n".join(json.dumps(e) for e in self.events)
                pytest.fail(f"no event {event!r} {fields} within {deadline_s} s. The log:\n{log}")

    def stop(self, signal_number: int = signal.SIGTERM, deadline_s: float = 5.0) -> int:
        """Send the signal and return the exit status."""
        self.process.send_signal(signal_number)
        return self.process.wait(deadline_s)


StartServer = Callable[..., Server]


def python(*arguments: str) -> list[str]:
    """Return the command line that runs a module of this project, warnings shown."""
    return [sys.executable, "-X", "dev", "-m", *arguments]


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Start ``python -m MODULE ...`` on a free loopback port; stop it after the test."""
    with servers() as start:
        yield start


@contextmanager
def servers() -> Iterator[StartServer]:
    """Give ``start_server`` for longer than a test: a module's fixture, say."""
    started: list[Server] = []

    def start(module: str, *arguments: str, environment: dict[str, str] | None = None) -> Server:
        process = subprocess.Popen(
            python(module, "--host", "127.0.0.1", "--port", "0", "--log", "json", *arguments),
            cwd=ROOT,
            env=os.environ | (environment or {}),
            stdout=subprocess.PIPE,
            text=True,
        )
        server = Server(process)
        started.append(server)

        def read() -> None:
            assert process.stdout is not None
            with process.stdout:
                for line in process.stdout:
                    server._arrived.put(json.loads(line))

        threading.Thread(target=read, name=f"log of {module}", daemon=True).start()
        server.port = int(server.wait_for("listening", START_DEADLINE_S)["port"])
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait(5)


def start_client(module: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start ``python -m MODULE ...``; both of its outputs are pipes."""
    return subprocess.Popen(
        python(module, *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_client(
    module: str, *arguments: str, timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m MODULE ...`` to its end, whatever its exit status."""
    return subprocess.run(
        python(module, *arguments),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
