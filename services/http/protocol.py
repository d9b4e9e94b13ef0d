"""HTTP/1.1 as a pure protocol: bytes to requests, responses to bytes. No sockets, no clock.

A connection carries requests one after the other, each of this form (RFC 9112, section 2.1)::

    request-line   GET /path?query HTTP/1.1 CR LF
    field-line     Host: localhost:12345 CR LF
    field-line     ...                   CR LF
    empty line                           CR LF
    body           Content-Length bytes, or chunks

    chunk          size in hexadecimal [;extensions] CR LF  data CR LF
    last chunk     0 [;extensions] CR LF  [trailer field-lines]  CR LF

Strategy: a ``RequestReader`` collects what arrives, in whatever pieces, and hands out each request
when it is complete. A head is complete at its empty line and then goes through ``parse_head``, a
pure function of its bytes. What cannot be a request is a ``ProtocolError``, which carries the
status to answer with and says in plain words what was wrong; the connection is of no use after it,
because nobody can tell where the next request begins. The outcome never depends on how the bytes
were cut into pieces: a fault counts from the first byte that proves it.

Strict where leniency lets two programs read one message differently ("request smuggling"):
RFC 9112 sections 2.2 (line ends), 3 (request line), 5 (fields), 6 and 7 (framing), 11.2.

Left out on purpose, each with its section in ``docs/http.md``: HTTP/0.9 (400), transfer codings
other than chunked (501), obs-fold (400), a lone LF as the end of a line (400), repeated
Content-Length even if equal (400), trailers (checked, then dropped), CONNECT and upgrades (no
tunnel, no other protocol), 411 (a request without a length has no body).
"""

import dataclasses
import ipaddress
import re
import time
from dataclasses import dataclass, field

from services.http.limits import PORT as PORT

MAX_REQUEST_LINE_BYTES = 8192
"""Longer gives 414. RFC 9112, section 3 recommends to support at least 8000."""

MAX_HEAD_BYTES = 32768
"""Request line and fields together; more gives 431."""

MAX_FIELDS = 100
"""Field lines in a head; more gives 431."""

MAX_BODY_BYTES = 65536
"""More gives 413: no page of this server wants a body, it only has to be read past."""

MAX_CHUNK_LINE_BYTES = 256
"""Size and extensions of one chunk; more gives 400."""

MAX_KNOWN_HEADS = 256
"""Heads whose parsed form is remembered, since clients send the same head again and again."""

MAX_KNOWN_HEAD_BYTES = 2048
"""Longer heads are parsed each time, so that what is remembered stays small."""

MAX_CHUNK_EXCESS_BYTES = 16384
"""What the chunk lines of a body may have beyond 16 bytes, and twice the data, for each chunk.

Without it a body of 64 KiB could be spread over many megabytes of chunk extensions.
"""

MAX_NUMBER = 2**63 - 1
"""A length beyond it is a fault (400) and not only too large (413): it overflows elsewhere."""

MAX_KEPT_BODY_BYTES = 4096
"""How much of a body ``Request.raw`` keeps as it arrived."""

MAX_LEADING_EMPTY_LINES = 4
"""Empty lines ignored before a request (RFC 9112, section 2.2); more gives 400."""

METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
)
"""RFC 9110, section 9, and RFC 5789. A method not among these is answered with 501."""

REASONS = {
    100: "Continue",
    200: "OK",
    204: "No Content",
    304: "Not Modified",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
"""Reason phrase of each status that this server sends (RFC 9110, section 15; RFC 6585)."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""The interim answer to ``Expect: 100-continue`` (RFC 9110, section 10.1.1)."""

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110, section 5.6.2
_TOKEN_BYTES = frozenset(b"!#$%&'*+-.^_`|~0123456789") | frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
_REQUEST_LINE = re.compile(rf"({_TOKEN}) ([!-~]+) HTTP/(\d)\.(\d)", re.ASCII)
_FIELD_NAME = re.compile(_TOKEN)
_FIELD_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'  # RFC 9110, section 5.6.4
_CHUNK_LINE = re.compile(  # size *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )
    rf"([0-9A-Fa-f]{{1,16}})(?:[ \t]*;[ \t]*{_TOKEN}(?:[ \t]*=[ \t]*(?:{_TOKEN}|{_QUOTED}))?)*"
)
_PATH_AND_QUERY = re.compile(r"(/[^?]*)(?:\?(.*))?")
_ABSOLUTE_FORM = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?]*)(.*)")
_AUTHORITY = re.compile(
    r"(\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::(\d{0,5}))?",
    re.ASCII,
)
# RFC 3986 also bars [ ] ^ ` { | } from paths and queries, but browsers send some of them bare
# (WHATWG URL, percent-encode sets), and they are no danger here.
_BARRED_IN_TARGET = re.compile(r"[\"#<>\\]|%(?![0-9A-Fa-f]{2})")
_HALF_LINE_END = re.compile(rb"\r(?=[^\n])|(?<!\r)\n")
_HTTP_0_9 = re.compile(r"GET [!-~]+")
_PERCENT_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")
_FIELD_SAFE = re.compile(r"[^\x00-\x1f\x7f]*")
_CONDITIONS = frozenset({"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"})
# RFC 9110, section 6.5.1: what frames or routes a message comes too late after its body.
_BARRED_IN_TRAILERS = frozenset({"content-length", "transfer-encoding", "host"})


