"""What tc, nft and ip print, as captured; and what must not pass for the lab's own."""

import copy
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.netem.impairment import Impairment, parse
from services.netem.readback import (
    DIRECTIONS,
    Effect,
    Printed,
    Shown,
    as_ratio,
    netem_impairment,
    nft_chain,
    shown_of,
    splitter_words,
)
from services.netem.sidecar import Asked, shortcomings

NOQUEUE = {"kind": "noqueue", "handle": "0:", "dev": "eth0", "root": True, "options": {}}
PRIO: dict[str, Any] = {
    "kind": "prio",
    "handle": "8a0:",
    "dev": "eth0",
    "root": True,
    "refcnt": 3,
    "options": {"bands": 2, "priomap": 16 * [0], "multiqueue": False},
}
NETEM: dict[str, Any] = json.loads("""
    {"kind": "netem", "handle": "8a2:", "dev": "eth0", "parent": "8a0:1", "options": {"limit": 1000,
     "loss-random": {"loss": 0.5, "correlation": 0}, "seed": 507337598740535, "ecn": false,
     "gap": 0}, "bytes": 45521, "packets": 1058, "drops": 943, "overlimits": 0, "requeues": 0,
     "backlog": 0, "qlen": 0}""")
INGRESS: dict[str, Any] = json.loads("""
    {"kind": "ingress", "handle": "ffff:", "dev": "eth0", "parent": "ffff:fff1",
     "ingress_block": 2208, "options": {}, "bytes": 102900, "packets": 102, "drops": 0,
     "overlimits": 0, "requeues": 0, "backlog": 0, "qlen": 0}""")
TBF: dict[str, Any] = json.loads("""
    {"kind": "tbf", "handle": "8a0:", "dev": "lab-in", "root": true, "refcnt": 2,
     "options": {"rate": 125000000000, "burst": 0, "lat": 8}, "bytes": 1042, "packets": 1,
     "drops": 99, "overlimits": 99, "requeues": 0, "backlog": 0, "qlen": 0}""")
INNER_NETEM = NETEM | {"dev": "lab-in"}
INCOMING = [NOQUEUE, INGRESS, TBF, INNER_NETEM]
REDIRECTS: list[dict[str, Any]] = json.loads("""
    [{"protocol": "ip", "pref": 1, "kind": "u32", "chain": 0},
     {"protocol": "ip", "pref": 1, "kind": "u32", "chain": 0,
      "options": {"fh": "800:", "ht_divisor": 1}},
     {"protocol": "ip", "pref": 1, "kind": "u32", "chain": 0,
      "options": {"fh": "800::800", "order": 2048, "key_ht": "800", "bkt": "0", "not_in_hw": true,
                  "match": {"value": "0", "mask": "100", "offmask": "", "off": -16},
                  "actions": [{"order": 1, "kind": "mirred", "mirred_action": "redirect",
                               "direction": "egress", "to_dev": "lab-in",
                               "control_action": {"type": "stolen"}, "index": 1, "ref": 1,
                               "bind": 1, "installed": 0, "last_used": 0,
                               "stats": {"bytes": 102800, "packets": 100, "drops": 0,
                                         "overlimits": 94, "requeues": 0, "backlog": 0,
                                         "qlen": 0}}]}}]""")
IPV6 = [rule | {"protocol": "ipv6", "pref": 2} for rule in REDIRECTS]
REDIRECTS += copy.deepcopy(IPV6)
NFT: list[dict[str, Any]] = json.loads("""
    [{"metainfo": {"version": "1.1.3", "release_name": "Commodore Bullmoose #4",
                   "json_schema_version": 1}},
     {"table": {"family": "netdev", "name": "progres_lab", "handle": 2}},
     {"chain": {"family": "netdev", "table": "progres_lab", "name": "from_server", "handle": 1,
                "dev": "eth0", "type": "filter", "hook": "egress", "prio": 0, "policy": "accept"}},
     {"rule": {"family": "netdev", "table": "progres_lab", "chain": "from_server", "handle": 2,
               "expr": [{"match": {"op": "==", "left": {"meta": {"key": "protocol"}},
                                   "right": "arp"}}, {"accept": null}]}},
     {"rule": {"family": "netdev", "table": "progres_lab", "chain": "from_server", "handle": 5,
               "expr": [{"match": {"op": "!=", "left": {"&": [
                                       {"payload": {"protocol": "ether", "field": "daddr"}},
                                       "01:00:00:00:00:00"]},
                                   "right": "00:00:00:00:00:00"}}, {"accept": null}]}},
     {"rule": {"family": "netdev", "table": "progres_lab", "chain": "from_server", "handle": 4,
               "expr": [{"counter": {"packets": 100, "bytes": 9000}}]}},
     {"rule": {"family": "netdev", "table": "progres_lab", "chain": "from_server", "handle": 3,
               "expr": [{"match": {"op": "<", "right": 50, "left":
                          {"numgen": {"mode": "random", "mod": 100, "offset": 0}}}},
                        {"counter": {"packets": 40, "bytes": 3000}}, {"drop": null}]}}]""")
