"""One client's connection, in a thread of its own: requests in, answers out, until either closes.

::

    run
      |  next request:  recv -> RequestReader -> Request
      |  answer:        Site.answer -> Response -> send, or sendfile
      |  ... until the peer or the request says close
      +- linger, close

Waiting is the kernel's: a blocking socket with ``SO_RCVTIMEO`` and ``SO_SNDTIMEO`` (socket(7)).
Python's own timeouts ask ``poll`` before each ``recv`` and ``send``, which is two more system calls
for a request, and two more times that the interpreter's lock changes hands.

Header and body go out in one send with Nagle's algorithm off: in two sends, the second would wait
for the client's delayed acknowledgement of the first (40 ms).

A connection whose last answer was sent is closed in two steps (RFC 9112, section 9.6): first the
sending side alone, then, when the peer has closed too, all of it. Closing at once while bytes of
the peer are still unread makes the kernel send a reset, which may destroy the answer on its way.
"""

import os
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple, Protocol

from services.events import Events
from services.http.limits import Limits
from services.http.protocol import (
    CONTINUE,
    MAX_KNOWN_HEAD_BYTES,
    FileBody,
    ProtocolError,
    Request,
    RequestReader,
    Response,
    serialize_response,
)

RECEIVE_BYTES = 4096
"""A usual head fits, and a thread that waits holds no more memory than this for it."""

FILE_PIECE_BYTES = 256 * 1024
"""How much of a file is sent before the client's time is looked at again."""

LOGGED_TARGET_CHARACTERS = 200

READY_S = 0.05
"""For how long the answer to one request answers others that are the same byte for byte."""

MAX_READY = 256
MAX_READY_BYTES = 16384
"""How many answers are kept for that, and how long the longest may be."""

_NO_STORE = ("Cache-Control", "no-store")

_MORE = getattr(socket, "MSG_MORE", 0)  # Linux: wait for the body and send both in one packet
_KERNEL_TIMEOUTS = sys.platform != "win32"
_TIMED_OUT = (BlockingIOError, TimeoutError)  # EAGAIN is how the kernel's timeouts end


class Pages(Protocol):
    """What a conversation needs of a site."""

    def answer(self, request: Request) -> Response:
        """Return the answer to a request; may raise whatever its handlers raise."""

    def error(self, status: int, explanation: str | None = None) -> Response:
        """Return a page that says what went wrong."""


class Ready(NamedTuple):
    """An answer as it goes out, to a request that is known by its bytes."""

    wire: bytes
    shown: str
    """What is logged of it, see ``Shared.shown_answer``."""
    good_until: float


