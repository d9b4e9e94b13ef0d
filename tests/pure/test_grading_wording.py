"""What our server says to a client that knows only the words of its own server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grading.wording import ECHO, learned, word


def latin(text: str) -> str:
    return text.encode().decode("latin-1")


@pytest.mark.parametrize(
    ("examples", "message", "answer"),
    [
        ([("ping 1", "ping 1")], "ping 2", "ping 2"),
        ([("ping 1", "got: ping 1!")], "ping 2", "got: ping 2!"),
        ([("ping 1", "PING 1"), ("ping 2", "PING 2")], "hello", "HELLO"),
        ([("ping n°1 é", "PING N°1 É")], "ping n°2 è", "PING N°2 È"),
        ([("ping 1", "1 gnip")], "ping 2", "2 gnip"),
        ([("ping 1", "pong 1"), ("ping 2", "pong 2")], "ping 30", "pong 30"),
        ([("req 4 at 17.5", "ack 4")], "req 5 at 18.5", "ack 5"),
        ([("1,1,hi", "ACK 1/1"), ("2,1,hi", "ACK 2/1"), ("2,3,hi", "ACK 2/3")], "4,5", "ACK 4/5"),
        ([("a 1 b 2", "2 before 1")], "a 7 b 9", "9 before 7"),
        ([("x", "received"), ("y", "received")], "z", "received"),
        # One number by chance in a confirmation that is always the same: more examples tell.
        ([("ping 1", "1 message"), ("ping 2", "1 message")], "ping 3", "1 message"),
        # The length, also where all examples are of one length, as requests 1 to 9 are.
        ([("ping 1", "ACK|6|ping 1"), ("ping 2", "ACK|6|ping 2")], "ping 10", "ACK|7|ping 10"),
        ([("été 1", "7 octets"), ("été 22", "8 octets")], "été 100", "9 octets"),
        ([("ping 1", "OK 6"), ("ping 22", "OK 6")], "ping 300", "OK 6"),
        # A binary header whose third byte is its type.
        ([("PG\1\1\0\0", "PG\2\1\0\0"), ("PG\1\2\0\1", "PG\2\2\0\1")], "PG\1\3\0\7", "PG\2\3\0\7"),
        ([("PG\1\1\0\0", "PG\2\1\0\0")], "PG", "PG"),
        # What changes from one to the next for reasons of its own is as in the first.
        ([("ping 1", "ping 1 at noon"), ("ping 2", "ping 2 at one")], "ping 3", "ping 3 at noon"),
    ],
)
def test_a_wording_is_learnt_from_examples(
    examples: list[tuple[str, str]], message: str, answer: str
) -> None:
    wording = learned([(latin(m), latin(a)) for m, a in examples])
    assert word(wording, latin(message)) == latin(answer)
    example, got = examples[0]
    assert word(wording, latin(example)) == latin(got)


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_can_be_learnt_from_and_worded(first: bytes, got: bytes, other: bytes) -> None:
    message, answer = first.decode("latin-1"), got.decode("latin-1")
    wording = learned([(message, answer)])
    assert word(wording, message) == answer
    word(wording, other.decode("latin-1")).encode("latin-1")
    assert word(ECHO, message) == message
