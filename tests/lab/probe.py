"""Runs inside a container of the lab: sends numbered datagrams to a UDP server, notes every answer.

usage: python3 probe.py HOST PORT COUNT INTERVAL_S LINGER_S

It ends LINGER_S after the last datagram or answer, and prints JSON: ``sent_ns``, the monotonic time
of each datagram's sending in nanoseconds, and ``answers``, a list of [number, arrival in
nanoseconds] in the order of arrival. Unlike udp-client it never retries and keeps many in flight,
so that counts are plain binomial variables.
"""

import json
import re
import socket
import sys
import time

NUMBER = re.compile(rb"probe-(\d{6})")


def main(host: str, port: int, count: int, interval_s: float, linger_s: float) -> None:
    """Send ``count`` datagrams ``interval_s`` apart, listen ``linger_s`` after the last."""
    sent_ns: list[int] = []
    answers: list[tuple[int, int]] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((host, port))
        start = time.monotonic()
        end = start + count * interval_s + linger_s
        while (now := time.monotonic()) < end:
            due = start + len(sent_ns) * interval_s if len(sent_ns) < count else end
            if now >= due:
                end = max(end, now + linger_s)
                sock.settimeout(5)  # until the address is resolved, few datagrams can wait
                sent_ns.append(time.monotonic_ns())
                try:
                    sock.send(b"probe-%06d" % (len(sent_ns) - 1))
                except ConnectionRefusedError:  # about an earlier datagram: no server just now
                    pass
                continue
            sock.settimeout(max(due - now, 1e-6))
            try:
                answer = sock.recv(65536)
            except (TimeoutError, ConnectionRefusedError):
                continue
            if (match := NUMBER.search(answer)) is not None:
                answers.append((int(match[1]), time.monotonic_ns()))
                end = max(end, time.monotonic() + linger_s)
    print(json.dumps({"sent_ns": sent_ns, "answers": answers}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
