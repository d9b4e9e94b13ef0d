"""Coverage-guided fuzzing of the HTTP core, with atheris (libFuzzer).

The fuzzer invents byte streams and keeps those that reach code which no other has reached. Each is
read by a ``RequestReader`` at once and in pieces whose lengths it invents too. Whatever it is,

- nothing but a ``ProtocolError`` is raised, with a status that has a reason phrase;
- the outcome is the same however the stream was cut, on a reader of known heads and on a fresh one;
- each request is one that ``parse_head`` makes of its own bytes, and the site answers it with one
  well-formed message (but for the page that fails on purpose);
- after a fault nothing more is read, and the reader holds nothing.

A stream that breaks one of these is shown and kept in ``results/fuzz``; libFuzzer itself reports
one that takes more than ``-timeout`` seconds. Run it through ``make fuzz``.
"""

import re
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]

with atheris.instrument_imports(include=["services.http"]):
    from services.http import protocol
    from services.http.protocol import ProtocolError, Request, RequestReader, serialize_response
    from services.http.site import FAILING_PATH, Site

SITE = Site()
WHEN = "Sun, 06 Nov 1994 08:49:37 GMT"
MESSAGE = re.compile(rb"HTTP/1\.1 \d{3} [ -~]+\r\n(?:[!-9;-~]+: [ -~\x80-\xff]*\r\n)+\r\n", re.S)

SEEDS = (
    b"GET / HTTP/1.1\r\nHost: lab\r\n\r\nGET /style.css HTTP/1.1\r\nHost: lab\r\n\r\n",
    b"\r\nHEAD /request?a=b%20c HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST /request HTTP/1.1\r\nHost: lab:80\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    b'5;a="b"\r\nhello\r\n0\r\nA: b\r\n\r\n',
    b'GET http://lab:1/x/../%2e%2e/ HTTP/1.1\r\nHost: other\r\nIf-None-Match: W/"a", *\r\n\r\n',
    b"OPTIONS * HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n",
    b"CONNECT lab:443 HTTP/1.1\r\nHost: lab\r\n\r\n\x16\x03\x01",
)

WORDS = (
    *(b"GET ", b"HEAD ", b"POST ", b"OPTIONS * ", b"CONNECT ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n"),
    *(b"Host: a\r\n", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"close\r\n"),
    *(b"Connection: ", b"Expect: 100-continue\r\n", b"\r\n\r\n", b"1\r\n", b"0\r\n\r\n", b": "),
    *(b"If-None-Match: *", b"If-Modified-Since: " + WHEN.encode(), b"http://", b"%2e", b"/request"),
)
"""What the fuzzer may put in."""

Outcome = tuple[list[Request], tuple[int, str] | None]


def main() -> None:
    """Fuzz until libFuzzer's options end it."""
    found = Path("results", "fuzz")
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        corpus, words = Path(folder, "corpus"), Path(folder, "words")
        corpus.mkdir()
        for number, seed in enumerate(SEEDS):
            (corpus / f"{number}").write_bytes(b"\x03\x01" + seed)
        for word in WORDS:
            with words.open("a", encoding="ascii") as file:
                file.write('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n')
        options = ("-timeout=5", "-max_len=4096", f"-dict={words}", f"-artifact_prefix={found}/")
        atheris.Setup([*sys.argv, *options, str(corpus)], check)
        atheris.Fuzz()


def check(data: bytes) -> None:
    """Raise AssertionError if this input breaks a promise of the core."""
    lengths, stream = [1 + byte % 64 for byte in data[:2]] or [1], data[2:]
    whole = read([stream])
    protocol._known_heads.clear()
    assert read(cut(stream, lengths)) == whole, "cut into pieces, it is another outcome"
    assert read(cut(stream, lengths)) == whole, "with its heads known, it is another outcome"
    for request in whole[0]:
        answer(request)


def cut(stream: bytes, lengths: list[int]) -> list[bytes]:
    """Return the stream in pieces of these lengths, over and over."""
    pieces: list[bytes] = []
    position = 0
    while position < len(stream):
        length = lengths[len(pieces) % len(lengths)]
        pieces.append(stream[position : position + length])
        position += length
    return pieces


def read(pieces: list[bytes]) -> Outcome:
    """Return the requests in a stream, and the status and explanation of the fault that ends it."""
    reader = RequestReader()
    requests = []
    fault = None
    try:
        for piece in pieces:
            request = reader.receive(piece)
            while request is not None:
                requests.append(request)
                request = reader.next_request()
    except ProtocolError as error:
        fault = (error.status, error.explanation)
    assert fault is None or fault[0] in protocol.REASONS
    if fault or (requests and not requests[-1].keep_alive):
        assert reader.receive(SEEDS[0]) is None, "something is read after the end"
        assert reader.idle, "something is kept after the end"
    return requests, fault


def answer(request: Request) -> None:
    """Check the site's answer to a request."""
    empty_lines = len(request.raw) - len(request.raw.lstrip(b"\r\n"))
    head = request.raw[empty_lines : request.raw.index(b"\r\n\r\n", empty_lines) + 4]
    parsed = protocol.parse_head(head)
    assert (parsed.method, parsed.target, parsed.fields) == (
        request.method,
        request.target,
        request.fields,
    )
    try:
        response = SITE.answer(request)
    except RuntimeError:
        assert request.path == FAILING_PATH
        return
    message = serialize_response(response, date=WHEN, without_body=True)
    assert MESSAGE.fullmatch(message), f"not one well-formed head: {message!r}"


if __name__ == "__main__":
    main()
