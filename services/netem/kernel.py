"""The one place that runs ``tc``, ``nft`` and ``ip``: on one interface, in this network namespace.

Nothing goes through a shell, and every program has a time limit. ``tc`` fills gaps in its words by
itself (``TC_LIB_DIR``, abbreviations), so its environment is empty.
"""

import json
import platform
import subprocess
from collections.abc import Sequence
from typing import Any

from services.netem import NetemError, NotOnThisKernel, WrongWords
from services.netem.impairment import Impairment
from services.netem.readback import (
    ARP_BAND,
    ARP_FILTER_WORDS,
    FIRST_BAND,
    NETEM_HANDLES,
    ROOT_HANDLE,
    ROOT_WORDS,
    TABLE,
    Effect,
    effect_of,
    nft_ruleset,
)

TIMEOUT_S = 10.0
NO_SUCH_DEVICE = "lab-no-such-dev"
UNUSED_HANDLE = "8af:"

REMEDY = (
    "Debian, Ubuntu: sudo modprobe sch_netem sch_prio, and where that is not found (cloud and"
    " minimal kernels) install linux-image-amd64 or linux-modules-extra-$(uname -r);"
    " Fedora, RHEL: sudo dnf install kernel-modules-extra, then reboot;"
    " WSL2: wsl --update, then sudo modprobe sch_netem, or a kernel with CONFIG_NET_SCH_NETEM;"
    " Docker Desktop: update it, or run the lab in a Linux virtual machine;"
    " anywhere: make test-vm brings a kernel of its own"
)

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class Interface:
    """A network interface of this namespace, as the kernel has it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def read(self) -> Effect:
        """Return what is in effect now. Raises NetemError when the interface is not there."""
        link = _json(["ip", "-d", "-j", "link", "show", "dev", self.name])
        qdiscs = _json(["tc", "-j", "-s", "qdisc", "show", "dev", self.name])
        filters = []
        if any(qdisc["handle"] == ROOT_HANDLE for qdisc in qdiscs):
            filters = _json(["tc", "-j", "filter", "show", "dev", self.name, "parent", ROOT_HANDLE])
        listed = _run(["nft", "-j", "list", "ruleset", "netdev"])
        # A kernel without nf_tables says that it does not know the protocol: no tables, then.
        without_nftables = "Protocol not supported" in listed.stderr
        ruleset = [] if without_nftables else _parsed(listed)["nftables"]
        return effect_of(qdiscs, filters, ruleset, link[0], self.name)

    def turn_offload_off(self) -> None:
        """Make TCP hand over single packets, instead of up to 64 KB at once.

        Otherwise netem and nftables lose and count the large ones. NET_ADMIN is enough for it. It
        stays off when the impairment is taken away, so that all runs compare.
        """
        _must(["ip", "link", "set", "dev", self.name, "gso_max_segs", "1", "gso_max_size", "1500"])

    def complaint_about(self, kind: str) -> str:
        """Return why the kernel cannot do this kind of qdisc; empty if it can. Touches nothing.

        The request also asks for something that no such qdisc does (to share an ingress block): a
        kernel that knows the kind gets as far as to refuse that. One that does not says ``Specified
        qdisc kind is unknown``, or ``No such file or directory`` when it is older.
        """
        tried = _run(
            ["tc", "qdisc", "replace", "dev", self.name, "root", "handle", UNUSED_HANDLE]
            + ["ingress_block", "1", kind]
        )
        return "" if "block sharing is not supported" in tried.stderr else _first_line(tried.stderr)

    def apply_netem(self, words: Sequence[str], limit: int, effect: Effect) -> None:
        """Put netem with these words in the place of what is there. Loses no packet by itself.

        ``effect`` is what was read before. To replace the root each time would lose some: the
        kernel stops the interface for it (measured: 62 of 5,500 packets in 100 changes). A root
        that is already there is only set right.
        """
        _must(_qdisc(self.name, "replace", "root", "handle", ROOT_HANDLE, *ROOT_WORDS))
        if not effect.spares_arp:
            place = ("dev", self.name, "parent", ROOT_HANDLE)
            # One that is there, and not as it should be, would stay beside the new one.
            _run(["tc", "filter", "del", *place])
            _must(["tc", "filter", "add", *place, *ARP_FILTER_WORDS, "flowid", ARP_BAND])
        handle = NETEM_HANDLES[effect.netem_handle == NETEM_HANDLES[0]]
        place = ("parent", FIRST_BAND, "handle", handle)
        # The last limit counts, so this only states what tc or the sidecar computed.
        given = (*words, "limit", str(limit))
        _must(_qdisc(self.name, "replace", *place, "netem", *given))

    def apply_nftables(self, impairment: Impairment) -> None:
        """Put loss by nftables in the place of the lab's table, in one transaction."""
        done = _run(["nft", "-f", "-"], stdin=nft_ruleset(self.name, impairment.loss))
        if done.returncode:
            raise NotOnThisKernel(
                f"this kernel ({platform.release()}) has no netem, and not the egress hook of"
                f" nftables either (nft: {_first_line(done.stderr)}). {REMEDY}"
            )

    def remove_netem(self, effect: Effect) -> None:
        """Take netem away and leave the place for the next one, so that this loses no packet."""
        if effect.netem_handle:
            place = ("parent", FIRST_BAND, "handle", effect.netem_handle)
            _must(_qdisc(self.name, "del", *place))

    def remove_nftables(self, effect: Effect) -> None:
        """Take the lab's table away."""
        if effect.has_table:
            _must(["nft", "delete", "table", "netdev", TABLE])

    def remove_all(self) -> None:
        """Take everything away that is the lab's, and nothing else."""
        effect = self.read()
        if effect.has_root:
            _must(_qdisc(self.name, "del", "root", "handle", ROOT_HANDLE))
        self.remove_nftables(effect)


