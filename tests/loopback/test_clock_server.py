"""The clock server over real sockets: in this process, and as a process where that matters."""

import io
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from services.clock.check import check
from services.clock.protocol import EXACT_QUESTION, MAX_SENTENCE_BYTES, QUESTION, rfc3339
from services.clock.server import ClockServer, Limits, open_listener
from services.clock.skew import SkewedClock
from services.events import Events
from services.lifetime import Lifetime
from tests.loopback.conftest import ROOT, StartServer

TIMEOUT_S = 20.0
RFC_3339 = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z\n")
COMPLAINT = b'error: please ask "what time is it?"\n'


class Running:
    """A clock server in threads of this process, its port and its log."""

    def __init__(self, limits: Limits, clock: SkewedClock) -> None:
        self._listener = open_listener("127.0.0.1", 0)
        self.port = int(self._listener.getsockname()[1])
        self.log = io.StringIO()
        self.lifetime = Lifetime()
        events = Events("clock", "human", stream=self.log)
        server = ClockServer(self._listener, clock, events, limits)
        self._thread = threading.Thread(target=server.serve, args=(self.lifetime,), name="serve")
        self._thread.start()

    def connect(self, receive_buffer_bytes: int | None = None) -> socket.socket:
        connection = socket.socket()
        connection.settimeout(TIMEOUT_S)
        if receive_buffer_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def logged(self, event: str, count: int = 1) -> list[str]:
        """Wait until ``event`` stands in the log ``count`` times, and return its lines."""

        def lines() -> list[str]:
            return [line for line in self.log.getvalue().splitlines() if f" clock {event}" in line]

        until(lambda: len(lines()) >= count, lambda: f"{count} x {event} in\n{self.log.getvalue()}")
        return lines()

    def stop(self) -> None:
        self.lifetime.end("test")
        check("127.0.0.1", self.port)  # wakes the server: no test waits for its next tick
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()


