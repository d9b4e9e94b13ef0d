"""The web server's sockets: one thread per connection, around the pure ``protocol``.

::

    serve --- accept --+--> thread "172.18.0.7:51324"
      |                |      Conversation.run
      |                |        next request:  recv -> RequestReader -> Request
      |                |        answer:        Site.answer -> Response -> sendall
      |                |        ... until the peer or the request says close
      |                +--> thread "172.18.0.8:40112"
      +-- one too many: 503, no thread

A thread waits for its client alone, so a slow or silent client keeps nobody else waiting; what
it costs is a thread, so their number has a limit and each wait has an end. Header and body go out
in one send with Nagle's algorithm off: in two sends, the second would wait for the client's delayed
acknowledgement of the first (40 ms).

A connection whose last answer was sent is closed in two steps (RFC 9112, section 9.6): first the
sending side alone, then, when the peer has closed too, all of it. Closing at once while bytes of
the peer are still unread makes the kernel send a reset, which may destroy the answer on its way.
"""

import errno
import os
import selectors
import socket
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from services.events import Events
from services.http.protocol import (
    CONTINUE,
    HttpError,
    ProtocolError,
    Request,
    RequestReader,
    Response,
    imf_fixdate,
    serialize_response,
)
from services.http.site import Site
from services.lifetime import TICK_S, Lifetime

BACKLOG = 1024
RECEIVE_BYTES = 16384
THREAD_STACK_BYTES = 128 * 1024
"""Python frames live on the heap; a conversation's C stack stays far below this."""

DRAIN_S = 1.2
"""After SIGTERM: how long requests in flight may take to finish, in seconds."""

ACCEPT_PAUSE_S = 0.1
"""How long to wait when descriptors or memory have run out; clients wait in the backlog."""

MAX_LINGERING_REFUSALS = 64
"""Refused connections that are closed in two steps; beyond that, at once."""

LOGGED_TARGET_CHARACTERS = 200

HEALTH_CHECK_AGENT = "progres-lab-check"
"""User-Agent of the container's health check, which is not logged when it comes over loopback."""

# accept: EMFILE, ENFILE: no descriptor left for the process, the system; ENOBUFS, ENOMEM: memory.
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may cost. Times in seconds."""

    max_connections: int = 10_000
    idle_timeout_s: float = 15.0
    """Between requests, and before the first: then the connection is closed without a word."""
    head_timeout_s: float = 10.0
    """From the first byte of a request to the end of its head: then 408."""
    body_timeout_s: float = 20.0
    """From the end of the head to the end of the body: then 408."""
    send_timeout_s: float = 10.0
    """For the client to take an answer: then the connection is dropped."""
    linger_s: float = 2.0
    """For the peer to close after our last answer."""


class BindError(HttpError):
    """The server's address cannot be had."""


