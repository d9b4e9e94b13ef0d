"""The UDP server and client in this process: real sockets, without the cost of a Python start each.

For tests of what they say and do on the wire. Signals, exit and the environment are tested with
processes (``start_server``, ``run_client``).
"""

import contextlib
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any, cast

from clients.udp.__main__ import main as client_main
from services.events import Events
from services.lifetime import Lifetime
from services.udp.__main__ import parse, serve
from services.udp.protocol import HEALTH_CHECK, Ping, find_times
from tests.loopback.conftest import START_DEADLINE_S, Server


class ServerThread(Server):
    """``python -m services.udp`` with these options, as far as a thread can be that."""

    def __init__(self, *arguments: str) -> None:
        super().__init__(cast(Any, None))
        settings = parse(["--host", "127.0.0.1", "--port", "0", "--log", "json", *arguments])
        self._host: str = settings.host
        self._lifetime = Lifetime()
        events = Events("udp", "json", stream=cast(Any, self))
        self._thread = threading.Thread(
            target=serve, args=(settings, self._lifetime, events), name="UDP server"
        )
        self._thread.start()
        self.port = int(self.wait_for("listening", START_DEADLINE_S)["port"])

    def write(self, text: str) -> None:
        """Take in log lines: the server's standard output."""
        for line in text.splitlines():
            self._arrived.put(json.loads(line))

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def until_stamped(self) -> None:
        """Wait until the kernel stamps what comes, if it is Linux; the server must drop nothing.

        It begins a moment after it was told to: in emulation a first datagram came before that.
        """
        end_s = time.monotonic() + (5 if sys.platform == "linux" else 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            while time.monotonic() < end_s:
                client.sendto(Ping("00000000", 1, 1, 1).datagram(b""), (self._host, self.port))
                times = find_times(client.recv(2048))
                if times is not None and times.by_kernel:
                    return
                time.sleep(0.01)

    def stop(self, signal_number: int = signal.SIGTERM, deadline_s: float = 5.0) -> int:
        """End it and return 0, as the process would."""
        self._lifetime.end(signal.Signals(signal_number).name)
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as waking:
            waking.sendto(HEALTH_CHECK, (self._host, self.port))
        self._thread.join(deadline_s)
        assert not self._thread.is_alive()
        return 0


def run_client_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m clients.udp ...`` in this process, and leave its signals as they were."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)}
    shown, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(errors):
            status = client_main(arguments)
    except SystemExit as ended:
        status = cast(int, ended.code)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return subprocess.CompletedProcess(arguments, status, shown.getvalue(), errors.getvalue())