def until(condition: Callable[[], bool], wanted: Callable[[], str]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {TIMEOUT_S:g} s: {wanted()}")
        time.sleep(0.005)


def until_no_thread_of_a_client_is_left() -> None:
    def left() -> list[str]:
        return [thread.name for thread in threading.enumerate() if "client" in thread.name]

    until(lambda: not left(), lambda: f"the threads {left()} end")


@contextmanager
def running(
    *,
    max_clients: int = 50,
    idle_timeout_s: float = 60.0,
    send_timeout_s: float = 60.0,
    clock: SkewedClock | None = None,
) -> Iterator[Running]:
    server = Running(Limits(max_clients, idle_timeout_s, send_timeout_s), clock or SkewedClock())
    try:
        yield server
    finally:
        server.stop()
    until_no_thread_of_a_client_is_left()


@pytest.fixture
def server() -> Iterator[Running]:
    with running() as started:
        yield started


def receive_until_close(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def converse(connection: socket.socket, *pieces: bytes) -> list[bytes]:
    """Send the pieces and the end of the stream; return the lines that came until the server's."""
    for piece in pieces:
        connection.sendall(piece)
    connection.shutdown(socket.SHUT_WR)
    return receive_until_close(connection).splitlines(keepends=True)


def ask(connection: socket.socket) -> bytes:
    connection.sendall(QUESTION)
    line = b""
    while not line.endswith(b"\n"):
        piece = connection.recv(1)
        assert piece, f"closed after {line!r}"
        line += piece
    return line


def ask_without_reading(connection: socket.socket) -> None:
    """Ask until the server, its buffers full of answers, reads no more and this raises OSError."""
    while True:
        connection.sendall(QUESTION * 1000)


def test_a_question_gets_one_line_with_the_time_now(server: Running) -> None:
    with server.connect() as connection:
        before_ns = time.time_ns()
        line = ask(connection)
        after_ns = time.time_ns()
    assert RFC_3339.fullmatch(line)
    shown_ns = int(line[20:29]) + 1_000_000_000 * int(
        time.mktime(time.strptime(line[:19].decode(), "%Y-%m-%dT%H:%M:%S")) - time.timezone
    )
    assert before_ns <= shown_ns <= after_ns


@pytest.mark.parametrize("line_end", [b"", b"\n", b"\r\n"])
def test_a_question_may_come_byte_by_byte(server: Running, line_end: bytes) -> None:
    text = QUESTION + line_end
    with server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = converse(connection, *(text[at : at + 1] for at in range(len(text))))
    assert len(lines) == 1
    assert RFC_3339.fullmatch(lines[0])


def test_several_questions_at_once_are_answered_in_order() -> None:
    readings = count()
    clock = SkewedClock(wall_clock_ns=lambda: next(readings))
    with running(clock=clock) as server, server.connect() as connection:
        lines = converse(connection, QUESTION * 40 + b"hello\n" + QUESTION * 3)
    assert lines[40] == COMPLAINT
    del lines[40]
    shown = [int(line[20:29]) for line in lines]
    assert len(shown) == len(set(shown)) == 43
    assert shown == sorted(shown)


EXACT = re.compile(
    rb"received (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) by (kernel|process)"
    rb" sent (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z)\n"
)


def test_the_exact_question_is_answered_with_the_times_of_its_receipt_and_of_the_answer() -> None:
    with running(clock=SkewedClock(3600.0)) as server, server.connect() as connection:
        sent_ns = time.time_ns()
        connection.sendall(EXACT_QUESTION + b"\n")
        found = EXACT.fullmatch(connection.recv(200))
        received_ns = time.time_ns()
    assert found is not None
    received, by, sent = found.groups()
    assert by == (b"kernel" if sys.platform == "linux" else b"process")
    hour_ns = 3600 * 1_000_000_000
    shown = [rfc3339(sent_ns + hour_ns), received.decode(), sent.decode()]
    assert sorted(shown) == shown
    assert sent.decode() <= rfc3339(received_ns + hour_ns)


def test_a_receipt_that_the_machines_clock_was_stepped_after_is_read_by_the_process() -> None:
    # The kernel's stamps are of the machine's real clock; this server's clock stands in 1970.
    readings = count()
    clock = SkewedClock(wall_clock_ns=lambda: next(readings))
    with running(clock=clock) as server, server.connect() as connection:
        connection.sendall(EXACT_QUESTION)
        found = EXACT.fullmatch(connection.recv(200))
    assert found is not None
    assert found[2] == b"process"
    assert b"1970" in found[1]
    assert found[1] < found[3]


def test_a_second_client_is_served_while_the_first_is_idle_in_mid_question(
    server: Running,
) -> None:
    with server.connect() as first, server.connect() as second:
        first.sendall(b"what time ")
        assert RFC_3339.fullmatch(ask(second))
        first.sendall(b"is it?")
        assert RFC_3339.fullmatch(first.recv(100))


def test_each_client_has_a_thread_named_after_it(server: Running) -> None:
    with server.connect() as first, server.connect() as second:
        ask(first)
        ask(second)
        names = {thread.name for thread in threading.enumerate()}
        for connection in (first, second):
            host, port = connection.getsockname()
            assert f"client {host}:{port}" in names


def test_anything_else_gets_one_error_line_and_the_connection_lives(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(b"hello\r\n")
        assert connection.recv(1000) == COMPLAINT
        connection.sendall(b"\x00\xff" * 20 + b"?")
        assert connection.recv(1000) == COMPLAINT
        assert RFC_3339.fullmatch(ask(connection))


def test_a_question_that_never_ends_is_an_error_at_the_end_of_the_stream(server: Running) -> None:
    with server.connect() as connection:
        assert converse(connection, b"what time is it") == [COMPLAINT]


def test_an_endless_line_gets_one_error_and_is_skipped(server: Running) -> None:
    with server.connect() as connection:
        lines = converse(connection, b"x" * 1_000_000, b"\n", QUESTION)
    assert lines[0].startswith(f"error: a line of more than {MAX_SENTENCE_BYTES} bytes".encode())
    assert [bool(RFC_3339.fullmatch(line)) for line in lines] == [False, True]


def test_an_idle_client_is_told_so_and_closed() -> None:
    with running(idle_timeout_s=0.2) as server:
        with server.connect() as connection:
            ask(connection)
            told = receive_until_close(connection)
        assert told == b"error: nothing was asked for 0.2 s, closing\n"
        assert "reason=idle" in server.logged("disconnected")[0]


def test_bytes_without_a_question_do_not_keep_a_connection_open() -> None:
    with running(idle_timeout_s=0.3) as server, server.connect() as connection:
        connection.settimeout(0.02)
        received = b""
        deadline = time.monotonic() + TIMEOUT_S
        while not received and time.monotonic() < deadline:
            connection.sendall(b"x" if time.monotonic() % 2 else b" ")
            try:
                received = connection.recv(1000)
            except TimeoutError:
                pass
        assert received.startswith(b"error: nothing was asked")


def test_a_client_that_stops_reading_is_given_up_and_others_are_served() -> None:
    with running(send_timeout_s=0.3) as server, server.connect(2048) as deaf:
        deaf.settimeout(0.3)
        with pytest.raises((TimeoutError, ConnectionError)):
            ask_without_reading(deaf)
        with server.connect() as other:
            assert RFC_3339.fullmatch(ask(other))
        line = server.logged(f"disconnected client=127.0.0.1:{deaf.getsockname()[1]}")[0]
        assert 'reason="client stopped reading"' in line
        answered = re.search(r"answered=(\d+)", line)
        assert answered is not None
        # What the server took in is what its and the client's socket buffers hold.
        assert int(answered[1]) * len(QUESTION) < 1_000_000


def test_a_client_that_disappears_leaves_nothing(server: Running) -> None:
    gone = server.connect()
    ask(gone)
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.close()  # a reset, as after a crash
    assert 'reason="connection reset"' in server.logged("disconnected")[0]
    until_no_thread_of_a_client_is_left()


def test_one_client_too_many_is_told_so_and_a_place_is_free_again_later() -> None:
    with running(max_clients=2) as server:
        with server.connect() as first, server.connect() as second:
            ask(first)
            ask(second)
            with server.connect() as third:
                third.sendall(QUESTION)  # unread by the server: the refusal must still arrive
                assert receive_until_close(third) == (
                    b"error: all 2 places are taken, closing; please try again later\n"
                )
            assert "reason=full" in server.logged("refused")[0]
            assert check("127.0.0.1", server.port) is None  # a full server is a healthy one
        server.logged("disconnected", 2)
        with server.connect() as fourth:
            assert RFC_3339.fullmatch(ask(fourth))


def test_a_health_check_is_neither_logged_nor_counted(server: Running) -> None:
    assert check("127.0.0.1", server.port) is None
    with server.connect() as connection:
        ask(connection)
    server.logged("disconnected")
    server.stop()
    assert len(server.logged("connected")) == 1
    assert "clients=1 refused=0 answered=1 errors=0" in server.logged("stopped")[0]


def test_a_health_check_says_what_is_wrong() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        host, port = mute.getsockname()
        closing = threading.Thread(target=lambda: mute.accept()[0].close(), name="closes at once")
        closing.start()
        trouble = check(host, port)
        closing.join(TIMEOUT_S)
        assert trouble is not None
    assert "connection refused" in (check(host, port) or "").lower()


def test_a_talkative_client_does_not_fill_the_log(server: Running) -> None:
    with server.connect() as connection:
        for _ in range(150):
            ask(connection)
    assert "answered=150" in server.logged("disconnected")[0]
    assert len(server.logged("answered")) == 100
    assert len(server.logged("quiet")) == 1


def test_running_out_of_descriptors_loses_neither_the_listener_nor_the_client(
    start_server: StartServer,
) -> None:
    server = start_server("services.clock")
    pid = server.process.pid
    in_use = max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()) + 1
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use, before[1]))
    with socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S) as connection:
        connection.sendall(QUESTION)
        assert "Too many open files" in server.wait_for("accept failed")["reason"]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert RFC_3339.fullmatch(connection.recv(100))
    assert server.stop() == 0
    events = [event["event"] for event in server.events]
    assert events.count("accept failed") == 1  # said once, however often it was tried


