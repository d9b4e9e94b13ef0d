"""The HTTP protocol core: whole, byte by byte, and at random cuts."""

import functools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.http.protocol import (
    MAX_BODY_BYTES,
    MAX_CHUNK_EXCESS_BYTES,
    MAX_CHUNK_LINE_BYTES,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_KEPT_BODY_BYTES,
    MAX_REQUEST_LINE_BYTES,
    ChunkedDecoder,
    ProtocolError,
    Request,
    RequestReader,
    Response,
    imf_fixdate,
    serialize_response,
)

Outcome = tuple[list[Request], tuple[int, str] | None]

GET = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"


def read(
    pieces: Iterable[bytes], *, to_the_end: bool = False, reader: RequestReader | None = None
) -> Outcome:
    """Return the requests and the fault (status and explanation) found in a stream."""
    reader = reader or RequestReader()
    requests: list[Request] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (request := reader.next_request()) is not None:
                requests.append(request)
        if to_the_end:
            reader.end_of_stream()
    except ProtocolError as error:
        return requests, (error.status, error.explanation)
    return requests, None


def one_by_one(stream: bytes) -> list[bytes]:
    return [stream[i : i + 1] for i in range(len(stream))]


def outcome(stream: bytes) -> Outcome:
    """Return the outcome of a stream, which must not depend on how it is cut."""
    whole = read([stream])
    assert read(one_by_one(stream)) == whole, "byte by byte the outcome is another one"
    return whole


def request(stream: bytes) -> Request:
    requests, fault = outcome(stream)
    assert fault is None
    assert len(requests) == 1
    return requests[0]


def status(stream: bytes) -> int | None:
    fault = outcome(stream)[1]
    return None if fault is None else fault[0]


def with_fields(*lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join(
        [f"{method} / HTTP/{version}", *lines, "Host: lab" if version == "1.1" else "A: b", "", ""]
    ).encode("latin-1")


def test_a_request_is_read_with_all_its_parts() -> None:
    got = request(
        b"GET /a%20b?q=1&r HTTP/1.1\r\nHost: lab:80\r\nX-Twice: 1\r\nx-twice:\t2 \r\n\r\n"
    )
    assert (got.method, got.target, got.path, got.query) == ("GET", "/a%20b?q=1&r", "/a b", "q=1&r")
    assert (got.host, got.field("x-twice"), got.field("absent")) == ("lab:80", "1, 2", None)
    assert got.fields == (("host", "lab:80"), ("x-twice", "1"), ("x-twice", "2"))
    assert got.keep_alive


def test_pipelined_requests_come_out_in_order() -> None:
    stream = b"".join(b"GET /%d HTTP/1.1\r\nHost: lab\r\n\r\n" % number for number in range(20))
    requests, fault = outcome(stream)
    assert [got.path for got in requests] == [f"/{number}" for number in range(20)]
    assert fault is None


def test_nothing_is_read_after_connection_close() -> None:
    requests, fault = outcome(with_fields("Connection: Close") + GET + b"\x00garbage")
    assert (len(requests), requests[0].keep_alive, fault) == (1, False, None)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\rHost: lab\r\r",
        b"GET / HTTP/1.1\r\nHost: lab\rX",
        b"GET / HTTP/1.1\r\nHost: lab\r\r",
    ],
)
def test_half_a_line_end_is_a_fault_without_waiting_for_the_rest(head: bytes) -> None:
    assert status(head) == 400


