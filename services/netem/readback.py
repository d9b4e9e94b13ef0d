"""What ``tc``, ``nft`` and ``ip`` print about an interface, as one ``Effect`` a direction. No I/O.

What the lab puts there, where the kernel has netem (handles are the lab's own)::

    from_server, what leaves eth0

    eth0: root 8a0: prio, two bands                            never changes, so that a change of
      |                                                        what hangs below loses no packet
      +-- 8a0:1 -- 8a1: or 8a2: netem WORDS                    a new handle with every change, so
      |                                                        that nothing of the old one stays
      +-- 8a0:2                                                what is spared, by two filters

    to_server, what comes in on eth0

    eth0: ingress, block 2208                                  the block's number says whose it is
      |
      +-- ip, ipv6, but no group address: redirected (mirred) to lab-in, an ifb device: what it
          "sends" arrives at eth0
    lab-in: root 8a0: tbf, as good as infinitely fast          never changes; takes what TCP hands
      |                                                        over in one piece apart
      +-- 8a0:1 -- 8a1: or 8a2: netem WORDS                    a new handle with every change

and where it has not (loss alone)::

    table netdev progres_lab
        chain from_server at the egress hook, chain to_server at the ingress hook, each:
            meta protocol arp accept
            ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 accept
            counter
            numgen random mod N < M  counter drop              M/N is the loss

Two kinds of frames are spared. A lost ARP packet is asked for again after a second, and everything
waits meanwhile: that is no property of the network that was asked for. And what goes to a group
address (IEEE 802.3, 3.2.3: multicast and broadcast, the first bit on the wire) is the machine's
own, which solicits routers and looks for printers on every bridge that it has. Both would also be
counted, and draw from a seeded sequence of losses.

Anything else is named in ``foreign`` (somebody else's qdisc or filter: never touched) or
``problems`` (the lab's own, but not as the lab left it).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from services.netem.impairment import Impairment

FROM_SERVER = "from_server"
TO_SERVER = "to_server"
DIRECTIONS = (FROM_SERVER, TO_SERVER)

ROOT_HANDLE = "8a0:"
ROOT_WORDS = ("prio", "bands", "2", "priomap", *16 * "0")
FIRST_BAND = "8a0:1"
SPARED_BAND = "8a0:2"
TO_ONE = ("match", "u8", "0x00", "0x01", "at", "-14")
"""The address's first octet is that far before the IP header; its lowest bit says group."""
TO_GROUP = ("match", "u8", "0x01", "0x01", "at", "-14")
SPARING_WORDS = (
    ("protocol", "arp", "prio", "1", "u32", "match", "u32", "0", "0", "flowid", SPARED_BAND),
    ("protocol", "all", "prio", "2", "u32", *TO_GROUP, "flowid", SPARED_BAND),
)
NETEM_HANDLES = ("8a1:", "8a2:")
TABLE = "progres_lab"
GROUP_BIT = "01:00:00:00:00:00"
NO_BIT = "00:00:00:00:00:00"
HOOKS = {FROM_SERVER: "egress", TO_SERVER: "ingress"}

IFB = "lab-in"
BLOCK = 2208
"""8a0 in hexadecimal: marks the ingress qdisc as the lab's, for its handle is always ffff:."""
REDIRECTED = ("ip", "ipv6")
GONE = "*"
"""What tc shows for a device that is there no more: the filter outlives it, and loses packets."""

REDIRECT_WORDS = (
    *("u32", *TO_ONE),
    *("action", "mirred", "egress", "redirect", "dev", IFB),
)
SPLITTER_RATE = "1tbit"

_ROOT_OPTIONS = {"bands": 2, "priomap": 16 * [0], "multiqueue": False}
_SPLITTER_BYTES_PER_S = 125 * 10**9
_HEADERS_BYTES = 14 + 4  # Ethernet's, and a VLAN tag

LARGEST_MODULUS = 10**9


def splitter_words(mtu: int) -> tuple[str, ...]:
    """Return the words of the root of ``lab-in``: a token bucket that holds one packet.

    What is larger is taken apart into packets, if TCP or UDP handed it over so, and counted one by
    one. At this rate the bucket is full again after some 12 ns. The limit never counts: netem has
    the queue.
    """
    return ("tbf", "rate", SPLITTER_RATE, "burst", str(mtu + _HEADERS_BYTES), "limit", "1000000")


