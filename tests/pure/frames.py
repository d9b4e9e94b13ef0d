"""Frames and captures, byte by byte, as the kernel and ``services.capture`` would make them."""

import struct
from collections.abc import Sequence
from ipaddress import ip_address

from services.capture import pcapng

CLIENT, SERVER = ("192.0.2.2", 40000), ("192.0.2.1", 1234)
BEGUN_NS = 1_792_000_000_000_000_000
MAC = bytes.fromhex("020000000001020000000002")

Endpoint = tuple[str, int]


def checksum(data: bytes) -> int:
    """Return the ones' complement sum of RFC 1071, complemented."""
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp(source: Endpoint, destination: Endpoint, data: bytes, *, sum_: int | None = None) -> bytes:
    """Return a UDP datagram (RFC 768); ``sum_`` in place of the right checksum."""
    addresses = ip_address(source[0]).packed + ip_address(destination[0]).packed
    length = 8 + len(data)
    head = struct.pack("!HHH", source[1], destination[1], length)
    right = checksum(addresses + struct.pack("!II", length, 17) + head + b"\0\0" + data)
    return head + struct.pack("!H", right if sum_ is None else sum_) + data


def ipv4(
    source: str, destination: str, payload: bytes, fragment: int = 0, number: int = 7
) -> bytes:
    """Return a frame with an IPv4 packet; ``fragment`` is flags and offset as they stand there."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), number, fragment, 64, 17, 0)
    return (
        MAC
        + b"\x08\x00"
        + head
        + ip_address(source).packed
        + ip_address(destination).packed
        + payload
    )


def ipv6(source: str, destination: str, payload: bytes, protocol: int = 17) -> bytes:
    """Return a frame with an IPv6 packet."""
    head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64)
    return (
        MAC
        + b"\x86\xdd"
        + head
        + ip_address(source).packed
        + ip_address(destination).packed
        + payload
    )


def frame(source: Endpoint, destination: Endpoint, data: bytes) -> bytes:
    """Return a frame with a UDP datagram."""
    make = ipv6 if ":" in source[0] else ipv4
    return make(source[0], destination[0], udp(source, destination, data))


def file(
    packets: Sequence[tuple[float, bytes, int]], *, missed: int = 0, whole: bool = True
) -> bytes:
    """Return a capture: (seconds since the beginning, frame, direction) each."""
    blocks = [
        pcapng.section_header("Linux 6.12", "test"),
        pcapng.interface_description("eth0", "the server's", 262144, "udp port 1234"),
    ]
    for seconds, data, direction in packets:
        blocks.append(pcapng.enhanced_packet(at(seconds), data, len(data), direction))
    if whole:
        blocks.append(pcapng.interface_statistics(BEGUN_NS, at(60), len(packets) + missed, missed))
    return b"".join(blocks)


def at(seconds: float) -> int:
    """Return an instant of the capture in nanoseconds since 1970."""
    return BEGUN_NS + round(seconds * 1e9)


def asked(seconds: float, data: bytes, client: Endpoint = CLIENT) -> tuple[float, bytes, int]:
    """Return a datagram from the client as it passes the server's interface."""
    return seconds, frame(client, SERVER, data), pcapng.INBOUND


def told(seconds: float, data: bytes, client: Endpoint = CLIENT) -> tuple[float, bytes, int]:
    """Return a datagram from the server as it passes."""
    return seconds, frame(SERVER, client, data), pcapng.OUTBOUND