class HttpError(Exception):
    """Base of the errors of this package."""


class ProtocolError(HttpError):
    """The peer sent what HTTP does not allow, or more than we take.

    ``status`` is the status to answer with; ``explanation`` says in plain words what was wrong,
    without repeating anything that the peer sent.
    """

    def __init__(self, status: int, explanation: str) -> None:
        super().__init__(f"{status} {REASONS[status]}: {explanation}")
        self.status = status
        self.explanation = explanation


@dataclass(frozen=True, slots=True)
class Request:
    """One request, checked.

    ``fields`` has the names in lower case and the values without the white space around them, in
    the order of arrival; bytes above 127 appear as Latin-1 characters. ``path`` is decoded from
    its percent-encoding exactly once ("*" for ``OPTIONS *``, empty for CONNECT). ``host`` is the
    authority of the target if it has one, else the Host field (empty if neither).

    ``raw`` is what arrived, byte for byte: the empty lines before the request, its head, and of the
    body as it was framed the first ``MAX_KEPT_BODY_BYTES``. ``conditional`` tells whether it has a
    field that asks for an answer only under a condition (RFC 9110, section 13.1).
    """

    method: str
    target: str
    minor_version: int
    fields: tuple[tuple[str, str], ...]
    host: str
    path: str
    query: str
    keep_alive: bool
    content_length: int = 0
    chunked: bool = False
    expects_continue: bool = False
    conditional: bool = False
    body: bytes = b""
    raw: bytes = field(default=b"", repr=False)

    def field(self, name: str) -> str | None:
        """Return the value of the field (name in lower case), several joined by ", ", or None."""
        values = [value for field_name, value in self.fields if field_name == name]
        return ", ".join(values) if values else None


