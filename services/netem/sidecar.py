"""What is asked for, put into effect and proven: the sidecar's acts.

::

    asked      = the run-time setting, or else the environment's    for each of the two directions
    effect     = what the kernel shows
    in effect <=> every field of both is the same, and nothing else is in the way

``apply``, ``set`` and the loop of ``run`` use the same steps under the same lock. A change is all
or nothing: when one direction cannot be had, neither is changed.
"""

import json
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from services.events import Events, timestamp
from services.lifetime import TICK_S, Lifetime
from services.netem import NetemError, NotOnThisKernel, WrongWords
from services.netem.changes import Changes
from services.netem.impairment import Impairment, differences, parse, without_seed, words_of
from services.netem.kernel import (
    INGRESS_MODULES,
    REMEDY,
    Interface,
    refuse_wrong_words,
    tc_knows_seeds,
    versions,
)
from services.netem.readback import DIRECTIONS, FROM_SERVER, TO_SERVER, Effect, Shown
from services.netem.settings import Kept, Settings, Since

LOOK_EVERY_S = 10.0
"""The kernel tells of changes by itself; this is for what it might not tell."""
RECEIPT_FORMAT = 2
OFF = "off"
DEFAULT = "default"

SOURCE_ENVIRONMENT = "environment"
SOURCE_RUN_TIME = "make netem"

INGRESS_PATH = f"path for what comes in ({', '.join(INGRESS_MODULES)})"

IN_WORDS = {FROM_SERVER: "server to clients", TO_SERVER: "clients to server"}


@dataclass(frozen=True)
class Asked:
    """What is asked for in one direction: tc's words, and their meaning (None: no impairment)."""

    words: tuple[str, ...] = ()
    source: str = SOURCE_ENVIRONMENT
    impairment: Impairment | None = None

    def __str__(self) -> str:
        return " ".join(self.words) or OFF

    @property
    def words_for_tc(self) -> tuple[str, ...]:
        """What tc is given: the limit always (the last one counts), a seed if it knows seeds."""
        limit = ("limit", str(self.impairment.limit)) if self.impairment else ()
        taken = "seed" not in self.words or tc_knows_seeds()
        return (*(self.words if taken else without_seed(self.words)), *limit)


@dataclass(frozen=True)
class Plan:
    """What is asked for in both directions, and the name of the scenario, if it is one."""

    directions: Mapping[str, Asked]
    name: str = ""


@lru_cache(maxsize=32)  # the loop asks again and again; errors are not kept
def asked_of(text: str, source: str) -> Asked:
    """Return what ``text`` asks for, checked by tc itself. Nothing is touched.

    ``off`` and nothing at all mean no impairment. Raises WrongWords with tc's complaint and the
    offending word.
    """
    words = tuple(text.split())
    if not words or words == (OFF,):
        return Asked((), source, None)
    complaint = refuse_wrong_words(words)
    if complaint and not tc_knows_seeds():
        complaint = refuse_wrong_words(without_seed(words))
    try:
        impairment = parse(words)
    except WrongWords as error:
        # tc often names only the kind of word that it dislikes; the parser names the word itself.
        raise WrongWords(f"tc says: {complaint} ({error})" if complaint else str(error)) from None
    if complaint:
        raise WrongWords(f"tc says: {complaint}")
    return Asked(words, source, impairment)


def shortcomings(asked: Asked, effect: Effect) -> list[str]:
    """Return what stands between ``asked`` and ``effect``, a sentence each; empty: in effect."""
    found = [*effect.foreign, *effect.problems]
    if not effect.single_packets and effect.mechanism != "nftables":
        found.append("segmentation offload is on: a packet is not a packet")
    if asked.impairment is None:
        if effect.mechanism != "none":
            found.append(f"asked for no impairment, the kernel shows {words_of(effect.impairment)}")
    elif effect.mechanism == "none":
        found.append(f"asked for {asked}, the kernel shows no impairment")
    else:
        found += differences(asked.impairment, effect.impairment)
    return found