class Shared:
    """What all conversations of a server have in common.

    ``date`` gives the time for the Date field, ``clock`` monotonic seconds; ``stopping`` makes
    every answer the last one of its connection.

    ``ready`` has answers by the bytes of their requests. A browser, and a load tool even more,
    sends the same head again and again; what it gets depends on that head and on files that are
    looked at every ``READY_S`` only. It is a cache within the origin server, so an answer with
    ``Cache-Control: no-store`` is not for it (RFC 9111, section 5.2.2.5).
    """

    def __init__(
        self,
        site: Pages,
        events: Events,
        limits: Limits,
        *,
        date: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.site = site
        self.events = events
        self.limits = limits
        self.date = date
        self.clock = clock
        self.stopping = False
        self.ready: dict[bytes, Ready] = {}
        self._logging = events.style != "off"

    def log_answer(self, client: str, number: int, shown: str, started: float) -> None:
        """Log an answered request in as few steps as can be: it is done for each of them.

        ``client`` and ``shown`` are what stands before and after the number.
        """
        if self._logging:
            self.events.note(
                "request", f"{client}{number}{shown}{(self.clock() - started) * 1e3:.3f}"
            )

    def shown_client(self, client: str) -> str:
        """Return what is logged of a client's requests up to their number."""
        events = self.events
        return f"{events.shown(client=client)}{events.separator}{events.label('number')}"

    def shown_answer(self, request: Request, status: int, size: int) -> str:
        """Return what is logged of an answer between the request's number and its milliseconds."""
        events = self.events
        if not self._logging:
            return ""
        target = request.target[:LOGGED_TARGET_CHARACTERS]
        what = events.shown(method=request.method, target=target, status=status, bytes=size)
        return f"{events.separator}{what}{events.separator}{events.label('ms')}"

    def keep_ready(
        self, request: Request, response: Response, wire: bytes, shown: str, now: float
    ) -> None:
        """Keep an answer for requests that are the same, if it may be."""
        head = request.raw
        if (
            request.minor_version == 1
            and not (request.chunked or request.content_length)
            and len(wire) <= MAX_READY_BYTES
            and len(head) <= MAX_KNOWN_HEAD_BYTES
            and _NO_STORE not in response.fields
        ):
            if len(self.ready) >= MAX_READY:
                self.ready.clear()
            self.ready[head] = Ready(wire, shown, now + READY_S)


class Conversation:
    """Answers the requests of one connection; ``client`` is its address, for the log.

    ``logged`` is False for the health check, whose requests do not count.
    """

    __slots__ = (
        "__weakref__",
        "_client",
        "_client_shown",
        "_connection",
        "_logged",
        "_reader",
        "_receive_timeout_s",
        "_shared",
        "requests",
    )

    def __init__(
        self, shared: Shared, connection: socket.socket, client: str, *, logged: bool = True
    ) -> None:
        self.requests = 0
        self._shared = shared
        self._connection = connection
        self._client = client
        self._client_shown = shared.shown_client(client)
        self._logged = logged
        self._reader = RequestReader()
        self._receive_timeout_s = 0.0

    def run(self) -> None:
        """Answer requests until either side closes."""
        try:
            with self._connection:
                try:
                    self._converse()
                except _TIMED_OUT:
                    _reset_on_close(self._connection)
                    raise
        except _TIMED_OUT:
            self._lost("the client does not take its answer")
        except OSError as error:  # ECONNRESET, EPIPE: the client went away
            self._lost(os.strerror(error.errno) if error.errno else str(error))
        except MemoryError:
            self._lost("out of memory")

    @property
    def counted(self) -> int:
        """How many requests of it count."""
        return self.requests if self._logged else 0

    def end_if_idle(self) -> None:
        """Wake the thread if it waits for a request that has not begun (from another thread)."""
        if self._reader.idle:
            try:
                self._connection.shutdown(socket.SHUT_RD)
            except OSError:  # ENOTCONN, EBADF: it has just ended by itself
                pass

    def _lost(self, reason: str) -> None:
        if self._logged:
            self._shared.events("lost", client=self._client, reason=reason)

    def _converse(self) -> None:
        limits = self._shared.limits
        _set_send_timeout(self._connection, limits.send_timeout_s)
        self._set_receive_timeout(limits.idle_timeout_s)
        keep_alive = True
        while keep_alive:
            try:
                request = self._next_request()
            except ProtocolError as error:
                self._refuse(error)
                break
            if request is None:
                return
            keep_alive = self._answer(request)
        self._linger()

    def _next_request(self) -> Request | None:
        """Return the next request; None if the client closed or said nothing for too long.

        Raises ProtocolError: also 408, when the request takes too long to arrive.
        """
        reader = self._reader
        if reader.at_start:
            data = self._answer_ready()
            if not data:
                return None
            request = reader.receive(data)
        else:
            request = reader.next_request()  # it came along with the one before
        if request is None:
            request = self._rest_of_request()
            self._set_receive_timeout(self._shared.limits.idle_timeout_s)
        return request

    def _answer_ready(self) -> bytes:
        """Answer requests whose answers are ready; return the beginning of the first other one.

        Empty: the client closed or said nothing for too long. This is the loop that a busy server
        spends its time in: what it calls stands in local names, and each call counts.
        """
        shared, logged = self._shared, self._logged
        ready, clock = shared.ready, shared.clock
        receive, send = self._connection.recv, self._connection.send
        while True:
            try:
                data = receive(RECEIVE_BYTES)
            except _TIMED_OUT:
                return b""
            answer = ready.get(data)
            if answer is None or shared.stopping:
                return data
            started = clock()
            if started > answer.good_until:
                return data
            self.requests += 1
            wire = answer.wire
            sent = send(wire)
            if sent != len(wire):
                self._send_rest(wire, sent)
            if logged:
                shared.log_answer(self._client_shown, self.requests, answer.shown, started)

    def _rest_of_request(self) -> Request | None:
        """Return a request that comes in pieces, within its time."""
        limits, reader = self._shared.limits, self._reader
        # One deadline for the whole head: a timeout that starts again with each byte could be
        # stretched for ever by a client that sends one at a time.
        patience = _Patience(self._shared, limits.head_timeout_s)
        received = 0
        in_body = False
        request: Request | None = None
        while request is None:
            if reader.in_body and not in_body:
                in_body, received = True, 0
                patience = _Patience(self._shared, limits.body_timeout_s)
                if reader.continue_owed():
                    self._send(CONTINUE)
            try:
                self._set_receive_timeout(patience.left_s(received if in_body else 0))
                data = self._connection.recv(RECEIVE_BYTES)
            except _TIMED_OUT:
                if reader.idle:  # there were empty lines, and nothing else
                    return None
                raise ProtocolError(408, "The request took too long to arrive.") from None
            if not data:
                reader.end_of_stream()
                return None
            received = len(data)
            request = reader.receive(data)
        return request

    def _answer(self, request: Request) -> bool:
        """Send the answer, log it, and return whether the connection lives on."""
        shared = self._shared
        started = shared.clock()
        self.requests += 1
        file = -1  # descriptor of the body's file
        try:
            response = shared.site.answer(request)
            if isinstance(response.body, FileBody) and request.method != "HEAD":
                file = _opened(response.body)
        except Exception as error:  # whatever a page's handler raises must not end the server
            response = self._failed(request, error)
        keep_alive = request.keep_alive and not shared.stopping
        if not keep_alive:
            connection = "close"
        else:
            connection = "keep-alive" if request.minor_version == 0 else ""
        without_body = request.method == "HEAD"
        size = 0 if without_body else len(response.body)
        wire = serialize_response(
            response, date=shared.date(), connection=connection, without_body=without_body
        )
        if file >= 0:
            self._send_file(wire, file, size)
        else:
            self._send(wire)
        if self._logged:
            shown = shared.shown_answer(request, response.status, size)
            shared.log_answer(self._client_shown, self.requests, shown, started)
            if keep_alive and file < 0:
                shared.keep_ready(request, response, wire, shown, started)
        return keep_alive

    def _failed(self, request: Request, error: Exception) -> Response:
        """Log what a page's handler raised, and return what the client gets instead."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        self._shared.events(
            "failed",
            client=self._client,
            method=request.method,
            target=request.target[:LOGGED_TARGET_CHARACTERS],
            error=f"{type(error).__name__}: {error}",
            place=f"{os.path.basename(place.filename)}:{place.lineno} in {place.name}",
        )
        return self._shared.site.error(500)

    def _refuse(self, error: ProtocolError) -> None:
        """Answer what is no request with the status that the error carries."""
        shared = self._shared
        shared.events("refused", client=self._client, status=error.status, reason=error.explanation)
        response = shared.site.error(error.status, error.explanation)
        without_body = self._reader.asks_without_body
        self._send(
            serialize_response(
                response, date=shared.date(), connection="close", without_body=without_body
            )
        )

    def _send(self, data: bytes, flags: int = 0) -> None:
        """Send all of it. Raises TimeoutError or BlockingIOError if the client is too slow."""
        sent = self._connection.send(data, flags)
        if sent != len(data):
            self._send_rest(data, sent, flags)

    def _send_rest(self, data: bytes, sent: int, flags: int = 0) -> None:
        """Send what ``send`` left: it waits, so a part is what its time was enough for."""
        patience = _Patience(self._shared, self._shared.limits.send_timeout_s)
        rest = memoryview(data)
        while rest := rest[sent:]:
            _set_send_timeout(self._connection, patience.left_s(sent))
            sent = self._connection.send(rest, flags)
        _set_send_timeout(self._connection, self._shared.limits.send_timeout_s)

    def _send_file(self, head: bytes, file: int, size: int) -> None:
        """Send an answer whose body is the open ``file``, which the kernel reads; close it.

        Raises as ``_send``, and OSError if the file ends too early: then the connection must, too.
        """
        with open(file, "rb", buffering=0):
            self._send(head, _MORE)
            patience = _Patience(self._shared, self._shared.limits.send_timeout_s)
            offset = 0
            while offset < size:
                sent = _sendfile(
                    self._connection, file, offset, min(size - offset, FILE_PIECE_BYTES)
                )
                if not sent:
                    raise OSError(f"the file has ended {size - offset} bytes too early")
                offset += sent
                patience.left_s(sent)

    def _set_receive_timeout(self, timeout_s: float) -> None:
        if self._receive_timeout_s != timeout_s:
            self._receive_timeout_s = timeout_s
            _set_timeout(self._connection, socket.SO_RCVTIMEO, timeout_s)

    def _linger(self) -> None:
        """Close our side and wait for the peer to close its own, so that the answer is not lost."""
        self._connection.shutdown(socket.SHUT_WR)
        patience = _Patience(self._shared, self._shared.limits.linger_s)
        try:
            while True:
                self._set_receive_timeout(patience.left_s())
                if not self._connection.recv(RECEIVE_BYTES):
                    return
        except _TIMED_OUT:
            pass


class _Patience:
    """How long a client is waited for: some seconds, and more with each byte it moves.

    It never gets more than those seconds in advance: bytes that have only reached the kernel's
    buffers are no promise of others.
    """

    def __init__(self, shared: Shared, time_s: float) -> None:
        self._clock = shared.clock
        self._min_rate = shared.limits.min_rate
        self._time_s = time_s
        self._deadline = shared.clock() + time_s

    def left_s(self, moved_bytes: int = 0) -> float:
        """Return the seconds that are left now that so many bytes more have moved.

        Raises TimeoutError if there are none.
        """
        now = self._clock()
        self._deadline = min(self._deadline + moved_bytes / self._min_rate, now + self._time_s)
        if self._deadline <= now:
            raise TimeoutError
        return self._deadline - now


def _set_send_timeout(connection: socket.socket, timeout_s: float) -> None:
    _set_timeout(connection, socket.SO_SNDTIMEO, timeout_s)


def _set_timeout(connection: socket.socket, option: int, timeout_s: float) -> None:
    """Set how long a ``recv`` or a ``send`` may wait; 1 ms at least: 0 is for ever."""
    if _KERNEL_TIMEOUTS:
        microseconds = max(1000, int(timeout_s * 1e6))
        timeval = struct.pack("@ll", *divmod(microseconds, 1_000_000))
        connection.setsockopt(socket.SOL_SOCKET, option, timeval)
    else:
        connection.settimeout(timeout_s)


def _reset_on_close(connection: socket.socket) -> None:
    """Make close() drop what the client has not taken; the kernel would hold it for minutes."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _opened(body: FileBody) -> int:
    """Return a descriptor of the file. Raises OSError, also if it is not what was announced."""
    file = os.open(body.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if os.fstat(file).st_size < body.size:
        os.close(file)
        raise OSError("the file has become shorter since it was looked at")
    return file


def _sendfile(connection: socket.socket, file: int, offset: int, count: int) -> int:
    if sys.platform == "linux":
        return os.sendfile(connection.fileno(), file, offset, count)
    os.lseek(file, offset, os.SEEK_SET)
    return connection.send(os.read(file, min(count, 65536)))
