"""The UDP ping server: one socket, one loop, no threads.

    recvfrom -> received -> drop? --yes-> dropped
                              |
                              no -> confirm -> sendto -> answered
                                                 \\-----> unanswered (the system refused to send)

Why one loop is enough: UDP has no connection to wait on. A datagram is there whole or not at all,
its answer needs nothing but the datagram itself, and sending does not wait for the receiver; so
nobody can hold the loop up, and the kernel queues what arrives meanwhile. A thread per datagram
would only add its cost: microseconds of starting for microseconds of work.

Two log lines a datagram: ``received``, then what became of it. They are written when the queue is
empty, or after a good number of datagrams: a system call for each would cost more than the answer.
"""

import errno
import re
import socket
import struct
import sys
import time
from collections.abc import Iterable
from functools import lru_cache
from itertools import repeat, starmap
from typing import Any

from services.events import Events
from services.lifetime import TICK_S, Lifetime
from services.udp import protocol
from services.udp.account import Accounts
from services.udp.drop import DropDecision
from services.udp.stamps import LastReceived, WallClock

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


LOT = 64
"""After how many datagrams that queue up the loop writes its log and asks whether to end."""


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
        _set_timeout(server)
        server.bind(address)
    except OSError as error:
        server.close()
        what = "UDP_HOST or --host" if error.errno == errno.EADDRNOTAVAIL else "UDP_PORT or --port"
        reason = (error.strerror or str(error)).lower()
        raise ServerError(f"bind {host}:{port}: {reason} (set {what})") from error
    return server


def _set_timeout(server: socket.socket) -> None:
    """Make receiving and sending wait for a tick at most.

    Python's own timeouts cost one more system call (poll) for each call; the kernel's cost none.
    """
    if sys.platform == "win32":  # there the option takes no struct timeval
        server.settimeout(TICK_S)
        return
    tick = struct.pack("@ll", 0, round(TICK_S * 1e6))
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, tick)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, tick)


