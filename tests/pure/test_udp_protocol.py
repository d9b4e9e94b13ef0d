"""The UDP ping exercise's datagrams: confirmations, ping heads, the loop guard."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.udp.protocol import (
    LARGEST_DATAGRAM,
    LARGEST_GROWTH,
    LARGEST_TIMES,
    LONGEST_HELD_NS,
    LOOP_DEPTH,
    QUOTE_LIMIT,
    Account,
    AccountQuestion,
    Ping,
    Times,
    confirm,
    find_account,
    find_account_question,
    find_ping,
    find_times,
    is_going_round,
    is_own_machine,
    match_ping,
    times_text,
)

pings = st.builds(
    Ping,
    st.text("0123456789abcdef", min_size=8, max_size=8),
    st.integers(1, 999_999_999),
    st.integers(1, 999_999_999),
    st.none() | st.integers(1, 999_999_999),
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


@given(pings, st.binary(max_size=20))
def test_only_a_datagram_that_begins_with_a_numbered_ping_asks_for_more(
    ping: Ping, message: bytes
) -> None:
    match = match_ping(ping.datagram(message))
    assert match is not None
    assert match.groups() == (
        ping.run.encode(),
        b"%d.%d" % (ping.request, ping.attempt),
        None if ping.number is None else b"%d" % ping.number,
    )
    assert match_ping(b" " + ping.datagram(message)) is None
    assert match_ping(ping.datagram(message)[:8]) is None


@given(st.integers(0, 9_999_999_999), st.integers(0, LONGEST_HELD_NS), st.booleans(), pings)
def test_times_come_back_out_of_a_confirmation_that_is_little_larger(
    received_s: int, held_ns: int, by_kernel: bool, ping: Ping
) -> None:
    received_ns = received_s * 10**9 + 123
    question = ping.datagram(b"hello")
    answer = confirm(question, times_text(received_ns, held_ns, by_kernel))
    assert find_times(answer) == Times(received_ns, held_ns, by_kernel)
    assert find_ping(answer) == ping
    assert len(answer) <= len(question) + LARGEST_GROWTH + LARGEST_TIMES
    assert answer.isascii()
    for length in range(answer.index(b"ns: ") + 4):
        assert find_times(answer[:length]) is None


@pytest.mark.parametrize(
    "confirmation",
    [
        b"received 5 bytes: hello",
        b"received 5 bytes at 1.5 +5ns: hello",
        b"received 5 bytes at 1.123456789 -5ns: hello",
        b"received 5 bytes at 1.123456789 +1234567890123ns: hello",
        b"received 5 bytes at \xd9\xa1.123456789 +5ns: hello",
        b"x received 5 bytes at 1.123456789 +5ns: hello",
    ],
)
def test_what_is_almost_a_telling_of_times_is_none(confirmation: bytes) -> None:
    assert find_times(confirmation) is None


def test_a_loop_is_recognised_through_times_too() -> None:
    datagram = confirm(b"ping 7f3a9c01 1.1 #1: x", times_text(1, 2, True))
    for _ in range(LOOP_DEPTH - 1):
        assert not is_going_round(datagram)
        datagram = confirm(datagram)
    assert is_going_round(datagram)


@given(
    st.text("0123456789abcdef", min_size=8, max_size=8),
    st.integers(1, 999_999_999),
    st.integers(0, 1400),
    st.floats(0, 1e9 - 1),
    st.none() | st.floats(0, 1),
    st.binary(max_size=1400),
)
def test_an_account_fits_its_question_and_comes_back_out(
    run: str, first: int, more: int, complete_s: float, drop: float | None, random_: bytes
) -> None:
    question = AccountQuestion(run, first, min(first + more, 999_999_999))
    asked = question.datagram()
    assert find_account_question(asked) == question
    codes = bytes(0x30 + byte % 64 for byte in random_)[: question.last - first + 1]
    account = Account(run, first, complete_s, drop, codes)
    longest = min(len(asked) + LARGEST_GROWTH + LARGEST_TIMES, 1400)
    datagram = account.datagram(longest)
    assert len(datagram) <= longest
    if codes:
        told = find_account(datagram)
        assert told is not None
        assert (told.run, told.first) == (run, first)
        assert complete_s - 0.002 < told.complete_s <= complete_s
        assert told.drop == (None if drop is None else pytest.approx(drop, abs=1e-9))
        assert codes.startswith(told.codes)
        if more < 1200:  # what a client asks for fits
            assert told.codes == codes
        assert find_account(datagram[:-1]) is None


def test_a_person_may_ask_for_a_short_account_by_hand() -> None:
    assert find_account_question(b"account? 7f3a9c01 1 6\n") == AccountQuestion("7f3a9c01", 1, 6)
    told = Account("7f3a9c01", 1, 12.3459, 0.5, b"114041")
    assert told.datagram(100) == (
        b"account 7f3a9c01 from 1, complete for 12.345 s, drop 0.5: 114041\n"
    )


@pytest.mark.parametrize(
    "datagram",
    [
        b"account? 7f3a9c01 2 1",
        b"account? 7f3a9c01 0 1",
        b"account? 7f3a9c0 1 2",
        b"account? 7F3A9C01 1 2",
        b"account? 7f3a9c01 1 1234567890",
        b" account? 7f3a9c01 1 2",
    ],
)
def test_what_is_almost_a_question_for_an_account_is_none(datagram: bytes) -> None:
    assert find_account_question(datagram) is None
