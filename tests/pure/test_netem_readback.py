"""What tc, nft and ip print, as captured; and what must not pass for the lab's own."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.netem.impairment import Impairment, parse
from services.netem.readback import as_ratio, effect_of, netem_impairment, nft_ruleset
from services.netem.sidecar import Asked, shortcomings

NOQUEUE = {"kind": "noqueue", "handle": "0:", "root": True, "refcnt": 2, "options": {}}
PRIO: dict[str, Any] = {
    "kind": "prio",
    "handle": "8a0:",
    "root": True,
    "refcnt": 3,
    "options": {"bands": 2, "priomap": 16 * [0], "multiqueue": False},
}
NETEM: dict[str, Any] = json.loads("""
    {"kind": "netem", "handle": "8a2:", "parent": "8a0:1", "options": {"limit": 1000,
     "loss-random": {"loss": 0.5, "correlation": 0}, "seed": 507337598740535, "ecn": false,
     "gap": 0}, "bytes": 45521, "packets": 1058, "drops": 943, "overlimits": 0, "requeues": 0,
     "backlog": 0, "qlen": 0}""")
NFT: list[dict[str, Any]] = json.loads("""
    [{"metainfo": {"version": "1.1.3", "release_name": "Commodore Bullmoose #4",
                   "json_schema_version": 1}},
     {"table": {"family": "netdev", "name": "progres_lab", "handle": 2}},
     {"chain": {"family": "netdev", "table": "progres_lab", "name": "from_server", "handle": 1,
                "dev": "eth0", "type": "filter", "hook": "egress", "prio": 0, "policy": "accept"}},
     {"rule": {"family": "netdev", "table": "progres_lab", "chain": "from_server", "handle": 2,
               "expr": [{"match": {"op": "==", "left": {"meta": {"key": "protocol"}},
                                   "right": "arp"}}, {"accept": null}]}},
     {"rule": {"family": "netdev", "table": "progres_lab", "chain": "from_server", "handle": 4,
               "expr": [{"counter": {"packets": 100, "bytes": 9000}}]}},
     {"rule": {"family": "netdev", "table": "progres_lab", "chain": "from_server", "handle": 3,
               "expr": [{"match": {"op": "<", "right": 50, "left":
                          {"numgen": {"mode": "random", "mod": 100, "offset": 0}}}},
                        {"counter": {"packets": 40, "bytes": 3000}}, {"drop": null}]}}]""")
ARP_FILTER: list[dict[str, Any]] = json.loads("""
    [{"protocol": "arp", "pref": 1, "kind": "u32", "chain": 0},
     {"protocol": "arp", "pref": 1, "kind": "u32", "chain": 0,
      "options": {"fh": "800:", "ht_divisor": 1}},
     {"protocol": "arp", "pref": 1, "kind": "u32", "chain": 0,
      "options": {"fh": "800::800", "order": 2048, "key_ht": "800", "bkt": "0", "flowid": "8a0:2",
                  "not_in_hw": true,
                  "match": {"value": "0", "mask": "0", "offmask": "", "off": 0}}}]""")
LINK = {"ifname": "eth0", "gso_max_size": 1500, "gso_max_segs": 1}
HALF = Asked(("loss", "50%"), "environment", parse(["loss", "50%"]))
NOTHING = Asked((), "environment", None)


def missing(
    asked: Asked,
    qdiscs: list[Any] | None = None,
    ruleset: list[Any] | None = None,
    link: dict[str, Any] = LINK,
    filters: list[Any] = ARP_FILTER,
) -> list[str]:
    shown = [NOQUEUE] if qdiscs is None else qdiscs
    effect = effect_of(shown, filters, ruleset or [], link, "eth0")
    return shortcomings(asked, effect)


def test_netem_below_the_labs_root_is_in_effect() -> None:
    effect = effect_of([PRIO, NETEM], ARP_FILTER, NFT[:1], LINK, "eth0")
    assert effect.mechanism == "netem"
    assert effect.impairment.loss == 0.5
    assert effect.counters is not None
    assert effect.counters["sent_packets"] == 1058
    assert effect.counters["dropped_packets"] == 943
    assert shortcomings(HALF, effect) == []


def test_the_labs_nftables_table_is_in_effect() -> None:
    effect = effect_of([NOQUEUE], [], NFT, LINK, "eth0")
    assert effect.mechanism == "nftables"
    assert effect.counters == {"sent_packets": 60, "sent_bytes": 6000, "dropped_packets": 40}
    assert shortcomings(HALF, effect) == []


def test_no_impairment_is_in_effect_with_and_without_the_labs_root() -> None:
    assert missing(NOTHING) == []
    assert missing(NOTHING, [PRIO]) == []


def test_nothing_where_something_is_asked_for_is_noticed() -> None:
    assert missing(HALF) == ["asked for loss 50%, the kernel shows no impairment"]
    assert missing(HALF, [PRIO]) != []


def test_something_where_nothing_is_asked_for_is_noticed() -> None:
    assert missing(NOTHING, [PRIO, NETEM]) == ["asked for no impairment, the kernel shows loss 50%"]
    assert missing(NOTHING, ruleset=NFT) != []


def test_offload_that_is_on_is_noticed() -> None:
    assert "offload" in missing(HALF, [PRIO, NETEM], link=LINK | {"gso_max_segs": 65535})[0]


def test_both_mechanisms_at_once_are_noticed() -> None:
    assert "both netem and nftables are in effect" in missing(HALF, [PRIO, NETEM], NFT)


@pytest.mark.parametrize(
    "foreign",
    [
        {"kind": "pfifo", "handle": "5:", "root": True, "options": {"limit": 1000}},
        NETEM | {"handle": "1:", "parent": "8a0:1"},
        NETEM | {"root": True, "parent": None},
        NETEM | {"parent": "8a0:2"},
        PRIO | {"handle": "1:"},
        {"kind": "tbf", "handle": "20:", "parent": "8a2:1", "options": {}},
        {"kind": "clsact", "handle": "ffff:", "parent": "ffff:fff1", "options": {}},
    ],
)
def test_a_qdisc_of_somebody_else_is_named(foreign: dict[str, Any]) -> None:
    effect = effect_of([foreign], [], [], LINK, "eth0")
    assert effect.foreign == (
        f"the qdisc {foreign['kind']} {foreign['handle']} on eth0 is not the lab's",
    )


def test_ingress_and_the_kernels_own_qdiscs_are_nobody_elses() -> None:
    ingress = {"kind": "ingress", "handle": "ffff:", "parent": "ffff:fff1", "options": {}}
    queues = [
        {"kind": "mq", "handle": "0:", "root": True, "options": {}},
        {"kind": "fq_codel", "handle": "0:", "parent": ":1", "options": {}},
    ]
    assert missing(NOTHING, [*queues, ingress]) == []


def test_a_root_that_was_changed_is_noticed() -> None:
    changed = PRIO | {"options": PRIO["options"] | {"priomap": [1, *15 * [0]]}}
    assert missing(HALF, [changed, NETEM]) == ["the lab's qdisc prio 8a0: was changed"]


def test_a_field_of_netem_that_is_new_to_the_sidecar_is_noticed() -> None:
    new = NETEM | {"options": NETEM["options"] | {"eat": 0.1}}
    assert missing(HALF, [PRIO, new])[0].startswith("tc shows 'eat' of netem")
    with pytest.raises(KeyError):
        netem_impairment(new["options"])


def test_arp_that_is_not_spared_is_noticed() -> None:
    assert missing(HALF, [PRIO, NETEM]) == []
    assert missing(HALF, [PRIO, NETEM], filters=[]) == ["netem also acts on ARP"]
    elsewhere = copy.deepcopy(ARP_FILTER)
    elsewhere[2]["options"]["flowid"] = "8a0:1"
    assert missing(HALF, [PRIO, NETEM], filters=elsewhere) == ["netem also acts on ARP"]
    another = [*ARP_FILTER, ARP_FILTER[2] | {"protocol": "ip"}]
    assert missing(HALF, [PRIO, NETEM], filters=another) == ["netem also acts on ARP"]


def test_every_change_to_the_table_is_noticed() -> None:
    """Each value in the table is changed in turn, and each item left out or doubled."""
    changed = 0
    for path in paths(NFT[1:]):
        if path[-1] in ("packets", "bytes", "handle"):
            continue
        ruleset = copy.deepcopy(NFT)
        parent: Any = ruleset[1:]
        for step in path[:-1]:
            parent = parent[step]
        value = parent[path[-1]]
        parent[path[-1]] = value + 1 if isinstance(value, int) else "other"
        assert missing(HALF, ruleset=ruleset) != [], path
        changed += 1
    assert changed > 20
    for index in range(1, len(NFT)):
        assert missing(HALF, ruleset=NFT[:index] + NFT[index + 1 :]) != []
        assert missing(HALF, ruleset=[*NFT, NFT[index]]) != []


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


def test_the_table_is_replaced_in_one_transaction() -> None:
    assert (
        nft_ruleset("eth0", 0.1)
        == """\
add table netdev progres_lab
delete table netdev progres_lab
table netdev progres_lab {
    chain from_server {
        type filter hook egress device "eth0" priority filter; policy accept;
        meta protocol arp accept
        counter
        numgen random mod 100 < 10 counter drop
    }
}
"""
    )


def test_nothing_is_what_netem_without_words_does() -> None:
    assert netem_impairment({"limit": 1000, "ecn": False, "gap": 0}) == Impairment()
