"""Answers a UDP client under test by a plan, and tells all that it does.

Order::

    {"port", "prefix", "suffix", "constant": null or text,
     "plan": [{"drop": 3, "delay": 0.05, "fraction": 0.3, "duplicate": 1, "late": false}, ...],
     "rest": {...}}

The n-th entry of ``plan`` is for the client's n-th request, ``rest`` for those after it. Of a
request, the first ``drop`` datagrams are ignored; then one is answered after ``delay`` seconds, or
after ``fraction`` of the client's first timeout as it was seen in an earlier request. ``duplicate``
sends the answer that many more times. ``late``: the answer to the first datagram goes out after the
second has come, and then nothing until the third. A datagram that comes before an answer is out is
the same request again; the next one after it is the next request.

Tells ``received`` (request, attempt, size, data) and ``answered`` (request, attempt, delay_s).
"""

import select
import socket
import time
from typing import Any

from grading.peer import order, tell, text

LONGEST_S, SHORTEST_S = 0.4, 0.02


def main() -> None:
    """Answer until the process is ended."""
    given = order()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", given["port"]))
        tell("ready")
        _Server(sock, given).run()


class _Server:
    def __init__(self, sock: socket.socket, given: dict[str, Any]) -> None:
        self._sock = sock
        self._given = given
        self._request, self._attempt, self._done = 0, 0, True
        self._first_ns = 0
        self._timeout_s: float | None = None
        self._due: list[tuple[float, bytes, tuple[str, int], int, int, float]] = []

    def run(self) -> None:
        while True:
            self._due.sort(key=lambda item: item[0])
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            ready, _, _ = select.select([self._sock], [], [], wait)
            if ready:
                data, client = self._sock.recvfrom(65536)
                self._receive(data, client, time.monotonic_ns())
            while self._due and self._due[0][0] <= time.monotonic():
                self._answer(*self._due.pop(0)[1:])

    def _step(self) -> dict[str, Any]:
        plan = self._given["plan"]
        return dict(plan[self._request - 1] if self._request <= len(plan) else self._given["rest"])

    def _receive(self, data: bytes, client: tuple[str, int], now_ns: int) -> None:
        if self._done:
            self._request, self._attempt, self._done = self._request + 1, 0, False
            self._first_ns = now_ns
        self._attempt += 1
        if self._attempt == 2 and self._timeout_s is None:
            self._timeout_s = (now_ns - self._first_ns) / 1e9
        shown = {"size": len(data), "data": text(data[:200])}
        tell(
            "received",
            t_ns=now_ns,
            request=self._request,
            attempt=self._attempt,
            port=client[1],
            **shown,
        )
        step = self._step()
        if step.get("late"):
            if self._attempt == 1:
                self._first = (data, client)
            elif self._attempt == 2:
                self._later(0.0, *self._first, 1)
            elif self._attempt >= 3:
                self._later(0.0, data, client, self._attempt)
            return
        if self._attempt <= step.get("drop", 0) or any(d[3] == self._request for d in self._due):
            return
        delay_s = step.get("delay", 0.0)
        if "fraction" in step:
            delay_s = step["fraction"] * min(self._timeout_s or 0.5, 1.0)
            delay_s = min(LONGEST_S, max(SHORTEST_S, delay_s))
        self._later(delay_s, data, client, self._attempt)
        for _ in range(step.get("duplicate", 0)):
            self._later(delay_s + 0.001, data, client, self._attempt)

    def _later(self, delay_s: float, data: bytes, client: tuple[str, int], attempt: int) -> None:
        due = time.monotonic() + delay_s
        self._due.append((due, data, client, self._request, attempt, delay_s))

    def _answer(
        self, data: bytes, client: tuple[str, int], request: int, attempt: int, delay_s: float
    ) -> None:
        given = self._given
        answer = given["prefix"].encode("latin-1") + data + given["suffix"].encode("latin-1")
        if given.get("constant") is not None:
            answer = given["constant"].encode("latin-1")
        self._sock.sendto(answer, client)
        tell("answered", request=request, attempt=attempt, delay_s=delay_s, size=len(answer))
        late_first = self._step().get("late") and attempt == 1
        if request == self._request and not late_first:
            self._done = True


if __name__ == "__main__":
    main()
