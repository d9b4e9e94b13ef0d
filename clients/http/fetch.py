"""Fetch one URL over a socket of our own, and time it. ``http`` only, one connection per fetch.

::

    start       resolved    connected   request sent      first byte      last byte
      |------------|-----------|------------|-----------------|---------------|
        resolve_ms   connect_ms             |  first_byte_ms  |               |
      |------------------------------- total_ms ------------------------------|
"""

import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from clients.http.answer import Answer, AnswerReader, MalformedAnswer

RECEIVE_BYTES = 65536

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""What getaddrinfo gives: family, kind, protocol, canonical name, address."""


class NoAnswer(Exception):
    """The fetch failed; says why and where, on one line."""


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of an http URL: ``host`` to connect to, ``authority`` for Host, ``target``."""

    host: str
    port: int
    authority: str
    target: str


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds, as in the module's diagram."""

    resolve_ms: float
    connect_ms: float
    first_byte_ms: float
    total_ms: float


def parse_url(text: str) -> Url:
    """Return the parts of ``http://host[:port]/path?query``. Raises ValueError with the reason."""
    if "://" not in text:
        text = f"http://{text}"
    if any(ord(character) <= 32 or ord(character) == 127 for character in text):
        raise ValueError("a URL has no white space and no control characters")
    parts = urlsplit(text)
    if parts.scheme == "https":
        raise ValueError("https is not spoken here, only http: this client shows plain text")
    if parts.scheme != "http":
        raise ValueError(f"only http URLs are fetched, not {parts.scheme}")
    if parts.username is not None:
        raise ValueError("a user name in a URL is not sent")
    if not parts.hostname:
        raise ValueError("the URL names no host")
    port = 80 if parts.port is None else parts.port  # raises ValueError for a bad one
    # What browsers send bare stays; the rest (spaces, umlauts) is percent-encoded.
    path = quote(parts.path or "/", safe="/%!$&'()*+,;=:@~[]^`{|}")
    query = quote(parts.query, safe="/%!$&'()*+,;=:@~?[]^`{|}")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else _ascii_name(parts.hostname)
    return Url(
        host=name.strip("[]"),
        port=port,
        authority=name if port == 80 else f"{name}:{port}",
        target=path + (f"?{query}" if query else ""),
    )


def _ascii_name(name: str) -> str:
    try:
        ascii_name = name.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValueError(f"not a host name: {name!r}") from error
    if not all(character.isalnum() or character in "-._~%" for character in ascii_name):
        raise ValueError(f"not a host name: {name!r}")
    return ascii_name


def request_bytes(method: str, url: Url) -> bytes:
    """Return the request, as it goes over the wire."""
    return (
        f"{method} {url.target} HTTP/1.1\r\n"
        f"Host: {url.authority}\r\n"
        "User-Agent: progres-lab-http-client\r\n"
        "Accept: */*\r\n"
        "Connection: close\r\n"
        "\r\n"
    ).encode("ascii")


def fetch(
    method: str,
    url: Url,
    timeout_s: float,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Answer, Timing]:
    """Return the answer and its timing. ``timeout_s`` is for all of it, but for the name lookup.

    Raises NoAnswer: name unknown, nobody there, too slow, or no HTTP.
    """
    peer = f"{url.host}:{url.port}"
    start = clock()
    try:
        found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except OSError as error:  # socket.gaierror
        raise NoAnswer(f"{url.host}: {error.strerror or error}") from error
    resolved = clock()
    deadline = resolved + timeout_s
    try:
        with _connect(found, deadline, clock) as connection:
            connected = clock()
            # Nothing to gain from Nagle's algorithm: the request is one piece.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(request_bytes(method, url))
            sent = clock()
            reader = AnswerReader(method)
            first_byte = 0.0
            complete = False
            while not complete:
                connection.settimeout(_remaining_s(deadline, clock))
                data = connection.recv(RECEIVE_BYTES)
                first_byte = first_byte or clock()
                complete = reader.feed(data)
            end = clock()
    except TimeoutError as error:
        raise NoAnswer(f"{peer}: no complete answer within {timeout_s:g} s") from error
    except OSError as error:
        raise NoAnswer(f"{peer}: {(error.strerror or str(error)).lower()}") from error
    except MalformedAnswer as error:
        raise NoAnswer(f"{peer}: the answer is malformed: {error}") from error
    assert reader.answer is not None
    return reader.answer, Timing(
        resolve_ms=(resolved - start) * 1e3,
        connect_ms=(connected - resolved) * 1e3,
        first_byte_ms=(first_byte - sent) * 1e3,
        total_ms=(end - start) * 1e3,
    )


def _connect(
    found: Iterable[AddressInfo], deadline: float, clock: Callable[[], float]
) -> socket.socket:
    """Connect to the first address that answers. Raises the OSError of the last one."""
    failure = OSError("no address")
    for family, kind, protocol, _, address in found:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_remaining_s(deadline, clock))
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


def _remaining_s(deadline: float, clock: Callable[[], float]) -> float:
    remaining = deadline - clock()
    if remaining <= 0:
        raise TimeoutError
    return remaining