class RequestReader:
    """Collects the bytes of one connection and gives its requests, in order.

    ``feed`` what arrived, then call ``next_request`` until it gives None. After a ProtocolError,
    and after a request with ``keep_alive`` False, nothing more is read.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # the buffer holds no end of a head before this position
        self._empty_lines = 0
        self._request: Request | None = None  # the one whose body is still arriving
        self._chunks: ChunkedDecoder | None = None
        self._raw_body = bytearray()  # the first of it, as it arrived
        self._continue_owed = False
        self._ended = False
        self.asks_without_body = False
        """Whether what arrives is a HEAD: the answer has no body, also if it says what is wrong."""

    @property
    def idle(self) -> bool:
        """True between requests: nothing of the next one has arrived."""
        return not self._buffer and self._request is None

    @property
    def at_start(self) -> bool:
        """True between requests while not even an empty line before the next one has arrived."""
        return not (self._buffer or self._empty_lines or self._request)

    @property
    def in_body(self) -> bool:
        """True while a head has arrived and its body has not."""
        return self._request is not None

    def feed(self, data: bytes) -> None:
        """Add bytes as they came from the connection."""
        if not self._ended:
            self._buffer += data

    def receive(self, data: bytes) -> Request | None:
        """``feed`` and ``next_request`` in one; return and raise as the latter does.

        What is exactly one head that was parsed before, as most requests are, costs one look-up.
        """
        if self.at_start and not self._ended:
            known = _known_heads.get(data)
            if known is not None:
                return known
        self.feed(data)
        return self.next_request()

    def next_request(self) -> Request | None:
        """Return the next complete request, None if more bytes are needed.

        Raises ProtocolError; nothing can be read from this connection after it.
        """
        if self._ended:
            return None
        try:
            request = self._next()
        except ProtocolError:
            self._end()
            raise
        if request is not None and not request.keep_alive:
            self._end()  # what follows is not a request (RFC 9112, section 9.6)
        return request

    def end_of_stream(self) -> None:
        """Say that the peer will send no more. Raises ProtocolError in the middle of a request."""
        unfinished = not self.idle
        self._end()
        if unfinished:
            raise ProtocolError(400, "The connection was closed in the middle of the request.")

    def continue_owed(self) -> bool:
        """Return True once if the peer waits for ``CONTINUE`` before it sends the body."""
        owed = self._continue_owed and self._request is not None
        self._continue_owed = False
        return owed

    def _end(self) -> None:
        self._ended = True
        self._request = None
        self._buffer.clear()

    def _next(self) -> Request | None:
        if self._request is None:
            head = self._take_head()
            if head is None:
                return None
            request = _known_heads.get(head) or parse_head(head)
            has_body = request.chunked or request.content_length
            if not has_body:
                _remember(head, request)
            if self._empty_lines:
                empty_lines = b"\r\n" * self._empty_lines
                request = dataclasses.replace(request, raw=empty_lines + request.raw)
                self._empty_lines = 0
            if not has_body:
                return request
            self._request = request
            self._chunks = ChunkedDecoder(MAX_BODY_BYTES) if request.chunked else None
            self._continue_owed = request.expects_continue and not self._buffer
        return self._take_body(self._request)

    def _take_head(self) -> bytes | None:
        """Return the next head, empty line included, or None if it is not complete."""
        buffer = self._buffer
        if not buffer:
            return None
        if buffer[0] == 0x0D:
            self._skip_empty_lines()
        self.asks_without_body = buffer.startswith(b"HEAD ")
        end = buffer.find(b"\r\n\r\n", self._searched, MAX_HEAD_BYTES)
        if end < 0:
            # Only a first byte, an end of line (or half of one) or a length can prove a fault.
            if (
                not self._searched
                or buffer.find(b"\n", self._searched) >= 0
                or buffer.find(b"\r", self._searched) >= 0
                or self._searched < MAX_REQUEST_LINE_BYTES <= len(buffer)
                or len(buffer) >= MAX_HEAD_BYTES
            ):
                check_unfinished_head(buffer)
            self._searched = max(0, len(buffer) - 3)
            return None
        head = bytes(buffer[: end + 4])
        del buffer[: end + 4]
        self._searched = 0
        return head

    def _skip_empty_lines(self) -> None:
        while self._buffer.startswith(b"\r\n"):
            self._empty_lines += 1
            if self._empty_lines > MAX_LEADING_EMPTY_LINES:
                raise ProtocolError(400, "There are too many empty lines before the request.")
            del self._buffer[:2]

    def _take_body(self, request: Request) -> Request | None:
        if self._chunks is None and len(self._buffer) < request.content_length:
            return None
        room = MAX_KEPT_BODY_BYTES - len(self._raw_body)
        beginning, arrived = self._buffer[:room], len(self._buffer)
        body = self._decode_body(request)
        self._raw_body += beginning[: arrived - len(self._buffer)]
        if body is None:
            return None
        raw = request.raw + self._raw_body
        self._request = None
        self._raw_body.clear()
        return dataclasses.replace(request, body=body, raw=raw)

    def _decode_body(self, request: Request) -> bytes | None:
        """Take the body from the buffer and return it; None while its chunks are not complete."""
        if self._chunks is not None:
            return bytes(self._chunks.body) if self._chunks.decode(self._buffer) else None
        body = bytes(self._buffer[: request.content_length])
        del self._buffer[: request.content_length]
        return body


class ChunkedDecoder:
    """Takes a chunked body (RFC 9112, section 7.1) from a buffer, in whatever pieces it comes.

    ``body`` is what has been decoded so far, at most ``limit`` bytes.
    """

    def __init__(self, limit: int) -> None:
        self.body = bytearray()
        self._limit = limit
        self._missing = 0  # bytes of the current chunk, its CR LF included, still to come
        self._excess = 0  # bytes of chunk lines beyond what their chunks justify
        self._trailer_bytes = 0
        self._in_trailer = False
        self._searched = 0  # bytes of an unfinished line in which nothing was found

    def decode(self, buffer: bytearray) -> bool:
        """Consume what ``buffer`` has of the body; return True when the body is complete.

        Raises ProtocolError: 400 for what is not a chunk, 413 beyond the limit, 431 for trailers
        that are too long.
        """
        while True:
            if self._missing:
                self._take_data(buffer)
                if self._missing:
                    return False
            line = self._take_line(buffer)
            if line is None:
                return False
            if self._in_trailer:
                if not line:
                    return True
                _check_trailer(line.decode("latin-1"))
            else:
                self._start_chunk(line.decode("latin-1"))

    def _start_chunk(self, line: str) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise ProtocolError(
                400,
                "A chunk does not begin with a line of its size in hexadecimal digits, followed by "
                "nothing or by well-formed extensions.",
            )
        size = int(match[1], 16)
        if size > MAX_NUMBER:
            raise ProtocolError(400, "The size of a chunk is a number beyond all bounds.")
        self._excess = max(0, self._excess + len(line) - 16 - 2 * size)
        if self._excess > MAX_CHUNK_EXCESS_BYTES:
            raise ProtocolError(400, "The chunks of the body have more extensions than data.")
        if size == 0:
            self._in_trailer = True
        elif len(self.body) + size > self._limit:
            raise _too_large(self._limit)
        else:
            self._missing = size + 2

    def _take_data(self, buffer: bytearray) -> None:
        if self._missing > 2:
            data = buffer[: self._missing - 2]
            self.body += data
            del buffer[: len(data)]
            self._missing -= len(data)
        while buffer and 0 < self._missing <= 2:
            if buffer[0] != b"\r\n"[2 - self._missing]:
                raise ProtocolError(400, "A chunk is longer than the size it announced.")
            del buffer[0]
            self._missing -= 1

    def _take_line(self, buffer: bytearray) -> bytes | None:
        limit = MAX_HEAD_BYTES - self._trailer_bytes if self._in_trailer else MAX_CHUNK_LINE_BYTES
        end = buffer.find(b"\n", self._searched, limit)
        _check_line_ends(buffer[self._searched : end + 1 if end >= 0 else limit])
        if end < 0:
            if len(buffer) < limit:
                self._searched = max(0, len(buffer) - 1)  # the last may be half of a line end
                return None
            if self._in_trailer:
                raise ProtocolError(431, "The trailer fields after the body are too long.")
            raise ProtocolError(400, "The line with the size of a chunk is too long.")
        self._searched = 0
        line = bytes(buffer[: end - 1])
        del buffer[: end + 1]
        if self._in_trailer:
            self._trailer_bytes += end + 1
        return line


def check_unfinished_head(head: bytearray) -> None:
    """Raise the ProtocolError that these first bytes of a head already prove, if any.

    Order matters: the fault whose proof ends first in the stream is the one to report, so that
    the outcome is the same whether the bytes come one by one or at once.
    """
    if not head or head == b"\r":
        return
    if head[0] not in _TOKEN_BYTES:
        raise _not_a_request(head[0])
    line_end = head.find(b"\n", 0, MAX_REQUEST_LINE_BYTES)
    _check_line_ends(head[: line_end + 1 if line_end >= 0 else MAX_REQUEST_LINE_BYTES])
    if line_end < 0:
        if len(head) >= MAX_REQUEST_LINE_BYTES:
            if b" " not in head[:MAX_REQUEST_LINE_BYTES]:
                raise ProtocolError(501, "The method is longer than any that this server knows.")
            raise ProtocolError(
                414, f"The request line is longer than {MAX_REQUEST_LINE_BYTES} bytes."
            )
        return
    parse_request_line(bytes(head[: line_end - 1]))
    _check_line_ends(head[line_end + 1 : MAX_HEAD_BYTES])
    if len(head) >= MAX_HEAD_BYTES:
        raise ProtocolError(431, f"The head of the request is longer than {MAX_HEAD_BYTES} bytes.")


_known_heads: dict[bytes, Request] = {}
"""Heads of requests without a body that leave the connection open, and what they were parsed to.