def test_nothing_is_read_after_a_fault() -> None:
    reader = RequestReader()
    reader.feed(b"nonsense\r\n\r\n" + GET)
    with pytest.raises(ProtocolError):
        reader.next_request()
    assert reader.next_request() is None


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        ("1.1", "", True),
        ("1.1", "close", False),
        ("1.1", "keep-alive, Close", False),
        ("1.0", "", False),
        ("1.0", "Keep-Alive", True),
        ("1.0", "keep-alive, close", False),
    ],
)
def test_connection_lives_on_as_the_version_and_field_say(
    version: str, connection: str, keep_alive: bool
) -> None:
    lines = [f"Connection: {connection}"] if connection else []
    assert request(with_fields(*lines, version=version)).keep_alive is keep_alive


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET / HTTP/1.1", None),
        (b"GET / HTTP/1.9", None),
        (b"BREW / HTTP/1.1", None),  # known or not is up to the site
        (b"M-SEARCH!#$%&'*+-.^_`|~ / HTTP/1.1", None),
        (b"GET /", 400),  # HTTP/0.9
        (b"GET / HTTP/", 400),
        (b"GET / HTTP/1.", 400),
        (b"GET / HTTP/.1", 400),
        (b"GET / HTTP/-1.1", 400),
        (b"GET / HTTP/1,1", 400),
        (b"GET / HTTP /1.1", 400),
        (b"GET / HTTP/1.1\x00", 400),
        (b"GET / FTP/1.1", 400),
        (b"GET HTTP/1.1", 400),
        (b"/ HTTP/1.1", 400),
        (b"GET / HTTP/1.1\x0b", 400),
        (b"GET", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b" GET / HTTP/1.1", 400),
        (b"GET\t/ HTTP/1.1", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b"GET / http/1.1", 400),
        (b"GET / HTTP/1.10", 400),
        (b"GET / HTTP/1", 400),
        (b"GET / HTTP/01.1", 400),
        (b"GET / HTTP/1.\xb2", 400),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/0.9", 505),
        (b"GET / HTTP/3.0", 505),
        (b"G(T / HTTP/1.1", 400),
        (b"G\xc9T / HTTP/1.1", 400),
        (b"GET /\x00 HTTP/1.1", 400),
        (b"GET /\x7f HTTP/1.1", 400),
        (b"GET /\xe9 HTTP/1.1", 400),
        (b"GET /\r HTTP/1.1", 400),
        (b"GET /#part HTTP/1.1", 400),
        (b"GET /<script> HTTP/1.1", 400),
        (b"GET /%4 HTTP/1.1", 400),
        (b"GET /%00 HTTP/1.1", 400),
        (b"GET /%0d%0a HTTP/1.1", None),  # a name, if an odd one: decoded after the head is read
        (b"GET /?%00 HTTP/1.1", None),
        (b"GET //lab/x HTTP/1.1", None),
        (b"GET / HTTP/1.0", None),
        (b"GET /%zz HTTP/1.1", 400),
        (b"GET path HTTP/1.1", 400),
        (b"GET * HTTP/1.1", 400),
        (b"OPTIONS * HTTP/1.1", None),
        (b"GET http://lab HTTP/1.1", None),
        (b"GET HTTP://lab:80/x?y HTTP/1.1", None),
        (b"GET https://lab/ HTTP/1.1", 400),
        (b"GET ftp://lab/ HTTP/1.1", 400),
        (b"GET http:///x HTTP/1.1", 400),
        (b"GET http:/x HTTP/1.1", 400),
        (b"GET http://:80/x HTTP/1.1", 400),
        (b"GET http://lab:65536/ HTTP/1.1", 400),
        (b"GET http://[::1]:80/ HTTP/1.1", None),
        (b"GET HTTPS://lab:443/ HTTP/1.1", 400),
        (b"OPTIONS http://lab HTTP/1.1", None),
        (b"POST * HTTP/1.1", 400),
        (b"OPTIONS ** HTTP/1.1", 400),
        (b"CONNECT http://lab:80/ HTTP/1.1", 400),
        (b"CONNECT lab: HTTP/1.1", 400),
        (b"CONNECT [::1]:443 HTTP/1.1", None),
        (b"GET http://user@lab/ HTTP/1.1", 400),
        (b"CONNECT lab:443 HTTP/1.1", None),
        (b"CONNECT /x HTTP/1.1", 400),
        (b"CONNECT lab HTTP/1.1", 400),
        (b"GET lab:80 HTTP/1.1", 400),
    ],
)
def test_request_line_is_taken_or_refused(line: bytes, expected: int | None) -> None:
    assert status(line + b"\r\nHost: lab\r\n\r\n") == expected


def test_nothing_is_read_after_connect_because_it_may_be_meant_for_the_tunnel() -> None:
    requests, fault = outcome(b"CONNECT lab:443 HTTP/1.1\r\nHost: lab:443\r\n\r\n" + GET)
    assert [(got.method, got.keep_alive) for got in requests] == [("CONNECT", False)]
    assert fault is None


def test_authority_of_an_absolute_target_beats_host() -> None:
    got = request(b"GET http://other:8080?q HTTP/1.1\r\nHost: lab\r\n\r\n")
    assert (got.host, got.path, got.query) == ("other:8080", "/", "q")


