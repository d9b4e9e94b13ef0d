"""The socket edge of the clock client: one connection, a question at a time.

The answer ends with its line end, with the end of the stream, or, for servers that send neither,
with ``QUIET_S`` of silence. A connection on which anything went
wrong is given up, so that a late answer is never taken for that to the next question; the next
question opens a new one.
"""

import select
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from clients.clock.answers import shown
from clients.clock.kernel_stamps import KernelStamps
from clients.clock.steady import TOLERANCE_NS, SteadyClock
from services.clock.protocol import NANOSECONDS

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
    """What the server said, when it was asked and when the answer was here.

    ``ended_by`` is ``line end``, ``close`` or ``silence``. ``sent_ns`` and ``received_ns`` are by
    the monotonic clock, ``wall_ahead_ns`` is what this machine's wall clock was ahead of it then;
    ``stamped_by`` says who noted each of the two, ``kernel`` or ``process``.
    """

    text: str
    ended_by: str
    sent_ns: int
    received_ns: int
    wall_ahead_ns: int
    stamped_by: tuple[str, str]
    retransmissions: int


class Conversation:
    """Questions to ``host``:``port``; connects when it has to. Use it in a ``with`` statement.

    ``timeout_s`` is for connecting, and again for the answer.
    """

    def __init__(
        self, host: str, port: int, timeout_s: float, clock: SteadyClock | None = None
    ) -> None:
        self.host = host
        self.port = port
        self.peer: str | None = None
        self._timeout_s = timeout_s
        self._clock = clock or SteadyClock()
        self._connection: socket.socket | None = None
        self._stamps: KernelStamps | None = None

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

    def ask(self, question: bytes, timeout_s: float | None = None) -> Answer:
        """Ask once, and return the answer. Raises NoAnswer.

        ``timeout_s``, if given, is for this answer.
        """
        timeout_s = timeout_s or self._timeout_s
        kept = self._kept()
        try:
            try:
                answer, more = self._ask_on(kept or self._connect(), question, timeout_s)
            except ConnectionLost:
                if kept is None:
                    raise
                # A server that closes after each answer: its FIN crossed our question.
                self.close()
                answer, more = self._ask_on(self._connect(), question, timeout_s)
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
        self._stamps = KernelStamps(connection)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host, port = connection.getpeername()[:2]
        self.peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return connection

    def _ask_on(
        self, connection: socket.socket, question: bytes, timeout_s: float
    ) -> tuple[Answer, bool]:
        """Return the answer, and whether more than the answer came."""
        assert self._stamps is not None
        stamps, clock = self._stamps, self._clock
        sent_again_before = stamps.retransmissions()
        received = b""
        last_stamp_ns = sent_stamp_ns = None
        ended_by = "line end"
        clock.stepped()  # from here on it is known what the wall clock is ahead
        asked_ns = last_ns = clock.now_ns()
        deadline_ns = asked_ns + round(timeout_s * NANOSECONDS)
        try:
            connection.settimeout(timeout_s)
            connection.sendall(question)
            stamps.count_sent(len(question))
            connection.setblocking(False)
            until_ns = deadline_ns
            while b"\n" not in received:
                try:
                    piece, stamp_ns = stamps.receive(MAX_ANSWER_BYTES)
                except BlockingIOError:
                    # The question's stamp wakes us as an error does, until it is fetched.
                    stamp_ns = stamps.sent_ns()
                    sent_stamp_ns = sent_stamp_ns or stamp_ns
                    left_s = (until_ns - clock.now_ns()) / NANOSECONDS
                    if left_s <= 0:
                        raise TimeoutError from None
                    select.select([connection], [], [], left_s)
                    continue
                if not piece:
                    ended_by = "close"
                    break
                last_ns, last_stamp_ns = clock.now_ns(), stamp_ns
                received = (received + piece).lstrip(b"\r\n")  # blank lines say nothing
                if len(received) > MAX_ANSWER_BYTES:
                    raise Endless(f"more than {MAX_ANSWER_BYTES} bytes are not a time")
                if last_ns > deadline_ns:
                    raise TimeoutError
                until_ns = last_ns + round(QUIET_S * NANOSECONDS) if received else deadline_ns
        except TimeoutError:
            if not received:
                raise TimedOut(f"no answer within {timeout_s:g} s") from None
            if last_ns > deadline_ns:
                so_far = shown(received.decode("utf-8", "replace"))
                raise TimedOut(f"no whole answer within {timeout_s:g} s, only {so_far}") from None
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
        sent_stamp_ns = sent_stamp_ns or stamps.sent_ns()
        if clock.stepped():  # a stamp by the wall clock may be of before the step or of after it
            sent_stamp_ns = last_stamp_ns = None
        sent_ns, sent_by = self._noted(sent_stamp_ns, asked_ns, last_ns, asked_ns)
        received_ns, received_by = self._noted(last_stamp_ns, sent_ns, last_ns, last_ns)
        line, _, rest = received.partition(b"\n")
        answer = Answer(
            line.decode("utf-8", "replace").strip(),
            ended_by,
            sent_ns,
            received_ns,
            clock.wall_ahead_ns,
            (sent_by, received_by),
            stamps.retransmissions() - sent_again_before,
        )
        return answer, bool(rest.strip())

    def _noted(
        self, stamp_wall_ns: int | None, earliest_ns: int, latest_ns: int, read_ns: int
    ) -> tuple[int, str]:
        """Return the kernel's stamp by the monotonic clock, if it can be, or else ``read_ns``."""
        if stamp_wall_ns is not None:
            stamp_ns = stamp_wall_ns - self._clock.wall_ahead_ns
            if earliest_ns - TOLERANCE_NS <= stamp_ns <= latest_ns + TOLERANCE_NS:
                return stamp_ns, "kernel"
        return read_ns, "process"
