"""The web server as a process: connections, faults, limits and its end."""

import email.message
import email.utils
import functools
import http.client
import itertools
import os
import queue
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.events import Events
from services.http.check import check
from services.http.protocol import MAX_REQUEST_LINE_BYTES, PORT
from services.http.server import THREAD_STACK_BYTES, listen
from services.http.server import Server as HttpServer
from services.http.site import Site
from services.lifetime import Lifetime
from tests.loopback.conftest import ROOT, Server, StartServer, run_client, servers

MODULE = "services.http"
GET = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
SENTENCE = b"The web server is working."


@pytest.fixture(scope="module")
def start_once() -> Iterator[StartServer]:
    with servers() as start:
        yield start


@pytest.fixture(scope="module")
def server(start_once: StartServer) -> Server:
    """The server as it is shipped, for all tests that leave it as it was."""
    return start_once(MODULE)


@pytest.fixture(scope="module")
def impatient(start_once: StartServer) -> Server:
    """A server with short deadlines."""
    short = ("--idle-timeout", "--head-timeout", "--body-timeout", "--send-timeout", "--linger")
    return start_once(MODULE, *(word for name in short for word in (name, "150ms")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def file_server(start_once: StartServer, folder: Path) -> Server:
    """A server of that folder, whose clients have little time but for a fair rate."""
    return start_once(MODULE, "--pages", str(folder), "--send-timeout", "150ms")


_numbers = itertools.count(1)


def connect(server: Server, timeout_s: float = 20.0) -> socket.socket:
    """Connect from an address that no connection had before, so that it stands in the log once.

    Ports alone come again: after 4,000 connections, each seventh time.
    """
    number = next(_numbers)
    source = f"127.1.{number >> 8}.{number & 255}" if sys.platform == "linux" else ""
    return socket.create_connection(("127.0.0.1", server.port), timeout_s, (source, 0))


def address(connection: socket.socket) -> str:
    """Return a connection's own address, as the server logs it."""
    host, port = connection.getsockname()
    return f"{host}:{port}"


def receive(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


@dataclass
class Answer:
    status: int
    headers: email.message.Message
    body: bytes


def receive_answer(connection: socket.socket, method: str = "GET") -> Answer:
    """Return one answer, read by a parser that is not ours."""
    with closing(http.client.HTTPResponse(connection, method=method)) as answer:
        answer.begin()
        return Answer(answer.status, answer.headers, answer.read())


def converse(server: Server, *pieces: bytes) -> bytes:
    """Send the pieces and return all that comes back until the server closes."""
    with connect(server) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return receive(connection)


def send_for_ever(connection: socket.socket, data: bytes) -> None:
    while True:
        connection.sendall(data)


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = 20.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.01)


def threads(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/task"))


def at_rest(server: Server) -> None:
    """Wait until the server has no thread but the one that accepts, and no socket but its own."""
    wait_until(
        lambda: (threads(server), sockets(server)) == (1, 1),
        "all other things have ended",
        deadline_s=60.0,  # 2,000 threads take 4 s to end where others want the processor, too
    )


def sockets(server: Server) -> int:
    folder = f"/proc/{server.process.pid}/fd"
    found = 0
    for name in os.listdir(folder):
        try:
            found += os.readlink(f"{folder}/{name}").startswith("socket:")
        except OSError:  # closed meanwhile
            pass
    return found


def descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def descriptors_at_rest(server: Server) -> int:
    """Count after a first answer: a server that only just listens does not have them all yet."""
    assert check("127.0.0.1", server.port) is None
    at_rest(server)
    return descriptors(server)


def test_page_is_served_with_exact_length_and_a_valid_date(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(GET)
        answer = receive_answer(connection)
    assert answer.status == 200
    assert SENTENCE in answer.body
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    date = answer.headers["Date"]
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date)
    assert abs(email.utils.parsedate_to_datetime(date).timestamp() - time.time()) < 5


def test_head_has_the_fields_of_get_and_no_body(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(GET.replace(b"GET", b"HEAD"))
        head = receive_answer(connection, "HEAD")
        connection.sendall(GET)  # a body after HEAD would be taken for the start of this answer
        get = receive_answer(connection)
    assert SENTENCE in get.body
    for answer in (head, get):
        del answer.headers["Date"]
    assert head.headers.items() == get.headers.items()


def test_python_http_client_reuses_one_connection_through_every_status(server: Server) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    client.connect()
    first_socket = client.sock
    for method, path, body, status in (
        ("GET", "/", None, 200),
        ("GET", "/nowhere", None, 404),
        ("POST", "/", b"x" * 5000, 405),
        ("BREW", "/", None, 501),
        ("GET", "/fail", None, 500),
        ("OPTIONS", "/", None, 204),
        ("HEAD", "/", None, 200),
        ("GET", "/style.css", None, 200),
    ):
        client.request(method, path, body)
        answer = client.getresponse()
        answer.read()
        assert (method, path, answer.status) == (method, path, status)
        assert client.sock is first_socket, f"the connection was not kept after {status}"
    own = address(first_socket)
    client.close()
    logged = [server.wait_for("request", client=own, number=n)["status"] for n in range(1, 9)]
    assert logged == [200, 404, 405, 501, 500, 204, 200, 200]


def test_page_that_fails_gives_500_without_internals_and_its_cause_in_the_log(
    server: Server,
) -> None:
    with connect(server) as connection:
        for _ in range(2):
            connection.sendall(GET.replace(b" / ", b" /fail "))
            answer = receive_answer(connection)
            body = answer.body.decode()
            assert answer.status == 500
            assert "RuntimeError" not in body
            assert ".py" not in body
        connection.sendall(GET)
        assert receive_answer(connection).status == 200
    failed = server.wait_for("failed")
    assert failed["error"].startswith("RuntimeError: ")
    assert "site.py" in failed["place"]


def test_pipelined_requests_are_answered_in_order_and_none_after_close(server: Server) -> None:
    paths = [b"/", b"/nowhere", b"/style.css", b"/fail"]
    stream = b"".join(GET.replace(b" / ", b" " + path + b" ") for path in paths)
    last = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    got = converse(server, stream + last + GET)
    assert re.findall(rb"HTTP/1\.1 (\d+)", got) == [b"200", b"404", b"200", b"500", b"200"]
    assert got.count(b"Connection: close") == 1


def test_request_in_single_bytes_is_answered(server: Server) -> None:
    with connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for index in range(len(GET)):
            connection.sendall(GET[index : index + 1])
        assert receive_answer(connection).status == 200


def test_http_1_0_is_closed_unless_it_asks_for_keep_alive(server: Server) -> None:
    got = converse(server, b"GET / HTTP/1.0\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in got
    with connect(server) as connection:
        for _ in range(2):
            connection.sendall(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            answer = receive_answer(connection)
            assert answer.headers["Connection"] == "keep-alive"


def test_second_client_is_served_while_the_first_is_idle(server: Server) -> None:
    at_rest(server)
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(20)]
        clients[1].sendall(b"GET / HT")  # in the middle of its request
        for client in reversed(clients[2:]):
            client.sendall(GET)
            assert receive_answer(client).status == 200
        assert threads(server) == 1 + 20, "a thread for each connection"
        clients[1].sendall(b"TP/1.1\r\nHost: lab\r\n\r\n")
        assert receive_answer(clients[1]).status == 200
    at_rest(server)


def test_expect_continue_is_answered_before_the_body(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: lab\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"ok" + GET)
        answer = receive_answer(connection)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


def test_fault_is_answered_with_its_status_and_a_closed_connection(server: Server) -> None:
    for stream, status in (
        (b"nonsense\r\n\r\n", 400),
        (b"GET /\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: lab\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: lab\r\nContent-Length: 999999999\r\n\r\n", 413),
        (b"GET /" + b"x" * MAX_REQUEST_LINE_BYTES, 414),
        (b"GET / HTTP/1.1\r\nHost: lab\r\nExpect: more\r\n\r\n", 417),
        (b"GET / HTTP/1.1\r\nHost: lab\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: lab\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET / HTTP/2.0\r\nHost: lab\r\n\r\n", 505),
    ):
        head, _, body = converse(server, stream).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status), stream
        assert b"\r\nConnection: close" in head
        assert f"Content-Length: {len(body)}".encode() in head, "one answer and nothing after it"
        server.wait_for("refused", status=status)


def test_last_answer_is_not_lost_to_a_reset_while_the_client_goes_on_sending(
    server: Server,
) -> None:
    flood = b"GET / HTTP/1.1\r\nHost: lab\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 500_000
    for _ in range(20):
        with connect(server) as connection:
            connection.sendall(flood)
            connection.shutdown(socket.SHUT_WR)
            assert receive(connection).startswith(b"HTTP/1.1 413 ")


def test_client_that_half_closes_still_gets_its_answer(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(GET)
        connection.shutdown(socket.SHUT_WR)
        assert SENTENCE in receive(connection)
    with connect(server) as connection:
        connection.sendall(GET[:-1])
        connection.shutdown(socket.SHUT_WR)
        assert receive(connection).startswith(b"HTTP/1.1 400 ")


def test_slow_head_and_slow_body_get_408_though_bytes_keep_coming(impatient: Server) -> None:
    for start, trickle in (
        (b"GET / HTTP/1.1\r\nHost: lab\r\nA: ", b"x"),
        (b"POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 60000\r\n\r\n", b"x"),
        (GET + GET[:9], b"x"),  # the second head has a deadline of its own
    ):
        with connect(impatient, 0.02) as connection:
            connection.sendall(start)
            got = b""
            end = time.monotonic() + 5
            while b"408" not in got and time.monotonic() < end:
                connection.sendall(trickle)
                try:
                    got += connection.recv(65536)
                except TimeoutError:
                    pass
            assert b"HTTP/1.1 408 Request Timeout\r\n" in got


def test_body_may_take_longer_if_it_keeps_the_minimum_rate(impatient: Server) -> None:
    with connect(impatient) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 20000\r\n\r\n")
        for _ in range(10):  # 2,000 bytes each 30 ms: twice the 150 ms, 60 times the rate
            time.sleep(0.03)
            connection.sendall(b"x" * 2000)
        assert receive_answer(connection).status == 405


def test_idle_connection_is_closed_without_a_word(impatient: Server) -> None:
    with connect(impatient) as connection:
        assert receive(connection) == b""
    with connect(impatient) as connection:
        connection.sendall(b"\r\n")  # an empty line is no beginning of a request
        assert receive(connection) == b""
    with connect(impatient) as connection:
        connection.sendall(GET)
        assert receive_answer(connection).body
        assert receive(connection) == b""


def test_client_that_takes_no_answer_is_dropped(impatient: Server) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0.4)
        connection.connect(("127.0.0.1", impatient.port))
        with pytest.raises((TimeoutError, ConnectionError)):
            send_for_ever(connection, GET * 1000)
        lost = impatient.wait_for("lost", client=address(connection))
        assert lost["reason"] == "the client does not take its answer"
    at_rest(impatient)


def test_client_that_closes_its_end_late_is_not_waited_for(impatient: Server) -> None:
    at_rest(impatient)
    with connect(impatient) as connection:
        connection.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert SENTENCE in receive(connection)  # and this side stays open
        at_rest(impatient)


def test_one_client_too_many_gets_503_and_the_others_are_served(
    start_server: StartServer,
) -> None:
    server = start_server(MODULE, "--max-connections", "2")
    with connect(server) as first, connect(server) as second:
        for client in (first, second):
            client.sendall(GET)
            assert receive_answer(client).status == 200
        for _ in range(10):
            with connect(server) as third:
                third.sendall(GET)
                answer = receive_answer(third)
                assert answer.status == 503
                assert int(answer.headers["Retry-After"]) >= 1
                assert b"Try again" in answer.body
                assert third.recv(1) == b""
        second.sendall(GET)
        assert receive_answer(second).status == 200
        assert check("127.0.0.1", server.port) is None, "a full server is a healthy one"

    def served() -> bool:
        with connect(server) as client:
            client.sendall(GET)
            return receive_answer(client).status == 200

    wait_until(served, "a place is free again")


def test_server_out_of_descriptors_serves_again_when_there_are_some(
    start_server: StartServer,
) -> None:
    resource = pytest.importorskip("resource")
    server = start_server(MODULE)
    assert check("127.0.0.1", server.port) is None  # the page is in the server's memory now
    # What places() does against it at the start is undone here, from outside.
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (descriptors(server) + 3, 4096))
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(6)]
        server.wait_for("accept-failed")
        used = Path(f"/proc/{server.process.pid}/stat")
        ticks_before = sum(map(int, used.read_text().rsplit(")")[1].split()[11:13]))
        server.wait_for("accept-failed")
        time.sleep(0.3)  # a span to measure, not a wait for something to happen
        ticks = sum(map(int, used.read_text().rsplit(")")[1].split()[11:13])) - ticks_before
        assert ticks <= 10, f"a busy loop: {ticks} ticks of 10 ms in 0.3 s"
        for client in clients[:5]:
            client.close()
        clients[5].sendall(GET)
        assert receive_answer(clients[5]).status == 200


def test_server_out_of_memory_serves_again_when_there_is_some(start_server: StartServer) -> None:
    resource = pytest.importorskip("resource")
    server = start_server(MODULE)
    pid = server.process.pid
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    little = pages * resource.getpagesize() + 4 * THREAD_STACK_BYTES
    resource.prlimit(pid, resource.RLIMIT_AS, (little, resource.RLIM_INFINITY))
    with ExitStack() as stack:
        for _ in range(60):  # more than there are stacks for: 503, or closed for want of memory
            client = stack.enter_context(connect(server))
            client.sendall(GET)
        server.wait_for("refused", status=503, reason="no more threads")
    resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    at_rest(server)
    with connect(server) as client:
        client.sendall(GET)
        assert receive_answer(client).status == 200
    assert server.stop() == 0


def test_2000_slow_clients_at_once_keep_nobody_waiting_and_leave_nothing(
    start_server: StartServer,
) -> None:
    patient = ("--idle-timeout", "--head-timeout", "--body-timeout")
    server = start_server(MODULE, *(word for name in patient for word in (name, "10min")))
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2100:
        pytest.skip(f"this takes 2,100 descriptors; the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2100), hard))
    before = descriptors_at_rest(server)
    stages = (
        b"",
        b"G",
        GET[:-2],
        GET.replace(b"GET", b"POST")[:-2] + b"Content-Length: 9\r\n\r\nx",
    )
    try:
        with ExitStack() as stack, connect(server) as other:
            for number in range(2000):
                stack.enter_context(connect(server)).sendall(stages[number % len(stages)])
                if number % 100 == 99:  # meanwhile
                    other.sendall(GET)
                    assert receive_answer(other).status == 200
            # On an emulated processor they take 20 s to start.
            wait_until(lambda: threads(server) == 1 + 2000 + 1, "each has a thread", 60.0)
            started = time.monotonic()
            for _ in range(20):
                with connect(server) as fresh:
                    fresh.sendall(GET)
                    assert receive_answer(fresh).status == 200
            assert time.monotonic() - started < 2, "20 new clients, 100 ms each at most"
        at_rest(server)
        wait_until(lambda: descriptors(server) == before, "every descriptor is closed")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_count_at_the_end_has_the_requests_of_connections_that_still_live() -> None:
    lifetime = Lifetime()
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    counting = HttpServer(Site(), Events("http", "off"), lifetime)
    serving = threading.Thread(target=counting.serve, args=(listener,))
    serving.start()
    try:
        with socket.create_connection(("127.0.0.1", port), 5.0) as connection:
            for number in (1, 2):
                connection.sendall(GET)
                assert receive_answer(connection).status == 200
                assert counting.requests == number
        wait_until(lambda: not counting._conversations, "the conversation is over")
        assert counting.requests == 2
    finally:
        lifetime.end("test")
        serving.join(10)


def test_a_spare_thread_whose_client_another_one_took_ends() -> None:
    spared = HttpServer(Site(), Events("http", "off"), Lifetime())

    class Robbed:
        """A queue on which the client comes when a thread's time is over, and goes to another."""

        waits = 0

        def get(self, timeout: float | None = None) -> None:
            assert timeout is not None, "it would wait for ever"
            self.waits += 1
            # First a client is given to a spare thread; then a later one waits, and takes it.
            spared._spares += -1 if self.waits == 1 else 1
            raise queue.Empty

    spared._for_spares = robbed = Robbed()  # type: ignore[assignment]
    assert spared._following() is None
    assert (robbed.waits, spared._spares) == (2, 0)


@pytest.mark.parametrize("pieces", [(b"HEAD / HTTP/1.1\r\n\r\n",), (GET, b"HEAD / HTTP/1.1\r\n:")])
def test_a_fault_in_a_head_request_is_answered_without_a_body(
    server: Server, pieces: tuple[bytes, ...]
) -> None:
    head, end, body = converse(server, *pieces, b"x\r\n\r\n").rpartition(b"\r\n\r\n")
    assert b"HTTP/1.1 400 " in head
    assert b"\r\nContent-Length: " in head[head.rindex(b"HTTP/1.1 400 ") :]
    assert (end, body) == (b"\r\n\r\n", b"")


def test_resets_at_every_stage_leave_no_thread_no_descriptor_and_no_memory(
    server: Server,
) -> None:
    before = descriptors_at_rest(server)
    linger_zero = struct.pack("ii", 1, 0)  # close() then sends a reset

    def resident_kib() -> int:
        """Return the server's memory after 60 more connections, all of them gone again."""
        for stream in (b"", b"GET / HT", GET, GET * 50, b"nonsense\r\n\r\n", GET[:-2] + b"A: b"):
            for _ in range(10):
                with connect(server) as connection:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_zero)
                    connection.sendall(stream)
        at_rest(server)
        wait_until(lambda: descriptors(server) == before, "every descriptor is closed")
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s*(\d+)", status)[1])  # type: ignore[index]

    # At first what programs leave free in their heaps fills up; a leak fills it, and goes on.
    sizes = [resident_kib() for _ in range(25)]
    while sizes[-1] - sizes[-11] >= 150:
        assert len(sizes) < 60, f"KiB grow without end, by 1/4 a connection and more: {sizes}"
        sizes.append(resident_kib())


def test_request_cannot_forge_a_log_line_or_a_response_field(server: Server) -> None:
    target = "/x%0d%0aX-Forged:%20yes"
    with connect(server) as connection:
        connection.sendall(GET.replace(b"/ ", target.encode() + b" "))
        answer = receive_answer(connection)
        assert "Forged" not in str(answer.headers)
        assert server.wait_for("request", client=address(connection))["target"] == target


def test_each_of_many_same_requests_is_logged_with_its_own_number(server: Server) -> None:
    with connect(server) as connection:
        for _ in range(30):
            connection.sendall(GET)
            body = receive_answer(connection).body
        for number in range(1, 31):
            logged = server.wait_for("request", client=address(connection), number=number)
            assert (logged["status"], logged["bytes"]) == (200, len(body))
            assert (logged["method"], logged["target"]) == ("GET", "/")
            assert 0 <= logged["ms"] < 5000


def test_answers_kept_ready_are_those_of_the_file_as_it_is(
    file_server: Server, folder: Path
) -> None:
    page = folder / "edited.txt"

    def answer_is(body: bytes) -> bool:
        connection.sendall(GET.replace(b"/ ", b"/edited.txt "))
        return receive_answer(connection).body == body

    with connect(file_server) as connection:
        for body in (b"first", b"second", b"the third"):
            page.write_bytes(body)
            wait_until(functools.partial(answer_is, body), "the new text is served", 1.0)
        page.unlink()
        wait_until(lambda: not answer_is(body), "it is gone", 1.0)


def test_large_file_is_sent_whole_and_never_held_in_memory(
    file_server: Server, folder: Path
) -> None:
    content = b"".join(b"%015d\n" % number for number in range(2**17))  # 2 MiB
    (folder / "large.bin").write_bytes(content)
    with open(folder / "sparse.bin", "wb") as file:
        file.truncate(64 * 2**20)
    status = Path(f"/proc/{file_server.process.pid}/status")
    with connect(file_server) as connection:
        connection.sendall(GET.replace(b"/ ", b"/large.bin ") + GET.replace(b"/ ", b"/none "))
        assert receive_answer(connection).body == content
    with connect(file_server) as connection:
        connection.sendall(GET.replace(b"GET / ", b"HEAD /sparse.bin "))
        assert receive_answer(connection, "HEAD").headers["Content-Length"] == str(64 * 2**20)
        connection.sendall(GET.replace(b"/ ", b"/sparse.bin "))
        assert len(receive_answer(connection).body) == 64 * 2**20
        connection.sendall(GET.replace(b"/ ", b"/none "))
        assert receive_answer(connection).status == 404, "the connection lives on"
    peak = re.search(r"VmHWM:\s*(\d+)", status.read_text())
    assert peak is not None
    assert int(peak[1]) < 60 * 1024


def test_slow_reader_gets_a_large_file_at_the_minimum_rate_and_not_below(
    file_server: Server, folder: Path
) -> None:
    size = 6 * 2**20
    with open(folder / "slow.bin", "wb") as file:
        file.truncate(size)
    request = GET.replace(b"/ ", b"/slow.bin ")
    with connect(file_server) as connection:
        connection.sendall(request)
        started, got = time.monotonic(), 0
        while got < size:
            got += len(connection.recv(2**17))
            time.sleep(0.004)  # 48 times at least
        assert time.monotonic() - started > 0.15, "longer than --send-timeout"
    at_rest(file_server)
    with connect(file_server) as connection:
        connection.sendall(request)

        def given_up() -> bool:
            connection.recv(10)
            return threads(file_server) == 1

        connection.recv(10)
        wait_until(given_up, "10 bytes each 10 ms are less than 1024 a second")
        file_server.wait_for("lost", client=address(connection))
        with pytest.raises(ConnectionResetError):
            receive(connection)


def test_file_that_becomes_shorter_while_it_is_sent_ends_the_connection(
    file_server: Server, folder: Path
) -> None:
    path, size = folder / "shrinking.bin", 32 * 2**20
    with open(path, "wb") as file:
        file.truncate(size)
    with connect(file_server) as connection:
        connection.sendall(GET.replace(b"/ ", b"/shrinking.bin "))
        beginning = connection.recv(1000)
        os.truncate(path, 2**20)
        rest = receive(connection)
        assert len(beginning) + len(rest) < size
        assert "too early" in file_server.wait_for("lost", client=address(connection))["reason"]


def test_sigterm_finishes_the_request_in_flight_and_ends_with_0(
    start_server: StartServer,
) -> None:
    server = start_server(MODULE)
    with connect(server) as idle, connect(server) as busy, connect(server) as stuck:
        idle.sendall(GET)
        receive_answer(idle)
        busy.sendall(b"POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 2\r\n\r\no")
        stuck.sendall(b"GET / HT")
        wait_until(lambda: threads(server) == 4, "all are being served")
        started = time.monotonic()
        server.process.terminate()
        assert receive(idle) == b"", "an idle connection is closed"
        busy.sendall(b"k")
        got = receive(busy)
        assert got.startswith(b"HTTP/1.1 405 ")
        assert b"\r\nConnection: close\r\n" in got
        assert server.process.wait(5) == 0
        assert time.monotonic() - started < 2, "the one that never finishes is not waited for"
    stopped = server.wait_for("stopped")
    assert (stopped["reason"], stopped["requests"], stopped["connections"]) == ("SIGTERM", 2, 3)


def worker_processes(server: Server) -> list[int]:
    pid = server.process.pid
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_workers_share_the_port_and_one_that_dies_is_replaced(start_server: StartServer) -> None:
    server = start_server(MODULE, "--workers", "2")

    def workers_that_serve() -> set[int]:
        with ExitStack() as stack:  # the kernel spreads them by their ports
            for _ in range(40):
                client = stack.enter_context(connect(server))
                client.sendall(GET)
                assert receive_answer(client).status == 200
            return {n for n in worker_processes(server) if len(os.listdir(f"/proc/{n}/task")) > 1}

    wait_until(lambda: len(workers_that_serve()) == 2, "both serve")
    killed = worker_processes(server)[0]
    os.kill(killed, signal.SIGKILL)
    assert server.wait_for("worker-died")["status"] == -signal.SIGKILL
    wait_until(lambda: len(set(worker_processes(server)) - {killed}) == 2, "there is a new one")
    with connect(server) as busy:
        busy.sendall(GET[:-2])
        started = time.monotonic()
        server.process.terminate()
        busy.sendall(GET[-2:])
        assert SENTENCE in receive(busy), "SIGTERM lets it finish"
        assert server.process.wait(5) == 0
        assert time.monotonic() - started < 2.2
    assert {server.wait_for("worker-stopped", worker=n)["reason"] for n in (1, 2)} == {"SIGTERM"}
    assert server.wait_for("stopped")["reason"] == "SIGTERM"


def has_ended(pid: int) -> bool:
    """Return whether a process is over, also where nobody has asked for its status yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def test_workers_end_when_their_supervisor_was_killed(start_server: StartServer) -> None:
    server = start_server(MODULE, "--workers", "2")
    wait_until(lambda: len(worker_processes(server)) == 2, "both are there")
    workers = worker_processes(server)
    server.process.kill()
    wait_until(lambda: all(map(has_ended, workers)), "both are gone")


def test_bind_that_fails_says_why_and_the_way_out(server: Server) -> None:
    ended = run_client(MODULE, "--host", "127.0.0.1", "--port", str(server.port))
    assert ended.returncode == 1
    assert ended.stderr == (
        f"bind 127.0.0.1:{server.port}: address already in use (set HTTP_PORT or --port)\n"
    )


def test_check_passes_unlogged_on_a_running_server_and_fails_without(
    start_server: StartServer,
) -> None:
    server = start_server(MODULE)
    arguments = (MODULE, "--host", "127.0.0.1", "--port", str(server.port), "--check")
    passed = run_client(*arguments)
    assert (passed.returncode, passed.stdout) == (0, "the web server answers\n")
    assert passed.stderr == ""
    assert server.stop() == 0
    stopped = server.wait_for("stopped")
    assert (stopped["connections"], stopped["requests"]) == (0, 0)
    assert [event["event"] for event in server.events] == ["listening", "stopped"]
    trouble = check("127.0.0.1", server.port)
    assert trouble is not None
    assert "refused" in trouble


def test_check_imports_little() -> None:
    heavy = ("dataclasses", "services.http.protocol", "services.http.server", "ipaddress")
    program = f"import sys, services.http.__main__; print([m for m in {heavy} if m in sys.modules])"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "[]\n"


def test_page_names_the_port_of_the_protocol(server: Server) -> None:
    assert b"port %d" % PORT in converse(
        server, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    )
