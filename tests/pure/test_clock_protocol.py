"""The clock server's pure core: where questions end, and what they are answered."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.clock.asking import PROBE_S
from clients.clock.estimate import DRIFT_POINTS, MAX_DRIFT_PPM, OUTLIER_FACTOR
from services.clock.protocol import (
    EXACT_QUESTION,
    MAX_SENTENCE_BYTES,
    PORT,
    QUESTION,
    QuestionSplitter,
    Receipt,
    Request,
    full_line,
    idle_line,
    reply,
    rfc3339,
)

TIME, EXACT = Request.TIME, Request.EXACT_TIME
WHAT, LONG = Request.NOT_UNDERSTOOD, Request.TOO_LONG
RECEIPT = Receipt(1795374198_975100000, "kernel")


def split(*pieces: bytes) -> list[Request]:
    splitter = QuestionSplitter()
    found = [request for piece in pieces for request in splitter.feed(piece)]
    return found + splitter.finish()


@pytest.mark.parametrize(
    ("stream", "requests"),
    [
        (b"what time is it?", [TIME]),
        (b"what time is it?\n", [TIME]),
        (b"what time is it?\r\n\r\n", [TIME]),
        (b"what time is it?what time is it?\nwhat time is it?", [TIME] * 3),
        (b"  What  TIME\tis it ?\n", [TIME]),
        (b"hello\nwhat time is it?", [WHAT, TIME]),
        (b"how are you?\nwhat time is it?", [WHAT, TIME]),
        (b"what time\nis it?", [WHAT, WHAT]),
        (EXACT_QUESTION, [EXACT]),
        (b"What time is it,  EXACTLY ?\r\nwhat time is it?", [EXACT, TIME]),
        (b"what time is it,exactly?", [WHAT]),
        (b"what time is it\n", [WHAT]),
        (b"what time is it", [WHAT]),
        (b"?", [WHAT]),
        (b"\xff\xfe\x00?", [WHAT]),
        (b"\n\r\n  \n", []),
        (b"", []),
        (b"x" * MAX_SENTENCE_BYTES + b"\n", [WHAT]),
        (b"x" * (MAX_SENTENCE_BYTES + 1) + b"\nwhat time is it?", [LONG, TIME]),
        (b"x" * 10_000 + b"? what time is it?\nwhat time is it?", [LONG, TIME]),
        (b"x" * 10_000, [LONG]),
        (b" " * 10_000 + b"what time is it?", [TIME]),
    ],
)
def test_what_a_stream_asks_does_not_depend_on_how_it_was_cut(
    stream: bytes, requests: list[Request]
) -> None:
    assert split(stream) == requests
    assert split(*(stream[at : at + 1] for at in range(len(stream)))) == requests


PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [QUESTION, EXACT_QUESTION, b"what time", b"?", b"\n", b"\r\n", b" ", b"x" * 200]
        ),
        st.binary(max_size=300),
    ),
    max_size=12,
)


@given(pieces=PIECES)
def test_any_cutting_of_any_bytes_gives_the_same_requests(pieces: list[bytes]) -> None:
    stream = b"".join(pieces)
    whole = split(stream)
    assert split(*pieces) == whole
    assert split(*(stream[at : at + 1] for at in range(len(stream)))) == whole


@given(pieces=PIECES)
def test_after_any_bytes_a_question_on_a_new_line_is_understood(pieces: list[bytes]) -> None:
    assert split(*pieces, b"\n", QUESTION)[-1] is TIME


def test_too_long_is_said_before_the_line_ends() -> None:
    assert QuestionSplitter().feed(b"x" * (MAX_SENTENCE_BYTES + 1)) == [LONG]


@pytest.mark.parametrize(
    ("wall_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1795374198_975123456, "2026-11-22T19:03:18.975123456Z"),
        (1_000_000_001, "1970-01-01T00:00:01.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
    ],
)
def test_the_time_is_rfc_3339_with_nanoseconds_in_utc(wall_ns: int, text: str) -> None:
    assert rfc3339(wall_ns) == text
    assert reply(TIME, RECEIPT, lambda: wall_ns) == text.encode() + b"\n"


def test_the_exact_answer_says_when_the_question_came_who_noted_it_and_when_it_leaves() -> None:
    assert reply(EXACT, RECEIPT, lambda: 1795374198_975123456) == (
        b"received 2026-11-22T19:03:18.975100000Z by kernel sent 2026-11-22T19:03:18.975123456Z\n"
    )


@pytest.mark.parametrize(
    "line",
    [
        reply(WHAT, RECEIPT, lambda: 0),
        reply(LONG, RECEIPT, lambda: 0),
        full_line(7),
        idle_line(2.5),
    ],
)
def test_every_complaint_is_one_line_that_begins_with_error(line: bytes) -> None:
    assert re.fullmatch(rb"error: [ -~]{10,100}\n", line)


def test_the_page_about_the_protocol_says_what_the_code_does() -> None:
    page = (Path(__file__).parents[2] / "docs" / "clock.md").read_text()
    for stated in (
        QUESTION.decode(),
        EXACT_QUESTION.decode(),
        f"Port {PORT}",
        f"silent for {PROBE_S:g} s",
        f"less than {MAX_DRIFT_PPM:g} ppm",
        f"up to {DRIFT_POINTS} stretches",
        f"more than {OUTLIER_FACTOR} times as far above",
    ):
        assert stated in page
