"""What the clock client prints: a line for each question, the summary, and the same as JSON.

The JSON document (``"format": 1``) has the settings asked for, every question with its raw
readings, and the summary. Times are whole nanoseconds; the numbers exceed 2^53, so a program that
reads JSON numbers as doubles rounds them to 0.3 us.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from clients.clock.asking import Failure, Outcome
from clients.clock.estimate import CONFIDENCE, MAX_DRIFT_PPM, Estimate, Sample, Step, estimate
from services.clock.protocol import NANOSECONDS, rfc3339

FORMAT = 1


def outcome_line(outcome: Outcome) -> str:
    """Return the line about one question."""
    if isinstance(outcome, Failure):
        return f"{outcome.number:>3}  {outcome.message}"
    return (
        f"{outcome.number:>3}  server {_server_time(outcome)}"
        f"  difference {shown_ns(outcome.offset_ns, signed=True)}"
        f" ± {shown_ns(outcome.bound_ns)}"
        f"  {_round_trip(outcome)}"
    )


def _server_time(sample: Sample) -> str:
    if sample.server.received_before_ns is None:
        return sample.server.text
    return rfc3339(sample.server.transmit_earliest_ns)


def _round_trip(sample: Sample) -> str:
    text = f"round trip {shown_ns(sample.rtt_ns)}"
    residence_ns = sample.server.residence_ns
    return text if residence_ns is None else f"{text}, {shown_ns(residence_ns)} of it in the server"


def summary_text(
    outcomes: Sequence[Outcome],
    target: str,
    max_drift_ppm: float = MAX_DRIFT_PPM,
    fallback: str = "",
) -> str:
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
    found = estimate(samples, max_drift_ppm)
    direction = "ahead of" if found.offset_ns >= 0 else "behind"
    lines.append(
        f"the server's clock is {shown_ns(abs(found.offset_ns))} {direction} this machine's, "
        f"± {shown_ns(found.bound_ns)}, when this one showed {rfc3339(found.at_wall_ns)}"
    )
    lines += [f"  {line}" for line in _details(found, samples)]
    if fallback:
        lines.append(f"  (asked plainly, so when the question arrived is not known: {fallback})")
    return "\n".join(lines)


def _details(found: Estimate, samples: Sequence[Sample]) -> list[str]:
    count = "of one sample" if found.samples == 1 else f"that {found.samples} samples agree on"
    lines = [
        f"(the middle of the interval {count}: the way there and the way back",
        " cannot be timed apart from here; if one took all of the delay, the truth is at an end)",
        f"best sample: question {found.sample.number}, "
        f"{shown_ns(found.sample.offset_ns, signed=True)} ± {shown_ns(found.sample.bound_ns)}",
    ]
    if found.jitter_ns is not None:
        lines.append(
            f"median {shown_ns(found.median_ns, signed=True)}, "
            f"jitter {shown_ns(round(found.jitter_ns))}"
        )
        lines.append(_drift_line(found))
    lines += [_step_line(step) for step in found.steps]
    reasons = list(found.rejected.values())
    if reasons:
        lines.append(
            "left out of median, jitter and drift, not of the bound: "
            + ", ".join(f"{reasons.count(reason)} {reason}" for reason in dict.fromkeys(reasons))
        )
    resolution_ns = found.sample.server.resolution_ns
    if resolution_ns > 1:
        lines.append(
            f"(the server shows its time in steps of {shown_ns(resolution_ns)}, and half a step "
            "is part of the bound)"
        )
    zones = {sample.server.zone_assumed for sample in samples} - {None}
    lines += [
        f"(the answers name no time zone: {zone} is assumed; --zone says otherwise)"
        for zone in sorted(map(str, zones))
    ]
    return lines


def _drift_line(found: Estimate) -> str:
    if found.drift is not None:
        drift = found.drift
        return (
            f"drift {drift.ppm:+.2f} ppm, with 95 % confidence from {drift.low_ppm:+.2f} "
            f"to {drift.high_ppm:+.2f}"
        )
    low_ppm, high_ppm = found.drift_limits_ppm
    return f"drift: from {low_ppm:+.0f} to {high_ppm:+.0f} ppm; the run is too short to say more"


def _step_line(step: Step) -> str:
    where = f"between questions {step.after_number} and {step.before_number}"
    middle_ns = (step.earliest_ns + step.latest_ns) // 2
    size = shown_ns(middle_ns, signed=True)
    if step.clock == "this machine":
        return f"this machine's clock was set {where}, by {size}: taken out of all figures"
    bound = shown_ns((step.latest_ns - step.earliest_ns + 1) // 2)
    return (
        f"the server's clock was set {where}, by {size} ± {bound}: the result is that of after it"
    )


def document(
    outcomes: Sequence[Outcome],
    settings: Mapping[str, Any],
    peer: str | None,
    *,
    interrupted: bool = False,
    max_drift_ppm: float = MAX_DRIFT_PPM,
    question: str = "exact",
    fallback: str = "",
) -> dict[str, Any]:
    """Return the JSON document; ``peer`` is the address that was connected to, if any."""
    samples = [outcome for outcome in outcomes if isinstance(outcome, Sample)]
    rtts = [sample.rtt_ns for sample in samples]
    summary: dict[str, Any] = {
        "asked": len(outcomes),
        "answered": len(samples),
        "failed": len(outcomes) - len(samples),
        "interrupted": interrupted,
        "question": question,
        "fallback": fallback or None,
    }
    rejected: dict[int, str] = {}
    if samples:
        found = estimate(samples, max_drift_ppm)
        rejected = found.rejected
        low_ppm, high_ppm = found.drift_limits_ppm
        summary |= {
            "rtt_min_ns": min(rtts),
            "rtt_average_ns": sum(rtts) / len(rtts),
            "rtt_max_ns": max(rtts),
            "offset_ns": found.offset_ns,
            "bound_ns": found.bound_ns,
            "at_wall_ns": found.at_wall_ns,
            "at": rfc3339(found.at_wall_ns),
            "samples_agreeing": found.samples,
            "best_number": found.sample.number,
            "median_ns": found.median_ns,
            "jitter_ns": found.jitter_ns,
            "drift": found.drift and asdict(found.drift) | {"confidence": CONFIDENCE},
            "drift_limits": {"low_ppm": low_ppm, "high_ppm": high_ppm},
            "drift_assumed_below_ppm": found.max_drift_ppm,
            "steps": [asdict(step) for step in found.steps],
        }
    return {
        "format": FORMAT,
        "client": "clock",
        "settings": dict(settings),
        "peer": peer,
        "requests": [_record(outcome, rejected) for outcome in outcomes],
        "summary": summary,
    }


def _record(outcome: Outcome, rejected: Mapping[int, str]) -> dict[str, Any]:
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
        "sent_ns": outcome.sent_ns,
        "received_ns": outcome.received_ns,
        "stamped_by": {
            "sent": outcome.stamped_by[0],
            "server_received": server.received_by,
            "received": outcome.stamped_by[1],
        },
        "server_received_before_ns": server.received_before_ns,
        "residence_ns": server.residence_ns,
        "rtt_ns": outcome.rtt_ns,
        "delay_ns": outcome.delay_ns,
        "retransmissions": outcome.retransmissions,
        "rejected": rejected.get(outcome.number),
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
