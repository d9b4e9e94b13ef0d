"""Tells a clock client under test a time that is wrong by a known amount, and all that happens.

Order::

    {"port", "offset_s": 83.4, "form": {"template": "...", "zone_s": 0, ...}, "greeting": "",
     "pieces": 1, "piece_gap_s": 0.12, "slow": [2], "slow_s": 0.7, "closes": false,
     "unasked": false}

Every answer is the time now plus ``offset_s``, written as ``form`` says (see ``grading.readings``).
It is sent in so many ``pieces``; the questions whose numbers stand in ``slow`` are answered so much
later, and the time that they tell is that of the answer. ``closes``: after each answer.
``unasked``: whoever connects is answered at once. TCP and UDP are served on the same port, every
address.

A question ends with "?" or a line end; or, for those that send neither, with a pause or the end of
the client's stream. A client that connects and says nothing for long is answered all the same.

Tells ``connected`` (client), ``asked`` (number, client, data) and ``answered`` (number, data,
clock_ns: what was told, nanoseconds since 1970).
"""

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from grading.peer import order, tell, text
from grading.readings import SECOND_NS, Form

PAUSE_S = 0.1
"""Ends a question without "?" and line end."""

SILENT_S = 3.0
"""A client that has said nothing for so long wants to be told without asking."""

MAX_QUESTION_BYTES = 4096


def split(buffered: bytes) -> tuple[list[bytes], bytes]:
    """Return the questions that are complete, and what is left; blank lines are none."""
    questions: list[bytes] = []
    while True:
        buffered = buffered.lstrip()
        ends = [at for at in (buffered.find(b"?"), buffered.find(b"\n")) if at >= 0]
        if not ends:
            return questions, buffered[:MAX_QUESTION_BYTES]
        questions.append(buffered[: min(ends) + 1])
        buffered = buffered[min(ends) + 1 :]


def cut(answer: bytes, pieces: int) -> list[bytes]:
    """Return an answer in so many pieces, none of them empty."""
    count = max(1, min(pieces, len(answer)))
    borders = [len(answer) * n // count for n in range(count + 1)]
    return [answer[a:b] for a, b in zip(borders, borders[1:], strict=False)]


class Server:
    """Answers over both transports; questions are numbered from 1, over all connections."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
        self._form = Form(**given["form"])
        self._lock = threading.Lock()
        self._count = 0

    def answer(self, question: bytes, client: str, send: Callable[[bytes], object]) -> None:
        """Answer one question, as the order says."""
        with self._lock:
            self._count += 1
            number = self._count
        tell("asked", number=number, client=client, data=text(question[:200]), size=len(question))
        if number in self._given.get("slow", ()):
            time.sleep(self._given["slow_s"])
        clock_ns = time.time_ns() + round(self._given["offset_s"] * SECOND_NS)
        answer = self._form.write(clock_ns)
        told = {"number": number, "client": client, "data": text(answer), "size": len(answer)}
        now_ns = time.monotonic_ns()
        for n, piece in enumerate(cut(answer, self._given.get("pieces", 1))):
            if n:
                time.sleep(self._given.get("piece_gap_s", 0.12))
            send(piece)
        tell("answered", t_ns=now_ns, clock_ns=clock_ns, **told)

    def converse(self, sock: socket.socket, client: str) -> None:
        """Serve one TCP connection to its end."""
        with sock:
            try:
                self._converse(sock, client)
            except OSError:  # ECONNRESET, EPIPE: the client has gone
                tell("lost", client=client)

    def _converse(self, sock: socket.socket, client: str) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(self._given.get("greeting", "").encode("latin-1"))
        rest, asked, ended = b"", False, False
        if self._given.get("unasked"):
            self.answer(b"", client, sock.sendall)
            asked, ended = True, bool(self._given.get("closes"))
        while not ended:
            sock.settimeout(PAUSE_S if rest else None if asked else SILENT_S)
            questions: list[bytes] = []
            try:
                data = sock.recv(4096)
                ended = not data
                questions, rest = split(rest + data)
            except TimeoutError:
                questions, rest = [rest], b""
            if ended and rest:
                questions.append(rest)
            sock.settimeout(None)
            for question in questions:
                asked = True
                self.answer(question, client, sock.sendall)
                if self._given.get("closes"):
                    return


def main() -> None:
    """Serve until the process is ended."""
    given = order()
    server = Server(given)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("", given["port"]))
        threading.Thread(target=_serve_udp, args=(server, datagrams), daemon=True).start()
        with socket.create_server(("", given["port"]), backlog=64) as listener:
            tell("ready")
            while True:
                sock, address = listener.accept()
                client = f"tcp {address[1]}"
                tell("connected", client=client)
                threading.Thread(
                    target=server.converse, args=(sock, client), name=client, daemon=True
                ).start()


def _serve_udp(server: Server, sock: socket.socket) -> None:
    while True:
        question, address = sock.recvfrom(65535)

        def send(piece: bytes, address: tuple[str, int] = address) -> None:
            sock.sendto(piece, address)

        server.answer(question, f"udp {address[1]}", send)


if __name__ == "__main__":
    main()
