"""The blocks of a pcapng file, for writing: bytes from numbers, no I/O.

::

    section header | interface description | enhanced packet ... | interface statistics

    +------------+------------+---------- - - -----------+------------+
    | type (u32) | length     | body, padded to 32 bits  | length     |   one block
    +------------+------------+---------- - - -----------+------------+

Format: draft-ietf-opsawg-pcapng, sections 3 and 4. Each block stands alone, so a file that was cut
off between two blocks is a valid one: what a killed capture leaves. Little-endian; times are in
nanoseconds since 1970. Left out: name resolution, secrets, several sections.
"""

import struct
from collections.abc import Iterable

SECTION_HEADER = 0x0A0D0D0A
INTERFACE_DESCRIPTION = 1
INTERFACE_STATISTICS = 5
ENHANCED_PACKET = 6
BYTE_ORDER = 0x1A2B3C4D

ETHERNET = 1
"""The link type of an interface that speaks Ethernet; Linux's loopback does, too."""

NANOSECONDS = 9
"""if_tsresol: time stamps count units of 10 to the minus 9 seconds."""

INBOUND, OUTBOUND = 1, 2
"""Of epb_flags."""

END_OF_OPTIONS, COMMENT = 0, 1
SHB_OS, SHB_APPLICATION = 3, 4
IF_NAME, IF_DESCRIPTION, IF_RESOLUTION, IF_FILTER = 2, 3, 9, 11
ISB_START, ISB_END, ISB_FILTER_ACCEPT, ISB_OS_DROP, ISB_DELIVERED = 2, 3, 6, 7, 8
EPB_FLAGS = 2

Option = tuple[int, bytes]


def section_header(system: str, application: str) -> bytes:
    """Return the block that a file begins with: made on this system, by this program."""
    body = struct.pack("<IHHq", BYTE_ORDER, 1, 0, -1)  # -1: of unknown length
    return _block(
        SECTION_HEADER,
        body,
        [(SHB_OS, system.encode()), (SHB_APPLICATION, application.encode())],
    )


def interface_description(name: str, description: str, snap_length: int, filtered: str) -> bytes:
    """Return the block about the interface; ``filtered``: which packets, in libpcap's words."""
    return _block(
        INTERFACE_DESCRIPTION,
        struct.pack("<HHI", ETHERNET, 0, snap_length),
        [
            (IF_NAME, name.encode()),
            (IF_DESCRIPTION, description.encode()),
            (IF_RESOLUTION, bytes([NANOSECONDS])),
            (IF_FILTER, b"\0" + filtered.encode()),  # 0: as a text
        ],
    )


def enhanced_packet(time_ns: int, data: bytes | memoryview, length: int, direction: int) -> bytes:
    """Return the block of a packet of ``length`` bytes, the first of which are ``data``.

    ``direction`` is INBOUND, OUTBOUND, or 0 where nobody can say.
    """
    body = struct.pack("<IIIII", 0, *_halves(time_ns), len(data), length) + _padded(bytes(data))
    return _block(ENHANCED_PACKET, body, [(EPB_FLAGS, struct.pack("<I", direction))])


def interface_statistics(begun_ns: int, ended_ns: int, accepted: int, missed: int) -> bytes:
    """Return the block about the whole capture.

    ``accepted``: packets that came by and are what was asked for; ``missed`` of them found the
    capture's buffer full, so the file has them not.
    """
    return _block(
        INTERFACE_STATISTICS,
        struct.pack("<III", 0, *_halves(ended_ns)),
        [
            (ISB_START, struct.pack("<II", *_halves(begun_ns))),
            (ISB_END, struct.pack("<II", *_halves(ended_ns))),
            (ISB_FILTER_ACCEPT, struct.pack("<Q", accepted)),
            (ISB_OS_DROP, struct.pack("<Q", missed)),
            (ISB_DELIVERED, struct.pack("<Q", accepted - missed)),
        ],
    )


def _halves(time_ns: int) -> tuple[int, int]:
    return time_ns >> 32, time_ns & 0xFFFFFFFF


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _block(kind: int, body: bytes, options: Iterable[Option]) -> bytes:
    listed = [
        struct.pack("<HH", code, len(value)) + _padded(value)
        for code, value in (*options, (END_OF_OPTIONS, b""))
    ]
    content = body + b"".join(listed)
    length = struct.pack("<I", 12 + len(content))
    return struct.pack("<I", kind) + length + content + length
