"""What the client shows: a line for each thing that happens, the summary, and the JSON document.

The document (``"format": 1``) has ``settings`` as asked for, ``requests`` with every attempt, and
``statistics``. Names tell the unit: ``_s`` seconds; ``_ns`` whole nanoseconds since the run began,
read from this machine's monotonic clock (``clock``). ``sent_ns`` is just before the send call,
``received_ns`` just after the receive call; ``rtt_s`` is their difference, null where there is no
answer that is known to be this attempt's. ``outcome`` is one of the words in ``outcomes``.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from clients.udp.ledger import Attempt, Outcome, Request
from clients.udp.pinger import Event, Pinger, What
from clients.udp.statistics import Distribution, statistics

FORMAT = 1


COLOURS = {
    What.ANSWERED: "32",  # green
    What.ANSWERED_AMBIGUOUSLY: "32",
    What.TIMED_OUT: "33",  # yellow
    What.REFUSED: "31",  # red
    What.NOT_SENT: "31",
    What.GAVE_UP: "31",
}
"""Terminal colours (ECMA-48 "select graphic rendition" numbers) of lines that matter."""


def coloured(line: str, what: What) -> str:
    """Return the line in the colour of its event."""
    return f"\x1b[{COLOURS[what]}m{line}\x1b[0m" if what in COLOURS else line


def opening(server: str, pinger: Pinger) -> str:
    """Return the line that a run begins with."""
    count = pinger.schedule.count
    return f"{count} request{'s' * (count != 1)} to {server}, run {pinger.ledger.run}"


def event_line(event: Event) -> str:
    """Return the line about one event, or "" where the line before has told it."""
    attempt = event.attempt
    if attempt is not None:
        text = _about(event, attempt)
        return text and f"request {attempt.request}: {text}"
    if event.completed is not None:
        return (
            f"request {event.completed.number}: answered, round trip unknown: the answer does not "
            "say which attempt it is for"
        )
    if event.what is What.STRAY:
        return f"stray datagram {event.reason}: not counted as an answer"
    if event.what is What.DUPLICATE:
        return "duplicate answer"
    return "one more answer that does not say which attempt it is for"


def _about(event: Event, attempt: Attempt) -> str:
    number, wait = attempt.number, duration(attempt.timeout_ns / 1e9)
    failed = attempt.refusal or attempt.send_error
    match event.what:
        case What.SENT:
            return "sent" if number == 1 else ""
        case What.NOT_SENT:
            return f"attempt {number} could not be sent: {attempt.send_error}"
        case What.REFUSED:
            return f"attempt {number} {event.reason}"
        case What.TIMED_OUT:
            retry = f"retry {number + 1}"
            return f"{retry} after {wait}" if failed else f"timed out after {wait}, {retry}"
        case What.GAVE_UP:
            gave_up = f"gave up after {number} {'try' if number == 1 else 'tries'}"
            return gave_up if failed else f"timed out after {wait}, {gave_up}"
        case What.DUPLICATE:
            return f"duplicate answer to attempt {number}"
        case _:
            rtt = f"{(attempt.rtt_ns or 0) / 1e6:.3f} ms"
            late = "late, " if attempt.outcome is Outcome.LATE else ""
            if event.completed is None:
                return f"attempt {number}, needed no more, was answered {late}in {rtt}"
            return f"answered {late}in {rtt} (attempt {number})"


def duration(seconds: float) -> str:
    """Return a timeout as people write it: ``200 ms``, ``312.5 ms``, ``5.684 s``."""
    return f"{seconds:.4g} s" if seconds >= 1 else f"{seconds * 1000:.4g} ms"


def summary(pinger: Pinger, server: str, elapsed_s: float) -> str:
    """Return the summary of the run so far, several lines."""
    figures = statistics(pinger.ledger)
    asked = pinger.schedule.count
    begun = f"{figures.requests} of {asked}" if figures.requests < asked else f"{asked}"
    lines = [
        f"--- {server}: summary after {duration(elapsed_s)}",
        f"requests {begun}, answered {figures.answered}, gave up {figures.gave_up}",
        f"datagrams sent {figures.datagrams_sent}, retries {figures.retries}, "
        f"duplicates {figures.duplicates}, late {figures.late}, strays {figures.strays}",
        "attempts: "
        + (", ".join(f"{n} {outcome}" for outcome, n in figures.outcomes.items() if n) or "none"),
    ]
    if figures.ambiguous:
        lines.append(
            f"{figures.ambiguous} answers do not say which attempt they are for (this server does "
            "not quote the datagram): they give no round trip"
        )
    if figures.time_to_confirmation is not None:
        names = ("min", "average", "median", "p95", "max", "std.dev.")
        lines.append("milliseconds".ljust(22) + "".join(f"{name:>11}" for name in names))
        lines.append(_row("RTT", figures.rtt))
        lines.append(_row("time to confirmation", figures.time_to_confirmation))
        lines.append(
            "RTT: of the answered attempts alone. Time to confirmation: from a request's first "
            "sending, waits for lost attempts included."
        )
    return "\n".join(lines)


def _row(name: str, figures: Distribution | None) -> str:
    if figures is None:
        return f"{name:<22}{'no sample':>11}"
    values = (
        figures.min_s,
        figures.average_s,
        figures.median_s,
        figures.p95_s,
        figures.max_s,
        figures.stddev_s,
    )
    cells = ("-" if value is None else f"{value * 1000:.3f}" for value in values)
    return f"{name:<22}" + "".join(f"{cell:>11}" for cell in cells)


def document(
    pinger: Pinger,
    settings: Mapping[str, Any],
    server: str,
    elapsed_s: float,
    interrupted: str | None,
) -> str:
    """Return the run so far as a JSON text; ``interrupted`` names the signal that ended it."""
    begun_ns = pinger.begun_ns
    record = {
        "format": FORMAT,
        "client": "udp",
        "settings": dict(settings),
        "server": server,
        "run": pinger.ledger.run,
        "clock": "monotonic, read in user space",
        "elapsed_s": elapsed_s,
        "interrupted": interrupted,
        "ended_early": pinger.hopeless or None,
        "outcomes": list(Outcome),
        "requests": [_request(request, begun_ns) for request in pinger.ledger.requests],
        "statistics": asdict(statistics(pinger.ledger)),
        "strays": dict(pinger.ledger.strays),
    }
    return json.dumps(record, indent=2)


def _request(request: Request, begun_ns: int) -> dict[str, Any]:
    return {
        "request": request.number,
        "answered": request.confirmed_ns is not None,
        "gave_up": request.gave_up,
        "time_to_confirmation_s": _seconds(request.time_to_confirmation_ns),
        "attempts": [_attempt(attempt, begun_ns) for attempt in request.attempts],
    }


def _attempt(attempt: Attempt, begun_ns: int) -> dict[str, Any]:
    received_ns = attempt.received_ns
    return {
        "attempt": attempt.number,
        "outcome": attempt.outcome,
        "timeout_s": attempt.timeout_ns / 1e9,
        "timed_out": attempt.timed_out,
        "sent_ns": attempt.sent_ns - begun_ns,
        "received_ns": None if received_ns is None else received_ns - begun_ns,
        "rtt_s": _seconds(attempt.rtt_ns),
        "duplicates": attempt.duplicates,
        "error": attempt.send_error or attempt.refusal or None,
    }


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9
