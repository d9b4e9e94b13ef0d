"""Sends numbered messages over UDP and retransmits until each is acknowledged."""

import argparse
import selectors
import socket
import statistics
import sys
import time
from dataclasses import dataclass, field


@dataclass
class Options:
    host: str
    port: int
    count: int
    message: str
    first_timeout: float = 0.2
    growth: float = 1.5
    max_attempts: int = 10


@dataclass
class Results:
    rtts_ms: list[float] = field(default_factory=list)
    failed: int = 0
    retransmissions: int = 0

    def report(self) -> None:
        total = len(self.rtts_ms) + self.failed
        print(f"--- {total} messages, {self.failed} failed, {self.retransmissions} retransmissions")
        if self.rtts_ms:
            low, high = min(self.rtts_ms), max(self.rtts_ms)
            mean = statistics.mean(self.rtts_ms)
            print(f"rtt min/avg/max = {low:.3f}/{mean:.3f}/{high:.3f} ms")


class PingClient:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.results = Results()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.sock, selectors.EVENT_READ)

    def wait_for(self, tag: bytes, deadline: float) -> float | None:
        """Return when the acknowledgement with this tag came, or None at the deadline."""
        while (left := deadline - time.perf_counter()) > 0:
            if not self.selector.select(left):
                return None
            data, _ = self.sock.recvfrom(65535)
            now = time.perf_counter()
            if tag in data:
                return now
        return None

    def ping(self, number: int) -> None:
        timeout = self.options.first_timeout
        for attempt in range(1, self.options.max_attempts + 1):
            # attempt number in the message: an answer to an older attempt is not mistaken
            tag = f"[{number}/{attempt}]".encode()
            start = time.perf_counter()
            self.sock.sendto(
                tag + self.options.message.encode(), (self.options.host, self.options.port)
            )
            arrival = self.wait_for(tag, start + timeout)
            if arrival is not None:
                rtt_ms = (arrival - start) * 1000
                self.results.rtts_ms.append(rtt_ms)
                print(f"message {number}: acknowledged, rtt={rtt_ms:.3f} ms (attempt {attempt})")
                return
            print(f"message {number}: no answer within {timeout * 1000:.0f} ms")
            timeout *= self.options.growth
            self.results.retransmissions += 1
        print(f"message {number}: given up")
        self.results.failed += 1

    def run(self) -> int:
        for number in range(self.options.count):
            self.ping(number)
        self.results.report()
        return 1 if self.results.failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5005)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--message", default="hello")
    args = parser.parse_args()
    return PingClient(Options(args.host, args.port, args.count, args.message)).run()


if __name__ == "__main__":
    sys.exit(main())
