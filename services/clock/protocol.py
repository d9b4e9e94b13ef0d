"""The clock protocol: lines of text over TCP, as a pure core (no sockets, no clock).

A client asks, the server answers each question with one line, in order::

    client                                      server
       |  what time is it?                         |
       |------------------------------------------>|
       |  2026-11-22T19:03:18.975123456Z LF        |
       |<------------------------------------------|
       |  hello LF                                 |
       |------------------------------------------>|
       |  error: please ask "what time is it?" LF  |
       |<------------------------------------------|
       |  what time is it, exactly?                |
       |------------------------------------------>|  T2: the question is here
       |  received 2026-11-22T19:03:18.975123456Z  |
       |    by kernel                              |
       |    sent 2026-11-22T19:03:18.975191205Z LF |  T3: just before the send call
       |<------------------------------------------|

    question = "what time is it?"            ; the "?" ends it, a line end may follow
    answer   = date-time LF                  ; RFC 3339 section 5.6: nine digits of fraction, "Z"
    exact    = "what time is it, exactly?"   ; the extension: two of NTP's four timestamps
    times    = "received " date-time " by " ( "kernel" / "process" ) " sent " date-time LF
    failure  = "error: " text LF             ; the connection lives on, unless it says "closing"

The answer to the exact question is one line (broken above to fit). ``by kernel``: the kernel noted
the time when the last segment of the question arrived; ``by process``: it did not, and the server
read its clock when it was given the question. Both times are what the server's clock, wrong or not,
showed (RFC 5905 section 8 calls them receive and transmit timestamp). The transmit time is read
before the send call: a stamp cannot travel in the packet that it stamps, and one of the kernel's,
taken after the queueing discipline, would hide a delay that is emulated there.

TCP is a stream of bytes without message borders (RFC 9293 section 3.8): one ``recv`` may give half
a question or three of them. ``QuestionSplitter`` finds the borders again, and its outcome does not
depend on how the bytes were cut.

Tolerated, because people type it: other letter case, extra white space, LF or CRLF or no line end,
blank lines. Left out on purpose: encryption, other languages, dates other than "now".
"""

import enum
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

PORT = 1236
"""Where the server listens, TCP."""

QUESTION = b"what time is it?"
"""The question as a client sends it; a line end may follow."""

EXACT_QUESTION = b"what time is it, exactly?"
"""The question of the extension: when did this arrive, and when does the answer leave?"""

MAX_SENTENCE_BYTES = 256
"""The longest sentence that is kept while its end has not come. Longer ones are skipped."""

NANOSECONDS = 1_000_000_000
"""In a second."""


class ClockError(Exception):
    """Base of the errors of the clock server; the text is for the person who started it."""


class Request(enum.Enum):
    """What a sentence of the client turned out to be."""

    TIME = "what time is it"
    EXACT_TIME = "what time is it, exactly"
    NOT_UNDERSTOOD = "not understood"
    TOO_LONG = "too long"


_QUESTIONS = {
    QUESTION.rstrip(b"?"): Request.TIME,
    EXACT_QUESTION.rstrip(b"?"): Request.EXACT_TIME,
}
ANSWERED = frozenset(_QUESTIONS.values())
"""The requests that are answered with a time; the others with a failure."""

_PIECE = re.compile(rb"[^?\n]*[?\n]?")


class QuestionSplitter:
    """Cuts a stream of bytes into requests. It keeps at most ``MAX_SENTENCE_BYTES`` bytes.

    A sentence ends with ``?`` or with a line end. One that grows too long gives ``TOO_LONG`` once,
    as soon as that is known, and is skipped to its line end.
    """

    __slots__ = ("_pending", "_skipping")

    def __init__(self) -> None:
        self._pending = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[Request]:
        """Return the requests that ``data`` completes, in order."""
        found = []
        for piece in _PIECE.findall(data):
            end = piece[-1:] if piece[-1:] in (b"?", b"\n") else b""
            if self._skipping:
                self._skipping = end != b"\n"
                continue
            # Leading white space is dropped at once: an endless row of blanks needs no memory.
            self._pending = (self._pending + piece).lstrip()
            if len(self._pending.removesuffix(end)) > MAX_SENTENCE_BYTES:
                found.append(Request.TOO_LONG)
                self._pending = b""
                self._skipping = end != b"\n"
            elif end and self._pending:
                found.append(_understood(self._pending))
                self._pending = b""
        return found

    def finish(self) -> list[Request]:
        """Return what the end of the stream completes: a sentence without an end is none."""
        rest, self._pending = self._pending, b""
        return [Request.NOT_UNDERSTOOD] if rest else []


def _understood(sentence: bytes) -> Request:
    words = b" ".join(sentence.removesuffix(b"?").lower().split())
    asked = _QUESTIONS.get(words, Request.NOT_UNDERSTOOD)
    return asked if sentence.endswith(b"?") else Request.NOT_UNDERSTOOD


@dataclass(frozen=True)
class Receipt:
    """When a question had arrived, nanoseconds since the epoch by the server's (skewed) clock.

    ``by`` says who noted it: ``kernel`` or ``process``.
    """

    clock_ns: int
    by: str


def reply(request: Request, received: Receipt, clock_ns: Callable[[], int]) -> bytes:
    """Return the line that answers ``request``; ``clock_ns`` reads nanoseconds since the epoch."""
    if request is Request.TIME:
        return rfc3339(clock_ns()).encode() + b"\n"
    if request is Request.EXACT_TIME:
        arrived = f"received {rfc3339(received.clock_ns)} by {received.by}"
        return f"{arrived} sent {rfc3339(clock_ns())}\n".encode()
    return _COMPLAINTS[request]


def _error_line(text: str) -> bytes:
    return f"error: {text}\n".encode()


_COMPLAINTS = {
    Request.NOT_UNDERSTOOD: _error_line(f'please ask "{QUESTION.decode()}"'),
    Request.TOO_LONG: _error_line(
        f"a line of more than {MAX_SENTENCE_BYTES} bytes was skipped; "
        f'please ask "{QUESTION.decode()}"'
    ),
}


def full_line(max_clients: int) -> bytes:
    """Return what one client too many is told before its connection is closed."""
    return _error_line(f"all {max_clients} places are taken, closing; please try again later")


def idle_line(idle_timeout_s: float) -> bytes:
    """Return what a client is told that has asked nothing for so long."""
    return _error_line(f"nothing was asked for {idle_timeout_s:g} s, closing")


def rfc3339(wall_ns: int) -> str:
    """Return ``2026-11-22T19:03:18.975123456Z`` for nanoseconds since the epoch (RFC 3339)."""
    seconds, fraction = divmod(wall_ns, NANOSECONDS)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:09d}Z"
