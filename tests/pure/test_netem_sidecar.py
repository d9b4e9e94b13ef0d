"""The sidecar's decisions, on a kernel that is pretended: what is touched, and what is claimed."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.netem import NetemError, NotOnThisKernel, WrongWords
from services.netem import sidecar as sidecar_module
from services.netem.impairment import Impairment, parse
from services.netem.kernel import Interface
from services.netem.readback import DIRECTIONS, Effect, Shown
from services.netem.settings import Kept, Settings
from services.netem.sidecar import Sidecar, description, kept_of, sentence


class PretendedInterface(Interface):
    """Does what it is told, and notes it. ``lacks`` are kinds of qdisc that it does not know."""

    def __init__(self, *, lacks: Sequence[str] = (), knows_seeds: bool = True) -> None:
        super().__init__("eth0")
        self.lacks, self.knows_seeds = lacks, knows_seeds
        self.complaint_in = ""
        self.done: list[tuple[str, str]] = []
        self.state = {direction: Effect() for direction in DIRECTIONS}

    def read(self) -> Shown:
        return Shown(dict(self.state))

    def turn_offload_off(self) -> None:
        pass

    def complaint_about(self, kind: str) -> str:
        return "Specified qdisc kind is unknown." if kind in self.lacks else ""

    def complaint_about_ingress(self, shown: Shown) -> str:
        return self.complaint_in

    def apply_netem(self, direction: str, words: Sequence[str], shown: Shown) -> None:
        impairment = parse(words[:-2])  # the limit comes last, though it may stand there already
        if impairment.corrupt:
            raise NetemError("tc: no memory")
        if not self.knows_seeds:
            impairment = replace(impairment, seed=None)
        self._set(direction, "netem", impairment)

    def apply_nftables(self, direction: str, impairment: Impairment) -> None:
        self._set(direction, "nftables", replace(impairment, seed=None))

    def remove_netem(self, direction: str, shown: Shown) -> None:
        if self.state[direction].mechanism == "netem":
            self._set(direction, "none", Impairment())

    def remove_nftables(self, shown: Shown, *, but: Collection[str]) -> None:
        for direction, effect in self.state.items():
            if effect.mechanism == "nftables" and direction not in but:
                self._set(direction, "none", Impairment())

    def count(self, direction: str, *, dropped: int, refused: int) -> None:
        """Pretend traffic, of which so many packets were dropped, and so many by a full queue."""
        counters = {"sent_packets": 9, "sent_bytes": 900, "dropped_packets": dropped}
        effect = self.state[direction]
        self.state[direction] = replace(
            effect, counters=counters, refused_packets=effect.refused_packets + refused
        )

    def _set(self, direction: str, mechanism: str, impairment: Impairment) -> None:
        self.done.append((direction, mechanism))
        counters = {"sent_packets": 0, "sent_bytes": 0, "dropped_packets": 0}
        self.state[direction] = replace(
            self.state[direction],
            mechanism=mechanism,
            impairment=impairment,
            counters=None if mechanism == "none" else counters,
        )


@pytest.fixture(autouse=True)
def _tc(monkeypatch: pytest.MonkeyPatch) -> None:
    """No program is started: tc takes all words."""
    monkeypatch.setattr(sidecar_module, "refuse_wrong_words", lambda words: "")
    monkeypatch.setattr(sidecar_module, "tc_knows_seeds", lambda: True)
    monkeypatch.setattr(sidecar_module, "versions", lambda: {"kernel": "6", "tc": "6", "nft": "1"})
    sidecar_module.asked_of.cache_clear()


def sidecar_on(interface: Interface, folder: Path, default: str = "loss 10%") -> Sidecar:
    return Sidecar("udp", default, interface, Settings(str(folder), "udp"))


def part(receipt: dict[str, Any], direction: str) -> dict[str, Any]:
    found: dict[str, Any] = receipt["directions"][direction]
    return found


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_change_of_one_direction_touches_that_one_alone(tmp_path: Path, direction: str) -> None:
    interface = PretendedInterface()
    sidecar = sidecar_on(interface, tmp_path)
    sidecar.apply({"from_server": "loss 1%", "to_server": "loss 2%"})
    interface.done.clear()
    sidecar.set("delay 5ms", direction)
    assert interface.done == [(direction, "netem")]


def test_the_same_words_again_begin_anew(tmp_path: Path) -> None:
    interface = PretendedInterface()
    sidecar = sidecar_on(interface, tmp_path)
    for _ in range(2):
        interface.done.clear()
        sidecar.apply({"from_server": "loss 1% seed 3", "to_server": "loss 2% seed 3"})
        assert interface.done == [(direction, "netem") for direction in DIRECTIONS]


def test_reset_touches_nothing_where_all_is_as_by_default(tmp_path: Path) -> None:
    interface = PretendedInterface()
    sidecar = sidecar_on(interface, tmp_path)
    sidecar.apply({"name": "x", "to_server": "loss 2%"})
    receipt = sidecar.reset()
    assert part(receipt, "from_server")["source"] == "environment"
    assert receipt["name"] == ""
    interface.done.clear()
    sidecar.reset()
    assert interface.done == []


@pytest.mark.parametrize("wrong", DIRECTIONS)
@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("loss ten", WrongWords),
        ("delay 1ms", NotOnThisKernel),
        ("loss 5% corrupt 1%", NotOnThisKernel),
    ],
)
def test_all_or_nothing_where_netem_is_missing(
    tmp_path: Path, wrong: str, words: str, error: type[NetemError]
) -> None:
    interface = PretendedInterface(lacks=["netem"])
    sidecar = sidecar_on(interface, tmp_path)
    (other,) = {*DIRECTIONS} - {wrong}
    sidecar.apply({"name": "old", "from_server": "loss 1%", "to_server": "loss 2%"})
    interface.done.clear()
    with pytest.raises(error):
        sidecar.apply({"name": "new", other: "loss 7%", wrong: words})
    assert interface.done == []
    assert sidecar.show()["name"] == "old"


def test_what_fails_halfway_is_taken_back(tmp_path: Path) -> None:
    interface = PretendedInterface()
    sidecar = sidecar_on(interface, tmp_path)
    sidecar.apply({"name": "old", "from_server": "loss 1%", "to_server": "loss 2%"})
    with pytest.raises(NetemError, match="no memory"):
        sidecar.apply({"from_server": "loss 7%", "to_server": "corrupt 1%"})
    receipt = sidecar.show()
    assert (receipt["name"], receipt["verdict"]) == ("old", "in effect")
    assert interface.state["from_server"].impairment.loss == 0.01


def test_without_a_way_in_loss_alone_falls_back_to_nftables_there(tmp_path: Path) -> None:
    interface = PretendedInterface()
    interface.complaint_in = "ip link add lab-in: Unknown device type"
    sidecar = sidecar_on(interface, tmp_path)
    receipt = sidecar.apply({"from_server": "delay 5ms", "to_server": "loss 2% seed 4"})
    assert part(receipt, "from_server")["mechanism"] == "netem"
    assert part(receipt, "to_server")["mechanism"] == "nftables"
    with pytest.raises(NotOnThisKernel, match="clients to server: it has no path .*ifb.*Unknown"):
        sidecar.set("delay 1ms", "to_server")


def test_a_receipt_says_whether_a_run_repeats(tmp_path: Path) -> None:
    sidecar = sidecar_on(PretendedInterface(), tmp_path)
    old = sidecar_on(PretendedInterface(knows_seeds=False), tmp_path / "old")
    without = sidecar_on(PretendedInterface(lacks=["netem"]), tmp_path / "without")
    for folder in ("old", "without"):
        (tmp_path / folder).mkdir()
    for where, words, seed, repeatable in (
        (sidecar, "loss 1% seed 5", 5, True),
        (sidecar, "loss 1%", None, False),
        (sidecar, "delay 5ms", None, True),
        (sidecar, "off", None, True),
        (old, "loss 1% seed 5", 5, False),
        (old, "delay 5ms seed 5", 5, True),
        (without, "loss 1% seed 5", 5, False),
    ):
        receipt = where.set(words)
        found = part(receipt, "from_server")
        assert receipt["verdict"] == "in effect"
        assert (found["seed"], found["repeatable"]) == (seed, repeatable), words
        warned = "seed 5 is not known" in description(receipt)
        assert warned == (seed is not None and not repeatable)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    ("words", "dropped", "refused", "overflowed"),
    [
        ("rate 1mbit limit 5", 40, 0, 40),  # nothing is lost at random: all of them, TCP's too
        ("loss 10% rate 1mbit limit 5", 40, 15, 15),
        ("loss 10%", 40, 0, 0),
        ("loss 10%", 40, 50, 40),  # IP refused others elsewhere: never more than were dropped
    ],
)
def test_overflow_is_told_from_random_loss(
    tmp_path: Path, direction: str, words: str, dropped: int, refused: int, overflowed: int
) -> None:
    interface = PretendedInterface()
    sidecar = sidecar_on(interface, tmp_path)
    sidecar.set("loss 5%", direction)
    interface.count(direction, dropped=1000, refused=1000)
    sidecar.set(words, direction)
    interface.count(direction, dropped=dropped, refused=refused)
    counters = part(sidecar.show(), direction)["counters"]
    assert counters["dropped_packets"] == dropped
    assert counters["overflowed_packets"] == overflowed


def test_what_is_missing_names_its_direction_and_is_in_every_form_of_the_receipt(
    tmp_path: Path,
) -> None:
    interface = PretendedInterface()
    sidecar = sidecar_on(interface, tmp_path)
    sidecar.apply({"from_server": "loss 1%", "to_server": "loss 2%"})
    interface.state["to_server"] = Effect()
    receipt = sidecar.show()
    assert receipt["verdict"] == "not in effect"
    assert receipt["because"] == [
        "to_server: asked for loss 2%, the kernel shows no impairment",
    ]
    for text in (sentence(receipt), description(receipt)):
        assert "asked for loss 2%" in text
    assert "NOT in effect" in sentence(receipt)


def test_a_qdisc_of_somebody_else_refuses_both_directions(tmp_path: Path) -> None:
    interface = PretendedInterface()
    interface.state["to_server"] = Effect(foreign=("the qdisc ingress is not the lab's",))
    sidecar = sidecar_on(interface, tmp_path)
    for direction in DIRECTIONS:
        with pytest.raises(NetemError, match="refused, not replaced"):
            sidecar.set("loss 1%", direction)
    assert interface.done == []


def test_a_document_is_read_strictly() -> None:
    assert kept_of({}) == Kept({"from_server": "off", "to_server": "off"})
    assert kept_of({"to_server": " loss  5% ", "from_server": "default", "name": "x"}) == Kept(
        {"to_server": "loss 5%"}, "x"
    )
    wrong: list[object] = [None, [], {"udp": "off"}, {"to_server": None}, {"name": "a\nb"}]
    for document in wrong:
        with pytest.raises(WrongWords):
            kept_of(document)