class Sidecar:
    """The network of one service, on one interface of this namespace."""

    def __init__(
        self, service: str, default: str, interface: Interface, settings: Settings
    ) -> None:
        self.service = service
        self._default = default
        self._interface = interface
        self._settings = settings

    def set(self, text: str, direction: str = FROM_SERVER) -> dict[str, Any]:
        """Change one direction, keep it for later starts, and return the receipt.

        ``default`` goes back to the environment's setting. When anything goes wrong the old setting
        stays, in the kernel and in the file. Raises WrongWords, NotOnThisKernel, NetemError.
        """
        if not text.strip():
            raise WrongWords(f"no words: give tc's words, or {OFF}, or {DEFAULT}")
        with self._settings.lock():
            words = dict(self._settings.read().words)
            words[direction] = text
            return self._change(_kept(words, ""), {direction})

    def apply(self, document: object) -> dict[str, Any]:
        """Change both directions together, all or nothing, and return the receipt.

        ``document`` maps from_server and to_server to words (``off`` where one is missing), and
        name to the name of the scenario. Raises what ``set`` raises.
        """
        kept = kept_of(document)
        with self._settings.lock():
            return self._change(kept, DIRECTIONS)

    def reset(self) -> dict[str, Any]:
        """Go back to the environment's setting in both directions, and return the receipt.

        What is already so is left as it is. A damaged file of settings does not matter.
        """
        with self._settings.lock():
            return self._change(Kept(), ())

    def show(self) -> dict[str, Any]:
        """Return the receipt of what is in effect now. Raises NetemError, WrongWords."""
        with self._settings.lock():
            return self._receipt(self.asked(), self._interface.read())

    def run(
        self,
        lifetime: Lifetime,
        events: Events,
        say: Callable[[str], None],
        status: Path | None = None,
    ) -> int:
        """Keep what is asked for in effect until the lifetime is over; return the exit status.

        ``say`` gets each receipt, once for people and once for programs. The file ``status`` is
        there, and no older than a second, as long as all is in effect. Raises what ``set`` raises
        when it cannot be applied at the start; later, it is tried again every second.
        """
        with Changes() as changes:
            reported = self._keep(None, changes, events, say)
            trouble = ""
            next_look = time.monotonic() + LOOK_EVERY_S
            while not lifetime.over():
                if status is not None and not trouble:
                    status.touch()
                if not changes.wait(TICK_S) and time.monotonic() < next_look:
                    continue
                try:
                    reported = self._keep(reported, changes, events, say)
                    trouble = ""
                    next_look = time.monotonic() + LOOK_EVERY_S
                except NetemError as error:
                    next_look = time.monotonic() + 1
                    if trouble != str(error):  # said once, not every second
                        trouble = str(error)
                        events("not-in-effect", reason=trouble)
                        if status is not None:
                            status.unlink(missing_ok=True)
        if lifetime.reason.startswith("interface"):
            events("stopped", reason=lifetime.reason)
            return 1
        with self._settings.lock():
            self._interface.remove_all()
        events("stopped", reason=lifetime.reason, removed=True)
        return 0

    def asked(self) -> Plan:
        """Return what is asked for now. Raises WrongWords, NetemError."""
        return self._plan(self._settings.read())

    def _plan(self, kept: Kept) -> Plan:
        source = f"scenario {kept.name}" if kept.name else SOURCE_RUN_TIME
        found = {}
        for direction in DIRECTIONS:
            words = kept.words.get(direction)
            found[direction] = (
                self._default_asked(direction) if words is None else asked_of(words, source)
            )
        return Plan(found, kept.name)

    def _default_asked(self, direction: str) -> Asked:
        if direction == TO_SERVER:
            return Asked()
        try:
            return asked_of(self._default, SOURCE_ENVIRONMENT)
        except WrongWords as error:
            variable = f"LAB_{self.service.upper()}_NETEM"
            raise WrongWords(f"{variable}={self._default!r}: {error}") from None

    def _change(self, kept: Kept, directions: Collection[str]) -> dict[str, Any]:
        """Put ``kept`` into effect, ``directions`` anew in any case. Hold the lock."""
        plan = self._plan(kept)
        try:
            shown = self._apply(plan, directions)
            self._settings.write(kept)
        except NetemError:
            self._go_back()
            raise
        return self._receipt(plan, shown)

    def _keep(
        self, reported: Plan | None, changes: Changes, events: Events, say: Callable[[str], None]
    ) -> Plan | None:
        with self._settings.lock():
            changes.wait(0)  # what a change from outside did until now is seen by this one look
            plan, shown = self.asked(), self._interface.read()
            missing = _all_shortcomings(plan, shown)
            if missing:
                shown = self._apply(plan, ())
                if reported is not None:
                    events("re-applied", because="; ".join(missing))
            if missing or plan != reported:
                receipt = self._receipt(plan, shown)
                say(sentence(receipt))
                say(json.dumps(receipt))
            return plan

    def _apply(self, plan: Plan, directions: Collection[str]) -> Shown:
        """Put ``plan`` into effect and return what the kernel then shows. Hold the lock.

        A direction that is neither among ``directions`` nor lacking in anything is not touched.
        """
        interface = self._interface
        shown = interface.read()
        if shown.foreign:
            raise NetemError(
                f"{'; '.join(shown.foreign)}: refused, not replaced"
                f" (remove it with: tc qdisc del dev {interface.name} root, or ingress)"
            )
        if shown.table_is_strange:
            interface.remove_table(shown)
            shown = interface.read()
        concerned = [
            name
            for name in DIRECTIONS
            if name in directions or shortcomings(plan.directions[name], shown.directions[name])
        ]
        mechanisms = {name: self._mechanism(plan, name, shown) for name in concerned}
        if not shown.directions[FROM_SERVER].single_packets:
            interface.turn_offload_off()
        # The new one comes before the old one goes.
        for name, mechanism in mechanisms.items():
            asked = plan.directions[name]
            if mechanism == "netem":
                interface.apply_netem(name, asked.words_for_tc, shown)
            elif mechanism == "nftables" and asked.impairment is not None:
                interface.apply_nftables(name, asked.impairment)
        for name, mechanism in mechanisms.items():
            if mechanism != "netem":
                interface.remove_netem(name, shown)
        will_be = {name: effect.mechanism for name, effect in shown.directions.items()} | mechanisms
        staying = [name for name, mechanism in will_be.items() if mechanism == "nftables"]
        interface.remove_nftables(shown, but=staying)
        shown = interface.read()
        if missing := _all_shortcomings(plan, shown):
            raise NotOnThisKernel(
                f"this kernel ({os.uname().release}) took {_in_short(plan)}, but does not show it:"
                f" {'; '.join(missing)}"
            )
        now = timestamp(time.time_ns())
        since = {name: Since(now, shown.directions[name].refused_packets) for name in concerned}
        if since:
            self._settings.write_since(self._settings.since() | since)
        return shown

    def _mechanism(self, plan: Plan, direction: str, shown: Shown) -> str:
        asked = plan.directions[direction]
        if asked.impairment is None:
            return "none"
        effect = shown.directions[direction]
        if effect.mechanism == "netem" and effect.path_is_ready:
            return "netem"  # what is there this kernel can do
        kinds = ("netem", "prio") if direction == FROM_SERVER else ("netem",)
        lacking = {f"sch_{kind}": self._interface.complaint_about(kind) for kind in kinds}
        lacking = {module: complaint for module, complaint in lacking.items() if complaint}
        if direction == TO_SERVER and not lacking:
            complaint = self._interface.complaint_about_ingress(shown)
            lacking = {INGRESS_PATH: complaint} if complaint else {}
        if not lacking:
            return "netem"
        if asked.impairment.is_loss_alone:
            return "nftables"
        raise NotOnThisKernel(
            f"this kernel ({os.uname().release}) cannot do {asked}, {IN_WORDS[direction]}: it has"
            f" no {' and no '.join(lacking)} (tc: {next(iter(lacking.values()))}), and without"
            f' it only plain loss works, as in "loss 10%". {REMEDY}'
        )

    def _go_back(self) -> None:
        try:
            plan = self.asked()
            if _all_shortcomings(plan, self._interface.read()):
                self._apply(plan, ())
        except NetemError:
            pass  # the first error is the one to report; the loop of run tries again, check says so

    def _receipt(self, plan: Plan, shown: Shown) -> dict[str, Any]:
        missing = _all_shortcomings(plan, shown)
        since = self._settings.since()
        return {
            "format": RECEIPT_FORMAT,
            "time": timestamp(time.time_ns()),
            "service": self.service,
            "interface": self._interface.name,
            "name": plan.name,
            "verdict": "not in effect" if missing else "in effect",
            "because": missing,
            "segmentation_offload": (
                "off" if shown.directions[FROM_SERVER].single_packets else "on"
            ),
            "directions": {
                name: _direction(
                    plan.directions[name], shown.directions[name], since.get(name, Since())
                )
                for name in DIRECTIONS
            },
            **versions(),
        }


