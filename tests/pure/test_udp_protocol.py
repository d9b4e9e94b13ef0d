"""The UDP ping exercise's datagrams: confirmations, ping heads, the loop guard."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.udp.protocol import (
    LARGEST_DATAGRAM,
    LARGEST_GROWTH,
    LOOP_DEPTH,
    QUOTE_LIMIT,
    Ping,
    confirm,
    find_ping,
    is_going_round,
    is_own_machine,
)

pings = st.builds(
    Ping,
    st.text("0123456789abcdef", min_size=8, max_size=8),
    st.integers(1, 999_999_999),
    st.integers(1, 999_999_999),
)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (b"", b"received 0 bytes\n"),
        (b"hello", b"received 5 bytes: hello\n"),
        (b"hello\n", b"received 6 bytes: hello\n"),
        (b"\x00\xff", b"received 2 bytes: \x00\xff\n"),
        (b"\n", b"received 1 bytes: \n"),
    ],
)
def test_a_confirmation_is_text_around_the_question(question: bytes, answer: bytes) -> None:
    assert confirm(question) == answer


@given(st.binary(max_size=3 * QUOTE_LIMIT))
def test_a_confirmation_gives_the_question_back_and_is_little_larger(question: bytes) -> None:
    answer = confirm(question)
    assert question[:QUOTE_LIMIT] in answer
    assert len(answer) <= len(question) + LARGEST_GROWTH
    assert len(answer) <= QUOTE_LIMIT + LARGEST_GROWTH


def test_the_largest_question_gets_a_bounded_prefix_and_its_true_size() -> None:
    answer = confirm(bytes(LARGEST_DATAGRAM))
    assert answer.startswith(b"received 65507 bytes: ")
    assert len(answer) == QUOTE_LIMIT + LARGEST_GROWTH


@given(pings, st.binary(max_size=50))
def test_a_ping_is_found_in_its_confirmation_and_in_any_echo(ping: Ping, message: bytes) -> None:
    datagram = ping.datagram(message)
    assert find_ping(confirm(datagram)) == ping
    assert find_ping(b"Message received: " + datagram) == ping
    assert find_ping(datagram.upper()) == ping


@given(pings)
def test_a_ping_cut_short_is_never_taken_for_another(ping: Ping) -> None:
    datagram = ping.datagram(b"hello")
    head = datagram.index(b":") + 1
    for end in range(len(datagram) + 1):
        assert find_ping(datagram[:end]) == (ping if end >= head else None)


@given(st.binary(max_size=100))
def test_bytes_without_a_ping_head_are_none(data: bytes) -> None:
    assert find_ping(data.replace(b":", b"")) is None


@pytest.mark.parametrize(
    "data",
    [
        b"ping 7f3a9c0 3.2: x",
        b"ping 7f3a9c01 0.1: x",
        b"ping 7f3a9c01 1.0: x",
        b"ping 7f3a9c01 01.1: x",
        b"ping 7f3a9c01 1.1234567890: x",
        b"ping 7f3a9c0g 1.1: x",
        b"ping7f3a9c01 1.1: x",
        "ping 7f3a9c01 \u0661.1: x".encode(),
    ],
)
def test_what_is_almost_a_ping_head_is_none(data: bytes) -> None:
    assert find_ping(data) is None


def test_padding_brings_a_ping_to_its_size_and_leaves_its_head() -> None:
    ping = Ping("7f3a9c01", 3, 2)
    assert ping.datagram(b"hello", 30) == b"ping 7f3a9c01 3.2: hello......"
    assert ping.datagram(b"") == b"ping 7f3a9c01 3.2:"
    assert find_ping(ping.datagram(b"", 1200)) == ping


@pytest.mark.parametrize("question", [b"hello", b"x" * 2000, b"hello\n", b"\n"])
def test_two_servers_set_upon_each_other_stop_answering(question: bytes) -> None:
    datagram = question
    for _ in range(LOOP_DEPTH):
        assert not is_going_round(datagram)
        datagram = confirm(datagram)
    assert is_going_round(datagram)


def test_a_person_may_send_a_confirmation_back_by_hand() -> None:
    assert not is_going_round(confirm(confirm(b"hello")))
    assert not is_going_round(b"received 5 bytes: received")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.0.0.2"]
)
def test_loopback_and_the_servers_own_address_are_its_own_machine(address: str) -> None:
    assert is_own_machine(address, "10.0.0.2")


@pytest.mark.parametrize(
    "address", ["10.0.0.3", "12.7.0.1", "::2", "::ffff:10.0.0.3", "172.18.0.1"]
)
def test_any_other_address_is_not_its_own_machine(address: str) -> None:
    assert not is_own_machine(address, "0.0.0.0")