``parse_head`` is a pure function, so this changes how long it takes and nothing else.
"""


def _remember(head: bytes, request: Request) -> None:
    if request.keep_alive and len(head) <= MAX_KNOWN_HEAD_BYTES and head not in _known_heads:
        if len(_known_heads) >= MAX_KNOWN_HEADS:
            _known_heads.clear()
        _known_heads[head] = request


def parse_head(head: bytes) -> Request:
    """Return the request of a complete head (it ends in an empty line), its body still missing.

    Raises ProtocolError.
    """
    check_unfinished_head(bytearray(head[:MAX_REQUEST_LINE_BYTES]))
    first_line, *lines = head[:-4].split(b"\r\n")
    method, target, major, minor = parse_request_line(first_line)
    _check_line_ends(head)
    if len(lines) > MAX_FIELDS:
        raise ProtocolError(431, f"The request has more than {MAX_FIELDS} fields.")
    fields = tuple(parse_field_line(line.decode("latin-1")) for line in lines)
    host, path, query = _resolve_target(method, target, _host(fields, minor))
    chunked, content_length = _framing(fields, minor)
    return Request(
        method=method,
        target=target,
        minor_version=minor,
        fields=fields,
        host=host,
        path=path,
        query=query,
        # What follows a CONNECT may be meant for the tunnel that is refused: it is not read.
        keep_alive=method != "CONNECT" and _keep_alive(fields, minor),
        content_length=content_length,
        chunked=chunked,
        expects_continue=_expects_continue(fields, minor),
        conditional=any(name in _CONDITIONS for name, _ in fields),
        raw=head,
    )


def parse_request_line(line: bytes) -> tuple[str, str, int, int]:
    """Return method, target, major and minor version (RFC 9112, section 3).

    Raises ProtocolError: 400 for a malformed line, 505 for a major version other than 1.
    """
    text = line.decode("latin-1")
    match = _REQUEST_LINE.fullmatch(text)
    if match is None:
        if _HTTP_0_9.fullmatch(text):
            raise ProtocolError(
                400,
                "The first line has no version, as in HTTP/0.9 of 1991; it must end in HTTP/1.1.",
            )
        raise ProtocolError(
            400,
            "The first line must have the form METHOD TARGET HTTP/1.1, with exactly one space "
            "between the three.",
        )
    major, minor = int(match[3]), int(match[4])
    if major != 1:
        raise ProtocolError(505, "This server speaks HTTP/1.1 and HTTP/1.0 only.")
    return match[1], match[2], major, minor


def parse_field_line(line: str) -> tuple[str, str]:
    """Return name in lower case and value of a field line (RFC 9112, section 5).

    Raises ProtocolError: 400.
    """
    name, colon, value = line.partition(":")
    if not (colon and _FIELD_NAME.fullmatch(name) and _FIELD_VALUE.fullmatch(value)):
        raise ProtocolError(400, _field_fault(line))
    return name.lower(), value.strip(" \t")


def _check_trailer(line: str) -> None:
    name, _ = parse_field_line(line)
    if name in _BARRED_IN_TRAILERS:
        raise ProtocolError(
            400, "A field after the body says how long or for whom the request is; it is too late."
        )


def _field_fault(line: str) -> str:
    """Say what is wrong with a field line that does not match."""
    if line[0] in " \t":
        return "A field line begins with white space; lines must not be folded."
    name, colon, value = line.partition(":")
    if not colon:
        return "A field line has no colon."
    if not name:
        return "A field line has no name before the colon."
    if name != name.rstrip(" \t"):
        return "There is white space between a field's name and the colon."
    if _FIELD_NAME.fullmatch(name) is None:
        return "A field's name has a character that is not allowed there."
    return "A field's value has a control character."


def _check_line_ends(octets: bytes | bytearray) -> None:
    """Raise the ProtocolError of the first half of a line end, if there is one.

    A carriage return that comes last is none yet.
    """
    ends = octets.count(b"\r\n")
    if octets.count(b"\n") == ends == octets.count(b"\r") - octets.endswith(b"\r"):
        return  # many times as fast as the search
    half = _HALF_LINE_END.search(octets)
    if half is None:
        return
    if half[0] == b"\n":
        raise _bare_line_feed()
    raise ProtocolError(400, "There is a carriage return without a line feed after it.")


def _bare_line_feed() -> ProtocolError:
    return ProtocolError(
        400,
        "A line ends in a line feed alone; each must end in carriage return and line feed "
        "(nc -C sends both).",
    )


def _not_a_request(first_byte: int) -> ProtocolError:
    if first_byte == 0x16:  # the record type of a TLS ClientHello
        return ProtocolError(400, "This looks like TLS; ask with http:// instead of https://.")
    if first_byte == 0x0A:
        return _bare_line_feed()
    return ProtocolError(400, "The request does not begin with a method.")


def _too_large(limit: int) -> ProtocolError:
    return ProtocolError(413, f"The body is longer than {limit} bytes.")


def _values(fields: tuple[tuple[str, str], ...], name: str) -> list[str]:
    return [value for field_name, value in fields if field_name == name]


def _list(fields: tuple[tuple[str, str], ...], name: str) -> list[str]:
    """Return the members of a comma-separated field, in lower case, empty ones left out."""
    members = ",".join(_values(fields, name)).split(",")
    return [member.strip(" \t").lower() for member in members if member.strip(" \t")]


def _host(fields: tuple[tuple[str, str], ...], minor: int) -> str:
    """Return the Host field, checked as RFC 9112, section 3.2 asks ("" if HTTP/1.0 has none)."""
    hosts = _values(fields, "host")
    if len(hosts) > 1:
        raise ProtocolError(400, "The request has more than one Host field.")
    if not hosts:
        if minor >= 1:
            raise ProtocolError(400, "The request has no Host field, which HTTP/1.1 requires.")
        return ""
    if not hosts[0]:  # then the target would be http:///path (RFC 9110, section 4.2.1)
        raise ProtocolError(400, "The Host field is empty.")
    if not _is_authority(hosts[0]):
        raise ProtocolError(400, "The Host field is not a host name with an optional port.")
    return hosts[0]


def _is_authority(text: str) -> bool:
    """Whether ``text`` is uri-host [":" port] (RFC 3986, section 3.2.2), not empty."""
    match = _AUTHORITY.fullmatch(text)
    if match is None or (match[2] and int(match[2]) > 65535):
        return False
    if match[1].startswith("["):
        try:
            ipaddress.IPv6Address(match[1][1:-1])
        except ValueError:
            return False
    return bool(match[1])  # ":80" alone is no authority


def _resolve_target(method: str, target: str, host: str) -> tuple[str, str, str]:
    """Return host, decoded path and query of a target in any of its four forms (RFC 9112, 3.2)."""
    if _BARRED_IN_TARGET.search(target):
        raise ProtocolError(400, "The target has a character that must be percent-encoded.")
    if method == "CONNECT":
        if not _is_authority(target) or not target.rpartition(":")[2].isdigit():
            raise ProtocolError(400, "CONNECT takes a host name and a port.")
        return target, "", ""
    if target == "*":
        if method != "OPTIONS":
            raise ProtocolError(400, "The target * goes with the method OPTIONS only.")
        return host, "*", ""
    if not target.startswith("/"):
        host, target = _from_absolute_form(target)
    match = _PATH_AND_QUERY.fullmatch(target)
    assert match is not None  # it begins with "/" and has neither CR nor LF
    return host, _percent_decoded(match[1]), match[2] or ""


def _from_absolute_form(target: str) -> tuple[str, str]:
    """Return authority and path of ``http://authority/path``; that authority beats Host."""
    match = _ABSOLUTE_FORM.fullmatch(target)
    if match is None:
        raise ProtocolError(400, "The target must be a path that begins with /, or a whole URL.")
    scheme, authority, rest = match.groups()
    if scheme.lower() == "https":
        raise ProtocolError(400, "This connection is not encrypted, so https is not served on it.")
    if scheme.lower() != "http":
        raise ProtocolError(400, "This server serves http URLs only.")
    if not _is_authority(authority):
        raise ProtocolError(400, "The URL's host is not a host name with an optional port.")
    return authority, rest if rest.startswith("/") else "/" + rest


