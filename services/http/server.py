"""The web server's sockets and threads: one thread per connection.

::

    serve --- accept --+--> thread: Conversation.run with 172.18.0.7:51324
      |                +--> thread: Conversation.run with 172.18.0.8:40112
      |                |      ... which then waits a moment for another client
      +-- one too many: 503, no thread

A thread waits for its client alone, so a slow or silent client keeps nobody else waiting; what
it costs is a thread, so their number has a limit and each wait has an end (``Limits``).

Python runs the threads of a process one at a time, whatever the number of processor cores. Spread
over several cores they mostly wake each other up in vain to pass on the interpreter's lock, so the
whole process keeps to one core (``keep_to_one_core``), which more than doubles what it can answer;
``workers`` is the way to use more cores.
"""

import _thread
import errno
import os
import queue
import selectors
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable

from services.events import Events
from services.http.check import SOURCE
from services.http.conversation import Conversation, Pages, Shared
from services.http.limits import Limits
from services.http.protocol import HttpError, imf_fixdate, serialize_response
from services.lifetime import TICK_S, Lifetime

BACKLOG = 1024

ACCEPTS_PER_TURN = 64
"""Connections accepted before anything else is looked after."""

THREAD_STACK_BYTES = 128 * 1024
"""Python frames live on the heap; a conversation's C stack stays far below this."""

MAX_SPARES = 32
"""Threads that wait for another client after their own has gone."""

SPARE_S = 0.1
"""How long they wait: a busy server need not start a thread for each new connection."""

DRAIN_S = 1.2
"""After SIGTERM: how long requests in flight may take to finish, in seconds."""

SHORTAGE_PAUSE_S = 0.1
"""How long to wait when descriptors or memory have run out; clients wait in the backlog."""

MAX_LINGERING_REFUSALS = 64
"""Refused connections that are closed in two steps; beyond that, at once."""

REFUSAL_LINGER_S = 1.0

CHECK_PLACES = 4
"""For health checks, when all places for clients are taken."""

# accept: EMFILE, ENFILE: no descriptor left for the process, the system; ENOBUFS, ENOMEM: memory.
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class BindError(HttpError):
    """The server's address cannot be had."""


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a listening TCP socket. Raises BindError, which names the way out.

    ``shared``: others may listen on that port too, and each gets a share of the clients.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        # Without it a restart must wait for old connections in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise BindError(f"bind {host}:{port}: {reason} (set HTTP_PORT or --port)") from error
    listener.setblocking(False)
    return listener


def keep_to_one_core(number: int = 0) -> None:
    """Make all threads of this process run on one of the cores it may use; worker by worker others.

    The last ones first: the first core of a machine has most of its interrupts to serve.
    """
    if sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0), reverse=True)
        os.sched_setaffinity(0, {cores[number % len(cores)]})


