"""A tap on a network interface: every packet that passes, with the kernel's time stamp.

An ``AF_PACKET`` socket (packet(7); needs CAP_NET_RAW). Where it sits::

    in:   interface -> tap -> impairment on the way in (ifb, nftables) -> server
    out:  server -> impairment on the way out (netem, nftables) -> tap -> interface

So what is lost on the way out never comes here, and what comes in is seen before it may be lost.
Stamps are of the wall clock, in nanoseconds (``SO_TIMESTAMPNS``), made when the packet passes.
"""

import ctypes
import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from services.capture import selection
from services.capture.pcapng import INBOUND, OUTBOUND
from services.udp.stamps import timespec_ns

ALL_PROTOCOLS = 3
SO_ATTACH_FILTER = 26
SO_TIMESTAMPNS = 35
SOL_PACKET = 263
PACKET_STATISTICS, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING = 6, 8, 23
LOOPBACK_HARDWARE, ETHERNET_HARDWARE = 772, 1
"""Linux's numbers (if_ether.h, socket.h, if_packet.h, if_arp.h): Python 3.11 does not name them."""

BUFFER = 16 << 20
"""Bytes asked for, so that a burst fits; the kernel grants rmem_max at most."""

_AUXDATA = struct.Struct("=IIIHHHH")


class TapError(Exception):
    """The tap cannot be had; the text is a sentence with the way out."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of ``length`` bytes as it passed; ``data`` are the first of them."""

    time_ns: int
    data: bytes
    length: int
    direction: int


class Tap:
    """Sees the packets that ``program`` (classic BPF) keeps. Raises TapError.

    On a loopback interface each packet goes out and comes in at once: it is seen once, and has no
    direction.
    """

    def __init__(self, interface: str, program: bytes, snap_length: int) -> None:
        try:
            # Deaf at first (protocol 0): nothing comes in before the filter is there.
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except PermissionError as error:
            raise TapError(
                "capture: not permitted (run it as root with the capability NET_RAW)"
            ) from error
        self._snap_length = snap_length
        self._room = bytearray(snap_length)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            attach(self._socket, program)
            self._socket.bind((interface, 0))
            hardware = self._socket.getsockname()[3]
            if hardware not in (ETHERNET_HARDWARE, LOOPBACK_HARDWARE):
                raise TapError(
                    f"capture on {interface}: it does not speak Ethernet (type {hardware}); "
                    "choose another --interface"
                )
            self._loopback = hardware == LOOPBACK_HARDWARE
            if self._loopback:
                self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            self._socket.bind((interface, ALL_PROTOCOLS))
        except OSError as error:  # ENODEV: no such interface; ENETDOWN: it is not up
            self._socket.close()
            why = (error.strerror or str(error)).lower()
            raise TapError(f"capture on {interface}: {why} (choose --interface)") from error
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> "Tap":
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor, for select()."""
        return self._socket.fileno()

    def packets(self) -> Iterator[Packet]:
        """Yield the packets that are there now."""
        while True:
            try:
                size, ancillary, _, sender = self._socket.recvmsg_into([self._room], 256)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENETDOWN:  # said once; what came before can be read
                    continue
                raise
            time_ns, length = 0, size
            for level, kind, data in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                    time_ns = timespec_ns(data)
                elif (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                    length = _AUXDATA.unpack_from(data)[1]
            direction = 0
            if not self._loopback:
                direction = OUTBOUND if sender[2] == socket.PACKET_OUTGOING else INBOUND
            yield Packet(time_ns, bytes(self._room[:size]), length, direction)

    def close_to_new(self) -> None:
        """Let nothing more come in; what is there can still be read."""
        attach(self._socket, selection.NOTHING)

    def statistics(self) -> tuple[int, int]:
        """Return how many packets came since the last call, and how many of them were missed."""
        told = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        accepted, missed = struct.unpack("=II", told)
        return accepted, missed


def attach(receiving: socket.socket, program: bytes) -> None:
    """Have the kernel run ``program`` on every packet for this socket."""
    room = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(room))
    receiving.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, header)
