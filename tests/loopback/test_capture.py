"""The capture: what the kernel lets through, what the file holds, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import pcapng
from services.capture import selection
from services.capture.tap import attach
from tests.loopback.conftest import ROOT, python
from tests.pure import frames
from tests.pure.frames import CLIENT, SERVER
from tests.requirements_gate import missing

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="packet sockets are Linux's")
SIX = (("2001:db8::2", 40000), ("2001:db8::1", 1234))
OTHER = ("192.0.2.1", 4321)
TCP = frames.ipv4(CLIENT[0], SERVER[0], b"\x9c\x40\x04\xd2" + bytes(16))
TCP = TCP[:23] + b"\x06" + TCP[24:]
ICMP = frames.ipv4(CLIENT[0], SERVER[0], bytes(8))
ICMP = ICMP[:23] + b"\x01" + ICMP[24:]


@pytest.mark.parametrize(
    ("what", "frame", "kept"),
    [
        ("to the port", frames.frame(CLIENT, SERVER, b"hello"), True),
        ("from the port", frames.frame(SERVER, CLIENT, b"hello"), True),
        ("to another port", frames.frame(CLIENT, OTHER, b"hello"), False),
        ("IPv6 to the port", frames.frame(*SIX, b"hello"), True),
        ("IPv6 to another", frames.frame(SIX[0], (SIX[1][0], 99), b"hello"), False),
        ("a later fragment", frames.ipv4(CLIENT[0], SERVER[0], b"x" * 40, 185), True),
        ("1234 in an address", frames.ipv4("192.0.4.210", "192.0.4.210", b"x" * 40), False),
        ("ICMP", ICMP, True),
        ("an ICMPv6 error", frames.ipv6(SIX[0][0], SIX[1][0], b"\x01" + bytes(40), 58), True),
        ("ICMPv6, no error", frames.ipv6(SIX[0][0], SIX[1][0], b"\x87" + bytes(40), 58), False),
        ("TCP to the same port", TCP, False),
        ("ARP", frames.MAC + b"\x08\x06" + bytes(28), False),
        ("hardly anything", b"\0" * 15, False),
    ],
)  # fmt: skip
@LINUX
def test_the_kernel_keeps_what_belongs_to_the_port(what: str, frame: bytes, kept: bool) -> None:
    """The same program on a local socket: there it needs no privilege."""
    assert passed(selection.program("udp", 1234, 65535), frame) == (frame if kept else None), what


@LINUX
def test_the_kernel_cuts_packets_to_the_snap_length() -> None:
    frame = frames.frame(CLIENT, SERVER, b"hello" * 50)
    assert passed(selection.program("udp", 1234, 64), frame) == frame[:64]


@LINUX
def test_at_the_end_nothing_more_comes_in() -> None:
    assert passed(selection.NOTHING, frames.frame(CLIENT, SERVER, b"hello")) is None


def passed(program: bytes, frame: bytes) -> bytes | None:
    """Return what of a frame gets through the program, None if nothing does."""
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        attach(receiver, program)
        receiver.setblocking(False)
        try:
            sender.send(frame)
            return receiver.recv(1 << 16)
        except (PermissionError, BlockingIOError):  # a local socket may tell its sender: refused
            return None


# The program --------------------------------------------------------------------------------------


class Captured:
    """A capture of ``lo`` that runs."""

    def __init__(self, path: Path, port: int, *options: str) -> None:
        self.path = path
        words = ["--interface", "lo", "--port", str(port), *options]
        with open(path, "wb") as file:
            self.process = subprocess.Popen(
                python("services.capture", *words),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        if "not permitted" in line:
            self.close()
            missing("root", "a packet socket needs root and NET_RAW")
        self.ready: dict[str, Any] = json.loads(line)

    def ended(self) -> dict[str, Any]:
        """Wait until it has ended, and return what it said."""
        assert self.process.stderr is not None
        status = self.process.wait(10)
        lines = self.process.stderr.read().splitlines()
        return {"status": status} | (json.loads(lines[-1]) if lines else {})

    def close(self) -> None:
        """End it whatever it does."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def read(self) -> pcapng.Capture:
        return pcapng.parse(self.path.read_bytes())


