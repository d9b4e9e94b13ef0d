"""Connections to a server under test, moved step by step: what our TCP clients have in common.

Steps, each an object; ``as`` names the connection::

    {"do": "open", "as": "a"}                   tells "opened" or "refused" (reason)
    {"do": "send", "as": "a", "data": "..."}    tells "sent" or "broken" (reason)
    {"do": "hear", "as": "a", "wait_s": 3}      tells "heard" (data, end, first_ns, wall_ns)
    {"do": "close" | "reset" | "finish", "as": "a"}     FIN; RST; FIN, and goes on listening
    {"do": "pause", "s": 0.1}

``end`` of what was heard: ``whole`` (as the protocol or ``lines`` says), ``quiet`` (nothing more
came for ``quiet_s``), ``close``, ``reset``, or ``nothing`` (not one byte within ``wait_s``). With
``"must": true`` a "hear" that hears nothing ends the steps: tells "gave up". ``"until": "close"``
listens until the connection ends or ``wait_s`` are over. ``wall_ns`` is what the clock showed when
the first byte was here, nanoseconds since 1970; that of "sent" was read just before.
"""

import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from grading.peer import tell, text

CONNECT_TIMEOUT_S = 4.0
GRACE_S = 0.05
"""For what comes after an answer that was whole."""

MAX_HEARD_BYTES = 1 << 20

_GIVE_UP = ("refused", "broken", "nothing", "reset", "close")


class Talk:
    """All connections of one order, to one server. ``whole`` says when an answer is complete."""

    def __init__(
        self,
        target: tuple[str, int],
        whole: Callable[[bytes, Mapping[str, Any]], bool],
        protocol: str = "tcp",
        quiet_s: float = 0.3,
    ) -> None:
        self._target = target
        self._whole = whole
        self._protocol = protocol
        self._quiet_s = quiet_s
        self._sockets: dict[str, socket.socket] = {}

    def run(self, steps: Iterable[Mapping[str, Any]]) -> None:
        """Carry out the steps, to the end or until one that must be answered is not."""
        for step in steps:
            outcome = self.do(step)
            if step.get("must") and outcome in _GIVE_UP:
                tell("gave up", **{"as": step.get("as", "")})
                break
        self.close()

    def close(self) -> None:
        """Close every connection that is open."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    def do(self, step: Mapping[str, Any]) -> str:
        """Carry out one step and return what came of it: an event's name, or how hearing ended."""
        name = step.get("as", "")
        match step["do"]:
            case "pause":
                time.sleep(step["s"])
                return "paused"
            case "open":
                return self._open(name)
        sock = self._sockets.get(name)
        if sock is None:
            return "refused"
        match step["do"]:
            case "send":
                return self._send(name, sock, step["data"].encode("latin-1"))
            case "hear":
                return str(self.hear(name, step)["end"])
            case "finish":
                return _quietly(lambda: sock.shutdown(socket.SHUT_WR))
            case "reset":
                # SO_LINGER on, for 0 s: closing sends RST instead of FIN.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        del self._sockets[name]
        return "closed"

    def _open(self, name: str) -> str:
        kind = socket.SOCK_DGRAM if self._protocol == "udp" else socket.SOCK_STREAM
        sock = socket.socket(socket.AF_INET, kind)
        sock.settimeout(CONNECT_TIMEOUT_S)
        try:
            sock.connect(self._target)
        except OSError as error:
            sock.close()
            tell("refused", reason=str(error), **{"as": name})
            return "refused"
        if self._protocol == "tcp":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets[name] = sock
        tell("opened", wall_ns=time.time_ns(), **{"as": name})
        return "opened"

    def _send(self, name: str, sock: socket.socket, data: bytes) -> str:
        now_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        try:
            sock.sendall(data)
        except OSError as error:  # EPIPE, ECONNRESET: the server has closed; a timeout: it is full
            tell("broken", reason=str(error), **{"as": name})
            return "broken"
        shown = {"as": name, "data": text(data[:500]), "size": len(data)}
        tell("sent", t_ns=now_ns, wall_ns=wall_ns, **shown)
        return "sent"

    def hear(self, name: str, step: Mapping[str, Any]) -> dict[str, Any]:
        """Listen on one connection, tell what was heard, and return that."""
        sock = self._sockets[name]
        data, end = b"", "nothing"
        heard: dict[str, Any] = {"as": name, "first_ns": None, "wall_ns": None}
        until_close = step.get("until") == "close"
        quiet_s = step.get("quiet_s", self._quiet_s)
        deadline = time.monotonic() + step.get("wait_s", 3.0)
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([sock], [], [], left)[0]:
                break
            try:
                piece = sock.recv(65536)
            except OSError:  # ECONNRESET
                end = "reset"
                break
            if heard["first_ns"] is None:
                heard |= {"first_ns": time.monotonic_ns(), "wall_ns": time.time_ns()}
            if not piece:
                end = "close"
                break
            data = (data + piece)[:MAX_HEARD_BYTES]
            if until_close:
                end = "quiet"
                continue
            end = "whole" if self._whole(data, step) else "quiet"
            deadline = time.monotonic() + (GRACE_S if end == "whole" else quiet_s)
        heard |= {"data": text(data), "end": end, "size": len(data)}
        tell("heard", **heard)
        return heard


def _quietly(act: Callable[[], None]) -> str:
    try:
        act()
    except OSError:  # ENOTCONN: the other side has gone
        return "broken"
    return "finished"
