"""Receipts: proof that a scenario was in effect, kept with what was measured under it.

``results/NAME/TIME/receipt.json``, and ``results/NAME/latest`` leads to the newest. A receipt joins

- what was asked for (the scenario's file),
- what the sidecars read back from the kernel, before and after,
- how their counters grew meanwhile,
- the calibration (lab/calibration.py), and
- what the servers were told.

``judge`` is pure: from these it concludes *in effect*, *not in effect* or *cannot tell*. A test or
a judgement whose receipt is not *in effect* is invalid: neither passed nor failed. Whatever breaks
the network in mid-run shows here:

==================================  ==============================================================
rule removed, and not put back      the read-back after it is not in effect
rule removed, and put back          ``since`` is another, or a counter has gone back
another impairment set meanwhile    the words asked for are no longer the scenario's
shaped on another interface         the probes came in elsewhere; the counters have not seen them
kernel without netem                the sidecar refuses; the receipt says why
netem's queue overflowed            its counter grew, where the scenario asks for no limit
a server with other settings        its container's environment
==================================  ==============================================================
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.calibration import ERROR, Judged, Verdict
from lab.scenario import DIRECTIONS, Link, Network, Scenario
from lab.settings import ROOT
from services.netem.impairment import parse

FORMAT = 1
WAYS = {"to_server": "to server", "from_server": "from server"}

SidecarReceipts = Mapping[str, Mapping[str, Any]]
"""Exercise: receipt (format 2) of its sidecar."""


@dataclass(frozen=True)
class Stretch:
    """A time during which the network was to stay as it is: what was asked for, and read back.

    ``what`` names it: the calibration, the run, a part of the timeline.
    """

    what: str
    network: Network
    before: SidecarReceipts
    after: SidecarReceipts


@dataclass(frozen=True)
class Evidence:
    """What is known of one run under a scenario.

    ``settings`` are those that the servers' containers have. ``refused`` is why a sidecar would
    not do it, ``cut_short`` how the run ended if not by itself.
    """

    scenario: Scenario
    stretches: Sequence[Stretch] = ()
    calibration: Mapping[str, Mapping[str, Judged]] | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    timeline: Sequence[Mapping[str, Any]] = ()
    refused: str = ""
    cut_short: str = ""
    lab: str = ""
    time: str = ""
    applied_s: float | None = None
    calibrated_s: float | None = None


def judge(evidence: Evidence) -> dict[str, Any]:
    """Return the receipt. Pure."""
    reasons, doubts = [], []
    if evidence.refused:
        reasons.append(evidence.refused)
    elif not evidence.stretches:
        doubts.append("nothing was read back")
    for stretch in evidence.stretches:
        for exercise, after in stretch.after.items():
            wrong = broken(stretch.network[exercise], stretch.before[exercise], after)
            reasons += [f"{exercise}, {stretch.what}: {reason}" for reason in wrong]
    reasons += _wrong_settings(evidence)
    if evidence.cut_short:
        doubts.append(f"cut short: {evidence.cut_short}")
    if evidence.calibration is None:
        if not evidence.refused:
            doubts.append("not calibrated: the read-back alone says so")
    else:
        for exercise, ways in evidence.calibration.items():
            for direction, judged in ways.items():
                place = f"{exercise}, {WAYS[direction]}"
                told = [f"{place}: {reason}" for reason in judged.because]
                if judged.verdict == "not in effect":
                    reasons += told
                elif judged.verdict == "cannot tell":
                    doubts += told
    verdict: Verdict = "not in effect" if reasons else "cannot tell" if doubts else "in effect"
    return _document(evidence, verdict, [*reasons, *doubts])


def broken(link: Link, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what broke one server's network between two receipts of its sidecar, or before.

    A sentence each; empty if it was all the time as ``link`` asks for.
    """
    found = []
    for when, receipt in (("at the beginning", before), ("at the end", after)):
        if receipt["verdict"] != "in effect":
            found.append(f"not in effect {when}: {'; '.join(receipt['because'])}")
    if before["interface"] != after["interface"]:
        found.append(f"the interface was {before['interface']}, now {after['interface']}")
    for direction in DIRECTIONS:
        was, now = before["directions"][direction], after["directions"][direction]
        place = WAYS[direction]
        wanted = getattr(link, direction)
        if now["asked"] != wanted:
            found.append(f"{place}: {wanted} was asked for, the sidecar now goes by {now['asked']}")
        if was["since"] != now["since"]:
            found.append(f"{place}: taken away or changed in mid-run, and put back {now['since']}")
        growth = counters_growth(was["counters"], now["counters"])
        if growth is None:
            continue
        backwards = [name for name, count in growth.items() if count < 0 and name in _GROWING]
        if backwards:
            found.append(f"{place}: {backwards[0]} went back by {-growth[backwards[0]]} in mid-run")
        full = growth.get("overflowed_packets", 0)
        if full > 0 and not _asks_for_a_limit(now["asked"]):
            found.append(
                f"{place}: netem's queue of {now['limit']} packets overflowed, {full} were lost to"
                " that (say limit N in the scenario for more, or for it to be a part of it)"
            )
    return found


