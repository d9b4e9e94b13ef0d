"""What a server did, one line an event, on standard output.

Human form (the default)::

    2026-11-22T19:03:18.975Z udp dropped client=172.18.0.7:51324 bytes=13

JSON form (``--log json``) has the same fields: ``time``, ``service``, ``event``, then the event's
own. Values that come from a peer are escaped, so that no request can forge a line (CWE-117).
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

Value = str | int | float | bool | None


class Events:
    """Writes one line per event; safe to call from several threads at once.

    ``style`` is ``human``, ``json`` or ``off``; ``wall_clock_ns`` is nanoseconds since the epoch.
    A reader that went away (EPIPE on a closed log) must not end a server: later events are dropped.
    """

    def __init__(
        self,
        service: str,
        style: str = "human",
        *,
        stream: TextIO | None = None,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.service = service
        self.style = style
        self._stream = sys.stdout if stream is None else stream
        self._wall_clock_ns = wall_clock_ns
        self._lock = threading.Lock()

    def __call__(self, event: str, **fields: Value) -> None:
        """Write ``event`` with its fields, in the order given."""
        if self.style == "off":
            return
        moment = timestamp(self._wall_clock_ns())
        if self.style == "json":
            record = {"time": moment, "service": self.service, "event": event, **fields}
            line = json.dumps(record)
        else:
            line = " ".join(
                [moment, self.service, event, *(f"{k}={_shown(v)}" for k, v in fields.items())]
            )
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except OSError:  # EPIPE, ENOSPC: nobody can read the log; serving goes on
                pass


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
