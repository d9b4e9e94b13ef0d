"""What our side of an arena decides: where a question ends, when an answer is whole."""

import socket
import threading
from typing import Any

import pytest

from grading.manifest import Program
from grading.peer import clock_client, http_client, talk
from grading.peer.clock_server import cut, split
from grading.readings import SECOND_NS, time_in
from tests.checks.test_clock_client import FAREWELL, told_requests, varied
from tests.checks.test_clock_server import error_s

NOW = 1_795_374_198_975_123_456


@pytest.mark.parametrize(
    ("buffered", "questions", "rest"),
    [
        (b"what time is it?\n", [b"what time is it?"], b""),
        (b"what time is it?", [b"what time is it?"], b""),
        (b"heure\nheure\n", [b"heure\n", b"heure\n"], b""),
        (b"a?b?c", [b"a?", b"b?"], b"c"),
        (b"\r\n\r\n", [], b""),
        (b"what ti", [], b"what ti"),
    ],
)
def test_a_clients_question_ends_however_it_ends_them(
    buffered: bytes, questions: list[bytes], rest: bytes
) -> None:
    assert split(buffered) == (questions, rest)


def test_questions_are_the_same_however_they_arrive() -> None:
    whole = b"what time is it?\nwhat time is it?\nheure\n"
    expected, _ = split(whole)
    found, rest = [], b""
    for byte in whole:
        questions, rest = split(rest + bytes([byte]))
        found += questions
    assert (found, rest) == (expected, b"")


@pytest.mark.parametrize("pieces", [1, 2, 3, 25, 100])
def test_an_answer_is_cut_into_pieces_without_loss(pieces: int) -> None:
    answer = b"Sun Nov 22 19:03:18 2026\n"
    found = cut(answer, pieces)
    assert b"".join(found) == answer
    assert len(found) == min(pieces, len(answer))
    assert all(found)


def test_an_answer_of_the_clock_is_whole_with_its_last_line() -> None:
    assert not clock_client.whole(b"Il est\n", {"lines": 2})
    assert clock_client.whole(b"Il est\n19:03:18\n", {"lines": 2})
    assert not clock_client.whole(b"Il est\n19:03:18", {"lines": 1})
    assert not clock_client.whole(b"19:03:18\n", {})


@pytest.mark.parametrize(
    ("data", "status", "complete"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", 200, False),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", 200, True),
        (b"HTTP/1.0 200\r\n\r\nhi", 200, False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 200, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", 200, False),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, True),
        (b"HTTP/1.1 200 OK\r\nContent-", 200, False),
        (b"<html>hello</html>", 0, False),
        (b"", 0, False),
    ],
)
def test_an_answer_of_http_says_itself_whether_it_is_whole(
    data: bytes, status: int, complete: bool
) -> None:
    answer = http_client.parse(data)
    assert (answer.status, answer.complete) == (status, complete)


def test_a_body_is_counted_in_bytes() -> None:
    answer = http_client.parse("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nété".encode())
    assert (answer.length, len(answer.body)) == (3, 5)


@pytest.mark.parametrize(
    ("answer", "asked_s", "error"),
    [
        (b"Sun Nov 22 19:03:18 2026", 18.2, 0.0),
        (b"Sun Nov 22 19:03:19 2026", 18.2, 0.0),  # rounded up
        (b"Sun Nov 22 19:03:16 2026", 18.2, -2.2),
        (b"Sun Nov 22 20:03:18 2026", 18.2, 3599.8),
        (b"2026-11-22T20:03:18.21+01:00", 18.2, 0.0),
        (b"1795374195.7", 18.2, -2.5),
        (b"19:03:18", 18.2, 0.0),
    ],
)
def test_a_time_is_wrong_by_more_than_its_last_digit_or_not_at_all(
    answer: bytes, asked_s: float, error: float
) -> None:
    asked_ns = 1_795_374_180 * SECOND_NS + round(asked_s * SECOND_NS)
    reading = time_in(answer, asked_ns)
    assert reading is not None
    assert error_s(reading, asked_ns, asked_ns + 1_000_000) == pytest.approx(error, abs=0.01)


def program(*stdin: str, requests: int | None = None) -> Program:
    return Program("clock-client", "python3 c.py", 1236, stdin=stdin, requests=requests)


def test_how_often_a_client_is_told_to_ask() -> None:
    assert told_requests(program("5")) == 5
    assert told_requests(program("localhost", "5", requests=7)) == 7
    assert told_requests(program("5", "1236")) == 5
    assert told_requests(program("5", "3")) is None
    assert told_requests(program()) is None


def test_another_number_is_typed_where_it_is_plain_which_one_it_is() -> None:
    assert varied(program("host", "5", requests=5), 5).stdin == ("host", "3")
    assert varied(program("3"), 3).stdin == ("4",)
    for unclear in (program("5", "5", requests=5), program("host", requests=5), program("1")):
        assert varied(unclear, told_requests(unclear)) is unclear


def test_a_farewell_is_no_question() -> None:
    assert FAREWELL.match("quit")
    assert FAREWELL.match("Bye!")
    assert not FAREWELL.match("quelle heure est-il ?")


def told_by(
    monkeypatch: pytest.MonkeyPatch, server: Any, steps: list[dict[str, Any]], **more: Any
) -> list[dict[str, Any]]:
    """Let a conversation meet ``server`` on a socket pair, and return what it told."""
    events: list[dict[str, Any]] = []
    monkeypatch.setattr(talk, "tell", lambda event, **rest: events.append({"event": event, **rest}))
    ours, theirs = socket.socketpair()
    conversation = talk.Talk(("", 0), clock_client.whole, **more)
    conversation._sockets["a"] = ours
    thread = threading.Thread(target=server, args=(theirs,))
    thread.start()
    conversation.run(steps)
    thread.join(5)
    theirs.close()
    return events


def test_a_conversation_hears_an_answer_that_comes_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def server(sock: socket.socket) -> None:
        sock.recv(100)
        sock.sendall(b"19:0")
        sock.sendall(b"3:18\n")

    steps: list[dict[str, Any]] = [
        {"do": "send", "as": "a", "data": "what time is it?\n"},
        {"do": "hear", "as": "a", "lines": 1, "must": True},
    ]
    sent, heard = told_by(monkeypatch, server, steps)
    assert (sent["event"], heard["event"]) == ("sent", "heard")
    assert (heard["data"], heard["end"]) == ("19:03:18\n", "whole")


def test_a_conversation_ends_where_an_answer_must_come_and_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[dict[str, Any]] = [
        {"do": "hear", "as": "a", "wait_s": 0.01, "must": True},
        {"do": "send", "as": "a", "data": "never"},
    ]
    events = told_by(monkeypatch, lambda sock: None, steps)
    assert [event["event"] for event in events] == ["heard", "gave up"]
    assert events[0]["end"] == "nothing"


def test_a_conversation_notes_that_the_server_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def server(sock: socket.socket) -> None:
        sock.sendall(b"bye")
        sock.shutdown(socket.SHUT_RDWR)

    (heard,) = told_by(monkeypatch, server, [{"do": "hear", "as": "a"}])
    assert (heard["data"], heard["end"]) == ("bye", "close")
