"""The UDP ping server: one socket, one loop, no threads.

    recvfrom -> received -> drop? --yes-> dropped
                              |
                              no -> confirm -> sendto -> answered
                                                 \\-----> unanswered (the system refused to send)

Why one loop is enough: UDP has no connection to wait on. A datagram is there whole or not at all,
its answer needs nothing but the datagram itself, and sending does not wait for the receiver; so
nobody can hold the loop up, and the kernel queues what arrives meanwhile. A thread per datagram
would only add its cost: microseconds of starting for microseconds of work.

Two log lines a datagram: ``received``, then what became of it.
"""

import errno
import socket
import time
from collections import Counter
from typing import Any

from services.events import Events
from services.lifetime import TICK_S, Lifetime
from services.udp import protocol
from services.udp.drop import DropDecision

Address = tuple[Any, ...]
"""As the socket module gives it: host and port, and two numbers more for IPv6."""

WHY_UNANSWERED = {
    errno.EPERM: "a firewall rule on this machine forbids it (nftables or iptables, output hook)",
    errno.EACCES: "the sender's address is a broadcast address, so it is forged",
    errno.EINVAL: "the sender's port is 0, so nobody can be reached there",
    errno.ENETUNREACH: "no route to the sender: forged, or this machine's network has gone",
    errno.EHOSTUNREACH: "the sender's network says that there is no such machine",
    errno.ENETDOWN: "the network interface is down",
    errno.ECONNREFUSED: "an earlier answer met a closed port (ICMP): that client has vanished",
    errno.ENOBUFS: "the interface's queue is full",
    errno.EMSGSIZE: "the answer is larger than the path allows (IPv6 does not fragment on the way)",
    errno.EAGAIN: "the socket's send buffer stayed full",
}
"""Each is a fact about one answer or one moment; none is a reason to stop serving."""

PAUSE_AFTER_RECEIVE_ERROR_S = 0.05
"""An error of receiving that lasts must not become a busy loop."""


class ServerError(Exception):
    """The server cannot start; the text is a sentence with the way out."""


def bound_socket(host: str, port: int) -> socket.socket:
    """Return the server's socket. Raises ServerError when the address cannot be had."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )[0]
        server = socket.socket(family, kind, number)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label of more than 63 characters
        reason = (getattr(error, "strerror", None) or "that is no host name").lower()
        raise ServerError(f"bind {host}:{port}: {reason} (set UDP_HOST or --host)") from error
    try:
        server.settimeout(TICK_S)
        server.bind(address)
    except OSError as error:
        server.close()
        what = "UDP_HOST or --host" if error.errno == errno.EADDRNOTAVAIL else "UDP_PORT or --port"
        reason = (error.strerror or str(error)).lower()
        raise ServerError(f"bind {host}:{port}: {reason} (set {what})") from error
    return server


class PingServer:
    """Answers what comes in on ``server``, except for what ``drop`` picks.

    ``counts`` holds what the log's ``stopped`` line shows: received is always the sum of dropped,
    answered, unanswered and ignored.
    """

    def __init__(self, server: socket.socket, drop: DropDecision, events: Events) -> None:
        self.counts = Counter(received=0, dropped=0, answered=0, unanswered=0, ignored=0)
        self._socket = server
        self._own_address: str = server.getsockname()[0]
        self._drop = drop
        self._events = events

    def serve(self, lifetime: Lifetime) -> None:
        """Answer until ``lifetime`` is over."""
        while not lifetime.over():
            try:
                datagram, client = self._socket.recvfrom(protocol.LARGEST_DATAGRAM)
            except TimeoutError:
                continue
            except OSError as error:
                # ECONNREFUSED or ECONNRESET for an answer that met a closed port (systems other
                # than Linux report it here), ENETDOWN, ENOMEM: the next datagram may be fine.
                self._events("receive_failed", error=_name(error))
                time.sleep(PAUSE_AFTER_RECEIVE_ERROR_S)
                continue
            self.handle(datagram, client)

    def handle(self, datagram: bytes, client: Address) -> None:
        """Answer one datagram, or drop it."""
        if datagram == protocol.HEALTH_CHECK and protocol.is_own_machine(
            client[0], self._own_address
        ):
            self._send(protocol.confirm(datagram), client)
            return
        about: dict[str, str | int] = {"client": f"{client[0]}:{client[1]}", "bytes": len(datagram)}
        if ping := protocol.find_ping(datagram[: protocol.QUOTE_LIMIT]):
            about["ping"] = f"{ping.run}/{ping.request}.{ping.attempt}"
        self.counts["received"] += 1
        self._events("received", **about)
        if self._drop(client[:2]):
            self.counts["dropped"] += 1
            self._events("dropped", **about)
        elif protocol.is_going_round(datagram):
            self.counts["ignored"] += 1
            self._events("ignored", **about, why="servers are answering each other's answers")
        elif error := self._send(protocol.confirm(datagram), client):
            self.counts["unanswered"] += 1
            why = WHY_UNANSWERED.get(error.errno or 0, "the system refused to send")
            self._events("unanswered", **about, error=_name(error), why=why)
        else:
            self.counts["answered"] += 1
            self._events("answered", **about)

    def _send(self, answer: bytes, client: Address) -> OSError | None:
        try:
            self._socket.sendto(answer, client)
        except OSError as error:
            return error
        return None


def check(host: str, port: int, tries: int = 3, timeout_s: float = 1.0) -> str:
    """Return "" if the server on this machine confirms a health check, else a sentence why not."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    reason = f"no answer within {tries * timeout_s:g} s"
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, number) as client:
            client.settimeout(timeout_s)
            client.connect(address)
            for _ in range(tries):  # a flood may have filled the server's queue
                try:
                    client.send(protocol.HEALTH_CHECK)
                    if client.recv(protocol.LARGEST_DATAGRAM) == protocol.confirm(
                        protocol.HEALTH_CHECK
                    ):
                        return ""
                    reason = "the answer is not this server's"
                except TimeoutError:
                    pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
    return f"health check of {host}:{port}: {reason}"


def _name(error: OSError) -> str:
    if error.errno is None:  # socket.timeout has none: the send buffer stayed full for a tick
        return type(error).__name__
    return errno.errorcode.get(error.errno, str(error.errno))