class Server:
    """Serves a site until its lifetime is over.

    ``wall_clock`` gives seconds since the epoch (for Date), ``clock`` monotonic seconds.
    """

    def __init__(
        self,
        site: Pages,
        events: Events,
        lifetime: Lifetime,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        *,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connections = 0
        self.refused = 0
        self._events = events
        self._limits = limits
        self._lifetime = lifetime
        self._wall_clock = wall_clock
        self._clock = clock
        self._date = (0, imf_fixdate(0))
        self._requests = 0  # of conversations that have ended
        self._shared = Shared(site, events, limits, date=self._date_now, clock=clock)
        self._lock = threading.Lock()
        # Weak: should memory run out in a new thread before its first line, nothing is left over.
        self._conversations: weakref.WeakSet[Conversation] = weakref.WeakSet()
        self._spares = 0  # threads that wait for a client, less the clients that wait for them
        self._for_spares: queue.SimpleQueue[Conversation] = queue.SimpleQueue()

    @property
    def requests(self) -> int:
        """How many requests were answered, those of connections that still live too."""
        with self._lock:
            return self._requests + sum(each.counted for each in self._conversations)

    def serve(self, listener: socket.socket) -> bool:
        """Accept and serve clients until the lifetime is over and requests are finished.

        Returns whether all of them were.
        """
        threading.stack_size(THREAD_STACK_BYTES)
        with listener, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            while not self._lifetime.over():
                try:
                    for key, _ in selector.select(TICK_S):
                        if key.fileobj is listener:
                            self._accept_all(listener, selector)
                    self._end_refusals(selector)
                    self._events.flush()
                except MemoryError:  # whoever has it will give some back; the listener stays
                    time.sleep(SHORTAGE_PAUSE_S)
            self._end_refusals(selector, all_of_them=True)
        return self._finish()

    def _date_now(self) -> str:
        """Return the time in IMF-fixdate, made once a second."""
        now = int(self._wall_clock())
        second, text = self._date
        if second != now:
            text = imf_fixdate(now)
            self._date = (now, text)
        return text

    def _accept_all(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                connection, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # ECONNABORTED: the client went away between its handshake and this.
                if error.errno in _OUT_OF_RESOURCES:
                    self._events("accept-failed", reason=os.strerror(error.errno or 0))
                    time.sleep(SHORTAGE_PAUSE_S)  # select would report the same client at once
                return
            self._take(connection, address, selector)

    def _take(
        self, connection: socket.socket, address: tuple[str, int], selector: selectors.BaseSelector
    ) -> None:
        host, port = address[:2]
        client = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        is_check = host == SOURCE
        try:
            # A peer that vanished without a word is noticed by a timeout, not by keep-alive probes.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:  # EINVAL on some systems: the client has already reset the connection
            connection.close()
            return
        self.connections += not is_check
        places = self._limits.max_connections + CHECK_PLACES * is_check
        if len(self._conversations) >= places:
            self._refuse(connection, client, "too many connections", selector)
            return
        conversation = Conversation(self._shared, connection, client, logged=not is_check)
        self._conversations.add(conversation)
        try:
            self._start(conversation)
        except RuntimeError:  # the system gives no more threads (EAGAIN from pthread_create)
            self._conversations.discard(conversation)
            self._refuse(connection, client, "no more threads", selector)

    def _start(self, conversation: Conversation) -> None:
        """Have the conversation held by a spare thread, or a new one. Raises RuntimeError."""
        with self._lock:
            if self._spares:
                self._spares -= 1
                self._for_spares.put(conversation)
                return
        # Not threading.Thread: its start() waits until the thread says that it runs, and that would
        # be for ever if the thread dies before, as it does when memory runs out just then.
        _thread.start_new_thread(self._hold, (conversation,))

    def _hold(self, conversation: Conversation) -> None:
        """Hold a conversation, and then others if they come soon: what each thread runs."""
        following: Conversation | None = conversation
        while following is not None:
            try:
                following.run()
            except MemoryError:  # even its log line was too much
                pass
            with self._lock:
                self._conversations.discard(following)
                self._requests += following.counted
            following = None  # it must not live on while this thread waits
            following = self._following()

    def _following(self) -> Conversation | None:
        """Wait a moment for another client; return None if there is none."""
        with self._lock:
            if self._spares >= MAX_SPARES or self._shared.stopping:
                return None
            self._spares += 1
        while True:
            try:
                return self._for_spares.get(timeout=SPARE_S)
            except (queue.Empty, MemoryError):
                with self._lock:
                    if self._spares:
                        self._spares -= 1
                        return None
            # A client was given to us in this very moment; a thread that came later may yet take
            # it, and has then left us its place: to wait without end would be to stay for ever.

    def _refuse(
        self,
        connection: socket.socket,
        client: str,
        reason: str,
        selector: selectors.BaseSelector,
    ) -> None:
        """Answer 503 from the accepting thread, which must not wait for anybody."""
        self.refused += 1
        self._events("refused", client=client, status=503, reason=reason)
        connection.setblocking(False)
        try:
            response = self._shared.site.error(503)
            connection.send(serialize_response(response, date=self._date_now(), connection="close"))
            connection.shutdown(socket.SHUT_WR)
            if len(selector.get_map()) <= MAX_LINGERING_REFUSALS:
                # data: until when the peer may go on sending before this is closed
                until = self._clock() + REFUSAL_LINGER_S
                selector.register(connection, selectors.EVENT_READ, until)
                return
        except OSError:  # the client is gone already
            pass
        connection.close()

    def _end_refusals(self, selector: selectors.BaseSelector, *, all_of_them: bool = False) -> None:
        """Close refused connections whose peer has closed, or has had its time."""
        now = self._clock()
        for key in list(selector.get_map().values()):
            if key.data is None:  # the listener
                continue
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            if all_of_them or now >= key.data or _closed_by_peer(connection):
                selector.unregister(connection)
                connection.close()

    def _finish(self) -> bool:
        """Let requests in flight finish; connections that wait for a request end now."""
        self._shared.stopping = True
        deadline = self._clock() + DRAIN_S
        while self._conversations and self._clock() < deadline:
            for conversation in list(self._conversations):
                conversation.end_if_idle()
            time.sleep(0.01)
        self._events.flush()
        return not self._conversations


def _closed_by_peer(connection: socket.socket) -> bool:
    """Read and drop what a non-blocking connection has; return whether that was all of it."""
    try:
        return not connection.recv(16384)
    except BlockingIOError:
        return False
    except OSError:  # ECONNRESET
        return True
