"""Reads captures: pcapng blocks, and the UDP datagrams in their Ethernet frames. Pure.

Any pcapng file is read (draft-ietf-opsawg-pcapng), of either byte order and resolution, with
several sections and interfaces: one of ``make capture``, of Wireshark, dumpcap or ``tcpdump``. One
that was cut off in mid-block, because whatever wrote it was killed, is read up to there.

Decoded is what the lab needs: Ethernet (VLAN tags too), IPv4 and IPv6, fragments put together
(RFC 791 section 3.2, RFC 8200 section 4.5), UDP. Left out: other link types and IPv6 extension
headers other than the fragment's.
"""

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

SECTION_HEADER = 0x0A0D0D0A
INTERFACE_DESCRIPTION, SIMPLE_PACKET, INTERFACE_STATISTICS, ENHANCED_PACKET = 1, 3, 5, 6
BYTE_ORDER = 0x1A2B3C4D
OLD_PCAP = (0xA1B2C3D4, 0xD4C3B2A1, 0xA1B23C4D, 0x4D3CB2A1)
LARGEST_BLOCK = 64 << 20
ETHERNET = 1

_IF_NAME, _IF_DESCRIPTION, _IF_RESOLUTION, _IF_FILTER = 2, 3, 9, 11
_ISB_FILTER_ACCEPT, _ISB_OS_DROP = 6, 7
_EPB_FLAGS = 2


class PcapngError(ValueError):
    """That is no pcapng file; the text says what is wrong, and where."""


@dataclass(frozen=True)
class Interface:
    """What a capture says of an interface; ``ticks_per_s`` is its clock's resolution."""

    name: str
    link_type: int
    snap_length: int
    ticks_per_s: int
    description: str = ""
    filter: str = ""


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of ``length`` bytes, the first of which are ``data``.

    ``time_ns`` counts from 1970. ``outgoing`` is None where the capture does not say.
    """

    interface: int
    time_ns: int
    data: bytes
    length: int
    outgoing: bool | None


@dataclass(frozen=True)
class Statistics:
    """How many packets an interface had for the capture, and how many of them it missed."""

    interface: int
    accepted: int | None
    missed: int | None


@dataclass
class Capture:
    """A file's content. ``whole`` is False if it ends in the middle of a block."""

    interfaces: list[Interface] = field(default_factory=list)
    packets: list[Packet] = field(default_factory=list)
    statistics: list[Statistics] = field(default_factory=list)
    whole: bool = True

    @property
    def missed(self) -> int | None:
        """How many packets the capture has missed; None if it does not say (it was killed)."""
        told = [s.missed for s in self.statistics if s.missed is not None]
        return sum(told) if told else None


def parse(data: bytes) -> Capture:
    """Return what a pcapng file holds. Raises PcapngError."""
    capture = Capture()
    reader = _Reader(capture)
    place = 0
    while place < len(data):
        if len(data) - place < 12:
            capture.whole = False
            break
        if place == 0 or data[place : place + 4] == b"\n\r\r\n":
            reader.begin_section(data, place)
        kind, length = reader.unpack("II", data, place)
        if length < 12 or length % 4 or length > LARGEST_BLOCK:
            raise PcapngError(f"a block of {length} bytes at byte {place}")
        if place + length > len(data):
            capture.whole = False
            break
        if reader.unpack("I", data, place + length - 4) != (length,):
            raise PcapngError(f"the block at byte {place} ends with another length")
        try:
            reader.block(kind, data[place + 8 : place + length - 4])
        except (struct.error, IndexError) as error:
            raise PcapngError(f"the block at byte {place}: {error}") from None
        place += length
    return capture


