"""Raw data of experiments as the clients and sidecars leave them, but from a seeded simulation."""

import random
from collections.abc import Callable, Mapping
from typing import Any

from clients.udp.schedule import Schedule

RTT_S = 0.0005

Drop = Callable[[int, random.Random], bool]
"""Whether the server drops the datagram with this number (from 0)."""


def record(
    document: Mapping[str, Any],
    *,
    cell: int = 1,
    parameters: Mapping[str, Any] | None = None,
    from_server: Mapping[str, Any] | None = None,
    to_server: Mapping[str, Any] | None = None,
    settings: Mapping[str, str] | None = None,
    status: str = "measured",
    because: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the record of a cell; a direction's mapping is what its kernel shows in force."""
    ways = {"to_server": _way(to_server or {}), "from_server": _way(from_server or {})}
    return {
        "format": 1,
        "cell": cell,
        "repetition": 1,
        "parameters": dict(parameters or {}),
        "network": {name: way["asked"] for name, way in ways.items()},
        "settings": dict(settings or {}),
        "clients": 1,
        "arguments": [],
        "began": "2026-01-01T00:00:00+00:00",
        "took_s": 1.0,
        "receipt": {
            "verdict": "in effect",
            "kernel": "6.12",
            "tc": "6.15",
            "nft": "1.1",
            "services": {"any": {"interface": "eth0", "directions": ways}},
        },
        "runs": [document],
        "status": status,
        "because": list(because),
    }


def _way(fields: Mapping[str, Any]) -> dict[str, Any]:
    words = " ".join(f"{name} {value}" for name, value in fields.items())
    return {
        "asked": words or "off",
        "in_effect": words or "off",
        "mechanism": "netem" if fields else "none",
        "fields": dict(fields),
        "seed": None,
        "repeatable": False,
        "calibration": None,
    }


def independent(probability: float) -> Drop:
    """Return the exercise's drop: each datagram by itself."""
    return lambda number, draw: draw.random() < probability


def udp_document(
    schedule: Schedule,
    seed: int,
    *,
    drop: Drop,
    told_drop: float,
    there: float = 0.0,
    back: float = 0.0,
    rtt_s: float = RTT_S,
) -> dict[str, Any]:
    """Return what the UDP client prints with --json; ``told_drop`` is the server's account."""
    draw = random.Random(seed)
    timeouts = schedule.timeouts()
    requests, number, now_ns = [], 0, 0
    for request in range(1, schedule.count + 1):
        attempts: list[dict[str, Any]] = []
        first_ns, confirmed_ns = now_ns, None
        sent_ns = now_ns
        for attempt in range(1, schedule.max_tries + 1):
            if draw.random() < there:
                outcome = "lost on the way there"
            elif drop(number, draw):
                outcome = "dropped by the server"
            elif draw.random() < back:
                outcome = "lost on the way back"
            else:
                outcome = "answered"
            number += 1
            wait_ns = timeouts.timeout_ns(attempt)
            arrives_ns = sent_ns + round(rtt_s * 1e9) if outcome == "answered" else None
            if arrives_ns is not None and arrives_ns - sent_ns > wait_ns:
                outcome = "answered late"
            attempts.append(
                {
                    "attempt": attempt,
                    "outcome": outcome,
                    "sent_ns": sent_ns,
                    "received_ns": arrives_ns,
                    "rtt_s": None if arrives_ns is None else rtt_s,
                }
            )
            if arrives_ns is not None and confirmed_ns is None:
                confirmed_ns = arrives_ns
            sent_ns += wait_ns + timeouts.pause_ns(attempt)
            if confirmed_ns is not None and confirmed_ns <= sent_ns:
                break
        now_ns = max(sent_ns, confirmed_ns or 0)
        requests.append(
            {
                "request": request,
                "answered": confirmed_ns is not None,
                "gave_up": confirmed_ns is None,
                "time_to_confirmation_s": confirmed_ns and (confirmed_ns - first_ns) / 1e9,
                "attempts": attempts,
            }
        )
    return {
        "settings": {
            "count": schedule.count,
            "timeout_s": schedule.first_timeout_s,
            "backoff": schedule.backoff,
            "interval_s": schedule.interval_s,
            "rto": schedule.rto,
            "paced": schedule.paced,
        },
        "in_effect": {"server_drop": told_drop, "max_tries": schedule.max_tries},
        "requests": requests,
    }


def http_document(count: int, seed: int, *, lost: float, second_ms: float = 1000) -> dict[str, Any]:
    """Return what the HTTP client prints with --json; a lost handshake costs ``second_ms``."""
    draw = random.Random(seed)
    attempts = []
    for _ in range(count):
        connect_ms = 0.2 + (second_ms if draw.random() < lost else 0)
        timing = {
            "resolve_ms": 0.1,
            "connect_ms": connect_ms,
            "first_byte_ms": 0.5,
            "total_ms": connect_ms + 1,
        }
        attempts.append({"error": None, "answer": None, "timing": timing})
    return {"attempts": attempts}