@pytest.fixture
def capture(tmp_path: Path) -> Iterator[tuple[Captured, socket.socket]]:
    """A capture of a socket's port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        running = Captured(tmp_path / "lo.pcapng", receiver.getsockname()[1])
        try:
            yield running, receiver
        finally:
            running.close()


def exchange(receiver: socket.socket, *datagrams: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for datagram in datagrams:
            sender.sendto(datagram, receiver.getsockname())
            receiver.recv(1 << 16)


def until_it_has(running: Captured, count: int) -> None:
    """Wait until so many packets are in the file."""
    over = threading.Event()
    for _ in range(500):
        if len(running.read().packets) >= count:
            return
        over.wait(0.01)
    pytest.fail(f"the file has not {count} packets within 5 s")


@LINUX
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, "end of input"])
def test_told_to_end_it_has_every_packet_once_and_says_how_many(
    how: signal.Signals | str, capture: tuple[Captured, socket.socket]
) -> None:
    running, receiver = capture
    large = os.urandom(60_000)
    exchange(receiver, b"one", b"two", b"", large)
    if isinstance(how, signal.Signals):
        running.process.send_signal(how)
    else:
        assert running.process.stdin is not None
        running.process.stdin.close()
    ended = running.ended()
    reason = how.name if isinstance(how, signal.Signals) else how
    assert (ended["status"], ended["event"], ended["reason"]) == (0, "stopped", reason)
    file = running.read()
    assert [d.data for d in pcapng.datagrams(file)] == [b"one", b"two", b"", large]
    assert (file.whole, file.missed, ended["missed"]) == (True, 0, 0)
    assert ended["packets"] == len(file.packets) == file.statistics[0].accepted
    assert file.interfaces[0].name == "lo"


@LINUX
def test_killed_it_leaves_a_valid_file_with_all_that_came(
    capture: tuple[Captured, socket.socket],
) -> None:
    running, receiver = capture
    exchange(receiver, b"one", b"two")
    until_it_has(running, 2)
    running.process.kill()
    assert running.process.wait(5) == -signal.SIGKILL
    file = running.read()
    assert [d.data for d in pcapng.datagrams(file)] == [b"one", b"two"]
    assert (file.whole, file.missed) == (True, None)


@LINUX
def test_stamps_are_the_kernels_of_now(capture: tuple[Captured, socket.socket]) -> None:
    running, receiver = capture
    before_ns = time.time_ns()
    exchange(receiver, b"one")
    after_ns = time.time_ns()
    running.process.terminate()
    running.ended()
    (packet,) = running.read().packets
    assert before_ns <= packet.time_ns <= after_ns
    assert packet.length == len(packet.data) == 14 + 20 + 8 + 3


@LINUX
def test_a_short_snap_length_keeps_the_true_length(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        running = Captured(tmp_path / "f", receiver.getsockname()[1], "--snap-length", "64")
        exchange(receiver, b"x" * 500)
        running.process.terminate()
        running.ended()
        running.close()
    (packet,) = running.read().packets
    assert (len(packet.data), packet.length) == (64, 14 + 20 + 8 + 500)


@LINUX
def test_a_full_file_is_whole_and_says_so(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        port = receiver.getsockname()[1]
        running = Captured(tmp_path / "f", port, "--max-bytes", "20000")
        exchange(receiver, *[b"x" * 1000] * 200)
        ended = running.ended()
        running.close()
    assert (ended["status"], ended["reason"]) == (0, "the file is full")
    assert running.read().whole
    assert 20_000 <= running.path.stat().st_size < 20_000 + 64 * 1100


@LINUX
@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("--interface", "none7"), 1, "no such device (choose --interface)"),
        (("--port", "70000"), 2, "0 to 65535"),
        (("--seconds", "-1s"), 2, "more than 0"),
    ],
)
def test_what_cannot_be_is_said_with_the_way_out(
    words: tuple[str, ...], status: int, says: str
) -> None:
    done = subprocess.run(
        python("services.capture", *words), cwd=ROOT, capture_output=True, text=True, timeout=20
    )
    if "not permitted" in done.stderr:
        missing("root", "a packet socket needs root and NET_RAW")
    assert done.returncode == status
    assert says in done.stderr
    assert done.stdout == ""


@LINUX
def test_when_nobody_takes_the_output_it_ends(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        python("services.capture", "--interface", "lo", "--port", "9"),
        cwd=ROOT, stdin=subprocess.PIPE, stdout=write_end, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(write_end)
    os.close(read_end)
    _, errors = process.communicate(timeout=20)
    if "not permitted" in errors:
        missing("root", "a packet socket needs root and NET_RAW")
    assert process.returncode == 1
    assert "broken pipe" in errors