@dataclass(frozen=True)
class Effect:
    """What the kernel does in one direction. ``mechanism`` is netem, nftables or none.

    ``counters`` (packets, bytes) count since the last change; None without a mechanism.
    ``refused_packets`` counts, since the namespace began or the path was made, what a full queue
    would not take: random loss does not show there. ``single_packets`` says whether what TCP hands
    over in one piece is shaped and counted packet by packet. ``path_is_ready`` says that only netem
    itself may be missing.
    """

    mechanism: str = "none"
    impairment: Impairment = Impairment()
    counters: Mapping[str, int] | None = None
    refused_packets: int = 0
    single_packets: bool = True
    path_is_ready: bool = False
    netem_handle: str = ""
    has_chain: bool = False
    foreign: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """An interface as the kernel shows it: both directions, and what of the lab's is there."""

    directions: Mapping[str, Effect]
    mtu: int = 1500
    has_root: bool = False
    has_ingress: bool = False
    has_redirects: bool = False
    is_redirected: bool = False
    has_ifb: bool = False
    has_table: bool = False
    table_is_strange: bool = False

    @property
    def foreign(self) -> list[str]:
        """What is not the lab's, a sentence each."""
        return [sentence for effect in self.directions.values() for sentence in effect.foreign]


@dataclass(frozen=True)
class Printed:
    """What the programs printed.

    ``links`` is ``ip -d -j link show``, ``qdiscs`` is ``tc -j -s qdisc show``, ``root_filters`` is
    ``tc -j -s filter show dev X parent 8a0:``, ``redirects`` the same of ``block 2208``,
    ``ruleset`` the list in ``nft -j list ruleset netdev``. ``out_discards`` is that counter of
    ``Ip:`` in ``/proc/net/snmp``.
    """

    links: Sequence[Mapping[str, Any]]
    qdiscs: Sequence[Mapping[str, Any]] = ()
    root_filters: Sequence[Mapping[str, Any]] = ()
    redirects: Sequence[Mapping[str, Any]] = ()
    ruleset: Sequence[Mapping[str, Any]] = ()
    out_discards: int = 0


@dataclass(frozen=True)
class _Table:
    """The lab's nftables table: loss and counters by chain, and whether it is as the lab wrote."""

    losses: Mapping[str, tuple[Impairment, dict[str, int]]]
    chains: tuple[str, ...] = ()
    is_there: bool = False
    is_strange: bool = False


def shown_of(printed: Printed, interface: str) -> Shown:
    """Return what is shown of ``interface``. Raises LookupError when it is not there."""
    links = {link["ifname"]: link for link in printed.links}
    link, ifb = links[interface], links.get(IFB)
    table = _table_of(printed.ruleset, interface)
    at = {name: [q for q in printed.qdiscs if q["dev"] == name] for name in (interface, IFB)}
    incoming = [qdisc for qdisc in at[interface] if qdisc["kind"] in ("ingress", "clsact")]
    ours = [qdisc for qdisc in incoming if qdisc.get("ingress_block") == BLOCK]

    root, netem, foreign = _tree([q for q in at[interface] if q not in incoming], "prio")
    problems = []
    root_is_right = root is not None and root["options"] == _ROOT_OPTIONS
    if root is not None and not root_is_right:
        problems.append(f"the lab's qdisc prio {ROOT_HANDLE} was changed")
    spares = _spares(printed.root_filters)
    if netem is not None and not spares:
        problems.append("netem also acts on ARP or on frames to a group address")
    from_server = Effect(
        refused_packets=printed.out_discards,
        single_packets=link.get("gso_max_segs") == 1,
        path_is_ready=root_is_right and spares,
        foreign=tuple(foreign),
        problems=tuple(problems),
    )

    inner_root, inner_netem, foreign = _tree(at[IFB], "tbf")
    foreign += [_not_ours(qdisc, interface) for qdisc in incoming if qdisc not in ours]
    redirected, strangers = _redirected(printed.redirects if ours else (), interface)
    foreign += strangers
    has_ifb = ifb is not None and ifb.get("linkinfo", {}).get("info_kind") == "ifb"
    if ifb is not None and not has_ifb:
        foreign.append(f"the device {IFB} is not the lab's")
    problems = _troubles_of_ifb(ifb, inner_root, link)
    path_is_ready = bool(ours) and not problems
    is_redirected = sorted(redirected) == sorted(REDIRECTED)
    if not is_redirected:
        problems.append(f"not all that comes in is redirected to {IFB}")
    if redirected and inner_netem is None:
        problems.append(f"what comes in is redirected to {IFB}, where netem is missing")
    to_server = Effect(
        refused_packets=sum(_overlimits(rule) for rule in printed.redirects),
        path_is_ready=path_is_ready,
        foreign=tuple(foreign),
        problems=tuple(problems) if redirected else (),
    )
    return Shown(
        directions={
            FROM_SERVER: _filled_in(FROM_SERVER, from_server, netem, netem is not None, table),
            TO_SERVER: _filled_in(TO_SERVER, to_server, inner_netem, bool(redirected), table),
        },
        mtu=link["mtu"],
        has_root=root is not None,
        has_ingress=bool(ours),
        has_redirects=bool(redirected),
        is_redirected=is_redirected,
        has_ifb=has_ifb,
        has_table=table.is_there,
        table_is_strange=table.is_strange,
    )


