"""Sends requests to an HTTP server under test, step by step, and tells what it hears.

Order::

    {"host", "port", "steps": [...]}       see ``talk``

An answer is whole as RFC 9112 section 6.3 says: by ``Content-Length``, by the last chunk, or, with
neither, when the server closes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grading.peer import order
from grading.peer.talk import Talk

QUIET_S = 0.6
"""How long an answer that is not whole may pause."""

_STATUS_LINE = re.compile(rb"HTTP/(\d)\.(\d) (\d{3})(?: [^\r\n]*)?\r?\n")


@dataclass(frozen=True)
class Answer:
    """What was heard, as HTTP. ``status`` 0: no status line. Sizes in bytes.

    ``body`` is all that followed the head. ``length`` is what Content-Length says, None without it.
    """

    status: int
    fields: dict[str, str]
    body: bytes
    length: int | None
    chunked: bool
    head_ended: bool

    @property
    def complete(self) -> bool:
        """Whether the body is as long as it says, before any close."""
        if not self.head_ended:
            return False
        if self.status < 200 or self.status in (204, 304):
            return self.status != 0
        if self.chunked:
            return self.body.endswith(b"0\r\n\r\n")
        return self.length is not None and len(self.body) >= self.length


def parse(data: bytes) -> Answer:
    """Return an answer, or as much of one as there is."""
    status_line = _STATUS_LINE.match(data)
    if status_line is None:
        return Answer(0, {}, data, None, False, False)
    end = re.search(rb"\r?\n\r?\n", data)
    head = data[: end.start()] if end else data
    fields = {}
    for line in head.split(b"\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            fields[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
    length = fields.get("content-length", "")
    return Answer(
        int(status_line[3]),
        fields,
        data[end.end() :] if end else b"",
        int(length) if length.isdigit() else None,
        "chunked" in fields.get("transfer-encoding", "").lower(),
        end is not None,
    )


def whole(data: bytes, step: Mapping[str, Any]) -> bool:
    """Return whether an answer is complete."""
    return parse(data).complete


def main() -> None:
    """Carry out the order."""
    given = order()
    Talk((given["host"], given["port"]), whole, quiet_s=QUIET_S).run(given["steps"])


if __name__ == "__main__":
    main()
