"""An HTTP answer as a pure reader: bytes in any pieces to status, fields and body. No sockets.

::

    status-line   HTTP/1.1 200 OK CR LF
    field-line    Content-Length: 5 CR LF
    empty line                      CR LF
    body          Content-Length bytes, or chunks, or all until the server closes

RFC 9112, section 6.3 decides where the body ends, in this order: no body after HEAD and with 1xx,
204 and 304; chunked; Content-Length; else the end of the connection. Interim answers (1xx) are
passed over. A lone LF is taken as the end of a line (section 2.2), because servers written for the
exercise may send that. Left out: transfer codings other than chunked, decompression.
"""

import re
from dataclasses import dataclass

from services.http.protocol import ChunkedDecoder, ProtocolError

MAX_HEAD_BYTES = 65536
MAX_BODY_BYTES = 16 * 1024 * 1024

_STATUS_LINE = re.compile(r"(HTTP/1\.\d) (\d{3})(?: (.*))?", re.ASCII)
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_CHARSET = re.compile(r"charset=\"?([A-Za-z0-9._:+-]+)", re.IGNORECASE)


class MalformedAnswer(Exception):
    """What came is no HTTP answer, or not all of one; says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; ``status_line`` and ``fields`` (name, value) are as they came."""

    status_line: str
    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def field(self, name: str) -> str | None:
        """Return the first field of that name (in any case), or None."""
        return next((value for key, value in self.fields if key.lower() == name.lower()), None)

    def text(self) -> str:
        """Return the body as text, by its charset or as UTF-8; what does not fit becomes U+FFFD."""
        charset = _CHARSET.search(self.field("content-type") or "")
        try:
            return self.body.decode(charset[1] if charset else "utf-8", "replace")
        except (LookupError, ValueError):  # a charset that Python does not know
            return self.body.decode("utf-8", "replace")


class AnswerReader:
    """Collects the bytes of one answer to a request with ``method``."""

    def __init__(self, method: str) -> None:
        self.answer: Answer | None = None
        self._method = method
        self._buffer = bytearray()
        self._head: Answer | None = None
        self._chunks: ChunkedDecoder | None = None
        self._length: int | None = None  # None: until the connection ends

    def feed(self, data: bytes) -> bool:
        """Add bytes (none: the server has closed); return True when ``answer`` is complete.

        Raises MalformedAnswer.
        """
        self._buffer += data
        try:
            while self._head is None:
                if not self._take_head():
                    if data:
                        return False
                    raise MalformedAnswer(self._cut_short())
            body = self._take_body(closed=not data)
        except ProtocolError as error:
            raise MalformedAnswer(error.explanation) from error
        if body is None:
            return False
        head = self._head
        self.answer = Answer(head.status_line, head.status, head.fields, body)
        return True

    def _take_head(self) -> bool:
        """Take a head, interim ones too; return whether there was a whole one."""
        if self._buffer[:5] != b"HTTP/"[: len(self._buffer)]:
            raise MalformedAnswer("it does not begin with HTTP/")
        end = _END_OF_HEAD.search(self._buffer, 0, MAX_HEAD_BYTES)
        if end is None:
            if len(self._buffer) >= MAX_HEAD_BYTES:
                raise MalformedAnswer(f"its head is longer than {MAX_HEAD_BYTES} bytes")
            return False
        head = parse_head(bytes(self._buffer[: end.start()]))
        del self._buffer[: end.end()]
        if head.status == 101:
            raise MalformedAnswer("it switches to another protocol, which nobody asked for")
        if head.status >= 200:
            self._begin_body(head)
        return True

    def _begin_body(self, head: Answer) -> None:
        self._head = head
        coding = ", ".join(v for k, v in head.fields if k.lower() == "transfer-encoding").lower()
        lengths = {v for k, v in head.fields if k.lower() == "content-length"}
        if self._method == "HEAD" or head.status in (204, 304):
            self._length = 0
        elif coding == "chunked":
            self._chunks = ChunkedDecoder(MAX_BODY_BYTES)
        elif coding:
            raise MalformedAnswer(f"its transfer coding {coding!r} is not known here")
        elif lengths:
            length = lengths.pop()
            if lengths or not (length.isascii() and length.isdigit()):
                raise MalformedAnswer("its Content-Length is not one number")
            self._length = int(length[:20])

    def _take_body(self, *, closed: bool) -> bytes | None:
        """Return the body when it is complete."""
        if self._chunks is not None:
            if self._chunks.decode(self._buffer):
                return bytes(self._chunks.body)
            if closed:
                raise MalformedAnswer("the connection ended in the middle of its chunks")
            return None
        if max(len(self._buffer), self._length or 0) > MAX_BODY_BYTES:
            raise MalformedAnswer(f"its body is longer than {MAX_BODY_BYTES} bytes")
        if self._length is None:
            return bytes(self._buffer) if closed else None
        if len(self._buffer) >= self._length:
            return bytes(self._buffer[: self._length])
        if closed:
            raise MalformedAnswer(
                f"the connection ended after {len(self._buffer)} of {self._length} bytes of body"
            )
        return None

    def _cut_short(self) -> str:
        if not self._buffer:
            return "the server closed the connection without an answer"
        return "the connection ended in the middle of its head"


def parse_head(head: bytes) -> Answer:
    """Return status line and fields of a head without its empty line. Raises MalformedAnswer."""
    status_line, *lines = (line.removesuffix("\r") for line in head.decode("latin-1").split("\n"))
    match = _STATUS_LINE.fullmatch(status_line)
    if match is None:
        raise MalformedAnswer(f"its first line is no status line: {status_line[:80]!r}")
    fields = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise MalformedAnswer(f"one of its lines is no field: {line[:80]!r}")
        fields.append((name, value.strip(" \t")))
    return Answer(status_line, int(match[2]), tuple(fields), b"")
