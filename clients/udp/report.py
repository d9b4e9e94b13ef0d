"""What the client shows: a line for each thing that happens, the summary, JSON and CSV.

The JSON document (``"format": 2``) has ``settings`` as asked for and ``in_effect``, ``requests``
with every attempt, and ``statistics``. Names tell the unit: ``_s`` seconds; ``_ns`` whole
nanoseconds since the run began, on this machine's monotonic clock. ``sent_ns`` is read by the
program just before the send call, ``received_ns`` just after the receive call; ``left_ns`` and
``arrived_ns`` are the kernel's stamps, null where it gave none that can be trusted. ``elapsed_s``
is from sending to answer, by the kernel's stamps where there are some, ``held_s`` how long the
server says that it held the datagram, and ``rtt_s`` the difference. ``server_received_ns`` is on
the server's clock, since 1970. ``outcome`` is one of the words in ``outcomes``. The CSV has one
line for each attempt, with the same names.
"""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from clients.udp.ledger import Attempt, Outcome, Request
from clients.udp.pinger import Event, Pinger, What
from clients.udp.settlement import Settlement
from clients.udp.statistics import Distribution, Expectation, Statistics, share, statistics

FORMAT = 2


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
    schedule = pinger.schedule
    paced = f", one every {duration(schedule.interval_s)}" if schedule.paced else ""
    plural = "s" * (schedule.count != 1)
    return f"{schedule.count} request{plural} to {server}, run {pinger.ledger.run}{paced}"


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
        case What.RTO:
            return f"attempt {number}: {event.reason}"
        case _:
            rtt = f"{(attempt.rtt_ns or 0) / 1e6:.3f} ms"
            late = "late, " if attempt.outcome is Outcome.LATE else ""
            if event.completed is None:
                return f"attempt {number}, needed no more, was answered {late}in {rtt}"
            return f"answered {late}in {rtt} (attempt {number})"


def duration(seconds: float) -> str:
    """Return a timeout as people write it: ``200 ms``, ``312.5 ms``, ``5.684 s``."""
    return f"{seconds:.4g} s" if seconds >= 1 else f"{seconds * 1000:.4g} ms"


def progress(pinger: Pinger) -> str:
    """Return the state of a run in a few words, for a line that is written over."""
    ledger = pinger.ledger
    sent, answered = len(ledger.attempts), len(ledger.answers_in_order)
    text = f"{sent} of {pinger.schedule.count} sent, {answered} answered"
    if ledger.answers_in_order:
        text += f", the last in {(ledger.answers_in_order[-1].rtt_ns or 0) / 1e6:.3f} ms"
    return text


def summary(
    pinger: Pinger,
    server: str,
    elapsed_s: float,
    settlement: Settlement | None = None,
    expectation: Expectation | None = None,
    remarks: tuple[str, ...] = (),
) -> str:
    """Return the summary of the run so far, several lines."""
    figures = statistics(pinger.ledger)
    settlement = settlement or Settlement()
    asked = pinger.schedule.count
    begun = f"{figures.requests} of {asked}" if figures.requests < asked else f"{asked}"
    there = f" ({settlement.copies_there} on the way there)" if settlement.copies_there else ""
    lines = [
        f"--- {server}: summary after {duration(elapsed_s)}",
        f"requests {begun}, answered {figures.answered}, gave up {figures.gave_up}",
        f"datagrams sent {figures.datagrams_sent}, retries {figures.retries}, "
        f"duplicates {figures.duplicates}{there}, reordered {figures.reordered}, "
        f"late {figures.late}, strays {figures.strays}",
        *_account_table(figures, expectation),
    ]
    if settlement.remark and figures.outcomes[Outcome.UNKNOWN]:
        lines.append(settlement.remark)
    lines += _loss_lines(figures, settlement, expectation)
    if figures.ambiguous:
        lines.append(
            f"{figures.ambiguous} answers do not say which attempt they are for (this server does "
            "not quote the datagram): they give no round trip"
        )
    if figures.time_to_confirmation is not None:
        names = ("min", "average", "median", "p95", "p99", "max", "std.dev.")
        lines.append("milliseconds".ljust(22) + "".join(f"{name:>11}" for name in names))
        lines.append(_row("RTT", figures.rtt))
        if figures.held is not None:
            lines.append(_row("held by the server", figures.held))
        if figures.ipdv is not None:
            lines.append(_row("RTT variation (IPDV)", figures.ipdv))
        lines.append(_row("time to confirmation", figures.time_to_confirmation))
        jitter_s = figures.jitter_s
        jitter = "" if jitter_s is None else f"Jitter (RFC 3550): {jitter_s * 1000:.3f} ms. "
        lines.append(
            f"{jitter}RTT: of the answered attempts alone. Time to confirmation: from a request's "
            "first sending, waits for lost attempts included."
        )
        lines.append(_sources(figures))
    return "\n".join([*lines, *remarks])