def test_path_is_decoded_exactly_once() -> None:
    got = request(b"GET /%252e%2e/%C3%A9%ff HTTP/1.1\r\nHost: lab\r\n\r\n")
    assert got.path == "/%2e./\u00e9\udcff"


@pytest.mark.parametrize(
    "line",
    [
        "Name : value",
        "Name\t: value",
        ": value",
        "no colon",
        " folded: value",
        "\tfolded",
        "Na me: value",
        "Na\x00me: value",
        "N\xe4me: value",
        "Name: a\x00b",
        "Name: a\x0bb",
        "Name: a\x1fb",
        "Name: a\x7fb",
        "Name: a\rb",
        "Name: a\r",
        "Name: a\nOther: b",
    ],
)
def test_malformed_field_line_is_refused(line: str) -> None:
    assert status(with_fields(line)) == 400
    assert status(b"GET / HTTP/1.1\r\nHost: lab\r\n" + line.encode("latin-1") + b"\r\n\r\n") == 400


@pytest.mark.parametrize("line", ["Name:", "Name:\t \t", "Name:a", "Name: \xe9\t~ a \t", "!: x"])
def test_unusual_field_line_is_taken(line: str) -> None:
    assert request(with_fields(line)).fields[0] == (
        line.partition(":")[0].lower(),
        line.partition(":")[2].strip(" \t"),
    )


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ([], 400),
        (["lab", "lab"], 400),
        (["lab", "other"], 400),
        ([""], 400),
        (["[]"], 400),
        (["[::1]x"], 400),
        (["[v1.x]"], 400),
        (["lab.example:12345"], None),
        (["lab:"], None),
        (["192.0.2.1:80"], None),
        (["[2001:db8::1]:80"], None),
        (["[::1]"], None),
        (["[::1"], 400),
        (["[1.2.3]"], 400),
        (["lab:99999"], 400),
        (["lab:8a"], 400),
        (["lab:80:80"], 400),
        ([":80"], 400),
        (["user@lab"], 400),
        (["lab/path"], 400),
        (["a b"], 400),
        (["a,b c"], 400),
        (["l\xe4b"], 400),
        (["http://lab"], 400),
        (["lab%zz"], 400),
    ],
)
def test_host_must_be_there_once_and_well_formed(hosts: list[str], expected: int | None) -> None:
    lines = "".join(f"Host: {host}\r\n" for host in hosts)
    assert status(f"GET / HTTP/1.1\r\n{lines}\r\n".encode("latin-1")) == expected


def test_http_1_0_needs_no_host() -> None:
    assert request(b"GET / HTTP/1.0\r\n\r\n").host == ""


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Content-Length: 0"], None),
        (["Content-Length: 000"], None),
        (["Content-Length: +1"], 400),
        (["Content-Length: -1"], 400),
        (["Content-Length: 1_0"], 400),
        (["Content-Length: 0x1"], 400),
        (["Content-Length: 1.0"], 400),
        (["Content-Length: 1 1"], 400),
        (["Content-Length: 0, 0"], 400),
        (["Content-Length:"], 400),
        (["Content-Length: \xb2"], 400),
        (["Content-Length: 0", "Content-Length: 0"], 400),
        (["Content-Length: 0", "content-length: 1"], 400),
        ([f"Content-Length: {MAX_BODY_BYTES + 1}"], 413),
        ([f"Content-Length: {2**63 - 1}"], 413),
        ([f"Content-Length: {2**63}"], 400),
        (["Content-Length: " + "9" * 5000], 400),
        (["Content-Length: " + "0" * 5000], None),
        (["Content-Length: 0;x"], 400),
        (["Content-Length: 0\xa0"], 400),
        (["Content-Length : 0"], 400),
        (["Content-Length: 0", "Transfer-Encoding: identity"], 400),
        (["Transfer-Encoding: chunked", "Content-Length: 0"], 400),
        (["Content-Length: 5", "Transfer-Encoding: chunked"], 400),
        (["Transfer-Encoding: chunked, chunked"], 400),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], 400),
        (["Transfer-Encoding: chunked, identity"], 400),
        (["Transfer-Encoding: identity"], 400),
        (["Transfer-Encoding: gzip"], 400),
        (["Transfer-Encoding: xchunked"], 400),
        (["Transfer-Encoding: chunked;q=1"], 400),
        (["Transfer-Encoding: \x0bchunked"], 400),
        (['Transfer-Encoding: "chunked"'], 400),
        (["Transfer-Encoding:"], 400),
        (["Transfer-Encoding: ,"], 400),
        (["Transfer-Encoding : chunked"], 400),
        (["Transfer-Encoding:", " chunked"], 400),
        (["Transfer-Encoding: chunked\x00"], 400),
        (["Transfer-Encoding: chunked\xa0"], 400),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: gzip"], 400),
        (["Transfer-Encoding: gzip, chunked"], 501),
        (["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"], 501),
    ],
)
def test_framing_in_doubt_is_refused(lines: list[str], expected: int | None) -> None:
    assert status(with_fields(*lines, method="POST")) == expected


