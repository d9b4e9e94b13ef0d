"""The container's health check: ask the server on this machine for its page.

The request comes from ``SOURCE``, one of the 16 million loopback addresses, which nobody outside
this machine can have (RFC 1122, section 3.2.1.3 (g)). By it the server tells a check from a client:
it is not logged or counted, and is answered even when all places for clients are taken.
"""

import socket

SOURCE = "127.0.123.45"
"""Where a health check comes from."""

TIMEOUT_S = 2.0


def check(host: str, port: int) -> str | None:
    """Return None when the server answers ``GET /`` with 200, or else why not, in one line."""
    target = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host, host)
    authority = f"[{target}]" if ":" in target else target
    request = f"GET / HTTP/1.1\r\nHost: {authority}:{port}\r\nConnection: close\r\n\r\n"
    answer = b""
    try:
        with _connected(target, port) as connection:
            connection.sendall(request.encode())
            while data := connection.recv(16384):
                answer += data
    except OSError as error:
        return f"http://{authority}:{port}/: {error.strerror or error}"
    status_line = answer.partition(b"\r\n")[0].decode("latin-1")
    if not status_line.startswith("HTTP/1.1 200 "):
        return f"http://{authority}:{port}/: answered {status_line!r}"
    return None


def _connected(target: str, port: int) -> socket.socket:
    try:
        return socket.create_connection((target, port), TIMEOUT_S, source_address=(SOURCE, 0))
    except ConnectionRefusedError:
        raise
    except OSError:  # no such source address here (macOS), or the target is IPv6: ask as a client
        return socket.create_connection((target, port), TIMEOUT_S)