def _account_table(figures: Statistics, expectation: Expectation | None) -> list[str]:
    """Return what became of the attempts, a line each; late answers are answers to expect."""
    total = sum(figures.outcomes.values())
    expected = expectation.outcomes if expectation else {}
    lines = [f"{'attempts':<24}{'count':>8}{'share':>9}" + ("  expected" if expected else "")]
    for outcome, count in figures.outcomes.items():
        if count or outcome in expected:
            of_all = f"{count / total:>9.3f}" if total else f"{'-':>9}"
            chance = f"{expected[outcome]:>10.3f}" if outcome in expected else ""
            lines.append(f"  {outcome:<22}{count:>8}{of_all}{chance}")
    return [*lines, f"  {'sum':<22}{total:>8}"]


def _loss_lines(
    figures: Statistics, settlement: Settlement, expectation: Expectation | None
) -> list[str]:
    lines = []
    if figures.loss is not None:
        loss = figures.loss
        lines.append(
            f"without an answer: {loss.fraction:.3f} of the datagrams "
            f"(95 % confidence: {loss.low:.3f} to {loss.high:.3f})"
        )
        if expectation is not None:
            lines[-1] += f", expected {1 - expectation.answered:.3f}"
    dropped, back = figures.outcomes[Outcome.DROPPED], figures.outcomes[Outcome.LOST_BACK]
    answered = figures.outcomes[Outcome.ANSWERED] + figures.late
    of_received = share(dropped, dropped + back + answered)
    if settlement.drop is not None and of_received is not None:
        lines.append(
            f"dropped by the server: {of_received.fraction:.3f} of those that reached it "
            f"({of_received.low:.3f} to {of_received.high:.3f}), its setting is {settlement.drop:g}"
        )
    if expectation is not None and figures.requests:
        lines.append(
            f"attempts per request: {sum(figures.outcomes.values()) / figures.requests:.2f}, "
            f"expected {expectation.attempts_per_request:.2f}; given up: "
            f"{figures.gave_up / figures.requests:.4g}, expected {expectation.gave_up:.2g}"
        )
    return lines


def _sources(figures: Statistics) -> str:
    """Return a sentence on which two instants the round trips are between."""
    if figures.rtt is None:
        return "There is no round trip to show."
    samples, by_kernel = figures.rtt.samples, figures.rtt_by_kernel
    if by_kernel == samples:
        source = "RTT is from kernel stamp to kernel stamp"
    elif by_kernel == 0:
        source = "RTT is by this program's clock: it contains the time it took to be woken"
    else:
        source = f"RTT is from kernel stamp to kernel stamp in {by_kernel} of {samples} samples"
    held = 0 if figures.held is None else figures.held.samples
    if held == samples:
        return f"{source}, less the time held by the server."
    if held == 0:
        return f"{source}; the time that the server took is in it."
    return f"{source}, less the time held by the server where it told that ({held} samples)."


