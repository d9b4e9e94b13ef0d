"""What a server did, one line an event, on standard output.

Human form (the default)::

    2026-11-22T19:03:18.975Z udp dropped client=172.18.0.7:51324 bytes=13

JSON form (``--log json``) has the same fields: ``time``, ``service``, ``event``, then the event's
own. Values that come from a peer are escaped, so that no request can forge a line (CWE-117).

A line is written and flushed at once. A server of one thread that has thousands of events a second
may ``keep`` lines instead, whose fields it has formatted once with ``shown``, and ``flush`` them
before it waits for anything, and every now and then. One of many threads may ``note`` events: a
line is written at once unless another was less than ``KEPT_MS`` ago, and somebody flushes every now
and then.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

Value = str | int | float | bool | None

KEPT_MS = 50
"""How long lines may be kept back, in milliseconds."""

ATOMIC_BYTES = 4096
"""What a pipe takes in one piece, whoever else writes to it: PIPE_BUF of Linux (pipe(7))."""


class Events:
    """Writes one line per event; safe to call from several threads at once.

    ``style`` is ``human``, ``json`` or ``off``; ``wall_clock_ns`` is nanoseconds since the epoch.
    A reader that went away (EPIPE on a closed log) must not end a server: later events are dropped.
    ``shared`` says that other processes write to the same stream: lines then go out in pieces that
    do not mix with theirs.
    """

    def __init__(
        self,
        service: str,
        style: str = "human",
        *,
        stream: TextIO | None = None,
        wall_clock_ns: Callable[[], int] = time.time_ns,
        shared: bool = False,
    ) -> None:
        self.service = service
        self.style = style
        self.kept: list[str] = []
        """Lines that ``flush`` is to write: ask whether there are any, and leave them alone."""
        self._stream = sys.stdout if stream is None else stream
        self._descriptor = _descriptor(self._stream)
        self._wall_clock_ns = wall_clock_ns
        self._shared = shared
        self._lock = threading.Lock()
        self._now_ms = -1
        self._beginnings: dict[
            tuple[str, str], tuple[str, str]
        ] = {}  # of two lines, in that millisecond
        self._noted = (-1, "", "")  # when, what, and how such a line begins; one, for all threads
        self._written_ms = 0
        if style == "json":
            self._form = ('{"time": "', f'", "service": "{service}", "event": "', '"', ", ", "}\n")
        else:
            self._form = ("", f" {service} ", "", " ", "\n")

    def __call__(self, event: str, **fields: Value) -> None:
        """Write ``event`` with its fields, in the order given."""
        if self.style == "off":
            return
        start, before_event, after_event, separator, end = self._form
        moment = timestamp(self._wall_clock_ns())
        shown = separator + self.shown(**fields) if fields else ""
        self._write(f"{start}{moment}{before_event}{event}{after_event}{shown}{end}")

    def shown(self, **fields: Value) -> str:
        """Return the fields as they stand in a line of this style: for ``keep``."""
        if self.style == "json":
            return json.dumps(fields)[1:-1]
        return " ".join(f"{name}={_shown(value)}" for name, value in fields.items())

    @property
    def separator(self) -> str:
        """Return what stands between two fields."""
        return self._form[3]

    def keep(self, first: str, second: str, shown: str) -> None:
        """Keep two events that have the same fields, as ``shown``; call from one thread only."""
        now_ms = self._wall_clock_ns() // 1_000_000
        if now_ms != self._now_ms:
            self._now_ms, self._beginnings = now_ms, {}
        try:
            beginnings = self._beginnings[first, second]
        except KeyError:
            start, before_event, after_event, separator, _ = self._form
            head, tail = f"{start}{timestamp(now_ms * 1_000_000)}{before_event}", after_event
            beginnings = (f"{head}{first}{tail}{separator}", f"{head}{second}{tail}{separator}")
            self._beginnings[first, second] = beginnings
        end = self._form[4]
        self.kept.append(f"{beginnings[0]}{shown}{end}{beginnings[1]}{shown}{end}")

    def label(self, name: str) -> str:
        """Return what stands before the value of a field, for one who writes numbers himself."""
        return f'"{name}": ' if self.style == "json" else f"{name}="

    def note(self, event: str, shown: str) -> None:
        """Write an event with fields ``shown`` already, or keep it; call from any thread."""
        now_ms = self._wall_clock_ns() // 1_000_000
        noted = self._noted
        if noted[0] != now_ms or noted[1] != event:
            start, before_event, after_event, separator, _ = self._form
            moment = timestamp(now_ms * 1_000_000)
            beginning = f"{start}{moment}{before_event}{event}{after_event}{separator}"
            noted = self._noted = (now_ms, event, beginning)
        self.kept.append(f"{noted[2]}{shown}{self._form[4]}")
        if not 0 <= now_ms - self._written_ms < KEPT_MS:  # also where the clock steps
            self._written_ms = now_ms
            self.flush()

    def flush(self) -> None:
        """Write the lines that are kept."""
        if self.kept:
            self._write("")

    def _put(self, text: str) -> None:
        if self._descriptor is None:
            self._stream.write(text)
            self._stream.flush()
            return
        # Not through the stream: where a signal comes in the middle of a long write to a pipe, it
        # was seen to lose the rest. The system says how much it took.
        rest = memoryview(text.encode("ascii", "backslashreplace"))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _write(self, text: str) -> None:
        with self._lock:
            if count := len(self.kept):  # meanwhile another thread may add to them
                text = "".join(self.kept[:count]) + text
                del self.kept[:count]
            try:
                for piece in _atomic_pieces(text) if self._shared else (text,):
                    self._put(piece)
            except OSError:  # EPIPE, ENOSPC: nobody can read the log; serving goes on
                pass


def _descriptor(stream: TextIO) -> int | None:
    """Return the number of the file behind ``stream``; None where there is none."""
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):  # in memory, or anything that can be written to
        return None


def _atomic_pieces(text: str) -> Iterator[str]:
    """Cut whole lines, all ASCII, into pieces of at most ``ATOMIC_BYTES`` where lines allow it."""
    start = 0
    while len(text) - start > ATOMIC_BYTES:
        end = text.rfind("\n", start, start + ATOMIC_BYTES) + 1 or text.index("\n", start) + 1
        yield text[start:end]
        start = end
    yield text[start:]


def timestamp(wall_ns: int) -> str:
    """Return RFC 3339 UTC with milliseconds for nanoseconds since the epoch."""
    seconds, nanoseconds = divmod(wall_ns, 1_000_000_000)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{nanoseconds // 1_000_000:03d}Z"


def _shown(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    plain = text.isascii() and text.isprintable() and text and not set(text) & set(' "\\=')
    return text if plain else json.dumps(text)