def kept_of(document: object) -> Kept:
    """Return the settings that a JSON object asks for. Raises WrongWords, naming the key."""
    if not isinstance(document, dict):
        raise WrongWords(f"a JSON object is needed, not {type(document).__name__}")
    for key, value in document.items():
        if key not in (*DIRECTIONS, "name"):
            raise WrongWords(f'"{key}" is none of {", ".join(DIRECTIONS)}, name')
        if not isinstance(value, str):
            raise WrongWords(f'"{key}": a string is needed, not {json.dumps(value)}')
    name = document.get("name", "")
    if not name.isprintable() or len(name) > 100:
        raise WrongWords('"name": at most 100 characters, on one line')
    return _kept({key: document.get(key, OFF) for key in DIRECTIONS}, name)


def _kept(words: Mapping[str, str], name: str) -> Kept:
    plain = {direction: " ".join(text.split()) or OFF for direction, text in words.items()}
    return Kept({d: text for d, text in plain.items() if text != DEFAULT}, name)


def _all_shortcomings(plan: Plan, shown: Shown) -> list[str]:
    """Return those of both directions, each beginning with its direction."""
    return [
        f"{name}: {sentence}"
        for name in DIRECTIONS
        for sentence in shortcomings(plan.directions[name], shown.directions[name])
    ]


