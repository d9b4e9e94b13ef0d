"""The site over real sockets: what must hold beyond the pure core and the pure site."""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loopback.conftest import Server, servers

GET = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pages = tmp_path_factory.mktemp("pages")
    (pages / "index.html").write_text("start")
    return pages


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with servers() as start:
        yield start("services.http", "--pages", str(folder))


def converse(server: Server, *pieces: bytes) -> bytes:
    """Send the pieces one by one and return all that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.01)  # makes it likely, not certain, that each arrives alone
        return b"".join(iter(lambda: connection.recv(65536), b""))


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", answers)]


def test_empty_lines_before_requests_do_not_add_up_over_a_connection(server: Server) -> None:
    pieces = [b"\r\n\r\n\r\n", GET] * 3
    assert statuses(converse(server, *pieces, LAST)) == [200] * 4
    assert statuses(converse(server, b"".join(pieces) + LAST)) == [200] * 4


def test_viewer_shows_each_request_its_own_bytes_in_whatever_pieces_they_come(
    server: Server,
) -> None:
    head = b"GET /request?%s HTTP/1.1\r\nHost: lab\r\n"
    first, second = head % b"q1" + b"\r\n", head % b"q2" + b"Connection: close\r\n\r\n"
    both = first + second
    for pieces in ((first, second), (both,), (both[:9], both[9:-20], both[-20:])):
        answers = converse(server, *pieces)
        assert statuses(answers) == [200, 200]
        _, one, two = answers.split(b"HTTP/1.1 200 OK\r\n")
        for answer, mine, others in ((one, b"q1", b"q2"), (two, b"q2", b"q1")):
            assert b">GET /request?%s HTTP/1.1<i>CR</i>" % mine in answer
            assert others not in answer


@pytest.mark.parametrize("path", ["/%s", "/%%0d%%0a%s", "/request?%s", "//%s", "/sub/%s"])
def test_nothing_that_a_request_says_comes_back_in_a_field(server: Server, path: str) -> None:
    mark = "reflected-7f3a"
    head = f"GET {path % mark} HTTP/1.1\r\nHost: {mark}\r\nX: {mark}\r\nConnection: close, {mark}"
    answer = converse(server, head.encode() + b"\r\n\r\n")
    assert mark.encode() not in answer.partition(b"\r\n\r\n")[0]


def test_an_edited_page_is_served_within_a_moment(server: Server, folder: Path) -> None:
    assert converse(server, LAST).endswith(b"start")
    (folder / "index.html").write_text("edited")
    deadline = time.monotonic() + 5
    while not (answer := converse(server, LAST)).endswith(b"edited"):
        assert time.monotonic() < deadline, answer


def test_a_link_out_of_the_folder_is_not_followed(server: Server, folder: Path) -> None:
    secret = folder.parent / "secret.txt"
    secret.write_text("secret")
    (folder / "link.txt").symlink_to(secret)
    assert statuses(converse(server, LAST.replace(b" / ", b" /link.txt "))) == [404]
