"""One end of a calibration: sends numbered probes, and notes which of the other end's arrive, when.

Both ends of each stream run this, ``python3 -m services.netem.respond``: one in the server's own
namespace (started in the sidecar's container), one on a container of the lab's network. So probes
go to the very address, and through the very interface, that the server's own traffic takes. Each
direction has a stream of its own: what is lost on one way does not hide the other.

Orders come on standard input and results go to standard output, one JSON object a line, through the
engine and not through the network that is measured::

    -> {"address": "172.18.0.5", "ports": [40001]}               sockets are open, one a stream
    <- {"run": "16 hex. digits", "streams": [{"peer": ["udp", 40002], "count": 2000, ...}]}
    -> {"sent": true}                                            the last probe has left
    <- {"end": true}                                             both ends have sent, and waited
    -> {"streams": [{"sent": 2000, "numbers": [...], "delays_ns": [...], ...}]}

End of input, or ``LONGEST_S``, ends it without results. A probe, all fields in network byte order::

    +----------------+---------------+------------------+-----------------------+- - - - - - -+
    | "lab probe" (9)| run (8 bytes) | number (4 bytes) | sent, ns since 1970(8)| zeros       |
    +----------------+---------------+------------------+-----------------------+- - - - - - -+

One-way delays need one clock, and all containers of a machine have one. A probe's departure is read
just before its send call (later stamps would miss the delay that netem makes on the way out); its
arrival is the kernel's receive stamp. The last probes, marked in the number's highest bit, come in
trains, back to back: how far they are drawn apart tells a rate.
"""

import argparse
import json
import os
import selectors
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.udp.stamps import timespec_ns

MAGIC = b"lab probe"
PROBE = struct.Struct("!9s8sIQ")
IN_A_TRAIN = 1 << 31

LONGEST_S = 120.0
"""Whatever happens, no end stays longer than this."""

RECEIVE_BUFFER_BYTES = 4 << 20
AT_ONCE = 32
"""Probes that are sent, or taken in, before the other is looked at again."""

SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
SO_MEMINFO = 55
SK_MEMINFO_DROPS = 8
IP_PKTINFO = 8
"""Linux's numbers (asm-generic/socket.h, linux/sock_diag.h, linux/in.h)."""


@dataclass(frozen=True)
class Order:
    """What one stream is to send: ``count`` probes, ``interval_ns`` apart, then trains."""

    peer: tuple[str, int]
    count: int
    interval_ns: int
    size_bytes: int
    trains: int = 0
    train_packets: int = 0
    train_bytes: int = 0
    train_gap_ns: int = 0

    @property
    def total(self) -> int:
        """How many probes there are, those in trains included."""
        return self.count + self.trains * self.train_packets

    def due_ns(self, number: int) -> int:
        """Return when a probe is to leave, in nanoseconds from the beginning."""
        if number < self.count:
            return number * self.interval_ns
        train = (number - self.count) // self.train_packets
        return self.count * self.interval_ns + (train + 1) * self.train_gap_ns

    def least_gap_ns(self, number: int) -> int:
        """Return how long after the one before a probe leaves, if both are late."""
        return self.interval_ns // 2 if number < self.count else 0