def _in_short(plan: Plan) -> str:
    return ", ".join(f"{IN_WORDS[name]} {plan.directions[name]}" for name in DIRECTIONS)


def _direction(asked: Asked, effect: Effect, since: Since) -> dict[str, Any]:
    """Return one direction's part of the receipt."""
    missing = shortcomings(asked, effect)
    shown = effect.impairment
    wanted = asked.impairment or Impairment()
    if not missing:  # the names of tables never show, but they are what was given to tc
        shown = replace(
            shown, distribution=wanted.distribution, slot_distribution=wanted.slot_distribution
        )
    return {
        "asked": str(asked),
        "source": asked.source,
        "since": since.time,
        "mechanism": effect.mechanism,
        "in_effect": words_of(shown),
        "limit": shown.limit if effect.mechanism == "netem" else None,
        "seed": wanted.seed,
        "repeatable": not shown.is_random
        or (wanted.seed is not None and shown.seed == wanted.seed),
        "single_packets": effect.single_packets,
        "not_verifiable": [] if missing else list(wanted.not_verifiable),
        "fields": _what_differs_from_nothing(effect.impairment),
        "counters": _counters(effect, since),
    }


def _counters(effect: Effect, since: Since) -> dict[str, int] | None:
    """Return the counters since the last change, with what a full queue refused.

    netem counts both kinds of drops in one number. Where it loses nothing at random, all of them
    are the queue's. Elsewhere IP's own counter (RFC 4293: OutDiscards) or that of the redirection
    tells: both see what netem refuses, and take for sent what it loses. nftables has no queue.
    """
    if effect.counters is None:
        return None
    overflowed = 0
    if effect.mechanism == "netem":
        dropped = effect.counters["dropped_packets"]
        refused = max(0, effect.refused_packets - since.refused_packets)
        overflowed = min(refused, dropped) if effect.impairment.loses_at_random else dropped
    return {**effect.counters, "overflowed_packets": overflowed}


def _what_differs_from_nothing(impairment: Impairment) -> dict[str, Any]:
    nothing = asdict(Impairment())
    return {name: value for name, value in asdict(impairment).items() if value != nothing[name]}


def sentence(receipt: Mapping[str, Any]) -> str:
    """Return the receipt in one line."""
    directions = receipt["directions"]
    if receipt["verdict"] != "in effect":
        asked = ", ".join(f"{IN_WORDS[name]} {directions[name]['asked']}" for name in DIRECTIONS)
        return f"{receipt['service']}: NOT in effect: {asked}: {'; '.join(receipt['because'])}"
    parts = "; ".join(f"{IN_WORDS[name]}: {in_words(directions[name])}" for name in DIRECTIONS)
    return f"{receipt['service']}: in effect: {parts}"


def in_words(direction: Mapping[str, Any]) -> str:
    """Return one direction of a receipt in a few words."""
    asked, source = direction["asked"], direction["source"]
    if direction["mechanism"] == "none":
        return f"{asked if asked != OFF else 'no impairment'} (set by {source})"
    in_full = "" if direction["in_effect"] == asked else f" as {direction['in_effect']}"
    return f"{asked}{in_full} ({direction['mechanism']}, set by {source})"


def description(receipt: Mapping[str, Any]) -> str:
    """Return the receipt in a few lines for people."""
    lines = [f"{receipt['service']}: {receipt['verdict']}"]
    lines += [f"  because {reason}" for reason in receipt["because"]]
    for name in DIRECTIONS:
        direction = receipt["directions"][name]
        lines.append(f"  {IN_WORDS[name]}: {in_words(direction)}")
        if counters := direction["counters"]:
            full = counters["overflowed_packets"]
            lines.append(
                f"    since {direction['since']} {counters['sent_packets']} packets passed,"
                f" {counters['dropped_packets']} were dropped"
                + (f" (the queue was full for {full} of them)" if full else "")
            )
        for unseen in direction["not_verifiable"]:
            lines.append(
                f"    {unseen}: the kernel never shows it, only a measurement can vouch for it"
            )
        if direction["seed"] is not None and not direction["repeatable"]:
            lines.append(
                f"    seed {direction['seed']} is not known to this kernel: it will differ"
            )
        if not direction["single_packets"] and direction["mechanism"] == "nftables":
            lines.append("    what TCP hands over in one piece is lost or passes as one packet")
    lines.append(
        f"  on {receipt['interface']}, segmentation offload {receipt['segmentation_offload']};"
        f" kernel {receipt['kernel']}, tc {receipt['tc']}, nft {receipt['nft']}"
    )
    return "\n".join(lines)
