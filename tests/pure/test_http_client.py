"""The HTTP client's pure parts: reading an answer, taking a URL apart, showing text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.http.__main__ import Attempt, shown
from clients.http.answer import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    Answer,
    AnswerReader,
    MalformedAnswer,
)
from clients.http.fetch import Timing, parse_url, request_bytes

OK = b"HTTP/1.1 200 OK\r\n"


def read(stream: bytes, method: str = "GET", step: int | None = None) -> Answer | str:
    """Return the answer in a stream that then ends, or why it is malformed."""
    reader = AnswerReader(method)
    size = step or max(1, len(stream))
    try:
        for start in range(0, len(stream), size):
            if reader.feed(stream[start : start + size]):
                break
        else:
            reader.feed(b"")
    except MalformedAnswer as error:
        return str(error)
    assert reader.answer is not None
    return reader.answer


def outcome(stream: bytes, method: str = "GET") -> Answer | str:
    whole = read(stream, method)
    assert read(stream, method, step=1) == whole, "byte by byte the outcome is another one"
    return whole


@pytest.mark.parametrize(
    ("stream", "body"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello, and no more", b"hello"),
        (OK + b"Content-Length: 0\r\n\r\n", b""),
        (OK + b"Content-Length: 2\r\ncontent-length: 2\r\n\r\nhi", b"hi"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n", b"hello"),
        (OK + b"\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200\nContent-Length: 2\n\nhi", b"hi"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\n\r\n" + OK + b"\r\nlate", b"late"),
    ],
)
def test_body_ends_where_the_rfc_says(stream: bytes, body: bytes) -> None:
    answer = outcome(stream)
    assert isinstance(answer, Answer), answer
    assert answer.body == body


def test_answer_to_head_has_no_body() -> None:
    answer = outcome(OK + b"Content-Length: 5\r\n\r\n", "HEAD")
    assert isinstance(answer, Answer)
    assert (answer.body, answer.field("CONTENT-length")) == (b"", "5")


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n", "in the middle of its head"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not begin with HTTP/"),
        (b"HTTP/2 200\r\n\r\n", "no status line"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "no status line"),
        (b"HTTP/1.1 abc\r\n\r\n", "no status line"),
        (OK + b"no colon\r\n\r\n", "no field"),
        (OK + b" folded: x\r\n\r\n", "no field"),
        (OK + b"Content-Length: 5\r\n\r\nhell", "after 4 of 5 bytes"),
        (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "not one number"),
        (OK + b"Content-Length: -5\r\n\r\n", "not one number"),
        (OK + b"Content-Length: " + b"9" * 900 + b"\r\n\r\n", "longer than"),
        (OK + b"Transfer-Encoding: gzip\r\n\r\n", "not known here"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", "in the middle of its chunks"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "hexadecimal"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "another protocol"),
    ],
)
def test_malformed_answer_says_what_is_wrong(stream: bytes, reason: str) -> None:
    fault = outcome(stream)
    assert isinstance(fault, str)
    assert reason in fault


def test_endless_answers_are_bounded() -> None:
    endless_head = read(b"HTTP/1.1 200 OK\r\nA: " + b"x" * MAX_HEAD_BYTES, step=8192)
    endless_body = read(OK + b"\r\n" + b"x" * (MAX_BODY_BYTES + 1), step=1 << 20)
    assert "longer than" in str(endless_head)
    assert "longer than" in str(endless_body)


@given(stream=st.binary(max_size=200), method=st.sampled_from(["GET", "HEAD"]))
def test_no_bytes_crash_the_reader(stream: bytes, method: str) -> None:
    outcome(stream, method)
    outcome(OK + stream, method)


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("text/html; charset=utf-8", "é".encode(), "é"),
        ('text/plain; Charset="latin-1"', b"\xe9", "é"),
        ("text/plain; charset=nonsense", b"\xff", "\ufffd"),
        ("", b"a\xff", "a\ufffd"),
    ],
)
def test_body_becomes_text_whatever_it_is(kind: str, body: bytes, text: str) -> None:
    assert Answer("", 200, (("Content-Type", kind),), body).text() == text


def test_terminal_gets_no_control_characters_and_a_bounded_text() -> None:
    timing = Timing(0, 1, 2, 3)
    evil = Answer(
        "HTTP/1.1 200 \x1b[2J", 200, (("A", "\x9b31m"),), b"\x1b]0;title\x07\r\n" + b"x" * 99999
    )
    on_terminal = shown(Attempt(evil, timing), escape=True)
    assert all(character.isprintable() or character == "\n" for character in on_terminal)
    assert "\\x1b[2J" in on_terminal
    assert "characters more" in on_terminal
    assert len(on_terminal) < 20_000
    assert "\x1b]0;title\x07" in shown(Attempt(evil, timing), escape=False)


@pytest.mark.parametrize(
    ("text", "host", "port", "authority", "target"),
    [
        ("http://lab:12345/", "lab", 12345, "lab:12345", "/"),
        ("lab:12345", "lab", 12345, "lab:12345", "/"),
        ("http://Lab", "lab", 80, "lab", "/"),
        ("http://lab/a?b=c&d#part", "lab", 80, "lab", "/a?b=c&d"),
        ("http://[::1]:8080/x", "::1", 8080, "[::1]:8080", "/x"),
        ("http://lab/%20é", "lab", 80, "lab", "/%20%C3%A9"),
        ("http://bücher.example/", "xn--bcher-kva.example", 80, "xn--bcher-kva.example", "/"),
    ],
)
def test_url_is_taken_apart(text: str, host: str, port: int, authority: str, target: str) -> None:
    url = parse_url(text)
    assert (url.host, url.port, url.authority, url.target) == (host, port, authority, target)
    request = request_bytes("GET", url)
    assert request.startswith(f"GET {target} HTTP/1.1\r\nHost: {authority}\r\n".encode())
    assert request.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://lab/", "https is not spoken"),
        ("ftp://lab/", "only http"),
        ("http://", "no host"),
        ("http:///path", "no host"),
        ("http://user:secret@lab/", "user name"),
        ("http://lab:99999/", "Port"),
        ("http://lab:x/", "Port"),
        ("http://lab/a b", "white space"),
        ("http://lab/\r\nX: y", "white space"),
        ("http://la<b/", "not a host name"),
        ("http://[::1/", "IPv6"),
    ],
)
def test_url_that_cannot_be_fetched_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_url(text)
