"""What ``tc``, ``nft`` and ``ip`` print about an interface, as one ``Effect``. No I/O.

What the lab puts on an interface, where the kernel has netem (handles are the lab's own)::

    root 8a0: prio, two bands                                  never changes, so that a change of
      |                                                        what hangs below loses no packet
      +-- 8a0:1 -- 8a1: or 8a2: netem WORDS                    a new handle with every change, so
      |                                                        that nothing of the old one stays
      +-- 8a0:2                                                ARP alone, by a filter

and where it has not (loss alone)::

    table netdev progres_lab, chain from_server at the egress hook:
        meta protocol arp accept
        counter
        numgen random mod N < M  counter drop                  M/N is the loss

Both act on every packet but ARP's. A lost ARP packet is asked for again after a second, and
everything waits meanwhile: that is no property of the network that was asked for. It would also
draw from a seeded sequence of losses. Anything else is named in ``foreign``
(somebody else's qdisc: never touched) or ``problems`` (the lab's own, but not as the lab left it).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.netem.impairment import Impairment

ROOT_HANDLE = "8a0:"
ROOT_WORDS = ("prio", "bands", "2", "priomap", *16 * "0")
FIRST_BAND = "8a0:1"
ARP_BAND = "8a0:2"
ARP_FILTER_WORDS = ("protocol", "arp", "prio", "1", "u32", "match", "u32", "0", "0")
NETEM_HANDLES = ("8a1:", "8a2:")
TABLE = "progres_lab"
CHAIN = "from_server"

_ROOT_OPTIONS = {"bands": 2, "priomap": 16 * [0], "multiqueue": False}

LARGEST_MODULUS = 10**9


@dataclass(frozen=True)
class Effect:
    """What the kernel does on an interface. ``mechanism`` is netem, nftables or none.

    ``counters`` (packets, bytes) count since the last change; None without a mechanism.
    """

    mechanism: str = "none"
    impairment: Impairment = Impairment()
    counters: Mapping[str, int] | None = None
    netem_handle: str = ""
    has_root: bool = False
    spares_arp: bool = False
    has_table: bool = False
    offload_is_off: bool = False
    foreign: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def effect_of(
    qdiscs: Sequence[Mapping[str, Any]],
    filters: Sequence[Mapping[str, Any]],
    ruleset: Sequence[Mapping[str, Any]],
    link: Mapping[str, Any],
    interface: str,
) -> Effect:
    """Return the effect that these four show.

    ``qdiscs`` is ``tc -j -s qdisc show dev X``, ``filters`` is ``tc -j filter show dev X parent
    8a0:``, ``ruleset`` the list in ``nft -j list ruleset netdev``, ``link`` the one object in
    ``ip -d -j link show dev X``.
    """
    foreign: list[str] = []
    problems: list[str] = []
    netem: Mapping[str, Any] | None = None
    has_root = False
    for qdisc in qdiscs:
        kind, handle = qdisc["kind"], qdisc["handle"]
        if qdisc.get("root") and kind == "prio" and handle == ROOT_HANDLE:
            has_root = True
            if qdisc["options"] != _ROOT_OPTIONS:
                problems.append(f"the lab's qdisc prio {ROOT_HANDLE} was changed")
        elif kind == "netem" and handle in NETEM_HANDLES and qdisc.get("parent") == FIRST_BAND:
            netem = qdisc
        elif handle != "0:" and kind != "ingress":  # 0: is what the kernel puts there itself
            foreign.append(f"the qdisc {kind} {handle} on {interface} is not the lab's")

    table = [item for item in ruleset if _is_in_table(item)]
    nft = _nft_loss(table, interface) if table else None
    if table and nft is None:
        problems.append(f"the nftables table {TABLE} is not as the lab writes it")

    mechanism, impairment, counters = "none", Impairment(), None
    spares_arp = _spares_arp(filters)
    if netem is not None:
        if not spares_arp:
            problems.append("netem also acts on ARP")
        mechanism, counters = "netem", netem_counters(netem)
        try:
            impairment = netem_impairment(netem["options"])
        except KeyError as error:
            problems.append(f"tc shows {error} of netem, which the sidecar does not know")
        if table:
            problems.append("both netem and nftables are in effect")
    elif nft is not None:
        mechanism, (impairment, counters) = "nftables", nft
    return Effect(
        mechanism=mechanism,
        impairment=impairment,
        counters=counters,
        netem_handle=netem["handle"] if netem else "",
        has_root=has_root,
        spares_arp=spares_arp,
        has_table=bool(table),
        offload_is_off=link.get("gso_max_segs") == 1,
        foreign=tuple(foreign),
        problems=tuple(problems),
    )


def _spares_arp(filters: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether these are the lab's filter and no other: all of ARP goes to its own band."""
    rules = [found for found in filters if "flowid" in found.get("options", {})]
    match rules:
        case [
            {
                "protocol": "arp",
                "kind": "u32",
                "options": {"flowid": str() as band, "match": {"value": "0", "mask": "0"}},
            }
        ]:
            return band == ARP_BAND
    return False