def _row(name: str, figures: Distribution | None) -> str:
    if figures is None:
        return f"{name:<22}{'no sample':>11}"
    values = (
        figures.min_s,
        figures.average_s,
        figures.median_s,
        figures.p95_s,
        figures.p99_s,
        figures.max_s,
        figures.stddev_s,
    )
    cells = ("-" if value is None else f"{value * 1000:.3f}" for value in values)
    return f"{name:<22}" + "".join(f"{cell:>11}" for cell in cells)


def document(
    pinger: Pinger,
    settings: Mapping[str, Any],
    in_effect: Mapping[str, Any],
    elapsed_s: float,
    interrupted: str | None,
    settlement: Settlement,
    expectation: Expectation | None,
    remarks: tuple[str, ...] = (),
) -> str:
    """Return the run so far as a JSON text; ``interrupted`` names the signal that ended it."""
    expected = expectation and {
        "drop": expectation.drop,
        "loss_there": expectation.there,
        "loss_back": expectation.back,
        "outcomes": expectation.outcomes,
        "attempts_per_request": expectation.attempts_per_request,
        "gave_up": expectation.gave_up,
    }
    record = {
        "format": FORMAT,
        "client": "udp",
        "settings": dict(settings),
        "in_effect": dict(in_effect),
        "server": in_effect["server"],
        "run": pinger.ledger.run,
        "elapsed_s": elapsed_s,
        "interrupted": interrupted,
        "ended_early": pinger.hopeless or None,
        "outcomes": list(Outcome),
        "requests": [_request(request, pinger.begun_ns) for request in pinger.ledger.requests],
        "statistics": asdict(statistics(pinger.ledger)),
        "account": asdict(settlement),
        "expected": expected,
        "strays": dict(pinger.ledger.strays),
        "remarks": list(remarks),
    }
    return json.dumps(record, indent=2)


def table(pinger: Pinger) -> str:
    """Return every attempt as CSV (RFC 4180), with a line of names."""
    text = io.StringIO(newline="")
    rows = [_attempt(attempt, pinger.begun_ns) for attempt in pinger.ledger.attempts]
    names = ["request", *_attempt(Attempt(0, 0, 0, 0, 0), 0)]
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    for attempt, row in zip(pinger.ledger.attempts, rows, strict=True):
        writer.writerow({"request": attempt.request, **row})
    return text.getvalue()


def _request(request: Request, begun_ns: int) -> dict[str, Any]:
    return {
        "request": request.number,
        "answered": request.confirmed_ns is not None,
        "gave_up": request.gave_up,
        "time_to_confirmation_s": _seconds(request.time_to_confirmation_ns),
        "attempts": [_attempt(attempt, begun_ns) for attempt in request.attempts],
    }


def _attempt(attempt: Attempt, begun_ns: int) -> dict[str, Any]:
    def since(instant_ns: int | None) -> int | None:
        return None if instant_ns is None else instant_ns - begun_ns

    fate, times = attempt.fate, attempt.times
    return {
        "attempt": attempt.number,
        "sequence": attempt.sequence,
        "outcome": str(attempt.outcome),
        "timeout_s": attempt.timeout_ns / 1e9,
        "timed_out": attempt.timed_out,
        "sent_ns": attempt.sent_ns - begun_ns,
        "left_ns": since(attempt.left_ns),
        "arrived_ns": since(attempt.arrived_ns),
        "received_ns": since(attempt.received_ns),
        "elapsed_s": _seconds(attempt.elapsed_ns),
        "held_s": _seconds(attempt.held_ns),
        "rtt_s": _seconds(attempt.rtt_ns),
        "server_received_ns": times and times.received_ns,
        "server_copies": fate and fate.copies,
        "duplicates": attempt.duplicates,
        "reordered": attempt.reordered,
        "error": attempt.send_error or attempt.refusal or None,
    }


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9
