"""Shortcuts of the HTTP core change how long it takes, never its outcome."""

import dataclasses

from services.http import protocol
from services.http.protocol import FileBody, RequestReader, Response, serialize_response


def test_a_body_in_a_file_is_announced_with_its_size_and_not_read() -> None:
    response = Response(200, body=FileBody("/nowhere", 2**40))
    sent = serialize_response(response, date="D")
    assert sent == b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\nDate: D\r\n\r\n"


def test_a_head_seen_before_is_the_same_request_however_it_comes() -> None:
    once, again = RequestReader(), RequestReader()
    head = b"GET /seen HTTP/1.1\r\nHost: before\r\n\r\n"
    for reader in (once, again):
        assert reader.receive(b"\r\n") is None
    first = once.receive(head)
    assert first is not None
    assert (first.target, first.raw) == ("/seen", b"\r\n" + head)
    request = once.receive(head)
    assert request == dataclasses.replace(first, raw=head)
    assert again.receive(head[:-1]) is None
    assert again.receive(head[-1:] + head) == first
    assert again.receive(head) == request, "the second of those two"
    assert again.next_request() == request
    assert again.receive(b"\r\n") is None
    assert again.receive(head) == first, "an empty line counts for the next head, known or not"


def test_a_head_seen_before_counts_for_nothing_inside_a_body_or_after_close() -> None:
    head = b"GET /inside HTTP/1.1\r\nHost: a\r\n\r\n"
    reader = RequestReader()
    assert reader.receive(head) is not None
    start = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    assert reader.receive(start % len(head)) is None
    posted = reader.receive(head)
    assert posted is not None
    assert (posted.method, posted.body) == ("POST", head)
    assert reader.receive(head) is None


def test_what_is_remembered_of_heads_has_a_bound() -> None:
    reader = RequestReader()
    for number in range(2 * protocol.MAX_KNOWN_HEADS):
        assert reader.receive(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number) is not None
    long = (
        b"GET /long HTTP/1.1\r\nHost: a\r\nA: " + b"x" * protocol.MAX_KNOWN_HEAD_BYTES + b"\r\n\r\n"
    )
    assert reader.receive(long) is not None
    assert len(protocol._known_heads) <= protocol.MAX_KNOWN_HEADS
    assert long not in protocol._known_heads
