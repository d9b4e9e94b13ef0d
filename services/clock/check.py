"""The container's health check: ask the server on this machine what time it is.

The question comes from ``SOURCE``, one of the 16 million loopback addresses, which nobody outside
this machine can have (RFC 1122 section 3.2.1.3 (g)). By it the server tells a check from a client,
does not log or count it, and gives it a place even when all places for clients are taken.
"""

import socket

from services.clock.protocol import QUESTION

SOURCE = "127.0.12.36"
"""Where a health check comes from."""

TIMEOUT_S = 2.0


def check(host: str, port: int) -> str | None:
    """Return None when the server answers with a time, or else why not, in one line."""
    target = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host, host)
    try:
        with _connected(target, port) as connection:
            connection.sendall(QUESTION + b"\n")
            with connection.makefile("rb") as lines:
                answer = lines.readline(200)
    except OSError as error:
        return f"{target}:{port}: {error.strerror or error}"
    if not answer[:1].isdigit():
        return f"{target}:{port}: no time in the answer {answer!r}"
    return None


def _connected(target: str, port: int) -> socket.socket:
    try:
        return socket.create_connection((target, port), TIMEOUT_S, source_address=(SOURCE, 0))
    except ConnectionRefusedError:
        raise
    except OSError:  # no such source address here (macOS), or the target is IPv6: ask as a client
        return socket.create_connection((target, port), TIMEOUT_S)