NFT_IN: list[dict[str, Any]] = json.loads(
    json.dumps(NFT).replace("from_server", "to_server").replace("egress", "ingress")
)
NFT_BOTH = [*NFT, *NFT_IN[2:]]
ROOT_FILTERS: list[dict[str, Any]] = json.loads("""
    [{"protocol": "arp", "pref": 1, "kind": "u32", "chain": 0},
     {"protocol": "arp", "pref": 1, "kind": "u32", "chain": 0,
      "options": {"fh": "800:", "ht_divisor": 1}},
     {"protocol": "arp", "pref": 1, "kind": "u32", "chain": 0,
      "options": {"fh": "800::800", "order": 2048, "key_ht": "800", "bkt": "0", "flowid": "8a0:2",
                  "not_in_hw": true,
                  "match": {"value": "0", "mask": "0", "offmask": "", "off": 0}}},
     {"protocol": "all", "pref": 2, "kind": "u32", "chain": 0},
     {"protocol": "all", "pref": 2, "kind": "u32", "chain": 0,
      "options": {"fh": "801:", "ht_divisor": 1}},
     {"protocol": "all", "pref": 2, "kind": "u32", "chain": 0,
      "options": {"fh": "801::800", "order": 2048, "key_ht": "801", "bkt": "0", "flowid": "8a0:2",
                  "not_in_hw": true,
                  "match": {"value": "100", "mask": "100", "offmask": "", "off": -16}}}]""")
LINK = {"ifname": "eth0", "flags": ["UP"], "mtu": 1500, "gso_max_size": 1500, "gso_max_segs": 1}
IFB = {
    "ifname": "lab-in",
    "flags": ["BROADCAST", "NOARP", "UP", "LOWER_UP"],
    "mtu": 1500,
    "linkinfo": {"info_kind": "ifb"},
}
HALF = Asked(("loss", "50%"), "environment", parse(["loss", "50%"]))
NOTHING = Asked()


def shown(
    qdiscs: Sequence[Any] = (NOQUEUE,),
    ruleset: Sequence[Any] = (),
    links: Sequence[Any] = (LINK, IFB),
    filters: Sequence[Any] = ROOT_FILTERS,
    redirects: Sequence[Any] = REDIRECTS,
) -> Shown:
    printed = Printed(
        links=links,
        qdiscs=qdiscs,
        root_filters=filters,
        redirects=redirects,
        ruleset=ruleset,
        out_discards=7,
    )
    return shown_of(printed, "eth0")


def missing(asked: Asked, *printed: Any, **more: Any) -> list[str]:
    return shortcomings(asked, shown(*printed, **more).directions["from_server"])


def missing_in(asked: Asked, *printed: Any, **more: Any) -> list[str]:
    return shortcomings(asked, shown(*printed, **more).directions["to_server"])


def to_server(*printed: Any, **more: Any) -> Effect:
    return shown(*printed, **more).directions["to_server"]


def test_netem_below_the_labs_root_is_in_effect() -> None:
    effect = shown([PRIO, NETEM], NFT[:1]).directions["from_server"]
    assert effect.mechanism == "netem"
    assert effect.impairment.loss == 0.5
    assert effect.counters is not None
    assert effect.counters["sent_packets"] == 1058
    assert effect.counters["dropped_packets"] == 943
    assert effect.refused_packets == 7
    assert shortcomings(HALF, effect) == []


