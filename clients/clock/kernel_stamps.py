r"""When the kernel sent a question and received its answer, on a TCP connection (Linux).

``SO_TIMESTAMPING`` (the kernel's Documentation/networking/timestamping.rst):

=======  ==========================================================================================
sent     The packet that carries the question's last byte, noted as it is handed to the network
         device, after the queueing discipline. It comes to the socket's error queue, with the
         number of that byte in the stream (``OPT_ID``). When TCP sends the packet again there is
         another; the first is taken, since the question cannot have left before it.
received The packet that carried the last byte read, noted when it came from the network device, so
         before this process was woken. It comes with the data.
=======  ==========================================================================================

Both are by the wall clock. Elsewhere than on Linux there are none, and the caller reads its clock.
"""

import socket
import struct
import sys

from services.clock.protocol import NANOSECONDS

# asm-generic/socket.h, linux/net_tstamp.h, linux/errqueue.h, linux/tcp.h
_SO_TIMESTAMPING = 37
_TX_SOFTWARE, _RX_SOFTWARE, _SOFTWARE, _OPT_ID, _OPT_TSONLY = (
    1 << 1,
    1 << 3,
    1 << 4,
    1 << 7,
    1 << 11,
)
_FLAGS = _TX_SOFTWARE | _RX_SOFTWARE | _SOFTWARE | _OPT_ID | _OPT_TSONLY
_RECVERR = ((socket.SOL_IP, 11), (41, 25))  # IP_RECVERR, and IPV6_RECVERR at SOL_IPV6
_SENT_STAMP = 0  # SCM_TSTAMP_SND, in ee_info
_EXTENDED_ERROR = struct.Struct("=IBBBBII")  # errno, origin, type, code, pad, info, data
_ORIGIN_TIMESTAMPING = 4
_TIMESPEC = struct.Struct("@ll")
_SPACE = 512
_TCP_INFO_TOTAL_RETRANS = 100  # byte offset of tcpi_total_retrans

Ancillary = list[tuple[int, int, bytes]]


class KernelStamps:
    """The kernel's stamps of one connection; nanoseconds since the epoch, or None."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._bytes_sent = 0
        self.on = sys.platform == "linux"
        if self.on:
            try:
                connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _FLAGS)
            except OSError:  # ENOPROTOOPT, EINVAL: an old kernel, or one that only acts as Linux
                self.on = False

    def count_sent(self, count: int) -> None:
        """Note that ``count`` bytes were handed to the kernel: their last one is asked for."""
        self._bytes_sent += count

    def receive(self, limit: int) -> tuple[bytes, int | None]:
        """Return what ``recv`` does, and when the last of it had come. Raises OSError as that."""
        if not self.on:
            return self._connection.recv(limit), None
        data, ancillary, _, _ = self._connection.recvmsg(limit, _SPACE)
        return data, _stamp_ns(ancillary)

    def sent_ns(self) -> int | None:
        """Return when the last byte that was counted first left, as far as is known by now.

        Empties the error queue, where earlier stamps may be left.
        """
        first_ns = None
        while self.on:
            try:
                _, ancillary, _, _ = self._connection.recvmsg(
                    1, _SPACE, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT
                )
            except OSError:  # EAGAIN: that was all
                break
            if first_ns is None and _byte_number(ancillary) == (self._bytes_sent - 1) % 2**32:
                first_ns = _stamp_ns(ancillary)
        return first_ns

    def retransmissions(self) -> int:
        """Return how many segments this side has sent again so far, 0 where that is not known."""
        if not self.on:
            return 0
        try:
            info = self._connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            return int(struct.unpack_from("=I", info, _TCP_INFO_TOTAL_RETRANS)[0])
        except (OSError, struct.error):
            return 0


def _stamp_ns(ancillary: Ancillary) -> int | None:
    for level, kind, value in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPING):
            seconds, nanoseconds = _TIMESPEC.unpack_from(value)  # of three, the software's is first
            return (seconds * NANOSECONDS + nanoseconds) or None
    return None


def _byte_number(ancillary: Ancillary) -> int | None:
    for level, kind, value in ancillary:
        if (level, kind) in _RECVERR and len(value) >= _EXTENDED_ERROR.size:
            _, origin, _, _, _, info, number = _EXTENDED_ERROR.unpack_from(value)
            if origin == _ORIGIN_TIMESTAMPING and info == _SENT_STAMP:
                return int(number)
    return None
