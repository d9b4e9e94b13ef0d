"""The clock server's sockets: one thread per client, named after it.

::

    serve (main thread)                          client 172.18.0.7:51324 (its thread)
      |                                            |
      |  accept ---- full? say so, close           |
      |     `------- start the thread -----------> |  recv, split, reply, sendall
      |                                            |  ...
      |  SIGTERM: close the listener, end the      |
      |     reading side of every client --------> |  recv gives what has arrived, then the end
      |  wait for the threads (bounded)            |  close
      v                                            v

What a client can cost is bounded:

==========================  =======================================================================
A client that ...           costs at most
==========================  =======================================================================
sends an endless line       ``MAX_SENTENCE_BYTES``; one error, then it is skipped
sends a burst of questions  the answers to ``RECEIVE_BYTES`` of them: the next are read when those
                            are sent, so TCP's flow control holds the rest back
asks nothing                ``idle_timeout_s`` (bytes without a complete question do not count)
stops reading               ``send_timeout_s``, then the connection is reset
disappears                  the same two
is one too many             one line, no thread
floods the log              ``EVENTS_PER_CLIENT`` lines, then only counts
==========================  =======================================================================

A health check comes from an address that only this machine has (``check.SOURCE``). It is neither
logged nor counted, and has a few places of its own: a full server is a healthy one.
"""

import errno
import os
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass

from services.clock.check import SOURCE as CHECK_SOURCE
from services.clock.protocol import (
    ANSWERED,
    NANOSECONDS,
    ClockError,
    QuestionSplitter,
    Receipt,
    Request,
    full_line,
    idle_line,
    reply,
)
from services.clock.skew import SkewedClock
from services.events import Events
from services.lifetime import TICK_S, Lifetime

BACKLOG = 4096
"""Clients that may wait for ``accept``; the kernel lowers it to net.core.somaxconn."""

RECEIVE_BYTES = 512
"""Read at a time: 32 questions."""

SOCKET_BUFFER_BYTES = 16 * 1024
"""Each way, for a client. The kernel would let these buffers grow to megabytes; lines are short."""

CHECK_PLACES = 4
"""Places for health checks, beside those for clients."""

LINGER_S = 1.0
"""How long a client that is closed by us has to read why. Closing at once, with something of the
client's unread, would send a reset, and a reset makes its kernel throw our line away."""

REFUSED_KEPT = 64
"""How many refused clients at a time are given that."""

EVENTS_PER_CLIENT = 100
"""Log lines for answers and errors of one connection."""

FINISH_S = 0.8
"""How long answers under way may take once the server is to stop, in seconds."""