def _filled_in(
    direction: str, effect: Effect, netem: Mapping[str, Any] | None, acts: bool, table: _Table
) -> Effect:
    """Return ``effect`` with the mechanism; ``acts``: packets go through ``netem``, if there."""
    problems = list(effect.problems)
    if table.is_strange:
        problems.append(f"the nftables table {TABLE} is not as the lab writes it")
    effect = replace(
        effect,
        has_chain=direction in table.chains,
        netem_handle=netem["handle"] if netem else "",
    )
    if acts:
        effect = replace(effect, mechanism="netem")
        if netem is not None:
            try:
                impairment = netem_impairment(netem["options"])
                counters = netem_counters(netem)
                effect = replace(effect, impairment=impairment, counters=counters)
            except KeyError as error:
                problems.append(f"tc shows {error} of netem, which the sidecar does not know")
        if effect.has_chain:
            problems.append("both netem and nftables are in effect")
    elif loss := table.losses.get(direction):
        single = effect.single_packets and direction == FROM_SERVER
        effect = replace(
            effect,
            mechanism="nftables",
            impairment=loss[0],
            counters=loss[1],
            single_packets=single,
        )
    return replace(effect, problems=tuple(problems))


def _tree(
    qdiscs: Iterable[Mapping[str, Any]], root_kind: str
) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None, list[str]]:
    """Return the lab's root, its netem, and a sentence for everything else."""
    root: Mapping[str, Any] | None = None
    netem: Mapping[str, Any] | None = None
    foreign = []
    for qdisc in qdiscs:
        kind, handle = qdisc["kind"], qdisc["handle"]
        if qdisc.get("root") and kind == root_kind and handle == ROOT_HANDLE:
            root = qdisc
        elif kind == "netem" and handle in NETEM_HANDLES and qdisc.get("parent") == FIRST_BAND:
            netem = qdisc
        elif handle != "0:":  # 0: is what the kernel puts there itself
            foreign.append(_not_ours(qdisc, qdisc["dev"]))
    return root, netem, foreign


def _not_ours(qdisc: Mapping[str, Any], interface: str) -> str:
    return f"the qdisc {qdisc['kind']} {qdisc['handle']} on {interface} is not the lab's"


def _troubles_of_ifb(
    ifb: Mapping[str, Any] | None, root: Mapping[str, Any] | None, link: Mapping[str, Any]
) -> list[str]:
    """Return what keeps ``lab-in`` from handing on every packet of ``link``."""
    if ifb is None:
        return [f"there is no device {IFB}"]
    found = []
    if "UP" not in ifb["flags"]:
        found.append(f"the device {IFB} is down")
    if root is None or root["options"]["rate"] != _SPLITTER_BYTES_PER_S:
        found.append(f"the lab's qdisc tbf {ROOT_HANDLE} on {IFB} is missing or was changed")
    if ifb["mtu"] != link["mtu"]:  # the root is made for one packet of that size
        found.append(f"the MTU of {link['ifname']} is {link['mtu']}, that of {IFB} {ifb['mtu']}")
    return found


def _redirected(rules: Iterable[Mapping[str, Any]], interface: str) -> tuple[list[str], list[str]]:
    """Return what the lab's filters redirect, and a sentence for other filters.

    What they redirect is a protocol each, marked where the device has been taken away.
    """
    redirected, foreign = [], []
    for rule in rules:
        options = rule.get("options", {})
        if rule["kind"] == "u32" and "match" not in options:
            continue  # the filter's own tables
        match options:
            case {
                "match": {"value": "0", "mask": "100", "off": -16},
                "actions": [
                    {
                        "kind": "mirred",
                        "mirred_action": "redirect",
                        "direction": "egress",
                        "to_dev": str() as target,
                    }
                ],
            } if target in (IFB, GONE) and rule["protocol"] in REDIRECTED:
                protocol = rule["protocol"]
                redirected.append(protocol if target == IFB else f"{protocol}, to nowhere")
            case _:
                name = f"{rule['kind']} {rule['protocol']} pref {rule['pref']}"
                foreign.append(f"the filter {name} on the ingress of {interface} is not the lab's")
    return redirected, foreign


