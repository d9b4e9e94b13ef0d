"""The socket edge: datagrams to and from one server, stamped with monotonic time.

The socket is not connected: then answers from another address than the server's reach the program,
which counts them, where a connected one would hide them. ICMP errors, which the kernel by itself
tells only to connected sockets, come through Linux's ``IP_RECVERR`` (ip(7)), and with them the
beginning of the datagram that was refused. On other systems a refused attempt is an unanswered one.
"""

import errno
import os
import signal
import socket
import sys
import time
from collections import deque
from typing import Any

from clients.udp.pinger import Arrival, PingError, Refusal, SendError
from services.udp.protocol import LARGEST_DATAGRAM

IP_RECVERR = 11
IPV6_RECVERR = 25
MSG_ERRQUEUE = 0x2000
"""Linux's numbers: the socket module of Python 3.11 does not name all of them."""

ICMP_MEANING = {
    errno.ECONNREFUSED: "refused: nothing listens on that port",
    errno.EHOSTUNREACH: "unreachable: no such machine in its network",
    errno.ENETUNREACH: "unreachable: no route to its network",
    errno.EACCES: "refused by a firewall on the way",
    errno.EMSGSIZE: "larger than the path allows",
}
"""What an ICMP error comes to, by the errno that the kernel makes of it (RFC 1122, 4.2.3.9)."""

SEND_ERROR_MEANING = {
    errno.EPERM: "a firewall rule on this machine forbids it",
    errno.EACCES: "that is a broadcast address",
    errno.ENETUNREACH: "this machine has no route there",
    errno.EHOSTUNREACH: "no such machine in its network",
    errno.ENETDOWN: "the network interface is down",
    errno.EMSGSIZE: "larger than this system sends as one datagram",
    errno.ENOBUFS: "the interface's queue is full",
}


TICK_S = 0.1
"""How long receiving blocks before it looks whether it was interrupted."""


class NoSuchServer(PingError):
    """The server's name does not resolve; the text is a sentence with the way out."""


class Interrupted(PingError):
    """The run was told to end, by the signal with this ``number``."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class UdpWire:
    """A UDP socket that talks to the server at ``host`` and ``port``.

    ``address`` is what the name resolved to, IPv4 first. Raises NoSuchServer if it does not.
    """

    def __init__(self, host: str, port: int) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:  # UnicodeError: a label of more than 63 characters
            reason = getattr(error, "strerror", None) or "that is no host name"
            raise NoSuchServer(
                f"cannot resolve {host!r}: {reason} (set UDP_HOST or --host; "
                "inside the lab the server is called udp)"
            ) from error
        # The exercise's servers listen on IPv4, and "localhost" gives ::1 first.
        family, kind, number, _, address = min(found, key=lambda f: f[0] != socket.AF_INET)
        host = str(address[0])
        # "Any address" means this machine to a sender; the answer then comes from the loopback one.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        self._server: tuple[Any, ...] = (host, *address[1:])
        self._refusals: deque[Refusal] = deque()
        self._interrupted_by = 0
        self._socket = socket.socket(family, kind, number)
        if sys.platform == "linux":
            if family == socket.AF_INET:
                self._socket.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            else:
                self._socket.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)

    @property
    def address(self) -> str:
        """The server's address and port, as people write them."""
        host, port = self._server[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def __enter__(self) -> "UdpWire":
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def now_ns(self) -> int:
        """Return monotonic nanoseconds."""
        return time.monotonic_ns()

    def send(self, datagram: bytes) -> int:
        """Send, and return the instant just before. Raises SendError."""
        self._collect_refusals()
        for last in (False, True):
            sent_ns = time.monotonic_ns()
            try:
                self._socket.settimeout(1.0)
                self._socket.sendto(datagram, self._server)
            except OSError as error:
                # The kernel reports an ICMP error to whatever call comes next, and be it the
                # sending of another datagram, which then does not happen: once more.
                if self._collect_refusals() and not last:
                    continue
                raise SendError(_meaning(error, SEND_ERROR_MEANING), sent_ns) from error
            return sent_ns
        raise AssertionError("unreachable: the second try returns or raises")

    def interrupt(self, number: int) -> None:
        """Make ``receive`` raise Interrupted: for signal handlers.

        An exception out of the handler itself could come between the sending of a datagram and
        its entry in the ledger, which would then lack an attempt.
        """
        self._interrupted_by = number

    def receive(self, deadline_ns: int) -> Arrival | Refusal | None:
        """Return the next thing that comes in, or None at the deadline. Raises Interrupted."""
        while not self._refusals:
            if self._interrupted_by:
                raise Interrupted(self._interrupted_by)
            remaining_s = (deadline_ns - time.monotonic_ns()) / 1e9
            self._socket.settimeout(min(max(remaining_s, 0.0), TICK_S))
            try:
                datagram, sender = self._socket.recvfrom(LARGEST_DATAGRAM)
            except (TimeoutError, BlockingIOError):
                if time.monotonic_ns() >= deadline_ns:
                    return None
            except OSError as error:  # an ICMP error, or the interface went down (ENETDOWN)
                if not self._collect_refusals():
                    self._refusals.append(Refusal(b"", _meaning(error, ICMP_MEANING)))
            else:
                received_ns = time.monotonic_ns()
                return Arrival(datagram, received_ns, sender[:2] == self._server[:2])
        return self._refusals.popleft()

    def _collect_refusals(self) -> bool:
        """Empty the socket's error queue; True if there was anything in it.

        It has to be emptied: as long as an error is queued, waiting for an answer does not wait.
        """
        if sys.platform != "linux":
            return False
        self._socket.setblocking(False)
        found = False
        while True:
            try:
                quote, ancillary, _, _ = self._socket.recvmsg(512, 512, MSG_ERRQUEUE)
            except OSError:  # EAGAIN: it is empty
                return found
            found = True
            for _, _, data in ancillary:
                # struct sock_extended_err begins with the errno (u32, host order).
                number = int.from_bytes(data[:4], sys.byteorder)
                reason = ICMP_MEANING.get(number, os.strerror(number).lower())
                self._refusals.append(Refusal(quote, reason))


def _meaning(error: OSError, known: dict[int, str]) -> str:
    return known.get(error.errno or 0, (error.strerror or str(error)).lower())
