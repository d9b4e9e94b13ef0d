"""Asks a TCP server for the time and prints how far its clock is from ours."""

import argparse
import datetime
import socket
import sys
import time
from typing import Iterator


class ClockClient:
    def __init__(self, host: str, port: int) -> None:
        self.sock = socket.create_connection((host, port), timeout=10)
        self.lines = self.sock.makefile("r", encoding="ascii", newline="\n")

    def samples(self, count: int) -> Iterator[tuple[float, float]]:
        """Yield (offset, round trip) in milliseconds."""
        for _ in range(count):
            before = time.time()
            self.sock.sendall(b"what time is it?\n")
            line = self.lines.readline()
            after = time.time()
            if not line.endswith("\n"):
                raise ConnectionError("the server closed the connection")
            server = datetime.datetime.fromisoformat(line.strip())
            middle = (before + after) / 2
            yield (server.timestamp() - middle) * 1000, (after - before) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5006)
    parser.add_argument("--count", type=int, default=5)
    args = parser.parse_args()
    try:
        client = ClockClient(args.host, args.port)
        for number, (offset, rtt) in enumerate(client.samples(args.count), start=1):
            print(f"request {number}: server is {offset:+.3f} ms from us (round trip {rtt:.3f} ms)")
    except (OSError, ValueError) as error:
        print(f"clock client: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
