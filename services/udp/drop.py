"""Which datagrams the server drops on purpose: the exercise's unreliable server.

Pure decisions. Each is called once per datagram with its sender and returns True to drop it.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Set

DROP_PROBABILITY = 0.5
"""The exercise: half of the datagrams get no answer."""

CLIENTS_REMEMBERED = 4096
"""For how many senders a schedule keeps count, so that forged senders cannot fill the memory."""

DropDecision = Callable[[Hashable], bool]


def random_drop(probability: float, random: Callable[[], float]) -> DropDecision:
    """Return what drops each datagram with ``probability``, independently of all others.

    ``random`` returns numbers evenly spread over 0 <= x < 1. One seeded sequence serves all
    clients in order of arrival, so decisions repeat if the order of the datagrams does.
    """
    return lambda client: random() < probability


class ScheduledDrop:
    """Drops exactly the datagrams with these positions, counted from 1 for each client.

    A client is an address and port. When more than ``clients_remembered`` have been seen, the one
    that has been silent longest is forgotten; if it comes back, its count starts again at 1.
    """

    def __init__(self, positions: Set[int], clients_remembered: int = CLIENTS_REMEMBERED) -> None:
        self._positions = positions
        self._clients_remembered = clients_remembered
        self._received: OrderedDict[Hashable, int] = OrderedDict()

    def __call__(self, client: Hashable) -> bool:
        """Return True to drop this client's next datagram."""
        if isinstance(client, tuple):
            client = client[:2]  # IPv6 addresses go on with flow label and scope
        position = self._received.pop(client, 0) + 1
        self._received[client] = position
        if len(self._received) > self._clients_remembered:
            self._received.popitem(last=False)
        return position in self._positions


def positions(text: str) -> frozenset[int]:
    """Return the positions of ``1,3,4``. Raises ValueError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"a drop schedule is a list of positions from 1, as 1,3,4; not {text!r}")
    return frozenset(map(int, parts))
