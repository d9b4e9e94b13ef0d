"""What is asked for, put into effect and proven: the sidecar's acts.

::

    asked      = the run-time setting, or else the environment's
    effect     = what the kernel shows
    in effect <=> every field of both is the same, and nothing else is in the way

``set`` and the loop of ``run`` use the same steps under the same lock.
"""

import json
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from services.events import Events, timestamp
from services.lifetime import TICK_S, Lifetime
from services.netem import NetemError, NotOnThisKernel, WrongWords
from services.netem.changes import Changes
from services.netem.impairment import Impairment, differences, parse, words_of
from services.netem.kernel import REMEDY, Interface, refuse_wrong_words, versions
from services.netem.readback import Effect
from services.netem.settings import DIRECTION, Settings

LOOK_EVERY_S = 10.0
"""The kernel tells of changes by itself; this is for what it might not tell."""
RECEIPT_FORMAT = 1
OFF = "off"
DEFAULT = "default"

SOURCE_ENVIRONMENT = "environment"
SOURCE_RUN_TIME = "make netem"


@dataclass(frozen=True)
class Asked:
    """What is asked for: tc's words as they came, and their meaning (None: no impairment)."""

    words: tuple[str, ...]
    source: str
    impairment: Impairment | None

    def __str__(self) -> str:
        return " ".join(self.words) or OFF


@lru_cache(maxsize=8)  # the loop asks again and again; errors are not kept
def asked_of(text: str, source: str) -> Asked:
    """Return what ``text`` asks for, checked by tc itself. Nothing is touched.

    ``off`` and nothing at all mean no impairment. Raises WrongWords with tc's complaint and the
    offending word.
    """
    words = tuple(text.split())
    if not words or words == (OFF,):
        return Asked((), source, None)
    complaint = refuse_wrong_words(words)
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
    if not effect.offload_is_off:
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

    def set(self, text: str) -> dict[str, Any]:
        """Change the setting, keep it for later starts, and return the receipt.

        ``default`` goes back to the environment's setting. When anything goes wrong the old setting
        stays, in the kernel and in the file. Raises WrongWords, NotOnThisKernel, NetemError.
        """
        if not text.strip():
            raise WrongWords(f"no words: give tc's words, or {OFF}, or {DEFAULT}")
        with self._settings.lock():
            back_to_default = text.strip() == DEFAULT
            asked = self._default_asked() if back_to_default else asked_of(text, SOURCE_RUN_TIME)
            try:
                effect = self._apply(asked)
                self._settings.write(None if back_to_default else str(asked))
            except NetemError:
                self._go_back()
                raise
            return self._receipt(asked, effect) | versions()

    def show(self) -> dict[str, Any]:
        """Return the receipt of what is in effect now. Raises NetemError, WrongWords."""
        return self.check() | versions()

    def check(self) -> dict[str, Any]:
        """Return the receipt without the versions, which are two more programs to start."""
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
            reported = self._keep(None, events, say)
            trouble = ""
            next_look = time.monotonic() + LOOK_EVERY_S
            while not lifetime.over():
                if status is not None and not trouble:
                    status.touch()
                if not changes.wait(TICK_S) and time.monotonic() < next_look:
                    continue
                try:
                    reported = self._keep(reported, events, say)
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

    def asked(self) -> Asked:
        """Return what is asked for now. Raises WrongWords, NetemError."""
        kept = self._settings.read()
        return self._default_asked() if kept is None else asked_of(kept, SOURCE_RUN_TIME)

    def _default_asked(self) -> Asked:
        try:
            return asked_of(self._default, SOURCE_ENVIRONMENT)
        except WrongWords as error:
            variable = f"LAB_{self.service.upper()}_NETEM"
            raise WrongWords(f"{variable}={self._default!r}: {error}") from None

    def _keep(
        self, reported: Asked | None, events: Events, say: Callable[[str], None]
    ) -> Asked | None:
        with self._settings.lock():
            asked, effect = self.asked(), self._interface.read()
            missing = shortcomings(asked, effect)
            if missing:
                effect = self._apply(asked)
                if reported is not None:
                    events("re-applied", because="; ".join(missing))
            if missing or asked != reported:
                receipt = self._receipt(asked, effect) | versions()
                say(sentence(receipt))
                say(json.dumps(receipt))
            return asked

    def _apply(self, asked: Asked) -> Effect:
        """Put ``asked`` into effect and return what the kernel then shows. Hold the lock."""
        interface = self._interface
        effect = interface.read()
        if effect.foreign:
            raise NetemError(
                f"{'; '.join(effect.foreign)}: refused, not replaced"
                f" (remove it with: tc qdisc del dev {interface.name} root)"
            )
        impairment = asked.impairment
        mechanism = "none" if impairment is None else self._mechanism(asked, impairment)
        interface.turn_offload_off()
        # The new one comes before the old one goes.
        if mechanism == "netem" and impairment is not None:
            interface.apply_netem(asked.words, impairment.limit, effect)
        elif mechanism == "nftables" and impairment is not None:
            interface.apply_nftables(impairment)
        if mechanism != "netem":
            interface.remove_netem(effect)
        if mechanism != "nftables":
            interface.remove_nftables(effect)
        effect = interface.read()
        missing = shortcomings(asked, effect)
        if missing:
            raise NotOnThisKernel(
                f"this kernel ({platform.release()}) took {asked}, but does not show it:"
                f" {'; '.join(missing)}"
            )
        return effect

    def _mechanism(self, asked: Asked, impairment: Impairment) -> str:
        lacking = {kind: self._interface.complaint_about(kind) for kind in ("netem", "prio")}
        lacking = {f"sch_{kind}": complaint for kind, complaint in lacking.items() if complaint}
        if not lacking:
            return "netem"
        if impairment.is_loss_alone:
            return "nftables"
        raise NotOnThisKernel(
            f"this kernel ({platform.release()}) cannot do {asked}: it has no"
            f" {' and no '.join(lacking)} (tc: {next(iter(lacking.values()))}), and without"
            f' it only plain loss works, as in "loss 10%". {REMEDY}'
        )

    def _go_back(self) -> None:
        try:
            asked = self.asked()
            if shortcomings(asked, self._interface.read()):
                self._apply(asked)
        except NetemError:
            pass  # the first error is the one to report; the loop of run tries again, check says so

    def _receipt(self, asked: Asked, effect: Effect) -> dict[str, Any]:
        missing = shortcomings(asked, effect)
        shown = effect.impairment
        unseen: tuple[str, ...] = ()
        if asked.impairment is not None and not missing:
            unseen = asked.impairment.not_verifiable
            shown = replace(
                shown,
                distribution=asked.impairment.distribution,
                slot_distribution=asked.impairment.slot_distribution,
            )
        return {
            "format": RECEIPT_FORMAT,
            "time": timestamp(time.time_ns()),
            "service": self.service,
            "interface": self._interface.name,
            "direction": DIRECTION,
            "asked": str(asked),
            "source": asked.source,
            "verdict": "not in effect" if missing else "in effect",
            "because": missing,
            "mechanism": effect.mechanism,
            "in_effect": words_of(shown),
            "not_verifiable": list(unseen),
            "fields": _what_differs_from_nothing(effect.impairment),
            "segmentation_offload": "off" if effect.offload_is_off else "on",
            "counters": effect.counters,
            **versions(),
        }