@pytest.mark.parametrize("ruleset", [NFT, NFT_IN, NFT_BOTH])
def test_the_labs_nftables_table_is_in_effect(ruleset: list[Any]) -> None:
    found = shown(ruleset=ruleset)
    chains = [item["chain"]["name"] for item in ruleset if "chain" in item]
    for direction in DIRECTIONS:
        effect = found.directions[direction]
        if direction not in chains:
            assert shortcomings(NOTHING, effect) == []
            continue
        assert effect.mechanism == "nftables"
        assert effect.counters == {"sent_packets": 60, "sent_bytes": 6000, "dropped_packets": 40}
        assert effect.single_packets == (direction == "from_server")
        assert shortcomings(HALF, effect) == []


def test_no_impairment_is_in_effect_with_and_without_the_labs_root() -> None:
    assert missing(NOTHING) == []
    assert missing(NOTHING, [PRIO]) == []
    assert missing_in(NOTHING) == []
    assert missing_in(NOTHING, [INGRESS, TBF], redirects=[]) == []


def test_what_comes_in_is_redirected_to_netem_and_that_is_in_effect() -> None:
    effect = to_server(INCOMING)
    assert (effect.mechanism, effect.netem_handle) == ("netem", "8a2:")
    assert effect.impairment.loss == 0.5
    assert effect.refused_packets == 2 * 94
    assert effect.path_is_ready
    assert shortcomings(HALF, effect) == []
    assert missing(NOTHING, INCOMING) == [], "the other direction has nothing to do with it"


def test_netem_without_redirection_does_nothing() -> None:
    effect = to_server(INCOMING, redirects=[])
    assert (effect.mechanism, effect.netem_handle) == ("none", "8a2:")
    assert shortcomings(HALF, effect) == ["asked for loss 50%, the kernel shows no impairment"]


@pytest.mark.parametrize(
    ("qdiscs", "links", "redirects", "named"),
    [
        (INCOMING, [LINK, IFB], REDIRECTS[:3], "not all that comes in is redirected"),
        (INCOMING, [LINK, IFB], REDIRECTS[3:], "not all that comes in is redirected"),
        (INCOMING, [LINK, IFB], [*REDIRECTS, REDIRECTS[2]], "not all that comes in is redirected"),
        (INCOMING[:3], [LINK, IFB], REDIRECTS, "where netem is missing"),
        ([INGRESS, INNER_NETEM], [LINK, IFB], REDIRECTS, "tbf 8a0: on lab-in is missing"),
        (INCOMING, [LINK], REDIRECTS, "no device lab-in"),
        (INCOMING, [LINK, IFB | {"flags": ["NOARP"]}], REDIRECTS, "lab-in is down"),
        (INCOMING, [LINK, IFB | {"mtu": 1400}], REDIRECTS, "MTU of eth0 is 1500"),
        (
            [INGRESS, TBF | {"options": {"rate": 125000, "burst": 1518}}, INNER_NETEM],
            [LINK, IFB],
            REDIRECTS,
            "tbf 8a0: on lab-in is missing or was changed",
        ),
    ],
)
def test_a_path_for_what_comes_in_that_was_changed_is_noticed(
    qdiscs: list[Any], links: list[Any], redirects: list[Any], named: str
) -> None:
    found = missing_in(HALF, qdiscs, links=links, redirects=redirects)
    assert any(named in sentence for sentence in found), found


def test_every_change_to_a_redirection_is_noticed() -> None:
    for path in paths(REDIRECTS[2]["options"]):
        if path[0] in ("match", "actions") and path[-1] in (
            *("value", "mask", "off", "kind", "mirred_action", "direction", "to_dev"),
        ):
            changed = copy.deepcopy(REDIRECTS)
            parent: Any = changed[2]["options"]
            for step in path[:-1]:
                parent = parent[step]
            parent[path[-1]] = "other"
            assert missing_in(HALF, INCOMING, redirects=changed) != [], path


def test_filters_outlive_their_device_and_are_still_the_labs() -> None:
    """As tc 6.15 shows it after ``ip link del lab-in``."""
    orphans = json.loads(json.dumps(REDIRECTS).replace('"lab-in"', '"*"'))
    found = shown([NOQUEUE, INGRESS], links=[LINK], redirects=orphans)
    assert found.foreign == []
    assert (found.has_redirects, found.is_redirected) == (True, False)
    named = missing_in(HALF, [NOQUEUE, INGRESS], links=[LINK], redirects=orphans)
    assert "there is no device lab-in" in " ".join(named)


