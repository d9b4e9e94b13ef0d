"""What the clock client prints: a line for each question, the summary, and the same as JSON.

The JSON document (``"format": 1``) has the settings asked for, every question with its raw
readings, and the summary. Times are whole nanoseconds; the numbers exceed 2^53, so a program that
reads JSON numbers as doubles rounds them to 0.3 us.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clients.clock.estimate import Sample, estimate
from services.clock.protocol import NANOSECONDS, rfc3339

FORMAT = 1


@dataclass(frozen=True)
class Failure:
    """A question without a time: its ``status`` (one or two words) and what happened."""

    number: int
    status: str
    message: str


Outcome = Sample | Failure


def outcome_line(outcome: Outcome) -> str:
    """Return the line about one question."""
    if isinstance(outcome, Failure):
        return f"{outcome.number:>3}  {outcome.message}"
    return (
        f"{outcome.number:>3}  server {outcome.server.text}"
        f"  difference {shown_ns(outcome.offset_ns, signed=True)}"
        f" ± {shown_ns(outcome.bound_ns)}"
        f"  round trip {shown_ns(outcome.rtt_ns)}"
    )


def summary_text(outcomes: Sequence[Outcome], target: str) -> str:
    """Return the summary for people, several lines."""
    samples = [outcome for outcome in outcomes if isinstance(outcome, Sample)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    counts = [f"{len(outcomes)} asked", f"{len(samples)} answered"]
    statuses = [failure.status for failure in failures]
    counts += [f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses)]
    lines = [f"--- clock server {target}: {', '.join(counts)}"]
    if not samples:
        return "\n".join([*lines, "no time was read, so nothing can be said about its clock"])
    rtts = [sample.rtt_ns for sample in samples]
    spread = (min(rtts), sum(rtts) // len(rtts), max(rtts))
    lines.append("round trip min / average / max: " + " / ".join(map(shown_ns, spread)))
    best = estimate(samples)
    direction = "ahead of" if best.offset_ns >= 0 else "behind"
    lines.append(
        f"the server's clock is {shown_ns(abs(best.offset_ns))} {direction} this machine's, "
        f"± {shown_ns(best.bound_ns)}"
    )
    lines.append(
        f"  (from question {best.sample.number}, round trip {shown_ns(best.sample.rtt_ns)}: when "
        "in it the server read its clock cannot be known, so ± half of it)"
    )
    resolution_ns = best.sample.server.resolution_ns
    if resolution_ns > 1:
        lines.append(
            f"  (the server shows its time in steps of {shown_ns(resolution_ns)}, and half a step "
            "is part of the bound)"
        )
    zones = {sample.server.zone_assumed for sample in samples} - {None}
    lines += [
        f"  (the answers name no time zone: {zone} is assumed; --zone says otherwise)"
        for zone in sorted(map(str, zones))
    ]
    return "\n".join(lines)


def document(
    outcomes: Sequence[Outcome], settings: Mapping[str, Any], peer: str | None, interrupted: bool
) -> dict[str, Any]:
    """Return the JSON document; ``peer`` is the address that was connected to, if any."""
    samples = [outcome for outcome in outcomes if isinstance(outcome, Sample)]
    rtts = [sample.rtt_ns for sample in samples]
    summary: dict[str, Any] = {
        "asked": len(outcomes),
        "answered": len(samples),
        "failed": len(outcomes) - len(samples),
        "interrupted": interrupted,
    }
    if samples:
        best = estimate(samples)
        summary |= {
            "rtt_min_ns": min(rtts),
            "rtt_average_ns": sum(rtts) / len(rtts),
            "rtt_max_ns": max(rtts),
            "offset_ns": best.offset_ns,
            "bound_ns": best.bound_ns,
            "best_number": best.sample.number,
        }
    return {
        "format": FORMAT,
        "client": "clock",
        "settings": dict(settings),
        "peer": peer,
        "requests": [_record(outcome) for outcome in outcomes],
        "summary": summary,
    }


def _record(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Failure):
        return {"number": outcome.number, "status": outcome.status, "message": outcome.message}
    server = outcome.server
    return {
        "number": outcome.number,
        "status": "answered",
        "server_text": server.text,
        "server_time": rfc3339(server.earliest_ns),
        "server_earliest_ns": server.earliest_ns,
        "server_latest_ns": server.latest_ns,
        "resolution_ns": server.resolution_ns,
        "zone_assumed": server.zone_assumed,
        "sent_wall_ns": outcome.sent_wall_ns,
        "received_wall_ns": outcome.received_wall_ns,
        "rtt_ns": outcome.rtt_ns,
        "offset_ns": outcome.offset_ns,
        "bound_ns": outcome.bound_ns,
    }


def shown_ns(value_ns: int, *, signed: bool = False) -> str:
    """Return nanoseconds in a unit that suits them: ``2.500013 s``, ``+1.234 ms``, ``85.2 us``."""
    sign = "+" if signed else ""
    size = abs(value_ns)
    if size >= NANOSECONDS:
        return f"{value_ns / NANOSECONDS:{sign}.6f} s"
    if size >= 1_000_000:
        return f"{value_ns / 1_000_000:{sign}.3f} ms"
    return f"{value_ns / 1_000:{sign}.1f} us"