WOKEN_AT_ONCE = 32
WOKEN_WAIT_S = 0.02
"""At the end, so many threads are woken at a time, and waited for so long before the next."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, 0 s


_SO_TIMESTAMPNS = 35  # asm-generic/socket.h: with what is received comes when it had arrived
_TIMESPEC = struct.Struct("@ll")
_STAMP_SPACE = 64  # one such message, its header included


class BindError(ClockError):
    """The server cannot listen where it was told to."""


@dataclass(frozen=True)
class Limits:
    """What clients may cost; times in seconds."""

    max_clients: int
    idle_timeout_s: float
    send_timeout_s: float


@dataclass
class Tally:
    """Counts of one connection, or of all."""

    answered: int = 0
    errors: int = 0


def open_listener(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises BindError, which names the way out."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        listener = socket.create_server(
            address[:2],  # host and port, in both families
            family=family,
            backlog=BACKLOG,
            dualstack_ipv6=family == socket.AF_INET6 and host == "::",
        )
    except socket.gaierror as error:
        raise BindError(
            f"bind {host}:{port}: {error.strerror} (set CLOCK_HOST or --host)"
        ) from None
    except OSError as error:
        # EADDRINUSE: somebody else listens. EACCES: ports below 1024 are root's.
        # EADDRNOTAVAIL: the address is of another machine.
        name = "HOST" if error.errno == errno.EADDRNOTAVAIL else "PORT"
        reason = os.strerror(error.errno or 0).lower()
        raise BindError(
            f"bind {host}:{port}: {reason} (set CLOCK_{name} or --{name.lower()})"
        ) from None
    # Accepted connections inherit these from the listener.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    except OSError:  # not Linux: times of receipt are then those of the process
        pass
    listener.settimeout(TICK_S)
    return listener


class ClockServer:
    """Answers the questions of ``listener``'s clients with what ``clock`` shows."""

    def __init__(
        self,
        listener: socket.socket,
        clock: SkewedClock,
        events: Events,
        limits: Limits,
    ) -> None:
        self._listener = listener
        self._clock = clock
        self._events = events
        self._limits = limits
        self._clients: dict[socket.socket, Tally] = {}
        self._checks: dict[socket.socket, Tally] = {}
        self._changed = threading.Condition()  # guards both and the totals
        self._stopping = False
        self._served = 0
        self._refused = 0
        self._total = Tally()
        self._being_refused: deque[tuple[float, socket.socket]] = deque()

    def serve(self, lifetime: Lifetime) -> None:
        """Accept clients until ``lifetime`` is over, then finish what is in flight and close."""
        with self._listener:
            last_error = ""
            while not lifetime.over():
                self._close_refused(time.monotonic())
                try:
                    connection, address = self._listener.accept()
                except TimeoutError:  # nobody came within a tick
                    continue
                except OSError as error:
                    # ECONNABORTED: gone while it waited. EMFILE, ENFILE, ENOBUFS, ENOMEM: no room
                    # now; the client stays in the backlog, so trying at once would spin.
                    if error.errno != errno.ECONNABORTED:
                        if last_error != str(error):
                            self._events("accept failed", reason=str(error))
                        last_error = str(error)
                        time.sleep(TICK_S)
                    continue
                last_error = ""
                self._admit(connection, address)
        self._stop(lifetime.reason)

    def _admit(self, connection: socket.socket, address: tuple[str, int]) -> None:
        client = shown_address(address)
        is_check = address[0].removeprefix("::ffff:") == CHECK_SOURCE
        peers, places = self._clients, self._limits.max_clients
        if is_check:
            peers, places = self._checks, CHECK_PLACES
        tally = Tally()
        with self._changed:
            admitted = len(peers) < places
            if admitted:
                peers[connection] = tally
        if not admitted:
            self._refuse(connection, client, "full")
            return
        thread = threading.Thread(
            target=self._serve_client,
            args=(connection, client, tally, is_check),
            name=f"client {client}",
            daemon=True,  # one that hangs in a blocked log must not keep the process from ending
        )
        try:
            thread.start()
        except RuntimeError:  # EAGAIN: the limit on threads (pids in a container) or memory
            with self._changed:
                del peers[connection]
            self._refuse(connection, client, "no thread can be started")

    def _refuse(self, connection: socket.socket, client: str, reason: str) -> None:
        self._refused += 1
        self._events("refused", client=client, reason=reason)
        try:
            connection.setblocking(False)
            connection.send(full_line(self._limits.max_clients))
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # ECONNRESET, ENOTCONN: it has gone already
            pass
        self._being_refused.append((time.monotonic() + LINGER_S, connection))

    def _close_refused(self, now_s: float) -> None:
        while self._being_refused and (
            self._being_refused[0][0] <= now_s or len(self._being_refused) > REFUSED_KEPT
        ):
            self._being_refused.popleft()[1].close()

    def _serve_client(
        self, connection: socket.socket, client: str, tally: Tally, is_check: bool
    ) -> None:
        """Run in the client's own thread, from its connection to its end."""
        events = self._events if not is_check else Events("clock", "off")
        events("connected", client=client)
        reason = "failed"
        try:
            reason = self._converse(connection, client, tally, events)
        except TimeoutError:
            reason = "client stopped reading"
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        except ConnectionError:  # ECONNRESET, EPIPE
            reason = "connection reset"
        except OSError as error:  # EHOSTUNREACH, ENETDOWN and the like, reported by the kernel
            reason = (error.strerror or str(error)).lower()
        finally:
            events(
                "disconnected",
                client=client,
                answered=tally.answered,
                errors=tally.errors,
                reason=reason,
            )
            with self._changed:
                if is_check:
                    del self._checks[connection]
                else:
                    del self._clients[connection]
                    self._served += 1
                    self._total.answered += tally.answered
                    self._total.errors += tally.errors
                self._changed.notify()  # for _wait_for_end_of
            connection.close()

    def _converse(
        self, connection: socket.socket, client: str, tally: Tally, events: Events
    ) -> str:
        """Answer until the end, and return its reason. Raises OSError, TimeoutError in sending."""
        limits = self._limits
        # An answer is one small segment: it must not wait for the ACK of the one before (Nagle).
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        splitter = QuestionSplitter()
        logged = 0
        idle_until = time.monotonic() + limits.idle_timeout_s
        while True:
            data, stamp_ns = _receive(connection, idle_until)
            if data is None:
                connection.settimeout(limits.send_timeout_s)
                connection.sendall(idle_line(limits.idle_timeout_s))
                _linger(connection)
                return "idle"
            requests = splitter.feed(data) if data else splitter.finish()
            if requests:
                received = self._receipt(stamp_ns)
                lines = b"".join(reply(request, received, self._clock) for request in requests)
                connection.settimeout(limits.send_timeout_s)
                connection.sendall(lines)
                answered = sum(request in ANSWERED for request in requests)
                tally.answered += answered
                tally.errors += len(requests) - answered
                if logged < EVENTS_PER_CLIENT:
                    _log_batch(events, client, requests)
                elif logged == EVENTS_PER_CLIENT:
                    events("quiet", client=client, reason="from here on only counted")
                logged += 1
                idle_until = time.monotonic() + limits.idle_timeout_s
            if not data:
                return "server stops" if self._stopping else "closed by client"

    def _receipt(self, stamp_wall_ns: int | None) -> Receipt:
        """Return when the kernel says that the questions arrived; now, if it says nothing."""
        clock_ns = None if stamp_wall_ns is None else self._clock.at(stamp_wall_ns)
        if clock_ns is None:
            return Receipt(self._clock(), "process")
        return Receipt(clock_ns, "kernel")

    def _stop(self, reason: str) -> None:
        self._stopping = True
        self._end_connections(socket.SHUT_RD, FINISH_S)
        self._end_connections(socket.SHUT_RDWR, FINISH_S / 2)
        self._close_refused(float("inf"))
        with self._changed:
            tallies = [self._total, *self._clients.values()]  # of those still to end, on a slow day
            self._events(
                "stopped",
                reason=reason,
                clients=self._served + len(self._clients),
                refused=self._refused,
                answered=sum(tally.answered for tally in tallies),
                errors=sum(tally.errors for tally in tallies),
            )

    def _end_connections(self, how: int, within_s: float) -> None:
        """Shut down the connections, which wakes their threads, and let the threads end.

        A few at a time: thousands of threads that wake at once fight for the interpreter's lock,
        and the server would take seconds to end.
        """
        with self._changed:
            waiting = [*self._clients, *self._checks]
        deadline_s = time.monotonic() + within_s
        while waiting and (left_s := deadline_s - time.monotonic()) > 0:
            woken, waiting = set(waiting[:WOKEN_AT_ONCE]), waiting[WOKEN_AT_ONCE:]
            for connection in woken:
                try:
                    connection.shutdown(how)
                except OSError:  # EBADF: closed just now. ENOTCONN: reset by the client
                    pass
            self._wait_for_end_of(woken, min(left_s, WOKEN_WAIT_S))
        with self._changed:
            left = {*self._clients, *self._checks}
        self._wait_for_end_of(left, deadline_s - time.monotonic())

    def _wait_for_end_of(self, connections: set[socket.socket], timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    connections.isdisjoint(self._clients) and connections.isdisjoint(self._checks)
                ),
                timeout_s,
            )


