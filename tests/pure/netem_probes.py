"""netem's own algorithm on numbered probes, for tests of what a calibration concludes."""

import random
from collections import Counter

from lab.calibration import HEADERS_BYTES, PROBE_BYTES, TRAIN_BYTES, Observation, plan
from services.netem.impairment import Impairment, parse
from services.netem.respond import Order


def observed(
    truth: str,
    asked: str | None = None,
    seed: int = 1,
    interface: str = "eth0",
    own_delay_s: float = 30e-6,
    order: Order | None = None,
) -> Observation:
    """Return what probes that are planned for ``asked`` undergo where ``truth`` acts."""
    chance = random.Random(seed)
    network = Impairment() if truth == "off" else parse(truth.split())
    wanted = truth if asked is None else asked
    order = order or plan(None if wanted == "off" else parse(wanted.split()))
    way = _Way(network, chance)
    copies: Counter[int] = Counter()
    delays_s: dict[int, float] = {}
    trains: list[list[tuple[float, float]]] = [[] for _ in range(order.trains)]
    for number in range(order.total):
        sent_s = order.due_ns(number) / 1e9
        in_train = number >= order.count
        size = HEADERS_BYTES + (TRAIN_BYTES if in_train else PROBE_BYTES)
        for delay_s in way.passes(sent_s, size):
            held_up_s = own_delay_s * chance.random()
            if in_train:
                train = trains[(number - order.count) // order.train_packets]
                train.append((sent_s + delay_s + held_up_s, delay_s + held_up_s))
                continue
            copies[number] += 1
            delays_s.setdefault(number, delay_s + held_up_s)
    arrivals = dict(
        sorted(delays_s.items(), key=lambda item: order.due_ns(item[0]) / 1e9 + item[1])
    )
    return Observation(
        sent=order.count,
        copies=copies,
        delays_s=arrivals,
        trains=trains,
        interfaces={interface: sum(copies.values())} if copies else {},
    )


class _Way:
    def __init__(self, network: Impairment, chance: random.Random) -> None:
        self._network = network
        self._chance = chance
        self._bad = False
        self._last = chance.random()
        self._counter = 0
        self._free_s = 0.0

    def passes(self, now_s: float, size: int, *, copy: bool = False) -> list[float]:
        """Return the delay of each copy that arrives: none, one or two."""
        network, chance = self._network, self._chance
        twice = not copy and chance.random() < network.duplicate
        count = 1 + twice - self._lost()
        if count == 0:
            return []
        arrived = self.passes(now_s, size, copy=True) if count == 2 else []
        harmed = chance.random() < network.corrupt and chance.random() >= 6 / size
        delay_s = self._delay_s(now_s, size)
        return ([] if harmed else [delay_s]) + arrived

    def _lost(self) -> bool:
        network, chance = self._network, self._chance
        if network.loss_gemodel:
            p, r, bad, good = network.loss_gemodel
            was_bad = self._bad
            if chance.random() < (r if was_bad else p):
                self._bad = not was_bad
            return chance.random() < (bad if was_bad else good)
        rho = network.loss_correlation
        self._last = (1 - rho) * chance.random() + rho * self._last
        return self._last < network.loss

    def _delay_s(self, now_s: float, size: int) -> float:
        network, chance = self._network, self._chance
        ready = network.gap and self._counter >= network.gap - 1
        if ready and chance.random() < network.reorder:
            self._counter = 0
            return 0.0
        self._counter += 1
        delay_s = network.delay_s
        if network.jitter_s:
            if network.distribution == "normal":
                delay_s += network.jitter_s * chance.gauss(0, 1)
            else:
                delay_s += network.jitter_s * chance.uniform(-1, 1)
        delay_s = max(0.0, delay_s)
        if network.rate_bytes_per_s:
            begin_s = max(now_s + delay_s, self._free_s)
            self._free_s = begin_s + size / network.rate_bytes_per_s
            return self._free_s - now_s
        return delay_s