def _what_differs_from_nothing(impairment: Impairment) -> dict[str, Any]:
    nothing = asdict(Impairment())
    return {name: value for name, value in asdict(impairment).items() if value != nothing[name]}


def sentence(receipt: Mapping[str, Any]) -> str:
    """Return the receipt in one line."""
    service, asked, source = receipt["service"], receipt["asked"], receipt["source"]
    if receipt["verdict"] != "in effect":
        reasons = "; ".join(receipt["because"])
        return f"{service}: {asked} is NOT in effect (set by {source}): {reasons}"
    if receipt["mechanism"] == "none":
        return f"{service}: no impairment is in effect (set by {source})"
    in_full = "" if receipt["in_effect"] == asked else f" as {receipt['in_effect']}"
    return (
        f"{service}: {asked} is in effect{in_full}, one way, server to clients"
        f" ({receipt['mechanism']}; set by {source})"
    )


def description(receipt: Mapping[str, Any]) -> str:
    """Return the receipt in a few lines for people."""
    lines = [
        sentence(receipt),
        f"  on {receipt['interface']}, segmentation offload {receipt['segmentation_offload']};"
        f" kernel {receipt['kernel']}, tc {receipt['tc']}, nft {receipt['nft']}",
    ]
    if receipt["counters"]:
        sent, dropped = (receipt["counters"][f"{kind}_packets"] for kind in ("sent", "dropped"))
        lines.append(f"  since then {sent} packets went out and {dropped} were dropped")
    for unseen in receipt["not_verifiable"]:
        lines.append(f"  {unseen}: the kernel never shows it, only a measurement can vouch for it")
    return "\n".join(lines)