def test_sigterm_with_many_idle_clients_answers_what_has_arrived_and_exits_0(
    start_server: StartServer,
) -> None:
    server = start_server("services.clock")
    connections = [
        socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S) for _ in range(300)
    ]
    try:
        for connection in connections:
            ask(connection)
        server.process.send_signal(signal.SIGSTOP)
        connections[0].sendall(QUESTION)
        server.process.send_signal(signal.SIGTERM)
        begin = time.monotonic()
        server.process.send_signal(signal.SIGCONT)
        assert RFC_3339.fullmatch(receive_until_close(connections[0]))
        assert server.process.wait(TIMEOUT_S) == 0
        assert time.monotonic() - begin < 2.0
        assert receive_until_close(connections[-1]) == b""
    finally:
        for connection in connections:
            connection.close()
    stopped = server.wait_for("stopped")
    assert (stopped["reason"], stopped["clients"], stopped["answered"]) == ("SIGTERM", 300, 301)


def test_the_last_line_counts_also_those_whose_threads_did_not_end_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a slow machine with thousands of clients."""
    monkeypatch.setattr("services.clock.server.FINISH_S", 0.0)
    with running() as server, server.connect() as living, server.connect() as other:
        for connection in (living, living, other):
            connection.sendall(QUESTION)
            assert RFC_3339.fullmatch(connection.recv(100))
        other.sendall(b"hello\n")
        assert other.recv(100) == COMPLAINT
        server.lifetime.end("test")
        (line,) = server.logged("stopped")
        assert "clients=2 " in line
        assert line.endswith("answered=3 errors=1")


def test_sigterm_is_not_held_up_by_a_client_that_does_not_read(start_server: StartServer) -> None:
    server = start_server("services.clock")
    with socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S) as deaf:
        deaf.settimeout(0.3)
        with pytest.raises(TimeoutError):
            ask_without_reading(deaf)
        begin = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begin < 2.0


def test_a_port_in_use_is_one_line_that_names_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "services.clock", "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == (
        f"bind 127.0.0.1:{port}: address already in use (set CLOCK_PORT or --port)\n"
    )