def test_a_device_of_that_name_and_another_kind_is_not_the_labs() -> None:
    dummy = IFB | {"linkinfo": {"info_kind": "dummy"}}
    found = shown(INCOMING, links=[LINK, dummy])
    assert found.foreign == ["the device lab-in is not the lab's"]
    assert not found.has_ifb


def test_a_filter_of_somebody_else_is_named() -> None:
    other = REDIRECTS[2] | {"pref": 7, "options": {"match": {"value": "8", "mask": "f"}}}
    bpf = {"protocol": "all", "pref": 9, "kind": "bpf", "chain": 0, "options": {}}
    assert shown(INCOMING, redirects=[*REDIRECTS, other, bpf]).foreign == [
        "the filter u32 ip pref 7 on the ingress of eth0 is not the lab's",
        "the filter bpf all pref 9 on the ingress of eth0 is not the lab's",
    ]


def test_nothing_where_something_is_asked_for_is_noticed() -> None:
    assert missing(HALF) == ["asked for loss 50%, the kernel shows no impairment"]
    assert missing(HALF, [PRIO]) != []


def test_something_where_nothing_is_asked_for_is_noticed() -> None:
    assert missing(NOTHING, [PRIO, NETEM]) == ["asked for no impairment, the kernel shows loss 50%"]
    assert missing(NOTHING, ruleset=NFT) != []


def test_offload_that_is_on_is_noticed() -> None:
    assert "offload" in missing(HALF, [PRIO, NETEM], links=[LINK | {"gso_max_segs": 65535}])[0]


def test_both_mechanisms_at_once_are_noticed() -> None:
    assert "both netem and nftables are in effect" in missing(HALF, [PRIO, NETEM], NFT)
    assert "both netem and nftables are in effect" in missing_in(HALF, INCOMING, NFT_IN)


@pytest.mark.parametrize(
    "foreign",
    [
        {"kind": "pfifo", "handle": "5:", "dev": "eth0", "root": True, "options": {"limit": 1000}},
        NETEM | {"handle": "1:", "parent": "8a0:1"},
        NETEM | {"root": True, "parent": None},
        NETEM | {"parent": "8a0:2"},
        PRIO | {"handle": "1:"},
        {"kind": "tbf", "handle": "20:", "dev": "eth0", "parent": "8a2:1", "options": {}},
        {"kind": "clsact", "handle": "ffff:", "dev": "eth0", "parent": "ffff:fff1", "options": {}},
        {"kind": "ingress", "handle": "ffff:", "dev": "eth0", "parent": "ffff:fff1", "options": {}},
        INGRESS | {"ingress_block": 5},
        INNER_NETEM | {"parent": "8a1:1"},
        TBF | {"handle": "1:"},
    ],
)
def test_a_qdisc_of_somebody_else_is_named(foreign: dict[str, Any]) -> None:
    assert shown([foreign]).foreign == [
        f"the qdisc {foreign['kind']} {foreign['handle']} on {foreign['dev']} is not the lab's"
    ]


def test_the_kernels_own_qdiscs_and_those_of_other_interfaces_are_nobody_elses() -> None:
    others = [
        {"kind": "mq", "handle": "0:", "dev": "eth0", "root": True, "options": {}},
        {"kind": "fq_codel", "handle": "0:", "dev": "eth0", "parent": ":1", "options": {}},
        {"kind": "pfifo", "handle": "5:", "dev": "eth1", "root": True, "options": {}},
    ]
    assert shown(others).foreign == []
    assert missing(NOTHING, others) == missing_in(NOTHING, others) == []


def test_an_interface_that_is_not_there_is_no_interface_without_impairment() -> None:
    with pytest.raises(LookupError, match="eth0"):
        shown(links=[IFB])


def test_a_root_that_was_changed_is_noticed() -> None:
    changed = PRIO | {"options": PRIO["options"] | {"priomap": [1, *15 * [0]]}}
    assert missing(HALF, [changed, NETEM]) == ["the lab's qdisc prio 8a0: was changed"]