def _receive(connection: socket.socket, until_s: float) -> tuple[bytes | None, int | None]:
    """Return what came, and when its last segment had, by the machine's clock, if that is known.

    What came is ``b""`` at the end of the stream, None when it is ``until_s``.
    """
    remaining_s = until_s - time.monotonic()
    if remaining_s <= 0:
        return None, None
    connection.settimeout(remaining_s)
    try:
        data, ancillary, _, _ = connection.recvmsg(RECEIVE_BYTES, _STAMP_SPACE)
    except TimeoutError:
        return None, None
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(value)
            return data, seconds * NANOSECONDS + nanoseconds
    return data, None


def _linger(connection: socket.socket) -> None:
    """Let the client read our last line: see ``LINGER_S``."""
    connection.shutdown(socket.SHUT_WR)
    until_s = time.monotonic() + LINGER_S
    while _receive(connection, until_s)[0]:
        pass


def _log_batch(events: Events, client: str, requests: list[Request]) -> None:
    answered = sum(request in ANSWERED for request in requests)
    if answered:
        events("answered", client=client, questions=answered)
    for request in (Request.NOT_UNDERSTOOD, Request.TOO_LONG):
        if request in requests:
            events("error", client=client, reason=request.value, sentences=requests.count(request))


def shown_address(address: tuple[str, int]) -> str:
    """Return ``host:port``, with an IPv6 host in brackets."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
