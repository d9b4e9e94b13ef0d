"""One conversation over a real socket pair, without a server around it."""

import io
import socket
import threading
from typing import Any

from services.events import Events
from services.http.conversation import Conversation, Shared
from services.http.limits import Limits
from services.http.protocol import Request, Response

GET = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"
BODY = bytes(range(256)) * 40
TAKEN_BYTES = 1000


class NarrowSocket(socket.socket):
    """A socket whose system takes a thousand bytes at a time."""

    def send(self, data: Any, flags: int = 0) -> int:
        return super().send(data[:TAKEN_BYTES], flags)


class OnePage:
    """A site of one page, which counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def answer(self, request: Request) -> Response:
        self.asked += 1
        return Response(200, (("Content-Type", "application/octet-stream"),), BODY)

    def error(self, status: int, explanation: str | None = None) -> Response:
        raise AssertionError(f"{status} {explanation}")


def test_an_answer_that_goes_out_in_pieces_is_whole_also_when_it_was_ready() -> None:
    site = OnePage()
    events = Events("http", stream=io.StringIO())
    # Its time stands still, so what is ready stays so.
    shared = Shared(site, events, Limits(), date=lambda: "now", clock=lambda: 0.0)
    ours, client = socket.socketpair()
    client.settimeout(10)
    with client, client.makefile("rb") as received:
        conversation = Conversation(shared, NarrowSocket(fileno=ours.detach()), "client")
        thread = threading.Thread(target=conversation.run, daemon=True)
        thread.start()
        answers = []
        for request in (GET, GET, GET):  # each waits for the answer before, so each comes alone
            client.sendall(request)
            head = b"".join(iter(received.readline, b"\r\n"))
            answers.append((head, received.read(len(BODY))))
        client.sendall(LAST)
        last = received.read()
    thread.join(10)
    assert not thread.is_alive()
    assert answers == [(answers[0][0], BODY)] * 3
    assert answers[0][0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert last.endswith(b"\r\n\r\n" + BODY)
    assert site.asked == 2, "the second and the third were ready"
