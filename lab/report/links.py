"""The network of a cell as the kernel showed it: what the predictions start from. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.scenario import DIRECTIONS

_WITHOUT_LAW = {
    "loss_correlation": "its losses come in bursts",
    "loss_state": "its losses come in bursts",
    "loss_gemodel": "its losses come in bursts",
    "corrupt": "it corrupts packets",
    "duplicate": "it duplicates packets",
    "reorder": "it reorders packets",
    "rate_bytes_per_s": "its rate is limited, so packets queue",
    "slot_max_s": "it sends in slots",
    "slot_delay_s": "it sends in slots",
}


@dataclass(frozen=True)
class Way:
    """One direction: independent loss with a probability, and a constant delay with jitter.

    ``lawless`` says why there is no simple law for it, or is "". ``repeats``: its losses come again
    as they were each time that it is put into effect, from a seed.
    """

    loss: float
    delay_s: float
    jitter_s: float
    lawless: str
    repeats: bool


def ways(record: Mapping[str, Any]) -> dict[str, Way]:
    """Return both directions of a cell as read back from the kernel."""
    return {direction: _way(way) for direction, way in directions(record).items()}


def lawless(records: Sequence[Mapping[str, Any]]) -> str:
    """Return why probability has no simple law for the records of a cell, or ""."""
    for name, way in ways(records[0]).items():
        if way.lawless:
            return f"{name}: {way.lawless}"
        if way.repeats and len(records) > 1:
            return f"{name}: its losses are the same in every repetition, from a seed"
    return ""


def directions(record: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what the receipt of a cell says of each direction of its one server."""
    (service,) = record["receipt"]["services"].values()
    return {direction: service["directions"][direction] for direction in DIRECTIONS}


def _way(direction: Mapping[str, Any]) -> Way:
    fields = direction["fields"]
    why = next((reason for name, reason in _WITHOUT_LAW.items() if fields.get(name)), "")
    return Way(
        float(fields.get("loss", 0.0)),
        float(fields.get("delay_s", 0.0)),
        float(fields.get("jitter_s", 0.0)),
        why,
        direction["seed"] is not None and bool(direction["repeatable"]),
    )