def test_http_1_0_has_no_transfer_encoding() -> None:
    assert status(with_fields("Transfer-Encoding: chunked", version="1.0")) == 400


def test_body_is_read_before_the_next_request() -> None:
    requests, fault = outcome(with_fields("Content-Length: 7", method="PUT") + b"GET / \r" + GET)
    assert [(got.method, got.body) for got in requests] == [("PUT", b"GET / \r"), ("GET", b"")]
    assert fault is None


def chunked(body: bytes) -> bytes:
    return with_fields("Transfer-Encoding: Chunked", method="POST") + body


def test_chunked_body_is_joined_and_the_next_request_found() -> None:
    requests, fault = outcome(
        chunked(b'5\r\nhello\r\n00a;name="v" ; x\r\n, chunks\r\n\r\n0\r\nTrailer: x\r\n\r\n') + GET
    )
    assert [got.body for got in requests] == [b"hello, chunks\r\n", b""]
    assert fault is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\r\n", 400),
        (b"g\r\n", 400),
        (b"+5\r\nhello\r\n", 400),
        (b"-1\r\n", 400),
        (b"0x5\r\nhello\r\n", 400),
        (b"5 \r\nhello\r\n", 400),
        (b" 5\r\nhello\r\n", 400),
        (b"5_0\r\n", 400),
        (b";ext\r\n", 400),
        (b"5;\r\nhello\r\n", 400),
        (b"5;;x\r\nhello\r\n", 400),
        (b"5;x=\r\nhello\r\n", 400),
        (b"5;x y\r\nhello\r\n", 400),
        (b'5;x="a\r\nhello\r\n', 400),
        (b'5;x="a"b\r\nhello\r\n', 400),
        (b"5 ; x = y\t;z\r\nhello\r\n0;z\r\n\r\n", None),
        (b'5;x="\\"\\\\;\xff"\r\nhello\r\n0\r\n\r\n', None),
        (b"000000000000000005\r\nhello\r\n", 400),  # 18 digits: more than any size has
        (b"5\nhello\r\n", 400),
        (b"5\r", None),
        (b"5\rhello", 400),
        (b"5\r\nhelloo\r\n", 400),
        (b"5\r\nhell\r\n0\r\n\r\n", 400),
        (b"5\r\nhello\n0\r\n\r\n", 400),
        (b"5;a\rb\r\nhello\r\n", 400),
        (b"5;a\x00\r\nhello\r\n", 400),
        (b"10000000000000000\r\n", 400),  # 2**64: would wrap to 0 in a 64-bit counter
        (b"ffffffffffffffff\r\n", 400),
        (b"8000000000000000\r\n", 400),  # 2**63
        (b"7fffffffffffffff\r\n", 413),
        (b"%x\r\n" % (MAX_BODY_BYTES + 1), 413),
        (b"1;" + b"x" * MAX_CHUNK_LINE_BYTES, 400),
        (b"0\r\nbad trailer\r\n\r\n", 400),
        (b"0\r\nA: b\n\r\n", 400),
        (b"0\r\n folded\r\n\r\n", 400),
        (b"0\r\nContent-Length: 5\r\n\r\n", 400),
        (b"0\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"0\r\nHost: other\r\n\r\n", 400),
        (b"0\r\nAnything: else\r\n\r\n", None),
        (b"0\r\nA: " + b"x" * MAX_HEAD_BYTES, 431),
        (b"0\r\n" + b"A: b\r\n" * (MAX_HEAD_BYTES // 6 + 1), 431),
    ],
)
def test_malformed_chunks_are_refused(body: bytes, expected: int | None) -> None:
    assert status(chunked(body)) == expected


def test_many_small_chunks_are_bounded_too() -> None:
    assert status(chunked(b"8000\r\n" + b"x" * 0x8000 + b"\r\n") + b"1\r\nx\r\n" * 0x8001) == 413


def test_chunk_extensions_are_bounded_as_a_whole_and_small_chunks_are_not() -> None:
    bloated = b"1;" + b"x" * 200 + b"\r\nx\r\n"
    allowed = MAX_CHUNK_EXCESS_BYTES // (202 - 16 - 2)
    end = b"0\r\n\r\n"
    assert status(chunked(bloated * allowed + end)) is None
    assert status(chunked(bloated * (allowed + 1) + end)) == 400
    assert read([chunked(b"1;x=y\r\nx\r\n" * MAX_BODY_BYTES + end)])[1] is None


def test_request_keeps_the_bytes_as_they_arrived() -> None:
    post = chunked(b"2;x\r\nhi\r\n0\r\nA: b\r\n\r\n")
    plain = with_fields("Content-Length: 2", method="POST") + b"hi"
    stream = b"\r\n\r\n" + GET + post + b"\r\n" + plain + GET
    requests, fault = outcome(stream)
    assert fault is None
    assert [got.raw for got in requests] == [b"\r\n\r\n" + GET, post, b"\r\n" + plain, GET]
    head = with_fields(f"Content-Length: {MAX_BODY_BYTES}", method="POST")
    long = read([head + b"x" * MAX_BODY_BYTES])[0][0]
    assert long.raw == head + b"x" * MAX_KEPT_BODY_BYTES


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET /" + b"x" * MAX_REQUEST_LINE_BYTES + b" HTTP/1.1\r\n", 414),
        (b"G" * MAX_REQUEST_LINE_BYTES, 501),
        (b"G" * (MAX_REQUEST_LINE_BYTES - 1) + b" / HTTP/1.1\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: lab\r\nA: " + b"x" * MAX_HEAD_BYTES, 431),
        (b"GET / HTTP/1.1\r\nHost: lab\r\n" + b"A:\r\n" * (MAX_FIELDS - 1) + b"\r\n", None),
        (b"GET / HTTP/1.1\r\nHost: lab\r\n" + b"A:\r\n" * MAX_FIELDS + b"\r\n", 431),
        (b"\r\n\r\n" + GET, None),
        (b"\r\n" * 5 + GET, 400),
        (b"\rGET / HTTP/1.1\r\n", 400),
        (b"\n" + GET, 400),
        (b"GET / HTTP/1.1\nHost: lab\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: lab\n\r\n", 400),
        (b"GET / HTTP/9.1\r\nHost: lab\n\r\n", 505),  # the first fault in the stream counts
        (b"\x16\x03\x01\x02\x00", 400),  # TLS
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),  # HTTP/2
    ],
)
def test_what_does_not_fit_is_refused_as_early_as_it_shows(
    head: bytes, expected: int | None
) -> None:
    assert status(head) == expected