class PingServer:
    """Answers what comes in on ``server``, except for what ``drop`` picks.

    ``drop_probability`` is what an account tells; None: drops go by a schedule.
    """

    def __init__(
        self,
        server: socket.socket,
        drop: DropDecision,
        events: Events,
        drop_probability: float | None = None,
    ) -> None:
        self._socket = server
        self._own_address: str = server.getsockname()[0]
        self._drop = drop
        self._drop_probability = drop_probability
        self._events = events
        self._ends = dict.fromkeys(("dropped", "answered", "unanswered", "ignored"), 0)
        self._accounts = Accounts(time.monotonic_ns)
        self._last_received = LastReceived(server)
        self._wall_clock = WallClock()
        before, _, after = events.shown(ping="%").partition("%")
        self._around_ping = (events.separator + before, after)
        # A client sends many datagrams, most of the same size.
        self._shown = lru_cache(1024)(
            lambda client, size: events.shown(client=f"{client[0]}:{client[1]}", bytes=size)
        )

    @property
    def counts(self) -> dict[str, int]:
        """What the log's ``stopped`` line shows; received is the sum of the others."""
        return {"received": sum(self._ends.values()), **self._ends}

    def serve(self, lifetime: Lifetime) -> None:
        """Answer until ``lifetime`` is over."""
        while not lifetime.over():
            self._serve_what_is_there()
            self._events.flush()

    def _serve_what_is_there(self) -> None:
        """Wait for a datagram, a tick at most, and handle it and those that queue behind it."""
        receive, most = self._socket.recvfrom, protocol.LARGEST_DATAGRAM
        try:
            self.handle([receive(most)])
            self.handle(starmap(receive, repeat((most, socket.MSG_DONTWAIT), LOT)))
        except (BlockingIOError, TimeoutError):  # nothing there: now, or for a tick
            pass
        except OSError as error:
            # ECONNREFUSED or ECONNRESET for an answer that met a closed port (systems other
            # than Linux report it here), ENETDOWN, ENOMEM: the next datagram may be fine.
            self._events("receive_failed", error=_name(error))
            time.sleep(PAUSE_AFTER_RECEIVE_ERROR_S)

    def handle(self, arrivals: Iterable[tuple[bytes, Address]]) -> None:
        """Answer each datagram, or drop it; ``arrivals`` are received while this goes on."""
        drop, send, confirm = self._drop, self._socket.sendto, protocol.confirm
        special, ends, logs = protocol.SPECIAL, self._ends, self._events.style != "off"
        for datagram, client in arrivals:
            ping = number = is_going_round = error = None
            if datagram.startswith(special):
                if ping := protocol.match_ping(datagram):
                    number = ping[3]
                elif self._serve_apart(datagram, client):
                    continue
                else:
                    is_going_round = protocol.is_going_round(datagram)
            if drop(client):
                end = "dropped"
            elif is_going_round:
                end = "ignored"
            else:
                try:
                    send(confirm(datagram, self._times()) if number else confirm(datagram), client)
                    end = "answered"
                except OSError as failure:
                    end, error = "unanswered", failure
            ends[end] += 1
            if ping and number:
                self._accounts.note((client, ping[1]), int(number), protocol.ENDS[end])
            if logs:
                self._log(end, datagram, client, ping, error)

    def _serve_apart(self, datagram: bytes, client: Address) -> bool:
        """Answer a health check or a question for an account: neither is dropped, nor counted."""
        if question := protocol.find_account_question(datagram):
            answer = self._account(question, len(datagram), client)
        elif datagram == protocol.HEALTH_CHECK and protocol.is_own_machine(
            client[0], self._own_address
        ):
            answer = protocol.confirm(datagram)
        else:
            return False
        try:
            self._socket.sendto(answer, client)
        except OSError:  # as in WHY_UNANSWERED; whoever asked will ask again
            pass
        return True

    def _times(self) -> bytes:
        """Return what a confirmation tells of the datagram received last, just before its sending.

        Nothing while somebody sets the wall clock: stamp and now would be of two clocks.
        """
        received_ns = self._last_received.stamp_ns()
        now_ns = self._wall_clock.now_ns()
        if now_ns is None:
            return b""
        held_ns = now_ns - received_ns if received_ns else 0
        if not 0 <= held_ns <= protocol.LONGEST_HELD_NS:
            return b""
        return protocol.times_text(received_ns or now_ns, held_ns, received_ns != 0)

    def _account(self, question: protocol.AccountQuestion, size: int, client: Address) -> bytes:
        run = (client, question.run.encode())
        account = protocol.Account(
            question.run,
            question.first,
            self._accounts.complete_s(run),
            self._drop_probability,
            self._accounts.codes(run, question.first, question.last),
        )
        growth = protocol.LARGEST_GROWTH + protocol.LARGEST_TIMES
        return account.datagram(min(size + growth, protocol.LARGEST_ACCOUNT))

    def _log(
        self,
        end: str,
        datagram: bytes,
        client: Address,
        ping: re.Match[bytes] | None,
        error: OSError | None,
    ) -> None:
        """Log that a datagram was received, and what became of it; with the next lot of lines."""
        if error is not None:
            about: dict[str, str | int] = {
                "client": f"{client[0]}:{client[1]}",
                "bytes": len(datagram),
            }
            if ping:
                about["ping"] = f"{ping[1].decode()}/{ping[2].decode()}"
            why = WHY_UNANSWERED.get(error.errno or 0, "the system refused to send")
            self._events("received", **about)
            self._events(end, **about, error=_name(error), why=why)
            return
        shown = self._shown(client, len(datagram))
        if ping:
            before, after = self._around_ping  # a ping's characters need no escaping
            shown = f"{shown}{before}{ping[1].decode()}/{ping[2].decode()}{after}"
        self._events.keep("received", end, shown)


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
