"""Which packets a capture keeps: a program for the kernel, which looks before it copies.

Those from or to one port, and what belongs to them: ICMP, whose errors quote them, and the later
fragments of a large datagram, which have no ports. In libpcap's words::

    (udp port 1234) or icmp or (icmp6 errors) or (later fragments)

The program is classic BPF (bpf(4); Documentation/networking/filter.rst of Linux): one accumulator,
one index, jumps forward only. It returns how many bytes of the packet to keep, 0 for none.
"""

import struct

PROTOCOLS = {"tcp": 6, "udp": 17}

# Opcodes of linux/bpf_common.h, put together: load, jump, return.
_LOAD_BYTE, _LOAD_HALF = 0x30, 0x28
_LOAD_HALF_AT_INDEX = 0x48
_INDEX_OF_IPV4_HEADER = 0xB1  # index = 4 * (byte & 15): how an IPv4 header tells its length
_IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT = 0x15, 0x35, 0x45
_RETURN = 0x06

# Where things stand in an Ethernet frame, in bytes.
_TYPE, _IPV4, _IPV6 = 12, 0x0800, 0x86DD
_IPV4_HEADER, _IPV4_FRAGMENT, _IPV4_PROTOCOL = 14, 20, 23
_IPV6_NEXT, _IPV6_PAYLOAD = 20, 54
_ICMP, _ICMP6, _IPV6_FRAGMENT = 1, 58, 44
_ICMP6_INFORMATION = 128
"""ICMPv6 types from here on are no errors (RFC 4443, section 2.1): neighbour discovery, mostly."""

NOTHING = struct.pack("=HBBI", _RETURN, 0, 0, 0)
"""The program that keeps no packet."""


def words(protocol: str, port: int) -> str:
    """Return what is kept, in words close to libpcap's."""
    return f"{protocol} port {port}, its fragments, and ICMP"


def program(protocol: str, port: int, snap_length: int) -> bytes:
    """Return the program as ``struct sock_filter`` after ``struct sock_filter``.

    ``protocol`` is ``tcp`` or ``udp``; ``snap_length`` the bytes to keep of each packet.
    """
    number = PROTOCOLS[protocol]
    # Label, opcode, operand, where to go on if true, if false ("": the next line).
    lines: list[tuple[str, int, int, str, str]] = [
        ("", _LOAD_HALF, _TYPE, "", ""),
        ("", _IF_EQUAL, _IPV4, "ipv4", ""),
        ("", _IF_EQUAL, _IPV6, "ipv6", "none"),
        ("ipv4", _LOAD_BYTE, _IPV4_PROTOCOL, "", ""),
        ("", _IF_EQUAL, _ICMP, "all", ""),
        ("", _IF_EQUAL, number, "", "none"),
        ("", _LOAD_HALF, _IPV4_FRAGMENT, "", ""),
        ("", _IF_ANY_BIT, 0x1FFF, "all", ""),
        ("", _INDEX_OF_IPV4_HEADER, _IPV4_HEADER, "", ""),
        ("", _LOAD_HALF_AT_INDEX, _IPV4_HEADER, "", ""),
        ("", _IF_EQUAL, port, "all", ""),
        ("", _LOAD_HALF_AT_INDEX, _IPV4_HEADER + 2, "", ""),
        ("", _IF_EQUAL, port, "all", "none"),
        ("ipv6", _LOAD_BYTE, _IPV6_NEXT, "", ""),
        ("", _IF_EQUAL, _IPV6_FRAGMENT, "all", ""),
        ("", _IF_EQUAL, _ICMP6, "icmp6", ""),
        ("", _IF_EQUAL, number, "", "none"),
        ("", _LOAD_HALF, _IPV6_PAYLOAD, "", ""),
        ("", _IF_EQUAL, port, "all", ""),
        ("", _LOAD_HALF, _IPV6_PAYLOAD + 2, "", ""),
        ("", _IF_EQUAL, port, "all", "none"),
        ("icmp6", _LOAD_BYTE, _IPV6_PAYLOAD, "", ""),
        ("", _IF_AT_LEAST, _ICMP6_INFORMATION, "none", "all"),
        ("all", _RETURN, snap_length, "", ""),
        ("none", _RETURN, 0, "", ""),
    ]
    places = {label: place for place, (label, *_) in enumerate(lines) if label}
    return b"".join(
        struct.pack("=HBBI", code, *_jumps(places, here, then, otherwise), operand)
        for here, (_, code, operand, then, otherwise) in enumerate(lines)
    )


def _jumps(places: dict[str, int], here: int, then: str, otherwise: str) -> list[int]:
    """Return by how many lines to jump ahead if true, and if false."""
    return [places[label] - here - 1 if label else 0 for label in (then, otherwise)]
