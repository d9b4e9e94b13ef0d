"""Captures: what is written is what is read, whatever cut it off; and the datagrams in it."""

import struct
from ipaddress import ip_address

import pytest

from lab.pcapng import PcapngError, datagrams, parse
from services.capture import pcapng
from tests.pure import frames
from tests.pure.frames import CLIENT, SERVER

SIX: tuple[tuple[str, int], tuple[str, int]] = (("2001:db8::2", 40000), ("2001:db8::1", 1234))


def test_what_was_written_is_read() -> None:
    written = frames.file([frames.asked(0.25, b"hello"), frames.told(0.5, b"hi")], missed=3)
    capture = parse(written)
    (interface,) = capture.interfaces
    assert (interface.name, interface.filter) == ("eth0", "udp port 1234")
    assert [packet.time_ns for packet in capture.packets] == [frames.at(0.25), frames.at(0.5)]
    assert [packet.outgoing for packet in capture.packets] == [False, True]
    assert (capture.whole, capture.missed) == (True, 3)


def test_a_killed_capture_is_read_up_to_the_last_whole_packet() -> None:
    whole = frames.file([frames.asked(n, b"x" * n) for n in range(4)], whole=False)
    ends = [
        len(frames.file([frames.asked(n, b"x" * n) for n in range(k)], whole=False))
        for k in range(5)
    ]
    for length in range(len(whole) + 1):
        capture = parse(whole[:length])
        packets = sum(length >= end for end in ends) - 1
        assert len(capture.packets) == max(packets, 0)
        assert capture.missed is None
        if length >= ends[0]:
            assert capture.whole == (length in ends)


def test_the_other_byte_order_and_microseconds_are_read() -> None:
    def block(kind: int, body: bytes) -> bytes:
        length = struct.pack(">I", 12 + len(body))
        return struct.pack(">I", kind) + length + body + length

    header = block(0x0A0D0D0A, struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1))
    interface = block(1, struct.pack(">HHI", 1, 0, 0))
    data = frames.frame(CLIENT, SERVER, b"hi")
    time = frames.at(1.5) // 1000
    padded = data + bytes(-len(data) % 4)
    packet = block(
        6, struct.pack(">IIIII", 0, time >> 32, time & 0xFFFFFFFF, len(data), len(data)) + padded
    )
    section = header + interface + packet
    capture = parse(section + section)  # two sections: interfaces are counted in each
    assert [p.time_ns for p in capture.packets] == [frames.at(1.5)] * 2
    assert [d.data for d in datagrams(capture)] == [b"hi", b"hi"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (struct.pack("<I", 0xA1B2C3D4) + bytes(20), "older pcap format"),
        (b"GIF89a" + bytes(20), "does not begin"),
        (struct.pack("<III", 0x0A0D0D0A, 28, 99) + bytes(16), "byte order"),
        (frames.file([]) + struct.pack("<III", 6, 13, 0), "13 bytes"),
        (frames.file([]) + struct.pack("<IIII", 77, 16, 0, 20), "another length"),
        (pcapng.section_header("", "") + pcapng.enhanced_packet(0, b"", 0, 0), "been described"),
    ],
)  # fmt: skip
def test_what_is_no_capture_is_refused_with_the_reason(data: bytes, says: str) -> None:
    with pytest.raises(PcapngError, match=says):
        parse(data)


@pytest.mark.parametrize(("source", "destination"), [(CLIENT, SERVER), SIX])
def test_datagrams_of_both_ip_versions(
    source: tuple[str, int], destination: tuple[str, int]
) -> None:
    capture = parse(frames.file([(0.0, frames.frame(source, destination, b"hello"), 1)]))
    (found,) = datagrams(capture)
    assert (found.source, found.destination, found.data) == (source, destination, b"hello")
    assert not found.damaged


def test_fragments_are_put_together_in_any_order_and_only_when_all_are_there() -> None:
    whole = frames.udp(CLIENT, SERVER, bytes(range(256)) * 12)
    pieces = [whole[i : i + 1480] for i in range(0, len(whole), 1480)]
    sent = [
        frames.ipv4(CLIENT[0], SERVER[0], piece, (0x2000 if i < len(pieces) - 1 else 0) | i * 185)
        for i, piece in enumerate(pieces)
    ]
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        capture = parse(frames.file([(n, sent[i], 1) for n, i in enumerate(order)]))
        (found,) = datagrams(capture)
        assert found.data == bytes(range(256)) * 12
        assert found.time_ns == frames.at(2)
    for absent in range(3):
        kept = [(float(n), data, 1) for n, data in enumerate(sent) if n != absent]
        assert list(datagrams(parse(frames.file(kept)))) == []


def test_a_wrong_checksum_is_seen_and_one_left_to_the_card_is_none() -> None:
    data = b"hello"
    pseudo = ip_address(CLIENT[0]).packed + ip_address(SERVER[0]).packed
    left = ~frames.checksum(pseudo + struct.pack("!II", 8 + len(data), 17)) & 0xFFFF
    for sum_, damaged in ((None, False), (left, False), (0, False), (0x1234, True)):
        payload = frames.udp(CLIENT, SERVER, data, sum_=sum_)
        packet = frames.ipv4(CLIENT[0], SERVER[0], payload)
        (found,) = datagrams(parse(frames.file([(0.0, packet, 1)])))
        assert found.damaged is damaged


def test_frames_of_anything_else_are_passed_over() -> None:
    others = [
        b"",
        b"\0" * 14,
        frames.MAC + b"\x08\x06" + bytes(28),
        frames.ipv4("192.0.2.1", "192.0.2.2", b"abc"),
    ]
    capture = parse(frames.file([(0.0, other, 1) for other in others]))
    assert list(datagrams(capture)) == []
