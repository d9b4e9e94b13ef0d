"""How long a cell is expected to take: for the time to go, nothing else. Pure."""

from clients.udp.schedule import Schedule
from lab.experiments.plan import Cell
from lab.report.theory import RetryLaw
from lab.scenario import meaning
from services.options import probability
from services.udp.drop import DROP_PROBABILITY

OVERHEAD_S = 5.0
"""The calibration, clients that start, receipts that are read."""

STRAGGLERS = 1.4
"""The slowest of several clients is so much slower than the mean one."""

TCP_REPAIR_S = 0.6
"""A loss costs TCP about so much: 0.2 s in a connection, 1 s for its first packet."""


def expected_s(cell: Cell) -> float:
    """Return about how many seconds it takes to measure a cell."""
    links = [meaning(words) for words in cell.network.values()]
    delay_s = sum(link.delay_s for link in links if link)
    arrives = 1.0
    for link in links:
        arrives *= 1 - link.loss if link else 1
    options = cell.options
    per_request_s = delay_s
    if "max_tries" in options:
        arrives *= 1 - probability(cell.settings.get("UDP_DROP", str(DROP_PROBABILITY)))
        schedule = Schedule(
            options["count"], options["timeout"], options["backoff"],
            1 if options["paced"] else options["max_tries"], options["interval"],
            "fixed" if options["rto"] == "adaptive" else options["rto"],
        )  # fmt: skip
        law = RetryLaw.of(schedule, 1 - arrives)
        per_request_s += law.wait_s + law.gave_up * law.starts_s[-1]
    else:
        per_request_s += 2 * (1 - arrives) * TCP_REPAIR_S
    spread = STRAGGLERS if cell.clients > 1 else 1.0
    return OVERHEAD_S + spread * float(options["count"] * max(options["interval"], per_request_s))