_GROWING = ("sent_packets", "sent_bytes", "dropped_packets", "overflowed_packets")


def counters_growth(
    before: Mapping[str, int] | None, after: Mapping[str, int] | None
) -> dict[str, int] | None:
    """Return by how much each counter grew; None where there was nothing to count."""
    if before is None or after is None:
        return None
    return {name: after[name] - before[name] for name in after if name in before}


def packets_seen(before: Mapping[str, Any], after: Mapping[str, Any]) -> int | None:
    """Return how many packets came by where one direction is shaped; None if it is not."""
    growth = counters_growth(before["counters"], after["counters"])
    return None if growth is None else growth["sent_packets"] + growth["dropped_packets"]


def _asks_for_a_limit(words: str) -> bool:
    """Return whether a queue's limit is a part of what was asked for."""
    split = words.split()
    return words != "off" and any(word and "limit".startswith(word) for word in split)


def _wrong_settings(evidence: Evidence) -> list[str]:
    return [
        f"{name} is {evidence.settings.get(name) or 'not set'} in the server, not {value}"
        for name, value in evidence.scenario.settings.items()
        if evidence.settings.get(name, "") != value and not evidence.refused
    ]


def _document(evidence: Evidence, verdict: Verdict, because: list[str]) -> dict[str, Any]:
    scenario = evidence.scenario
    last = evidence.stretches[-1] if evidence.stretches else Stretch("", {}, {}, {})
    any_receipt: Mapping[str, Any] = next(iter(last.after.values()), {})
    return {
        "format": FORMAT,
        "name": scenario.name,
        "time": evidence.time,
        "lab": evidence.lab,
        "verdict": verdict,
        "valid": verdict == "in effect",
        "because": because,
        "scenario": {
            "description": scenario.description,
            "source": scenario.source,
            "network": {e: _link(scenario.network, e) for e in scenario.network},
            "settings": dict(scenario.settings),
            "timeline": [{"at_s": s.at_s, "changes": s.changes} for s in scenario.timeline],
        },
        "kernel": any_receipt.get("kernel"),
        "tc": any_receipt.get("tc"),
        "nft": any_receipt.get("nft"),
        "applied_s": evidence.applied_s,
        "calibration": evidence.calibration
        and {"seconds": evidence.calibrated_s, "wrong_less_often_than": ERROR},
        "services": {
            exercise: _service(evidence, last.before[exercise], after)
            for exercise, after in last.after.items()
        },
        "settings": dict(evidence.settings),
        "timeline": list(evidence.timeline),
    }


def _link(network: Network, exercise: str) -> dict[str, str]:
    return {direction: getattr(network[exercise], direction) for direction in DIRECTIONS}


def _service(
    evidence: Evidence, before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, Any]:
    """Return one server's part; the counters are those of the last stretch."""
    calibration = (evidence.calibration or {}).get(after["service"], {})
    ways = {}
    for direction in DIRECTIONS:
        was, now = before["directions"][direction], after["directions"][direction]
        kept = {name: value for name, value in now.items() if name != "counters"}
        measured = calibration.get(direction)
        ways[direction] = kept | {
            "counters_before": was["counters"],
            "counters_after": now["counters"],
            "calibration": measured and measured.as_dict(),
        }
    return {"interface": after["interface"], "directions": ways}


# On disk ------------------------------------------------------------------------------------------


def results_folder() -> Path:
    """Return the folder of all results: ``results``, or what ``LAB_RESULTS`` names."""
    return Path(os.environ.get("LAB_RESULTS") or ROOT / "results")


