"""A bad path: a process between UDP client and server that loses, duplicates and reorders each way.

usage: python -m benchmarks._udp_relay SERVER_PORT LOSS COPIES REORDER SEED

Prints the port that the client is to use. At SIGTERM it prints, one line each, what it did with the
datagrams of every attempt: request.attempt, copies handed to the server, copies of the answer
handed to the client, and nanoseconds from the first sight of it to the first answer handed over.
Reordering holds a datagram back for 1 to 20 ms. Account questions pass through the same path.
"""

import heapq
import random
import select
import signal
import socket
import sys
import time

from services.udp.protocol import find_ping

BUFFER = 8 << 20


def main(arguments: list[str]) -> None:
    """Relay until SIGTERM."""
    loss, copies, reorder = map(float, arguments[1:4])
    random_ = random.Random(int(arguments[4])).random
    told: dict[str, list[int]] = {}  # handed on, handed back, first seen, first answered
    held: list[tuple[int, int, bool, bytes]] = []
    over = False
    order = 0

    def end(number: int, frame: object) -> None:
        nonlocal over
        over = True

    signal.signal(signal.SIGTERM, end)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        for sock in (near, far):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            sock.setblocking(False)
        near.bind(("127.0.0.1", 0))
        far.connect(("127.0.0.1", int(arguments[0])))
        print(near.getsockname()[1], flush=True)
        client = None

        def hand_over(forth: bool, datagram: bytes) -> None:
            now_ns = time.monotonic_ns()
            if forth:
                far.send(datagram)
            elif client is not None:
                near.sendto(datagram, client)
            if ping := find_ping(datagram):
                entry = told[f"{ping.request}.{ping.attempt}"]
                if not forth and not entry[1]:
                    entry[3] = now_ns
                entry[0 if forth else 1] += 1

        while not over:
            wait_s = 0.1
            if held:
                wait_s = max(held[0][0] - time.monotonic_ns(), 0) / 1e9
            readable = select.select([near, far], [], [], wait_s)[0]
            for sock in readable:
                for _ in range(32):
                    try:
                        datagram, sender = sock.recvfrom(65535)
                    except BlockingIOError:
                        break
                    forth = sock is near
                    if forth:
                        client = sender
                        if ping := find_ping(datagram):
                            name = f"{ping.request}.{ping.attempt}"
                            told.setdefault(name, [0, 0, time.monotonic_ns(), 0])
                    for _ in range(1 + (random_() < copies)):
                        if random_() < loss:
                            continue
                        if random_() < reorder:
                            order += 1
                            until_ns = time.monotonic_ns() + int(1e6 + 19e6 * random_())
                            heapq.heappush(held, (until_ns, order, forth, datagram))
                        else:
                            hand_over(forth, datagram)
            while held and held[0][0] <= time.monotonic_ns():
                _, _, forth, datagram = heapq.heappop(held)
                hand_over(forth, datagram)
    for name, (there, back, seen_ns, answered_ns) in told.items():
        print(name, there, back, answered_ns - seen_ns if answered_ns else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