def test_each_limit_is_exact() -> None:
    line = b"GET /%b HTTP/1.1\r\n"
    fits = MAX_REQUEST_LINE_BYTES - len(line % b"")
    assert status(line % (b"x" * fits) + b"Host: lab\r\n\r\n") is None
    assert status(line % (b"x" * (fits + 1)) + b"Host: lab\r\n\r\n") == 414
    head = b"GET / HTTP/1.1\r\nHost: lab\r\nA: %b\r\n\r\n"
    fits = MAX_HEAD_BYTES - len(head % b"")
    assert status(head % (b"x" * fits)) is None
    assert status(head % (b"x" * (fits + 1))) == 431
    body = with_fields(f"Content-Length: {MAX_BODY_BYTES}", method="POST") + b"x" * MAX_BODY_BYTES
    assert read([body])[1] is None


def test_expectation_is_met_once_or_refused() -> None:
    head = with_fields("Expect: 100-Continue", "Content-Length: 2", method="POST")
    reader = RequestReader()
    reader.feed(head)
    assert reader.next_request() is None
    assert (reader.continue_owed(), reader.continue_owed()) == (True, False)
    reader.feed(b"ok")
    got = reader.next_request()
    assert got is not None
    assert got.body == b"ok"
    assert status(with_fields("Expect: a-miracle")) == 417
    assert status(with_fields("Expect: a-miracle", version="1.0")) is None


def test_nobody_waits_for_continue_who_has_sent_the_body_or_has_none() -> None:
    for stream in (
        with_fields("Expect: 100-continue", "Content-Length: 2", method="POST") + b"o",
        with_fields("Expect: 100-continue"),
        with_fields("Expect: 100-continue", "Content-Length: 2", version="1.0"),
    ):
        reader = RequestReader()
        reader.feed(stream)
        reader.next_request()
        assert not reader.continue_owed()