def netem_impairment(options: Mapping[str, Any]) -> Impairment:
    """Return the fields of ``options`` as ``tc -j`` prints them. KeyError names an unknown one."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        match name:
            case "limit" | "gap" | "seed" | "ecn":
                found[name] = value
            case "delay":
                found["delay_s"] = float(value["delay"])
                found["jitter_s"] = float(value.get("jitter", 0))
                found["delay_correlation"] = float(value.get("correlation", 0))
            case "loss-random":
                found["loss"] = float(value["loss"])
                found["loss_correlation"] = float(value.get("correlation", 0))
            case "loss-state":
                found["loss_state"] = _floats(value, "p13", "p31", "p32", "p23", "p14")
            case "loss-gemodel":
                found["loss_gemodel"] = _floats(value, "p", "r", "1-h", "1-k")
            case "corrupt" | "duplicate" | "reorder":
                found[name] = float(value[name])
                found[f"{name}_correlation"] = float(value.get("correlation", 0))
            case "rate":
                found["rate_bytes_per_s"] = value["rate"]
                found["packet_overhead_bytes"] = value.get("packetoverhead", 0)
                found["cell_size_bytes"] = value.get("cellsize", 0)
                found["cell_overhead_bytes"] = value.get("celloverhead", 0)
            case "slot":
                found["slot_min_s"] = float(value.get("min-delay", 0))
                found["slot_max_s"] = float(value.get("max-delay", 0))
                found["slot_delay_s"] = float(value.get("distribution", 0))
                found["slot_jitter_s"] = float(value.get("jitter", 0))
                found["slot_packets"] = value.get("packets", 0)
                found["slot_bytes"] = value.get("bytes", 0)
            case _:
                raise KeyError(name)
    return Impairment(**found)


def _floats(value: Mapping[str, Any], *names: str) -> tuple[float, ...]:
    return tuple(float(value[name]) for name in names)


def netem_counters(qdisc: Mapping[str, Any]) -> dict[str, int]:
    """Return what passed, what was dropped (by loss or by a full queue) and what waits."""
    return {
        "sent_packets": qdisc.get("packets", 0),
        "sent_bytes": qdisc.get("bytes", 0),
        "dropped_packets": qdisc.get("drops", 0),
        "overlimits": qdisc.get("overlimits", 0),
        "waiting_packets": qdisc.get("qlen", 0),
        "waiting_bytes": qdisc.get("backlog", 0),
    }


def nft_ruleset(interface: str, loss: float) -> str:
    """Return the input of ``nft -f`` that replaces the lab's table in one transaction.

    Why the netdev family's egress hook: what it drops is lost in silence, as on a real network; the
    output hook would hand the loss back to the sender as EPERM.
    """
    below, modulus = as_ratio(loss)
    return f"""\
add table netdev {TABLE}
delete table netdev {TABLE}
table netdev {TABLE} {{
    chain {CHAIN} {{
        type filter hook egress device "{interface}" priority filter; policy accept;
        meta protocol arp accept
        counter
        {_drop(below, modulus)}
    }}
}}
"""


def as_ratio(loss: float) -> tuple[int, int]:
    """Return (M, N) with M/N the loss, N a power of ten from 100 to 10**9; ``10%`` is 10 of 100."""
    modulus = 100
    while modulus < LARGEST_MODULUS and abs(round(loss * modulus) / modulus - loss) > 1e-12:
        modulus *= 10
    return round(loss * modulus), modulus


def _drop(below: int, modulus: int) -> str:
    # nft refuses a comparison that always holds.
    if below == modulus:
        return "counter drop"
    return f"numgen random mod {modulus} < {below} counter drop"


def _is_in_table(item: Mapping[str, Any]) -> bool:
    return any(
        value.get("family") == "netdev" and TABLE in (value.get("table"), value.get("name"))
        for value in item.values()
    )


def _nft_loss(
    table: Sequence[Mapping[str, Any]], interface: str
) -> tuple[Impairment, dict[str, int]] | None:
    """Return loss and counters if the table is exactly as ``nft_ruleset`` writes it, else None."""
    match table:
        case [
            {"table": {"name": str()}},
            {
                "chain": {
                    "name": str() as name,
                    "hook": "egress",
                    "type": "filter",
                    "prio": 0,
                    "policy": "accept",
                } as chain
            },
            {
                "rule": {
                    "chain": str() as spared,
                    "expr": [
                        {
                            "match": {
                                "op": "==",
                                "left": {"meta": {"key": "protocol"}},
                                "right": "arp",
                            }
                        },
                        {"accept": None},
                    ],
                }
            },
            {"rule": {"chain": str() as first, "expr": [{"counter": all_packets}]}},
            {
                "rule": {
                    "chain": str() as second,
                    "expr": [*condition, {"counter": dropped}, {"drop": None}],
                }
            },
        ] if {name, spared, first, second} == {CHAIN} and chain.get("dev", interface) == interface:
            # nft before 1.0.9 or so does not print the device of an egress chain.
            loss = _share(condition)
            if loss is None:
                return None
            counters = {
                "sent_packets": all_packets["packets"] - dropped["packets"],
                "sent_bytes": all_packets["bytes"] - dropped["bytes"],
                "dropped_packets": dropped["packets"],
            }
            return Impairment(loss=loss), counters
    return None


def _share(condition: Sequence[Mapping[str, Any]]) -> float | None:
    match condition:
        case []:
            return 1.0
        case [
            {
                "match": {
                    "op": "<",
                    "left": {"numgen": {"mode": "random", "mod": int() as modulus, "offset": 0}},
                    "right": int() as below,
                }
            }
        ]:
            return below / modulus
    return None