def test_a_field_of_netem_that_is_new_to_the_sidecar_is_noticed() -> None:
    new = NETEM | {"options": NETEM["options"] | {"eat": 0.1}}
    assert missing(HALF, [PRIO, new])[0].startswith("tc shows 'eat' of netem")
    with pytest.raises(KeyError):
        netem_impairment(new["options"])


def test_what_is_not_spared_is_noticed() -> None:
    assert missing(HALF, [PRIO, NETEM]) == []
    named = ["netem also acts on ARP or on frames to a group address"]
    of_arp, of_groups = ROOT_FILTERS[:3], ROOT_FILTERS[3:]
    for filters in ([], of_arp, of_groups, [*ROOT_FILTERS, of_arp[2] | {"protocol": "ip"}]):
        assert missing(HALF, [PRIO, NETEM], filters=filters) == named
    everything = (("flowid",), ("match", "value"), ("match", "mask"))
    for rule, paths_of_rule in ((2, everything), (5, (*everything, ("match", "off")))):
        for path in paths_of_rule:
            elsewhere = copy.deepcopy(ROOT_FILTERS)
            parent = elsewhere[rule]["options"]
            for step in path[:-1]:
                parent = parent[step]
            parent[path[-1]] = "8a0:1"
            assert missing(HALF, [PRIO, NETEM], filters=elsewhere) == named


def test_every_change_to_the_table_is_noticed() -> None:
    """Each value in the table is changed in turn, and each item left out or doubled."""

    def noticed(ruleset: list[Any]) -> bool:
        effects = shown(ruleset=ruleset).directions.values()
        return any(shortcomings(HALF, effect) for effect in effects)

    assert not noticed(NFT_BOTH)
    changed = 0
    for path in paths(NFT_BOTH[1:]):
        if path[-1] in ("packets", "bytes", "handle"):
            continue
        ruleset = copy.deepcopy(NFT_BOTH)
        parent: Any = ruleset[1:]
        for step in path[:-1]:
            parent = parent[step]
        value = parent[path[-1]]
        parent[path[-1]] = value + 1 if isinstance(value, int) else "other"
        assert noticed(ruleset), path
        changed += 1
    assert changed > 40
    for index in range(1, len(NFT_BOTH)):
        assert noticed(NFT_BOTH[:index] + NFT_BOTH[index + 1 :])
        assert noticed([*NFT_BOTH, NFT_BOTH[index]])


def paths(value: Any, start: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to each plain value below ``value``."""
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return [start]
    return [path for key, below in items for path in paths(below, (*start, key))]


def test_other_peoples_tables_are_not_looked_at() -> None:
    other = [{"table": {"family": "inet", "name": "progres_lab"}}]
    assert missing(NOTHING, ruleset=other) == []
    assert missing(HALF, ruleset=[*NFT, *other]) == []


@given(st.integers(0, 10**6))
def test_a_loss_becomes_the_same_share_of_a_power_of_ten(per_million: int) -> None:
    below, modulus = as_ratio(per_million / 10**6)
    assert modulus in (10**2, 10**3, 10**4, 10**5, 10**6)
    assert below * (10**6 // modulus) == per_million


@given(st.floats(0, 1))
def test_any_loss_is_met_within_a_billionth(loss: float) -> None:
    below, modulus = as_ratio(loss)
    assert 0 <= below <= modulus <= 10**9
    assert abs(below / modulus - loss) <= 1e-9


def test_a_chain_is_replaced_in_one_transaction() -> None:
    assert (
        nft_chain("from_server", "eth0", 0.1)
        == """\
add table netdev progres_lab
add chain netdev progres_lab from_server
flush chain netdev progres_lab from_server
delete chain netdev progres_lab from_server
table netdev progres_lab {
    chain from_server {
        type filter hook egress device "eth0" priority filter; policy accept;
        meta protocol arp accept
        ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 accept
        counter
        numgen random mod 100 < 10 counter drop
    }
}
"""
    )


def test_what_comes_in_is_taken_apart_into_packets_of_the_interfaces_size() -> None:
    assert splitter_words(1500)[:5] == ("tbf", "rate", "1tbit", "burst", "1518")


def test_nothing_is_what_netem_without_words_does() -> None:
    assert netem_impairment({"limit": 1000, "ecn": False, "gap": 0}) == Impairment()
