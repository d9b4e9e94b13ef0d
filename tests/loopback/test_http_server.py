"""The web server as a process: connections, faults, limits and its end."""

import email.message
import email.utils
import http.client
import os
import re
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.http.protocol import MAX_REQUEST_LINE_BYTES, PORT
from tests.loopback.conftest import Server, StartServer, run_client

MODULE = "services.http"
GET = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
SENTENCE = b"The web server is working."


@pytest.fixture
def server(start_server: StartServer) -> Server:
    return start_server(MODULE)


def connect(server: Server, timeout_s: float = 5.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout_s)


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


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = 5.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.01)


def threads(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/task"))


def descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


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
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
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
    client.close()
    numbers = [server.wait_for("request", number=n)["status"] for n in range(1, 9)]
    assert numbers == [200, 404, 405, 501, 500, 204, 200, 200]


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
    before = threads(server)
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(20)]
        clients[1].sendall(b"GET / HT")  # in the middle of its request
        for client in reversed(clients[2:]):
            client.sendall(GET)
            assert receive_answer(client).status == 200
        assert threads(server) == before + 20, "a thread for each connection"
        clients[1].sendall(b"TP/1.1\r\nHost: lab\r\n\r\n")
        assert receive_answer(clients[1]).status == 200
    wait_until(lambda: threads(server) == before, "every thread has ended")


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


def test_slow_head_and_slow_body_get_408_though_bytes_keep_coming(
    start_server: StartServer,
) -> None:
    server = start_server(MODULE, "--head-timeout", "300ms", "--body-timeout", "300ms")
    for start, trickle in (
        (b"GET / HTTP/1.1\r\nHost: lab\r\nA: ", b"x"),
        (b"POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 60000\r\n\r\n", b"x"),
    ):
        with connect(server, 0.02) as connection:
            connection.sendall(start)
            got = b""
            end = time.monotonic() + 5
            while not got and time.monotonic() < end:
                connection.sendall(trickle)
                try:
                    got = connection.recv(65536)
                except TimeoutError:
                    pass
            assert got.startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_idle_connection_is_closed_without_a_word(start_server: StartServer) -> None:
    server = start_server(MODULE, "--idle-timeout", "200ms")
    with connect(server) as connection:
        assert receive(connection) == b""
    with connect(server) as connection:
        connection.sendall(GET)
        assert receive_answer(connection).body
        assert receive(connection) == b""


def test_client_that_takes_no_answer_is_dropped(start_server: StartServer) -> None:
    server = start_server(MODULE, "--send-timeout", "300ms")
    before = threads(server)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0.5)
        connection.connect(("127.0.0.1", server.port))
        with pytest.raises((TimeoutError, ConnectionError)):
            send_for_ever(connection, GET * 1000)
        server.wait_for("lost")
        wait_until(lambda: threads(server) == before, "its thread has ended")


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
    # What _descriptors() does against it at the start is undone here, from outside.
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


def test_resets_at_every_stage_leave_no_thread_and_no_descriptor(server: Server) -> None:
    before = threads(server), descriptors(server)
    linger_zero = struct.pack("ii", 1, 0)  # close() then sends a reset
    for stream in (b"", b"GET / HT", GET, GET * 50, b"nonsense\r\n\r\n", GET[:-2] + b"A: b"):
        for _ in range(5):
            with connect(server) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_zero)
                connection.sendall(stream)
    wait_until(lambda: (threads(server), descriptors(server)) == before, f"back to {before}")
    assert SENTENCE in converse(server, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))


def test_request_cannot_forge_a_log_line_or_a_response_field(server: Server) -> None:
    got = converse(
        server,
        b"GET /x%0d%0aX-Forged:%20yes HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n",
    )
    assert b"Forged" not in got
    assert server.wait_for("request")["target"] == "/x%0d%0aX-Forged:%20yes"


def test_sigterm_finishes_the_request_in_flight_and_ends_with_0(server: Server) -> None:
    with connect(server) as idle, connect(server) as busy:
        idle.sendall(GET)
        receive_answer(idle)
        busy.sendall(b"POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 2\r\n\r\no")
        wait_until(lambda: threads(server) == 3, "both are being served")
        started = time.monotonic()
        server.process.terminate()
        assert receive(idle) == b"", "an idle connection is closed"
        busy.sendall(b"k")
        got = receive(busy)
        assert got.startswith(b"HTTP/1.1 405 ")
        assert b"\r\nConnection: close\r\n" in got
        assert server.process.wait(5) == 0
        assert time.monotonic() - started < 2
    stopped = server.wait_for("stopped")
    assert (stopped["reason"], stopped["requests"], stopped["connections"]) == ("SIGTERM", 2, 2)


def test_sigterm_does_not_wait_for_a_client_that_never_finishes(server: Server) -> None:
    with connect(server) as stuck:
        stuck.sendall(b"GET / HT")
        wait_until(lambda: threads(server) == 2, "it is being served")
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 2


def test_bind_that_fails_says_why_and_the_way_out(server: Server) -> None:
    ended = run_client(MODULE, "--host", "127.0.0.1", "--port", str(server.port))
    assert ended.returncode == 1
    assert ended.stderr == (
        f"bind 127.0.0.1:{server.port}: address already in use (set HTTP_PORT or --port)\n"
    )


def test_check_passes_unlogged_on_a_running_server_and_fails_without(server: Server) -> None:
    arguments = (MODULE, "--host", "127.0.0.1", "--port", str(server.port), "--check")
    passed = run_client(*arguments)
    assert (passed.returncode, passed.stderr) == (0, "")
    assert server.stop() == 0
    stopped = server.wait_for("stopped")
    assert (stopped["connections"], stopped["requests"]) == (0, 0)
    assert [event["event"] for event in server.events] == ["listening", "stopped"]
    failed = run_client(*arguments)
    assert failed.returncode == 1
    assert "refused" in failed.stdout
    assert failed.stderr == ""


def test_page_names_the_port_of_the_protocol(server: Server) -> None:
    assert b"port %d" % PORT in converse(
        server, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    )
