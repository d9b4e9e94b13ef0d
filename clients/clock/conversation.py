"""The socket edge of the clock client: one connection, a question at a time.

The answer ends with its line end, with the end of the stream, or,
for servers that send neither, with ``QUIET_S`` of silence. A connection on which anything went
wrong is given up, so that a late answer is never taken for that to the next question; the next
question opens a new one.
"""

import socket
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from clients.clock.answers import shown
from services.clock.protocol import NANOSECONDS, QUESTION

MAX_ANSWER_BYTES = 1000
QUIET_S = 1.0
"""A pause that ends an answer without a line end. A retransmission takes 0.2 s and more, so a
shorter pause could cut an answer that is still on its way."""


class NoAnswer(Exception):
    """Base of what can go wrong with a question; the text is for the person who asked."""

    status = "failed"


class Unreachable(NoAnswer):
    """No connection can be made."""

    status = "unreachable"


class TimedOut(NoAnswer):
    """The answer did not come in time."""

    status = "timed out"


class ConnectionLost(NoAnswer):
    """The connection ended without a byte of the answer."""

    status = "connection lost"


class Endless(NoAnswer):
    """Too much came to be an answer."""

    status = "unreadable"


@dataclass(frozen=True)
class Answer:
    """What the server said, and when it had come.

    ``ended_by`` is ``line end``, ``close`` or ``silence``. Nanoseconds: ``rtt_ns`` by the monotonic
    clock, from before the question was sent to when the last byte was here; the others by this
    machine's wall clock.
    """

    text: str
    ended_by: str
    sent_wall_ns: int
    received_wall_ns: int
    rtt_ns: int


class Conversation:
    """Questions to ``host``:``port``; connects when it has to. Use it in a ``with`` statement.

    ``timeout_s`` is for connecting, and again for the answer; ``question`` is what is sent.
    """

    def __init__(
        self, host: str, port: int, timeout_s: float, question: bytes = QUESTION + b"\n"
    ) -> None:
        self.host = host
        self.port = port
        self.peer: str | None = None
        self._timeout_s = timeout_s
        self._question = question
        self._connection: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next question opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(self) -> Answer:
        """Ask once, and return the answer. Raises NoAnswer."""
        kept = self._kept()
        try:
            try:
                answer, more = self._ask_on(kept or self._connect())
            except ConnectionLost:
                if kept is None:
                    raise
                # A server that closes after each answer: its FIN crossed our question.
                self.close()
                answer, more = self._ask_on(self._connect())
        except BaseException:  # Ctrl-C too: whatever is still to come belongs to no later question
            self.close()
            raise
        if more or answer.ended_by != "line end":
            self.close()
        return answer

    def _kept(self) -> socket.socket | None:
        """Return the connection if it is there, open, and silent, as before a question."""
        if self._connection is None:
            return None
        self._connection.setblocking(False)
        try:
            self._connection.recv(1)  # b"": closed by the server; a byte: something unasked
        except BlockingIOError:
            return self._connection
        except OSError:  # ECONNRESET
            pass
        self.close()
        return None

    def _connect(self) -> socket.socket:
        address = f"{self.host}:{self.port}"
        try:
            connection = socket.create_connection((self.host, self.port), self._timeout_s)
        except TimeoutError:
            raise Unreachable(
                f"no connection to {address} within {self._timeout_s:g} s (is the host up?)"
            ) from None
        except (socket.gaierror, UnicodeError) as error:  # no such name; or it cannot be a name
            reason = getattr(error, "strerror", None) or "not a host name"
            raise Unreachable(f"the name {self.host!r} cannot be resolved: {reason}") from None
        except OSError as error:  # ECONNREFUSED above all, EHOSTUNREACH, ENETUNREACH
            reason = (error.strerror or str(error)).lower()
            raise Unreachable(
                f"no clock server at {address}: {reason} (is it started? set --host and --port)"
            ) from None
        self._connection = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host, port = connection.getpeername()[:2]
        self.peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return connection

    def _ask_on(self, connection: socket.socket) -> tuple[Answer, bool]:
        """Return the answer, and whether more than the answer came."""
        connection.settimeout(self._timeout_s)
        received = b""
        started_ns = last_ns = time.monotonic_ns()
        sent_wall_ns = received_wall_ns = time.time_ns()
        deadline_ns = started_ns + round(self._timeout_s * NANOSECONDS)
        ended_by = "line end"
        try:
            connection.sendall(self._question)
            while b"\n" not in received:
                piece = connection.recv(MAX_ANSWER_BYTES)
                if not piece:
                    ended_by = "close"
                    break
                last_ns, received_wall_ns = time.monotonic_ns(), time.time_ns()
                received = (received + piece).lstrip(b"\r\n")  # blank lines say nothing
                if len(received) > MAX_ANSWER_BYTES:
                    raise Endless(f"more than {MAX_ANSWER_BYTES} bytes are not a time")
                if last_ns > deadline_ns:
                    raise TimeoutError
                left_s = (deadline_ns - last_ns) / NANOSECONDS
                connection.settimeout(QUIET_S if received else max(left_s, 0.001))
        except TimeoutError:
            if not received:
                raise TimedOut(f"no answer within {self._timeout_s:g} s") from None
            if last_ns > deadline_ns:
                so_far = shown(received.decode("utf-8", "replace"))
                raise TimedOut(
                    f"no whole answer within {self._timeout_s:g} s, only {so_far}"
                ) from None
            ended_by = "silence"
        except OSError as error:  # ECONNRESET, EPIPE
            if not received:
                reason = (error.strerror or str(error)).lower()
                raise ConnectionLost(
                    f"the connection was lost before the answer: {reason}"
                ) from None
            ended_by = "close"
        if not received:
            raise ConnectionLost("the server closed the connection without an answer")
        line, _, rest = received.partition(b"\n")
        text = line.decode("utf-8", "replace").strip()
        answer = Answer(text, ended_by, sent_wall_ns, received_wall_ns, last_ns - started_ns)
        return answer, bool(rest.strip())