@pytest.mark.parametrize(
    ("stream", "without"),
    [
        (b"HEAD / HTTP/1.1\r\n\r\n", True),
        (b"\r\nHEAD / HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n", True),
        (b"HEAD / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n", True),
        (GET + b"HEAD / HTTP/1.1\r\nHost: x\r\nExpect: more\r\n\r\n", True),
        (b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET /\r\n\r\n", False),
        (b"HEADER / HTTP/1.1\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\n\r\n", False),
    ],
)
def test_what_is_wrong_with_a_head_request_is_said_without_a_body(
    stream: bytes, without: bool
) -> None:
    for pieces in ([stream], one_by_one(stream)):
        reader = RequestReader()
        _, fault = read(pieces, reader=reader)
        assert fault is not None
        assert reader.asks_without_body is without


def test_end_in_the_middle_of_a_request_is_a_fault_and_between_requests_is_not() -> None:
    assert read([GET], to_the_end=True)[1] is None
    assert read([], to_the_end=True)[1] is None
    assert read([with_fields("Connection: close") + b"more"], to_the_end=True)[1] is None
    for cut in range(1, len(GET)):
        fault = read([GET[:cut]], to_the_end=True)[1]
        assert fault is not None
        assert fault[0] == 400
    body_missing = with_fields("Content-Length: 1", method="POST")
    assert read([body_missing], to_the_end=True)[1] is not None


PARTS = st.sampled_from(
    [b"GET", b"POST", b" ", b"/", b" HTTP/1.1", b"\r\n", b"\n", b"\r", b"Host: lab", b":", b"A: b"]
    + [b"Content-Length: 3", b"Transfer-Encoding: chunked", b"3", b"abc", b"0", b"\x00", b"\xff"]
    + [GET, b"POST / HTTP/1.1\r\nHost: lab\r\n", b"Connection: close", b"x" * 3000, b" HTTP/2.0"]
)


@given(parts=st.lists(PARTS, max_size=24), cuts=st.lists(st.integers(0, 400), max_size=12))
def test_no_stream_crashes_the_reader_and_no_cut_changes_the_outcome(
    parts: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(parts)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    assert read(pieces, to_the_end=True) == read([stream], to_the_end=True)


@given(body=st.binary(max_size=300), sizes=st.lists(st.integers(1, 40), min_size=1, max_size=9))
def test_whatever_is_sent_in_chunks_comes_out_again(body: bytes, sizes: list[int]) -> None:
    stream, position = b"", 0
    for size in sizes:
        piece = body[position : position + size]
        stream += b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
        position += size
    rest = body[position:]
    stream += (b"%X\r\n%b\r\n" % (len(rest), rest) if rest else b"") + b"0\r\n\r\n"
    decoder, buffer = ChunkedDecoder(limit=300), bytearray()
    ends = []
    for byte in one_by_one(stream):
        buffer += byte
        ends.append(decoder.decode(buffer))
    assert (bytes(decoder.body), ends) == (body, [False] * (len(stream) - 1) + [True])


def test_response_is_serialized_with_exact_lengths() -> None:
    response = Response(200, (("Content-Type", "text/plain"),), b"h\xc3\xa9")
    send = functools.partial(serialize_response, response, date="D")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nDate: D\r\n"
    assert send() == head + b"\r\nh\xc3\xa9"
    assert send(connection="close") == head + b"Connection: close\r\n\r\nh\xc3\xa9"
    assert send(without_body=True) == head + b"\r\n"
    assert (
        serialize_response(Response(204), date="D") == b"HTTP/1.1 204 No Content\r\nDate: D\r\n\r\n"
    )
    not_modified = serialize_response(Response(304, (("ETag", '"a"'),)), date="D")
    assert not_modified == b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nDate: D\r\n\r\n'


@pytest.mark.parametrize("field", [("A", "b\r\nC: d"), ("A\n", "b"), ("", "b"), ("A", "\x00")])
def test_a_response_cannot_be_split(field: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="not a field"):
        Response(200, (field,))


def test_date_is_an_imf_fixdate() -> None:
    assert imf_fixdate(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT"  # RFC 9110's own example
    assert imf_fixdate(951782400) == "Tue, 29 Feb 2000 00:00:00 GMT"
