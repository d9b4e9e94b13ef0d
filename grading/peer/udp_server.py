"""Answers a UDP client under test by a plan, and tells all that passes.

Order::

    {"port": 1234, "wording": {"kind": "echo"}, "plan": [step, ...], "rest": step}

The n-th step is for the client's n-th request, ``rest`` for those after. A step::

    lose         so many of the request's first datagrams are not answered; null: all of them
    hold_ms      the answer comes after so many milliseconds (0)
    hold_share   or after this share of the client's own first timeout, as it was seen when a first
                 datagram was lost, within ``HOLD_MS``
    twice        the answer is sent two times, at once
    late_ms      the answer to its first datagram, which was lost, comes so long after the first
                 datagram of the next request

A request begins with the first datagram after the answer to the one before. A datagram that comes
while an answer is held back is ``early``: the client has not waited so long, or has taken another
answer for that one. It is not answered itself.

``wording``: see ``grading.wording``.

Tells ``ready``; ``datagram`` (n, request, attempt, bytes, data, early, lost); ``answer`` (n,
request, attempt, held_ns, bytes, data, kind: first, second or late). Times are those of the
kernel for what comes, and of the moment before the call for what goes.
"""

import heapq
import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

from grading.peer import order, tell, text
from grading.wording import ECHO, word

HOLD_MS = (15.0, 400.0)
USUAL_TIMEOUT_NS = 200_000_000
"""What a share is taken of as long as no timeout was seen."""
SHOWN_BYTES = 200

_SO_TIMESTAMPNS = 35
_IP_PKTINFO = 8

Ancillary = list[tuple[int, int, bytes]]


@dataclass
class Datagram:
    """One that came: its number and place, its arrival, and how to answer it."""

    n: int
    request: int
    attempt: int
    arrival_ns: int
    data: bytes
    sock: socket.socket
    sender: Any
    answer_from: Ancillary


class Server:
    """The conversation with one client."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._plan: list[dict[str, Any]] = given["plan"]
        self._rest: dict[str, Any] = given["rest"]
        self._wording: dict[str, str] = given.get("wording", ECHO)
        self._timeout_ns: int | None = None
        self._count = self._request = self._attempt = 0
        self._is_held = False
        self._is_answered = True  # what comes next begins a request
        self._lost_ns = 0
        self._first: Datagram | None = None
        self._late: tuple[Datagram, float] | None = None
        self._due: list[tuple[int, int, str, Datagram]] = []

    @property
    def wait_s(self) -> float | None:
        """How long until something is due; None: nothing is."""
        return max(0.0, (self._due[0][0] - time.monotonic_ns()) / 1e9) if self._due else None

    def take(self, sock: socket.socket) -> None:
        """Take one datagram and decide what becomes of it."""
        data, sender, arrival_ns, answer_from = received(sock)
        begins = self._is_answered
        if begins:
            self._request += 1
            self._attempt = 0
            self._is_answered = False
        self._attempt += 1
        self._count += 1
        if self._attempt == 2 and self._lost_ns and self._timeout_ns is None:
            self._timeout_ns = arrival_ns - self._lost_ns
        found = Datagram(
            self._count, self._request, self._attempt, arrival_ns, data, sock, sender, answer_from
        )
        if begins:
            self._first = found
            if self._late is not None:
                old, after_ms = self._late
                self._schedule(arrival_ns + int(after_ms * 1e6), "late", old)
                self._late = None
        step = self._step()
        early = self._is_held
        lose = step.get("lose", 0)
        lost = early or lose is None or self._attempt <= lose
        self._lost_ns = arrival_ns if lost and not early else 0
        tell(
            "datagram", t_ns=arrival_ns, n=found.n, request=found.request, attempt=found.attempt,
            bytes=len(data), data=text(data[:SHOWN_BYTES]), early=early, lost=lost,
        )  # fmt: skip
        if lost:
            return
        self._is_held = True
        if "late_ms" in step and self._first is not None and self._first is not found:
            self._late = (self._first, step["late_ms"])
        self._schedule(arrival_ns + self._hold_ns(step), "first", found)

    def answer_what_is_due(self) -> None:
        """Send what is due."""
        while self._due and self._due[0][0] <= time.monotonic_ns():
            _, _, kind, to = heapq.heappop(self._due)
            self._send(to, kind)
            if kind == "first":
                if self._step().get("twice"):
                    self._send(to, "second")
                self._is_held = False
                self._is_answered = True

    def _step(self) -> dict[str, Any]:
        index = self._request - 1
        return self._plan[index] if index < len(self._plan) else self._rest

    def _hold_ns(self, step: dict[str, Any]) -> int:
        if "hold_share" not in step:
            return int(step.get("hold_ms", 0.0) * 1e6)
        timeout_ns = self._timeout_ns or USUAL_TIMEOUT_NS
        ms = step["hold_share"] * timeout_ns / 1e6
        # A timeout below some 30 ms leaves no room for the shortest hold.
        ms = min(max(ms, min(HOLD_MS[0], timeout_ns / 2e6)), HOLD_MS[1])
        return int(ms * 1e6)

    def _schedule(self, due_ns: int, kind: str, to: Datagram) -> None:
        heapq.heappush(self._due, (due_ns, to.n, kind, to))

    def _send(self, to: Datagram, kind: str) -> None:
        data = word(self._wording, to.data.decode("latin-1")).encode("latin-1")
        now = time.monotonic_ns()
        try:
            to.sock.sendmsg([data], to.answer_from, 0, to.sender)
        except OSError:  # EMSGSIZE, for a wording around a huge message
            data = b""
        tell(
            "answer", t_ns=now, n=to.n, request=to.request, attempt=to.attempt, kind=kind,
            held_ns=now - to.arrival_ns, bytes=len(data), data=text(data[:SHOWN_BYTES]),
        )  # fmt: skip


def received(sock: socket.socket) -> tuple[bytes, Any, int, Ancillary]:
    """Return a datagram, its sender, its arrival, and what answers it from where it was sent to."""
    data, ancillary, _, sender = sock.recvmsg(65536, 256)
    arrival_ns = time.monotonic_ns()
    answer_from: Ancillary = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", content[:16])
            age_ns = time.time_ns() - (seconds * 10**9 + nanoseconds)
            if 0 <= age_ns < 60 * 10**9:  # no step of the clock in between
                arrival_ns -= age_ns
        elif level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            _, _, destination = struct.unpack("I4s4s", content[:12])
            answer_from = [(level, kind, struct.pack("I4s4s", 0, destination, bytes(4)))]
    return data, sender, arrival_ns, answer_from


def listening(port: int) -> list[socket.socket]:
    """Return sockets at every address of this namespace, IPv6's where there is any."""
    sockets = []
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            sock.bind((address, port))
        except OSError:  # EAFNOSUPPORT, EADDRNOTAVAIL: no IPv6 here
            if family == socket.AF_INET:
                raise
            continue
        sockets.append(sock)
    return sockets


def main() -> None:
    """Answer until the process is ended."""
    given = order()
    server = Server(given)
    sockets = listening(given["port"])
    tell("ready")
    while True:
        ready, _, _ = select.select(sockets, [], [], server.wait_s)
        server.answer_what_is_due()
        for sock in ready:
            server.take(sock)
        server.answer_what_is_due()


if __name__ == "__main__":
    main()
