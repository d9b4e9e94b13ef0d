"""The socket edge: datagrams to and from one server, and when they went and came.

The socket is not connected: then answers from another address than the server's reach the program,
which counts them, where a connected one would hide them. ICMP errors, which the kernel by itself
tells only to connected sockets, come through Linux's ``IP_RECVERR`` (ip(7)), and with them the
beginning of the datagram that was refused. On other systems a refused attempt has no answer.

Kernel stamps (Linux, ``SO_TIMESTAMPING``): of sending, where the packet is handed to the
interface's queue and where it leaves it; of receiving, where it comes in. Those of sending come
through the same error queue, with the packet that they stamp, by which the program knows whose they
are. All are of the wall clock, and are put on the monotonic scale here.
While somebody sets the wall clock, and until everything that may have come before is read, there
are no kernel stamps.
"""

import errno
import os
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from typing import Any

from clients.udp.ledger import STAMP_SLACK_NS
from clients.udp.pinger import Arrival, Departure, PingError, Refusal, SendError
from services.udp.protocol import LARGEST_DATAGRAM
from services.udp.stamps import (
    SO_TIMESTAMPING,
    SOF_TIMESTAMPING_RX_SOFTWARE,
    SOF_TIMESTAMPING_SOFTWARE,
    SOF_TIMESTAMPING_TX_SCHED,
    SOF_TIMESTAMPING_TX_SOFTWARE,
    WallClock,
    timespec_ns,
)

IP_RECVERR = 11
IPV6_RECVERR = 25
MSG_ERRQUEUE = 0x2000
SO_MEMINFO = 55
SK_MEMINFO_DROPS = 8
SO_EE_ORIGIN_TIMESTAMPING = 4
"""Linux's numbers: the socket module of Python 3.11 does not name all of them."""

RECEIVE_BUFFER = 4 << 20
"""Bytes asked for, so that a burst of answers fits; the kernel may grant less (rmem_max)."""

SEND_WAIT_S = 1.0
"""How long sending waits for room in the socket's buffer."""

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