def new_folder(name: str, root: Path | None = None) -> Path:
    """Make and return ``NAME/TIME``, UTC to the millisecond, and lead ``NAME/latest`` to it."""
    parent = (root or results_folder()) / name
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        now_ns = time.time_ns()
        stamp = time.strftime("%Y-%m-%dT%H%M%S", time.gmtime(now_ns // 10**9))
        folder = parent / f"{stamp}.{now_ns // 10**6 % 1000:03d}Z"
        try:
            folder.mkdir()
            break
        except FileExistsError:  # another run began in this very millisecond
            time.sleep(0.001)
    link, new = parent / "latest", parent / f".latest.{os.getpid()}"
    new.unlink(missing_ok=True)
    new.symlink_to(folder.name)
    new.replace(link)
    return folder


def write(receipt: Mapping[str, Any], folder: Path) -> Path:
    """Write ``receipt.json`` into a folder, whole or not at all; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path, new = folder / "receipt.json", folder / ".receipt.json.new"
    new.write_text(json.dumps(receipt, indent=1) + "\n", encoding="utf-8")
    new.replace(path)
    return path


# For people ---------------------------------------------------------------------------------------


def essence(receipt: Mapping[str, Any]) -> str:
    """Return the receipt in a few lines."""
    lines = [headline(receipt), *_table(receipt)]
    if told := receipt["scenario"]["settings"]:
        lines.append("servers: " + " ".join(f"{name}={value}" for name, value in told.items()))
    if receipt["kernel"]:
        versions = ", ".join(f"{name} {receipt[name]}" for name in ("kernel", "tc", "nft"))
        lines.append(versions)
    return "\n".join(lines)


def headline(receipt: Mapping[str, Any]) -> str:
    """Return the verdict, and a line for each reason why it is not a better one."""
    how = []
    if receipt["applied_s"] is not None:
        how.append(f"applied in {receipt['applied_s']:.2f} s")
    if receipt["calibration"]:
        seconds = receipt["calibration"]["seconds"]
        how.append(f"calibrated in {seconds:.1f} s, wrong less than once in 100,000")
    verdict = receipt["verdict"]
    shown = verdict if verdict == "in effect" else verdict.upper()
    lines = [f"{receipt['name']}: {shown}" + (f" ({'; '.join(how)})" if how else "")]
    lines += [f"  because {reason}" for reason in receipt["because"]]
    return "\n".join(lines)


def _table(receipt: Mapping[str, Any]) -> list[str]:
    rows = [("", "", "asked for", "by", "queue", "measured")]
    for exercise, service in receipt["services"].items():
        for direction in DIRECTIONS:
            way = service["directions"][direction]
            asked = way["asked"]
            if way["seed"] is not None and not way["repeatable"]:
                asked += " (no seed here)"
            rows.append(
                (
                    exercise if direction == DIRECTIONS[0] else "",
                    WAYS[direction],
                    asked,
                    "" if way["mechanism"] == "none" else way["mechanism"],
                    str(way["limit"] or ""),
                    measured(way["calibration"]),
                )
            )
    if len(rows) == 1:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  ".join(
            [*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]
        ).rstrip()
        for row in rows
    ]


def measured(calibration: Mapping[str, Any] | None) -> str:
    """Return what a calibration found on one way, in a few words."""
    if not calibration:
        return ""
    low, high = calibration["loss_interval"]
    parts = [f"lost {calibration['lost']} of {calibration['probes']} ({_range(low, high)})"]
    if quantiles := calibration["delay_quantiles_s"]:
        quick, middle, slow = (f"{1000 * q:.3g}" for q in quantiles)
        parts.append(f"{middle} ms ({quick} to {slow})")
    for word in ("duplicated", "reordered"):
        if calibration[word]:
            parts.append(f"{calibration[word]} {word}")
    if (burst := calibration["mean_burst"]) and burst > 1.5 and low < 0.9:
        parts.append(f"{burst:.1f} in a row")
    return ", ".join(parts)


def _range(low: float, high: float) -> str:
    return f"{100 * low:.2g} to {100 * high:.2g} %"


def asked_impairments(network: Network) -> dict[str, dict[str, Any]]:
    """Return exercise: direction: what is asked for, as the calibration takes it."""
    return {
        exercise: {
            direction: None
            if (words := getattr(link, direction)) == "off"
            else parse(words.split())
            for direction in DIRECTIONS
        }
        for exercise, link in network.items()
    }
