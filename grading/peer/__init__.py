"""Our side of an arena: scripts that run beside the program under test. Standard library only.

Each takes one order, JSON in its one argument, and prints events, a JSON object a line. Times are
nanoseconds of the monotonic clock, ``t_ns``; bytes travel as ``data``, in latin-1.
"""

import json
import os
import sys
import time
from typing import Any


def order() -> dict[str, Any]:
    """Return the order given on the command line, and tell who is at work."""
    tell("started", pid=os.getpid())
    found: dict[str, Any] = json.loads(sys.argv[1])
    return found


def tell(event: str, **fields: Any) -> None:
    """Print an event with the time at which it is told."""
    fields.setdefault("t_ns", time.monotonic_ns())
    print(json.dumps({"event": event, **fields}), flush=True)


def text(data: bytes) -> str:
    """Return bytes as JSON can carry them."""
    return data.decode("latin-1")