def _percent_decoded(path: str) -> str:
    if "%" not in path:
        return path
    if "%00" in path:
        raise ProtocolError(400, "The target has an encoded zero byte, which no name can have.")
    octets = _PERCENT_ENCODED.sub(lambda m: bytes([int(m[1], 16)]), path.encode("ascii"))
    return octets.decode("utf-8", "surrogateescape")


def _framing(fields: tuple[tuple[str, str], ...], minor: int) -> tuple[bool, int]:
    """Return whether the body is chunked, and its length if not (RFC 9112, section 6.3)."""
    lengths = _values(fields, "content-length")
    if _values(fields, "transfer-encoding"):
        if lengths:
            raise ProtocolError(
                400, "Content-Length and Transfer-Encoding together leave the length in doubt."
            )
        if minor == 0:
            raise ProtocolError(400, "HTTP/1.0 has no Transfer-Encoding.")
        _check_transfer_codings(_list(fields, "transfer-encoding"))
        return True, 0
    if not lengths:
        return False, 0
    if len(lengths) > 1:
        raise ProtocolError(400, "The request has more than one Content-Length.")
    if not (lengths[0].isascii() and lengths[0].isdigit()):
        raise ProtocolError(400, "Content-Length is not a number of bytes.")
    digits = lengths[0].lstrip("0") or "0"
    if len(digits) > 19 or int(digits) > MAX_NUMBER:
        raise ProtocolError(400, "Content-Length is a number beyond all bounds.")
    if int(digits) > MAX_BODY_BYTES:
        raise _too_large(MAX_BODY_BYTES)
    return False, int(digits)


