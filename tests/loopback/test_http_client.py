"""The HTTP client as a process: against the lab's server, a broken one, and none."""

import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.loopback.conftest import Server, run_client, servers, start_client

MODULE = "clients.http"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with servers() as start:
        yield start("services.http")


@contextmanager
def answering(*pieces: bytes) -> Iterator[str]:
    """Give the URL of a server that sends these bytes to one client, then closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                connection.recv(65536)
                for piece in pieces:
                    connection.sendall(piece)

        thread = threading.Thread(target=serve, name="scripted server")
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join(10)


def url(server: Server, path: str = "/") -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def test_page_is_shown_with_status_fields_body_and_timing(server: Server) -> None:
    ended = run_client(MODULE, "--port", str(server.port))
    lines = ended.stdout.splitlines()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert "Content-Type: text/html; charset=utf-8" in lines
    assert "<h1>The web server is working.</h1>" in lines
    assert "connect " in lines[-1]
    assert "first byte " in lines[-1]
    assert "total " in lines[-1]


@pytest.mark.parametrize(("path", "status"), [("/fail", "500"), ("/nowhere", "404")])
def test_error_status_is_shown_and_is_exit_status_1(server: Server, path: str, status: str) -> None:
    ended = run_client(MODULE, url(server, path))
    assert ended.returncode == 1
    assert ended.stdout.startswith(f"HTTP/1.1 {status} ")


def test_json_has_settings_every_attempt_and_statistics(server: Server) -> None:
    ended = run_client(MODULE, url(server), "--head", "--count", "3", "--json")
    assert ended.returncode == 0
    document = json.loads(ended.stdout)
    assert document["format"] == 1
    assert document["settings"] == {"url": url(server), "method": "HEAD", "timeout_s": 10.0}
    assert [attempt["answer"]["status"] for attempt in document["attempts"]] == [200] * 3
    assert all(attempt["answer"]["body"] == "" for attempt in document["attempts"])
    totals = [attempt["timing"]["total_ms"] for attempt in document["attempts"]]
    figures = document["statistics"]
    assert (figures["fetches"], figures["answered"], figures["good"]) == (3, 3, 3)
    assert figures["total_average_ms"] == pytest.approx(sum(totals) / 3)
    for timing in (attempt["timing"] for attempt in document["attempts"]):
        assert 0 < timing["connect_ms"] < timing["total_ms"]
        assert 0 < timing["first_byte_ms"] < timing["total_ms"]


def test_several_fetches_are_a_line_each_and_a_summary(server: Server) -> None:
    ended = run_client(MODULE, url(server), "--count", "3", "--interval", "1ms")
    lines = ended.stdout.splitlines()
    assert [line.split(",")[0] for line in lines[:3]] == [
        f"fetch {number}: HTTP/1.1 200 OK" for number in (1, 2, 3)
    ]
    assert lines[3].startswith("3 fetches, 3 answered")


def test_chunked_answer_is_joined() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with answering(head, b"6\r\nin pie", b"\r\n3\r\nces\r\n", b"0\r\n\r\n") as address:
        ended = run_client(MODULE, address)
    assert ended.returncode == 0
    assert "\nin pieces\n" in ended.stdout


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "without an answer"),
        (b"hello there\n", "does not begin with HTTP/"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut", "after 3 of 9 bytes"),
    ],
)
def test_malformed_answer_is_one_clear_line(answer: bytes, reason: str) -> None:
    with answering(answer) as address:
        ended = run_client(MODULE, address)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    assert "malformed" in ended.stderr
    assert reason in ended.stderr


def test_server_that_is_not_there_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    ended = run_client(MODULE, f"http://127.0.0.1:{free}/")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"127.0.0.1:{free}: connection refused\n"


def test_server_that_says_nothing_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ended = run_client(MODULE, "--port", str(port), "--timeout", "200ms")
    assert ended.returncode == 1
    assert ended.stderr == f"127.0.0.1:{port}: no complete answer within 0.2 s\n"


def test_https_is_wrong_usage_and_says_so() -> None:
    ended = run_client(MODULE, "https://127.0.0.1/")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "https is not spoken" in ended.stderr


def test_ctrl_c_prints_the_summary_so_far_and_exits_130(server: Server) -> None:
    with start_client(MODULE, url(server), "--count", "100", "--interval", "30s") as client:
        assert client.stdout is not None
        assert client.stdout.readline().startswith("fetch 1: ")
        client.send_signal(signal.SIGINT)
        rest, errors = client.communicate(timeout=10)
        assert client.returncode == 130
    assert rest.startswith("1 fetches, 1 answered")
    assert errors == ""


@pytest.mark.parametrize("options", [(), ("--count", "3"), ("--json",)])
def test_a_reader_that_leaves_is_no_traceback(server: Server, options: tuple[str, ...]) -> None:
    with start_client(MODULE, url(server), *options) as client:
        assert client.stdout is not None
        client.stdout.close()
        assert client.stderr is not None
        assert client.stderr.read() == ""
        assert client.wait(timeout=10) == 1