class _Reader:
    """Takes blocks in; knows the byte order and the interfaces of the section that it is in."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._order = "<"
        self._first_interface = 0

    def unpack(self, form: str, data: bytes, place: int) -> tuple[int, ...]:
        return struct.unpack_from(self._order + form, data, place)

    def begin_section(self, data: bytes, place: int) -> None:
        (kind,) = struct.unpack_from("<I", data, place)
        if kind in OLD_PCAP:
            raise PcapngError("that is the older pcap format (editcap OLD NEW.pcapng converts it)")
        if kind != SECTION_HEADER:
            raise PcapngError("it does not begin as a pcapng file does")
        magic = data[place + 8 : place + 12]
        if magic not in (struct.pack("<I", BYTE_ORDER), struct.pack(">I", BYTE_ORDER)):
            raise PcapngError(f"no byte order in the section at byte {place}")
        self._order = "<" if magic == struct.pack("<I", BYTE_ORDER) else ">"
        self._first_interface = len(self._capture.interfaces)

    def block(self, kind: int, body: bytes) -> None:
        if kind == INTERFACE_DESCRIPTION:
            self._interface(body)
        elif kind == ENHANCED_PACKET:
            self._packet(body)
        elif kind == SIMPLE_PACKET:
            self._simple_packet(body)
        elif kind == INTERFACE_STATISTICS:
            self._statistics(body)

    def _interface(self, body: bytes) -> None:
        link_type, _, snap_length = self.unpack("HHI", body, 0)
        options = self._options(body, 8)
        resolution = options.get(_IF_RESOLUTION, b"\x06")[0]
        base, exponent = (2, resolution & 0x7F) if resolution & 0x80 else (10, resolution)
        self._capture.interfaces.append(
            Interface(
                _text(options.get(_IF_NAME, b"")),
                link_type,
                snap_length,
                base**exponent,
                _text(options.get(_IF_DESCRIPTION, b"")),
                _text(options.get(_IF_FILTER, b"\0")[1:]),
            )
        )

    def _packet(self, body: bytes) -> None:
        number, high, low, kept, length = self.unpack("IIIII", body, 0)
        interface = self._number_of(number)
        if 20 + kept > len(body):
            raise IndexError(f"a packet of {kept} bytes in {len(body) - 20}")
        ticks = high << 32 | low
        time_ns = ticks * 10**9 // self._capture.interfaces[interface].ticks_per_s
        flags = self._options(body, 20 + kept + -kept % 4).get(_EPB_FLAGS)
        direction = self.unpack("I", flags, 0)[0] & 3 if flags else 0
        outgoing = None if direction == 0 else direction == 2
        self._capture.packets.append(
            Packet(interface, time_ns, body[20 : 20 + kept], length, outgoing)
        )

    def _simple_packet(self, body: bytes) -> None:
        (length,) = self.unpack("I", body, 0)
        interface = self._number_of(0)
        snap_length = self._capture.interfaces[interface].snap_length or length
        data = body[4 : 4 + min(length, snap_length)]
        self._capture.packets.append(Packet(interface, 0, data, length, None))

    def _statistics(self, body: bytes) -> None:
        (number,) = self.unpack("I", body, 0)
        options = self._options(body, 12)
        counts = [
            self.unpack("Q", options[code], 0)[0] if code in options else None
            for code in (_ISB_FILTER_ACCEPT, _ISB_OS_DROP)
        ]
        self._capture.statistics.append(Statistics(self._number_of(number), *counts))

    def _number_of(self, in_section: int) -> int:
        number = self._first_interface + in_section
        if number >= len(self._capture.interfaces):
            raise IndexError(f"interface {in_section} has not been described")
        return number

    def _options(self, body: bytes, place: int) -> dict[int, bytes]:
        options = {}
        while place + 4 <= len(body):
            code, length = self.unpack("HH", body, place)
            if code == 0:
                break
            options[code] = body[place + 4 : place + 4 + length]
            place += 4 + length + -length % 4
        return options


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").rstrip("\0")


# What is in the frames ----------------------------------------------------------------------------

Endpoint = tuple[str, int]
"""Address and port."""

UDP = 17
_IPV4, _IPV6, _VLANS = 0x0800, 0x86DD, (0x8100, 0x88A8)
_IPV6_FRAGMENT = 44


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram as it passed, whole; ``size`` bytes, of which ``data`` was kept.

    ``damaged``: its checksum is wrong, so its receiver's kernel threw it away. (A checksum that a
    network card was to fill in is not: between containers nobody does.)
    """

    time_ns: int
    source: Endpoint
    destination: Endpoint
    data: bytes
    size: int
    outgoing: bool | None
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class _Ip:
    source: bytes
    destination: bytes
    protocol: int
    payload: bytes
    length: int
    identification: int = 0
    offset: int = 0
    more: bool = False

    @property
    def fragmented(self) -> bool:
        return self.more or self.offset > 0