def _check_transfer_codings(codings: list[str]) -> None:
    if not codings or codings[-1] != "chunked" or codings.count("chunked") > 1:
        raise ProtocolError(400, "Transfer-Encoding must end in chunked, and name it only once.")
    if len(codings) > 1:
        raise ProtocolError(501, "This server knows no transfer coding but chunked.")


def _expects_continue(fields: tuple[tuple[str, str], ...], minor: int) -> bool:
    """RFC 9110, section 10.1.1: an HTTP/1.0 request's expectation is ignored."""
    expectations = _list(fields, "expect") if minor >= 1 else []
    if any(expectation != "100-continue" for expectation in expectations):
        raise ProtocolError(417, "The only expectation that can be met is 100-continue.")
    return bool(expectations)


def _keep_alive(fields: tuple[tuple[str, str], ...], minor: int) -> bool:
    """Whether the connection lives on after this request (RFC 9112, section 9.3)."""
    options = _list(fields, "connection")
    if "close" in options:
        return False
    return minor >= 1 or "keep-alive" in options


@dataclass(frozen=True, slots=True)
class FileBody:
    """A body too large to be kept in memory: the first ``size`` bytes of the file at ``path``."""

    path: str
    size: int

    def __len__(self) -> int:
        return self.size


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. ``fields`` go out as they are; Date, Connection and the length are added.

    ``head`` is the part that is always the same, made once. Raises ValueError for a field that
    would split the response (our own mistake, never a peer's).
    """

    status: int
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes | FileBody = b""
    head: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lines = [f"HTTP/1.1 {self.status} {REASONS[self.status]}"]
        for name, value in self.fields:
            if not _FIELD_NAME.fullmatch(name) or not _FIELD_SAFE.fullmatch(value):
                raise ValueError(f"not a field to send: {name!r}: {value!r}")
            lines.append(f"{name}: {value}")
        # RFC 9110, section 8.6: 204 must not have it, and in 304 it would be that of the page.
        if self.status not in (204, 304):
            lines.append(f"Content-Length: {len(self.body)}")
        head = "\r\n".join([*lines, "Date: "]).encode("latin-1")
        object.__setattr__(self, "head", head)  # what a frozen dataclass has instead of assignment


def serialize_response(
    response: Response, *, date: str, connection: str = "", without_body: bool = False
) -> bytes:
    """Return status line, fields and body in one piece; of a ``FileBody`` nothing but the head.

    ``date`` is in IMF-fixdate; ``connection`` is the value of the Connection field ("" for none);
    ``without_body`` answers HEAD: the same fields, Content-Length included, and no body.
    """
    end = f"{date}\r\nConnection: {connection}\r\n\r\n" if connection else f"{date}\r\n\r\n"
    body = response.body
    if without_body or isinstance(body, FileBody):
        return response.head + end.encode("ascii")
    return b"".join((response.head, end.encode("ascii"), body))


DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def imf_fixdate(epoch_s: int) -> str:
    """Return ``Sun, 06 Nov 1994 08:49:37 GMT`` for seconds since the epoch (RFC 9110, 5.6.7).

    Not strftime, whose day and month names follow the locale.
    """
    moment = time.gmtime(epoch_s)
    return (
        f"{DAYS[moment.tm_wday]}, {moment.tm_mday:02d} {MONTHS[moment.tm_mon - 1]} "
        f"{moment.tm_year:04d} {moment.tm_hour:02d}:{moment.tm_min:02d}:{moment.tm_sec:02d} GMT"
    )