def listen(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket. Raises BindError, which names the way out."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        # Without it a restart must wait for old connections in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise BindError(f"bind {host}:{port}: {reason} (set HTTP_PORT or --port)") from error
    listener.setblocking(False)
    return listener


class Server:
    """Serves a site until its lifetime is over.

    ``wall_clock`` gives seconds since the epoch (for Date), ``clock`` monotonic seconds.
    """

    def __init__(
        self,
        site: Site,
        events: Events,
        lifetime: Lifetime,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        *,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.site = site
        self.events = events
        self.limits = limits
        self.clock = clock
        self.stopping = False
        self._lifetime = lifetime
        self._wall_clock = wall_clock
        self._date = (0, imf_fixdate(0))
        self._lock = threading.Lock()
        self._conversations: set[Conversation] = set()
        self._connections = 0
        self._requests = 0
        self._refused = 0

    def serve(self, listener: socket.socket) -> None:
        """Accept and serve clients; return when the lifetime is over and requests are finished."""
        threading.stack_size(THREAD_STACK_BYTES)
        address, port = listener.getsockname()[:2]
        self.events(
            "listening",
            address=address,
            port=port,
            max_connections=self.limits.max_connections,
        )
        with listener, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            while not self._lifetime.over():
                for key, _ in selector.select(TICK_S):
                    if key.fileobj is listener:
                        self._accept(listener, selector)
                self._end_refusals(selector)
            self._end_refusals(selector, all_of_them=True)
        self._finish()
        self.events(
            "stopped",
            reason=self._lifetime.reason,
            connections=self._connections,
            requests=self._requests,
            refused=self._refused,
        )

    def date(self) -> str:
        """Return the time in IMF-fixdate, made once a second."""
        now = int(self._wall_clock())
        second, text = self._date
        if second != now:
            text = imf_fixdate(now)
            self._date = (now, text)
        return text

    def forget(self, conversation: "Conversation") -> None:
        """Take note that a conversation has ended."""
        with self._lock:
            self._conversations.discard(conversation)
            self._requests += conversation.requests

    def _accept(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        try:
            connection, address = listener.accept()
        except OSError as error:
            # ECONNABORTED, EAGAIN: the client went away between select and accept.
            if error.errno in _OUT_OF_RESOURCES:
                self.events("accept-failed", reason=os.strerror(error.errno or 0))
                time.sleep(ACCEPT_PAUSE_S)  # select would report the same client at once
            return
        host, port = address[:2]
        client = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            # A peer that vanished without a word is noticed by a timeout, not by keep-alive probes.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:  # EINVAL on some systems: the client has already reset the connection
            connection.close()
            return
        self._connections += 1
        if len(self._conversations) >= self.limits.max_connections:
            self._refuse(connection, client, "too many connections", selector)
            return
        conversation = Conversation(self, connection, client)
        with self._lock:
            self._conversations.add(conversation)
        try:
            threading.Thread(target=conversation.run, name=client, daemon=True).start()
        except RuntimeError:  # the system gives no more threads (EAGAIN from pthread_create)
            self.forget(conversation)
            self._refuse(connection, client, "no more threads", selector)

    def _refuse(
        self,
        connection: socket.socket,
        client: str,
        reason: str,
        selector: selectors.BaseSelector,
    ) -> None:
        """Answer 503 from the accepting thread, which must not wait for anybody."""
        self._refused += 1
        self.events("refused", client=client, status=503, reason=reason)
        connection.setblocking(False)
        try:
            response = self.site.error(503)
            connection.send(serialize_response(response, date=self.date(), connection="close"))
            connection.shutdown(socket.SHUT_WR)
            if len(selector.get_map()) <= MAX_LINGERING_REFUSALS:
                # data: until when the peer may go on sending before this is closed
                selector.register(connection, selectors.EVENT_READ, self.clock() + TICK_S * 4)
                return
        except OSError:  # the client is gone already
            pass
        connection.close()

    def _end_refusals(self, selector: selectors.BaseSelector, *, all_of_them: bool = False) -> None:
        """Close refused connections whose peer has closed, or has had its time."""
        now = self.clock()
        for key in list(selector.get_map().values()):
            if key.data is None:  # the listener
                continue
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            if all_of_them or now >= key.data or _closed_by_peer(connection):
                selector.unregister(connection)
                connection.close()

    def _finish(self) -> None:
        """Let requests in flight finish; connections that wait for a request end now."""
        self.stopping = True
        deadline = self.clock() + DRAIN_S
        while self.clock() < deadline:
            with self._lock:
                conversations = list(self._conversations)
            if not conversations:
                break
            for conversation in conversations:
                conversation.end_if_idle()
            time.sleep(0.01)


class Conversation:
    """One client's connection, in a thread of its own."""

    def __init__(self, server: Server, connection: socket.socket, client: str) -> None:
        self.requests = 0
        self._server = server
        self._connection = connection
        self._client = client
        self._reader = RequestReader()

    def run(self) -> None:
        """Answer requests until either side closes."""
        try:
            with self._connection:
                self._converse()
        except OSError as error:
            # ECONNRESET, EPIPE: the client went away; ETIMEDOUT: it does not take its answer.
            self._server.events("lost", client=self._client, reason=str(error))
        finally:
            self._server.forget(self)

    def end_if_idle(self) -> None:
        """Wake the thread if it waits for a request that has not begun (from another thread)."""
        if self._reader.idle:
            try:
                self._connection.shutdown(socket.SHUT_RD)
            except OSError:  # ENOTCONN, EBADF: it has just ended by itself
                pass

    def _converse(self) -> None:
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
        limits, clock, reader = self._server.limits, self._server.clock, self._reader
        request = reader.next_request()  # it may have come along with the one before
        deadline: float | None = None
        in_body = False
        while request is None:
            if reader.idle:
                timeout_s = limits.idle_timeout_s
            else:
                # One deadline for a whole head or body: a timeout that starts again with each
                # byte could be stretched for ever by a client that sends one at a time.
                if deadline is None or reader.in_body != in_body:
                    in_body = reader.in_body
                    deadline = clock() + (
                        limits.body_timeout_s if in_body else limits.head_timeout_s
                    )
                timeout_s = deadline - clock()
            data = self._receive(timeout_s)
            if data is None:
                if reader.idle:
                    return None
                raise ProtocolError(408, "The request took too long to arrive.")
            if not data:
                reader.end_of_stream()
                return None
            reader.feed(data)
            request = reader.next_request()
            if reader.continue_owed():
                self._send(CONTINUE)
        return request

    def _answer(self, request: Request) -> bool:
        """Send the answer, log it, and return whether the connection lives on."""
        server = self._server
        started = server.clock()
        self.requests += 1
        try:
            response = server.site.answer(request)
        except Exception as error:  # whatever a page's handler raises must not end the server
            place = traceback.extract_tb(error.__traceback__)[-1]
            server.events(
                "failed",
                client=self._client,
                method=request.method,
                target=request.target[:LOGGED_TARGET_CHARACTERS],
                error=f"{type(error).__name__}: {error}",
                place=f"{os.path.basename(place.filename)}:{place.lineno} in {place.name}",
            )
            response = server.site.error(500)
        keep_alive = request.keep_alive and not server.stopping
        if not keep_alive:
            connection = "close"
        else:
            connection = "keep-alive" if request.minor_version == 0 else ""
        self._send_response(response, connection, without_body=request.method == "HEAD")
        if not self._is_health_check(request):
            server.events(
                "request",
                client=self._client,
                number=self.requests,
                method=request.method,
                target=request.target[:LOGGED_TARGET_CHARACTERS],
                status=response.status,
                bytes=0 if request.method == "HEAD" else len(response.body),
                ms=round((server.clock() - started) * 1e3, 3),
            )
        return keep_alive

    def _refuse(self, error: ProtocolError) -> None:
        """Answer what is no request with the status that the error carries."""
        self._server.events(
            "refused", client=self._client, status=error.status, reason=error.explanation
        )
        response = self._server.site.error(error.status, error.explanation)
        self._send_response(response, "close")

    def _is_health_check(self, request: Request) -> bool:
        return request.field("user-agent") == HEALTH_CHECK_AGENT and self._client.startswith(
            ("127.", "[::1]")
        )

    def _send_response(
        self, response: Response, connection: str, *, without_body: bool = False
    ) -> None:
        date = self._server.date()
        self._send(
            serialize_response(
                response, date=date, connection=connection, without_body=without_body
            )
        )

    def _send(self, data: bytes) -> None:
        self._set_timeout(self._server.limits.send_timeout_s)
        self._connection.sendall(data)  # the timeout is for all of it

    def _receive(self, timeout_s: float) -> bytes | None:
        """Return what has arrived (empty: the peer has closed), None after the timeout."""
        if timeout_s <= 0:
            return None
        self._set_timeout(timeout_s)
        try:
            return self._connection.recv(RECEIVE_BYTES)
        except TimeoutError:
            return None

    def _set_timeout(self, timeout_s: float) -> None:
        if self._connection.gettimeout() != timeout_s:  # setting it costs a system call
            self._connection.settimeout(timeout_s)

    def _linger(self) -> None:
        """Close our side and wait for the peer to close its own, so that the answer is not lost."""
        self._connection.shutdown(socket.SHUT_WR)
        deadline = self._server.clock() + self._server.limits.linger_s
        while self._receive(deadline - self._server.clock()):
            pass


def _closed_by_peer(connection: socket.socket) -> bool:
    """Read and drop what a non-blocking connection has; return whether that was all of it."""
    try:
        return not connection.recv(RECEIVE_BYTES)
    except BlockingIOError:
        return False
    except OSError:  # ECONNRESET
        return True