def datagrams(capture: Capture) -> Iterator[Datagram]:
    """Yield the UDP datagrams of a capture, as they came; of fragmented ones, those that are whole.

    A datagram's time is that of its last fragment.
    """
    parts: dict[tuple[bytes, bytes, int], dict[int, _Ip]] = {}
    for packet in sorted(capture.packets, key=lambda packet: packet.time_ns):
        if capture.interfaces[packet.interface].link_type != ETHERNET:
            continue
        ip = _ip(packet.data)
        if ip is None or ip.protocol != UDP:
            continue
        if ip.fragmented:
            key = (ip.source, ip.destination, ip.identification)
            parts.setdefault(key, {})[ip.offset] = ip
            whole = _put_together(parts[key].values())
            if whole is None:
                continue
            del parts[key]
            ip = whole
        if (datagram := _udp(packet, ip)) is not None:
            yield datagram


def _ip(frame: bytes) -> _Ip | None:
    place = 12
    while int.from_bytes(frame[place : place + 2], "big") in _VLANS:
        place += 4
    kind, packet = int.from_bytes(frame[place : place + 2], "big"), frame[place + 2 :]
    if kind == _IPV4 and len(packet) >= 20 and packet[0] >> 4 == 4:
        return _ipv4(packet)
    if kind == _IPV6 and len(packet) >= 40 and packet[0] >> 4 == 6:
        return _ipv6(packet)
    return None


def _ipv4(packet: bytes) -> _Ip:
    header = (packet[0] & 15) * 4
    total, identification, fragment = struct.unpack_from("!HHH", packet, 2)
    # 0: a super-packet that is larger than the field can say.
    length = (total or len(packet)) - header
    return _Ip(
        packet[12:16],
        packet[16:20],
        packet[9],
        packet[header : header + length],
        length,
        identification,
        (fragment & 0x1FFF) * 8,
        bool(fragment & 0x2000),
    )


def _ipv6(packet: bytes) -> _Ip:
    length, protocol, place = int.from_bytes(packet[4:6], "big"), packet[6], 40
    identification = offset = 0
    more = False
    if protocol == _IPV6_FRAGMENT and len(packet) >= 48:
        protocol, fragment, identification = struct.unpack_from("!BxHI", packet, 40)
        offset, more = fragment & 0xFFF8, bool(fragment & 1)
        place, length = 48, length - 8
    payload = packet[place : place + length]
    source, destination = packet[8:24], packet[24:40]
    return _Ip(source, destination, protocol, payload, length, identification, offset, more)


def _put_together(parts: Iterable[_Ip]) -> _Ip | None:
    """Return the packet that these fragments make, or None while one is missing or cut short."""
    payload = b""
    last: _Ip | None = None
    for part in sorted(parts, key=lambda part: part.offset):
        if part.offset > len(payload):
            return None
        payload = payload[: part.offset] + part.payload
        last = part
    if last is None or last.more:
        return None
    return _Ip(last.source, last.destination, last.protocol, payload, len(payload))


def _udp(packet: Packet, ip: _Ip) -> Datagram | None:
    if len(ip.payload) < 8:
        return None
    source, destination, length, checksum = struct.unpack_from("!HHHH", ip.payload)
    return Datagram(
        packet.time_ns,
        (str(ipaddress.ip_address(ip.source)), source),
        (str(ipaddress.ip_address(ip.destination)), destination),
        ip.payload[8:length],
        length - 8,
        packet.outgoing,
        checksum != 0 and len(ip.payload) >= length >= 8 and _is_wrong(ip, checksum, length),
    )


def _is_wrong(ip: _Ip, checksum: int, length: int) -> bool:
    """Return whether a UDP checksum (RFC 768) is neither right nor left to the network card.

    What is left to it is the sum over the pseudo-header, so far.
    """
    pseudo = ip.source + ip.destination + struct.pack("!II", length, UDP)
    segment = ip.payload[:length]
    return checksum != _sum(pseudo) and _sum(pseudo + segment) != 0xFFFF


def _sum(data: bytes) -> int:
    """Return the ones' complement sum of 16-bit words (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