def _overlimits(rule: Mapping[str, Any]) -> int:
    """Return how many packets the target of a redirection refused."""
    actions = rule.get("options", {}).get("actions", ())
    return sum(int(action.get("stats", {}).get("overlimits", 0)) for action in actions)


def _spares(filters: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether these are the lab's filters and no other: each to the band of what is spared.

    tc prints an octet's place and mask as the four octets that the kernel compares.
    """
    rules = [found for found in filters if "flowid" in found.get("options", {})]
    match sorted(rules, key=lambda rule: rule["pref"]):
        case [
            {
                "protocol": "arp",
                "kind": "u32",
                "options": {"flowid": str() as of_arp, "match": {"value": "0", "mask": "0"}},
            },
            {
                "protocol": "all",
                "kind": "u32",
                "options": {
                    "flowid": str() as of_groups,
                    "match": {"value": "100", "mask": "100", "off": -16},
                },
            },
        ]:
            return of_arp == of_groups == SPARED_BAND
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


def nft_chain(direction: str, interface: str, loss: float) -> str:
    """Return the input of ``nft -f`` that replaces one chain of the lab's in one transaction.

    Why the netdev family's hooks: what they drop is lost in silence, as on a real network; the
    output hook would hand the loss back to the sender as EPERM.
    """
    below, modulus = as_ratio(loss)
    return f"""\
add table netdev {TABLE}
add chain netdev {TABLE} {direction}
flush chain netdev {TABLE} {direction}
delete chain netdev {TABLE} {direction}
table netdev {TABLE} {{
    chain {direction} {{
        type filter hook {HOOKS[direction]} device "{interface}" priority filter; policy accept;
        meta protocol arp accept
        ether daddr & {GROUP_BIT} != {NO_BIT} accept
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


def _table_of(ruleset: Iterable[Mapping[str, Any]], interface: str) -> _Table:
    items = [pair for item in ruleset for pair in item.items() if _is_the_labs(pair[1])]
    chains = [value for kind, value in items if kind == "chain"]
    losses = {}
    for direction in DIRECTIONS:
        own = [chain for chain in chains if chain["name"] == direction]
        rules = [
            value["expr"] for kind, value in items if kind == "rule" and value["chain"] == direction
        ]
        if len(own) == 1 and _hooks_in(own[0], direction, interface):
            loss = _nft_loss(rules)
            if loss is not None:
                losses[direction] = loss
    # The table itself, and for each loss a chain and its four rules.
    is_strange = bool(items) and (
        len(items) != 1 + 5 * len(losses) or sum(kind == "table" for kind, _ in items) != 1
    )
    names = tuple(chain["name"] for chain in chains)
    return _Table(losses, names, is_there=bool(items), is_strange=is_strange)


def _is_the_labs(value: Mapping[str, Any]) -> bool:
    return value.get("family") == "netdev" and TABLE in (value.get("table"), value.get("name"))


def _hooks_in(chain: Mapping[str, Any], direction: str, interface: str) -> bool:
    written = {"type": "filter", "hook": HOOKS[direction], "prio": 0, "policy": "accept"}
    # nft before 1.0.9 or so does not print the device of such a chain.
    return {name: chain.get(name) for name in written} == written and chain.get(
        "dev", interface
    ) == interface


def _nft_loss(rules: Sequence[Any]) -> tuple[Impairment, dict[str, int]] | None:
    """Return loss and counters if the rules are exactly as ``nft_chain`` writes them, else None."""
    match rules:
        case [
            [
                {"match": {"op": "==", "left": {"meta": {"key": "protocol"}}, "right": "arp"}},
                {"accept": None},
            ],
            [
                {
                    "match": {
                        "op": "!=",
                        "left": {"&": [{"payload": {"protocol": "ether", "field": "daddr"}}, bit]},
                        "right": no_bit,
                    }
                },
                {"accept": None},
            ],
            [{"counter": all_packets}],
            [*condition, {"counter": dropped}, {"drop": None}],
        ]:
            loss = _share(condition)
            if loss is None or (bit, no_bit) != (GROUP_BIT, NO_BIT):
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