Ancillary = list[tuple[int, int, bytes]]


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

    def __init__(self, host: str, port: int, wall_clock: WallClock | None = None) -> None:
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
        self.wall_clock = wall_clock or WallClock()
        self._incoming: deque[Departure | Refusal] = deque()
        self._interrupted_by = 0
        self._stamps_in_doubt = False
        self._linux = sys.platform == "linux"
        self._socket = socket.socket(family, kind, number)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self.kernel_stamps = self._linux and sys.maxsize > 2**32
        """Whether this system gives kernel stamps."""
        if self._linux:
            ipv4 = family == socket.AF_INET
            level, option = (0, IP_RECVERR) if ipv4 else (socket.IPPROTO_IPV6, IPV6_RECVERR)
            self._socket.setsockopt(level, option, 1)
            sending = SOF_TIMESTAMPING_TX_SCHED | SOF_TIMESTAMPING_TX_SOFTWARE
            stamps = sending | SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, stamps)
            except OSError:  # EINVAL, ENOPROTOOPT: not this kernel
                self.kernel_stamps = False

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
        for last in (False, True):
            sent_ns = time.monotonic_ns()
            try:
                self._socket.sendto(datagram, self._server)
            except OSError as error:
                # The kernel reports an ICMP error to whatever call comes next, and be it the
                # sending of another datagram, which then does not happen: once more.
                waited = isinstance(error, BlockingIOError) and self._wait_for_room()
                if (self._collect_errors() or waited) and not last:
                    continue
                raise SendError(_meaning(error, SEND_ERROR_MEANING), sent_ns) from error
            self._collect_errors()  # the stamp is there already, but for an unresolved address
            return sent_ns
        raise AssertionError("unreachable: the second try returns or raises")

    def _wait_for_room(self) -> bool:
        return bool(select.select([], [self._socket], [], SEND_WAIT_S)[1])

    def interrupt(self, number: int) -> None:
        """Make ``receive`` raise Interrupted: for signal handlers.

        An exception out of the handler itself could come between the sending of a datagram and
        its entry in the ledger, which would then lack an attempt.
        """
        self._interrupted_by = number

    def resume(self) -> None:
        """Receive again after an interruption."""
        self._interrupted_by = 0

    def receive(self, deadline_ns: int) -> Arrival | Departure | Refusal | None:
        """Return the next thing that comes in, or None at the deadline. Raises Interrupted."""
        while not self._incoming:
            if self._interrupted_by:
                raise Interrupted(self._interrupted_by)
            try:
                datagram, ancillary, _, sender = self._receive()
            except BlockingIOError:
                self._stamps_in_doubt = False  # whatever came before a step has been read
                remaining_s = (deadline_ns - time.monotonic_ns()) / 1e9
                if remaining_s <= 0:
                    return None
                # select(), since poll() counts in milliseconds. Errors make it readable too.
                if select.select([self._socket], [], [], min(remaining_s, TICK_S))[0]:
                    self._collect_errors()
            except OSError as error:  # an ICMP error, or the interface went down (ENETDOWN)
                if not self._collect_errors():
                    self._incoming.append(Refusal(b"", _meaning(error, ICMP_MEANING)))
            else:
                received_ns = time.monotonic_ns()
                arrived_ns = self._kernel_stamp(ancillary, received_ns)
                from_server = sender[:2] == self._server[:2]
                return Arrival(datagram, received_ns, from_server, arrived_ns)
        return self._incoming.popleft()

    def overflowed(self) -> int:
        """Return how many datagrams found this socket's receive buffer full, and were lost."""
        if not self._linux:
            return 0
        try:
            told = self._socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 64)
        except OSError:  # before Linux 4.12
            return 0
        numbers = struct.unpack_from(f"@{len(told) // 4}I", told)
        return int(numbers[SK_MEMINFO_DROPS]) if len(numbers) > SK_MEMINFO_DROPS else 0

    def receive_buffer(self) -> int:
        """Return the bytes of receive buffer that the kernel granted."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def _receive(self) -> tuple[bytes, Ancillary, int, Any]:
        if self.kernel_stamps:
            return self._socket.recvmsg(LARGEST_DATAGRAM, 256)
        datagram, sender = self._socket.recvfrom(LARGEST_DATAGRAM)
        return datagram, [], 0, sender

    def _kernel_stamp(self, ancillary: Ancillary, read_ns: int) -> int | None:
        """Return the kernel's stamp in monotonic time, or None where there is none to be trusted.

        ``read_ns`` is when it was read: no stamp is later.
        """
        if self.wall_clock.now_ns() is None:
            self._stamps_in_doubt = True
        if self._stamps_in_doubt:
            return None
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPING and len(data) >= 16:
                stamp_ns = timespec_ns(data)
                monotonic_ns = stamp_ns - self.wall_clock.lead_ns
                return (
                    monotonic_ns if stamp_ns and monotonic_ns <= read_ns + STAMP_SLACK_NS else None
                )
        return None

    def _collect_errors(self) -> bool:
        """Empty the socket's error queue; True if there was an error in it.

        It has to be emptied: as long as an error is queued, waiting for an answer does not wait.
        """
        if not self._linux:
            return False
        found = False
        while True:
            try:
                quote, ancillary, _, _ = self._socket.recvmsg(512, 512, MSG_ERRQUEUE)
            except OSError:  # EAGAIN: it is empty
                return found
            for level, kind, data in ancillary:
                if (level, kind) not in ((0, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)):
                    continue
                # struct sock_extended_err: errno (u32, host order), origin (u8), ...
                if data[4] == SO_EE_ORIGIN_TIMESTAMPING:
                    left_ns = self._kernel_stamp(ancillary, time.monotonic_ns())
                    if left_ns is not None:
                        self._incoming.append(Departure(quote, left_ns))
                    continue
                found = True
                number = int.from_bytes(data[:4], sys.byteorder)
                reason = ICMP_MEANING.get(number, os.strerror(number).lower())
                self._incoming.append(Refusal(quote, reason))


def _meaning(error: OSError, known: dict[int, str]) -> str:
    return known.get(error.errno or 0, (error.strerror or str(error)).lower())