def refuse_wrong_words(words: Sequence[str]) -> str:
    """Return tc's complaint about the words, empty if it takes them. Nothing is touched.

    tc reads all its words before it looks for the device, and there is no such device. Raises
    WrongWords for characters that no word of tc has (a path would make it read a file).
    """
    for word in words:
        if not word.isascii() or not all(c.isalnum() or c in ".%+-" for c in word):
            raise WrongWords(f'"{word}" is not a word of tc netem')
    tried = _run(_qdisc(NO_SUCH_DEVICE, "add", "root", "netem", *words))
    if "Cannot find device" in tried.stderr:
        return ""
    said = [line for line in tried.stderr.splitlines() if not line.startswith(("Usage:", " "))]
    return said[-1] if said else "tc does not take these words"


def versions() -> dict[str, str]:
    """Return the versions of the kernel, of tc and of nft."""
    tc, nft = _run(["tc", "-V"]).stdout, _run(["nft", "--version"]).stdout
    return {
        "kernel": platform.release(),
        "tc": tc.partition("iproute2-")[2].partition(",")[0].strip(),
        "nft": nft.partition(" v")[2].partition(" ")[0].strip(),
    }


def _qdisc(device: str, verb: str, *words: str) -> list[str]:
    return ["tc", "qdisc", verb, "dev", device, *words]


def _run(argv: Sequence[str], *, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            env=_ENVIRONMENT,
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise NetemError(f"{argv[0]} is not installed here") from error
    except subprocess.TimeoutExpired as error:
        raise NetemError(f"{argv[0]} took more than {TIMEOUT_S:g} s") from error


def _must(argv: Sequence[str]) -> None:
    done = _run(argv)
    if done.returncode:
        raise NetemError(f"{' '.join(argv)}: {_first_line(done.stderr)}")


def _json(argv: Sequence[str]) -> Any:
    return _parsed(_run(argv))


def _parsed(done: "subprocess.CompletedProcess[str]") -> Any:
    if done.returncode:
        raise NetemError(f"{' '.join(done.args)}: {_first_line(done.stderr)}")
    return json.loads(done.stdout or "[]")


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0] or "no reason given"