class Stream:
    """One stream of this end: its own socket, what it sends and what comes in."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        for option in (SO_RCVBUFFORCE, socket.SO_RCVBUF):
            try:
                self.socket.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_BYTES)
                break
            except PermissionError:  # EPERM: to go over the system's limit needs NET_ADMIN
                continue
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        self.socket.bind(("0.0.0.0", 0))
        self.sent = 0
        self._order = Order(("", 0), 0, 0, 0)
        self._address = ("", 0)
        self._head = b""
        self._run = b""
        self._begun_ns = 0
        self._last_ns = 0
        self._unsent: list[int] = []
        self._numbers: list[int] = []
        self._delays_ns: list[int] = []
        self._train: list[tuple[int, int, int]] = []
        self._interfaces: Counter[int] = Counter()
        self._sources: Counter[str] = Counter()
        self._others = 0

    @property
    def port(self) -> int:
        """The port that the other end sends to."""
        return int(self.socket.getsockname()[1])

    def begin(self, order: Order, run: bytes, now_ns: int) -> None:
        """Resolve the other end and begin to send. Raises OSError."""
        found = socket.getaddrinfo(*order.peer, socket.AF_INET, socket.SOCK_DGRAM)
        self._address = (str(found[0][4][0]), order.peer[1])
        self._order, self._run, self._begun_ns = order, run, now_ns

    def next_due_ns(self) -> int | None:
        """Return when the next probe is to leave; None when all have left."""
        if self.sent >= self._order.total:
            return None
        due_ns = self._begun_ns + self._order.due_ns(self.sent)
        return max(due_ns, self._last_ns + self._order.least_gap_ns(self.sent))

    def send(self, now_ns: int) -> None:
        """Send the next probe."""
        number, order = self.sent, self._order
        size = order.size_bytes if number < order.count else order.train_bytes
        self.sent += 1
        self._last_ns = now_ns
        marked = number if number < order.count else number | IN_A_TRAIN
        probe = PROBE.pack(MAGIC, self._run, marked, time.time_ns())
        try:
            self.socket.sendto(probe.ljust(size, b"\0"), self._address)
        except OSError:  # EAGAIN, ENOBUFS: this end's own buffer is full; ENETDOWN
            self._unsent.append(number)

    def receive(self) -> None:
        """Take in what has arrived, a lot at most."""
        for _ in range(AT_ONCE):
            try:
                datagram, ancillary, _, sender = self.socket.recvmsg(2048, 256)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error about a probe: the other end has gone
                continue
            self._note(datagram, ancillary, sender[0])

    def _note(self, datagram: bytes, ancillary: Sequence[tuple[int, int, bytes]], who: str) -> None:
        if len(datagram) < PROBE.size:
            self._others += 1
            return
        magic, run, number, sent_ns = PROBE.unpack_from(datagram)
        if magic != MAGIC or run != self._run:
            self._others += 1
            return
        arrived_ns = 0
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS) and len(data) >= 16:
                arrived_ns = timespec_ns(data)
            elif (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
                self._interfaces[struct.unpack_from("@i", data)[0]] += 1
        self._sources[who] += 1
        arrived_ns = arrived_ns or time.time_ns()
        if number & IN_A_TRAIN:
            self._train.append((number & ~IN_A_TRAIN, arrived_ns, arrived_ns - sent_ns))
        else:
            self._numbers.append(number)
            self._delays_ns.append(arrived_ns - sent_ns)

    def result(self) -> dict[str, Any]:
        """Return what became of this end's part: sent, and arrived from the other end."""
        told = self.socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 64)
        memory = struct.unpack_from(f"@{len(told) // 4}I", told)
        return {
            "sent": self.sent,
            "unsent": self._unsent,
            "numbers": self._numbers,
            "delays_ns": self._delays_ns,
            "train": self._train,
            "interfaces": {_interface(i): count for i, count in self._interfaces.items()},
            "sources": dict(self._sources),
            "others": self._others,
            "overflowed": int(memory[SK_MEMINFO_DROPS]) if len(memory) > SK_MEMINFO_DROPS else 0,
        }


def _interface(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:  # ENXIO: it has gone meanwhile
        return str(index)


class Conversation:
    """The orders on standard input and the results on standard output."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = streams
        self._selector = selectors.SelectSelector()  # the others count in milliseconds
        self._selector.register(0, selectors.EVENT_READ)
        self._text = b""
        self._ended = False

    def run(self) -> int:
        """Do as ordered; return the exit status."""
        end_ns = time.monotonic_ns() + int(LONGEST_S * 1e9)
        address = socket.gethostbyname(socket.gethostname())
        _tell({"address": address, "ports": [stream.port for stream in self._streams]})
        while (order := self._line()) is None:
            if self._ended or time.monotonic_ns() > end_ns:
                return 1
            self._wait(1.0)
        lead_ns = _lead_ns()
        now_ns = time.monotonic_ns()
        for stream, what in zip(self._streams, order["streams"], strict=True):
            what["peer"] = tuple(what["peer"])
            stream.begin(Order(**what), bytes.fromhex(order["run"]), now_ns)
            self._selector.register(stream.socket, selectors.EVENT_READ, stream)
        said = False
        while self._line() is None:
            if self._ended or time.monotonic_ns() > end_ns:
                return 1
            due_ns = self._send_what_is_due()
            if due_ns is None and not said:
                said = True
                _tell({"sent": True})
            wait_ns = 50_000_000 if due_ns is None else due_ns - time.monotonic_ns()
            self._wait(max(wait_ns, 0) / 1e9)
        for stream in self._streams:
            stream.receive()
        step_ns = _lead_ns() - lead_ns
        results = [stream.result() for stream in self._streams]
        _tell({"streams": results, "clock_step_ns": step_ns})
        return 0

    def _send_what_is_due(self) -> int | None:
        """Send, and return when the next probe is due; None when there is none."""
        for _ in range(AT_ONCE):
            coming = [(due, s) for s in self._streams if (due := s.next_due_ns()) is not None]
            if not coming:
                return None
            due_ns, stream = min(coming, key=lambda one: one[0])
            now_ns = time.monotonic_ns()
            if due_ns > now_ns:
                return due_ns
            stream.send(now_ns)
        return 0

    def _wait(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            if isinstance(key.data, Stream):
                key.data.receive()
            elif data := os.read(0, 65536):
                self._text += data
            else:
                self._ended = True
                self._selector.unregister(0)

    def _line(self) -> dict[str, Any] | None:
        line, end, rest = self._text.partition(b"\n")
        if not end:
            return None
        self._text = rest
        found: dict[str, Any] = json.loads(line)
        return found


def _lead_ns() -> int:
    """Return by how much the wall clock leads the monotonic one: it changes if one is set.

    The wall clock is read first, so that a pause between the two makes the lead smaller.
    """
    return max(time.time_ns() - time.monotonic_ns() for _ in range(9))


def _tell(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one end; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.netem.respond", description=__doc__)
    parser.add_argument("--streams", type=int, default=1, help="how many other ends there are")
    options = parser.parse_args(arguments)
    return Conversation([Stream() for _ in range(options.streams)]).run()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
