"""Sends datagrams to a UDP server under test and tells what comes back.

Orders::

    {"op": "rounds", "host", "port", "sockets": 50, "rounds": 20, "gap_s": .001, "quiet_s": .25}
        each round, every socket sends one datagram and waits until all has been quiet for long
        enough; tells {"event": "answers", "pattern": [[0 or 1 per socket] per round]}
    {"op": "turns", "host", "port", "count": 1000, "wait_s": .05}
        one socket, one datagram after the other; the same event with a pattern of one socket
    {"op": "try", "host", "port", "datagrams": [...], "tries": 40, "wait_s": .25,
     "sources": ["127.0.0.2", ...]}
        sends each datagram again until it is answered; tells {"event": "tried", "number",
        "source", "tries", "answer"} (answer null: none)
    {"op": "send", "host", "port", "datagrams": [...], "sizes": [...], "stay_s": 0}
        sends them, stays for a while, and closes its socket; with no time to stay, each comes from
        a client of its own, which has gone before an answer can come
"""

import select
import socket
import time
from typing import Any

from grading.peer import order, tell, text


def main() -> None:
    """Carry out the order."""
    given = order()
    target = (given["host"], given["port"])
    match given["op"]:
        case "rounds":
            _rounds(target, given)
        case "turns":
            _turns(target, given)
        case "try":
            _try(target, given)
        case "send":
            stay_s = given.get("stay_s", 0.0)
            with _socket() as staying:
                for data in _datagrams(given):
                    with _socket() as leaving:
                        _send(staying if stay_s else leaving, data, target)
                time.sleep(stay_s)
            tell("sent")


def _socket(source: str = "") -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if source:
        made.bind((source, 0))
    return made


def _send(sock: socket.socket, data: bytes, target: tuple[str, int]) -> None:
    try:
        sock.sendto(data, target)
    except OSError as error:  # ECONNREFUSED: about an earlier datagram, nobody listens
        tell("refused", reason=str(error))


def _receive(sock: socket.socket) -> bytes | None:
    try:
        return sock.recv(65536)
    except OSError:  # ECONNREFUSED
        return None


def _datagrams(given: dict[str, Any]) -> list[bytes]:
    sized = [b"x" * size for size in given.get("sizes", ())]
    return [data.encode("latin-1") for data in given.get("datagrams", ())] + sized


def _rounds(target: tuple[str, int], given: dict[str, Any]) -> None:
    sockets = [_socket() for _ in range(given["sockets"])]
    pattern = []
    for number in range(given["rounds"]):
        answered = [0] * len(sockets)
        for index, sock in enumerate(sockets):
            _send(sock, f"check {number * len(sockets) + index}".encode(), target)
            time.sleep(given["gap_s"])
        end = time.monotonic() + given["quiet_s"]
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select(sockets, [], [], left)
            for sock in ready:
                if _receive(sock) is not None:
                    answered[sockets.index(sock)] = 1
                    end = time.monotonic() + given["quiet_s"]
            if all(answered):
                break
        pattern.append(answered)
    for sock in sockets:
        sock.close()
    tell("answers", pattern=pattern)


def _turns(target: tuple[str, int], given: dict[str, Any]) -> None:
    pattern = []
    with _socket() as sock:
        for number in range(given["count"]):
            _send(sock, f"check {number}".encode(), target)
            sock.settimeout(given["wait_s"])
            pattern.append([int(_receive(sock) is not None)])
    tell("answers", pattern=pattern)


def _try(target: tuple[str, int], given: dict[str, Any]) -> None:
    for source in given.get("sources", [""]):
        with _socket(source) as sock:
            for number, data in enumerate(_datagrams(given)):
                answer, tries = None, 0
                while answer is None and tries < given["tries"]:
                    tries += 1
                    _send(sock, data, target)
                    sock.settimeout(given["wait_s"])
                    answer = _receive(sock)
                tell(
                    "tried",
                    number=number,
                    source=source,
                    tries=tries,
                    answer=None if answer is None else text(answer),
                )


if __name__ == "__main__":
    main()
