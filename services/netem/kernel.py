"""The one place that runs ``tc``, ``nft`` and ``ip``: on one interface, in this network namespace.

Nothing goes through a shell, and every program has a time limit. ``tc`` fills gaps in its words by
itself (``TC_LIB_DIR``, abbreviations), so its environment is empty.
"""

import json
import os
import subprocess
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from services.netem import NetemError, NotOnThisKernel, WrongWords
from services.netem.impairment import Impairment
from services.netem.readback import (
    BLOCK,
    FIRST_BAND,
    FROM_SERVER,
    HOOKS,
    IFB,
    NETEM_HANDLES,
    REDIRECT_WORDS,
    REDIRECTED,
    ROOT_HANDLE,
    ROOT_WORDS,
    SPARING_WORDS,
    TABLE,
    TO_SERVER,
    Printed,
    Shown,
    nft_chain,
    shown_of,
    splitter_words,
)

TIMEOUT_S = 10.0
NO_SUCH_DEVICE = "lab-no-such-dev"
UNUSED_HANDLE = "8af:"
INGRESS_MODULES = ("ifb", "sch_ingress", "act_mirred", "cls_u32", "sch_tbf")
"""What a kernel needs beside netem for what comes in."""

SNMP = Path("/proc/net/snmp")

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

    def read(self) -> Shown:
        """Return what is in effect now. Raises NetemError when the interface is not there."""
        qdiscs, root_filters, redirects = _shown_by_tc(
            "qdisc show",
            f"filter show dev {self.name} parent {ROOT_HANDLE}",
            f"filter show block {BLOCK}",
        )
        listed = _run(["nft", "-j", "list", "ruleset", "netdev"])
        # A kernel without nf_tables says that it does not know the protocol: no tables, then.
        without_nftables = "Protocol not supported" in listed.stderr
        printed = Printed(
            links=_json(["ip", "-d", "-j", "link", "show"]),
            qdiscs=qdiscs,
            root_filters=root_filters,
            redirects=redirects,
            ruleset=[] if without_nftables else _parsed(listed)["nftables"],
            out_discards=_out_discards(),
        )
        try:
            return shown_of(printed, self.name)
        except LookupError as error:
            raise NetemError(f"there is no interface {error} in this namespace") from None

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

    def complaint_about_ingress(self, shown: Shown) -> str:
        """Make the path of what comes in, up to its end; return why the kernel cannot.

        Nothing is shaped by it yet, because nothing is redirected. Empty when the path is there.
        """
        if shown.directions[TO_SERVER].path_is_ready:
            return ""
        root = _qdisc(IFB, "replace", "root", "handle", ROOT_HANDLE, *splitter_words(shown.mtu))
        mirred = ["action", "mirred", "egress", "redirect", "dev", IFB, "index", str(BLOCK)]
        steps: list[list[str]] = []
        if not shown.has_ifb:
            # Its queue takes what netem has let go; the default of 32 would fill netem's instead.
            steps.append(["ip", "link", "add", IFB, "txqueuelen", "1000", "type", "ifb"])
        steps.append(root)
        # The root is made for one packet of this size, and the MTU says so.
        steps.append(["ip", "link", "set", "dev", IFB, "mtu", str(shown.mtu)])
        if not shown.has_ingress:
            steps.append(_qdisc(self.name, "add", "ingress_block", str(BLOCK), "ingress"))
        steps.append(["tc", "actions", "replace", *mirred])
        for step in steps:
            done = _run(step)
            if done.returncode:
                return f"{' '.join(step[:4])}: {_first_line(done.stderr)}"
        _run(["tc", "actions", "del", "action", "mirred", "index", str(BLOCK)])
        # No address, so that it sends nothing itself: that would be counted, and draw from a seed.
        # (A kernel without IPv6 does not know the setting, and needs none.)
        _run(["ip", "link", "set", "dev", IFB, "addrgenmode", "none"])
        _must(["ip", "link", "set", "dev", IFB, "up"])
        return ""

    def apply_netem(self, direction: str, words: Sequence[str], shown: Shown) -> None:
        """Put netem with these words in the place of what is there. Loses no packet by itself.

        ``words`` give the limit, too; ``shown`` is what was read before. The path of what comes in
        has to be there (``complaint_about_ingress``). To replace a root each time would lose some:
        the kernel stops the interface for it (measured: 62 of 5,500 packets in 100 changes). A root
        that is already there, and is not as it should be, is only set right.
        """
        effect = shown.directions[direction]
        device = self.name if direction == FROM_SERVER else IFB
        if direction == FROM_SERVER and not effect.path_is_ready:
            _must(_qdisc(self.name, "replace", "root", "handle", ROOT_HANDLE, *ROOT_WORDS))
            root = ("dev", self.name, "parent", ROOT_HANDLE)
            # A filter that is there, and not as it should be, would stay beside the new ones.
            _run(["tc", "filter", "del", *root])
            for words_of_filter in SPARING_WORDS:
                _must(["tc", "filter", "add", *root, *words_of_filter])
        handle = NETEM_HANDLES[effect.netem_handle == NETEM_HANDLES[0]]
        _must(_qdisc(device, "replace", "parent", FIRST_BAND, "handle", handle, "netem", *words))
        if direction == TO_SERVER and not shown.is_redirected:
            self._remove_redirects()
            for number, protocol in enumerate(REDIRECTED, start=1):
                block = ("block", str(BLOCK), "protocol", protocol, "pref", str(number))
                _must(["tc", "filter", "add", *block, *REDIRECT_WORDS])

    def apply_nftables(self, direction: str, impairment: Impairment) -> None:
        """Put loss by nftables in the place of the direction's chain, in one transaction."""
        done = _run(["nft", "-f", "-"], stdin=nft_chain(direction, self.name, impairment.loss))
        if done.returncode:
            raise NotOnThisKernel(
                f"this kernel ({os.uname().release}) has no netem, and not the {HOOKS[direction]}"
                f" hook of nftables either (nft: {_first_line(done.stderr)}). {REMEDY}"
            )

    def remove_netem(self, direction: str, shown: Shown) -> None:
        """Take netem away and leave the place for the next one, so that this loses no packet."""
        effect = shown.directions[direction]
        if direction == TO_SERVER and shown.has_redirects:
            self._remove_redirects()
        if effect.netem_handle:
            device = self.name if direction == FROM_SERVER else IFB
            place = ("parent", FIRST_BAND, "handle", effect.netem_handle)
            _must(_qdisc(device, "del", *place))

    def remove_nftables(self, shown: Shown, *, but: Collection[str]) -> None:
        """Take the chains away, but not those of some directions; with the last one, the table."""
        if not but:
            self.remove_table(shown)
            return
        for direction, effect in shown.directions.items():
            if effect.has_chain and direction not in but:
                _must(["nft", "delete", "chain", "netdev", TABLE, direction])

    def remove_table(self, shown: Shown) -> None:
        """Take the lab's nftables table away, whatever is in it."""
        if shown.has_table:
            _must(["nft", "delete", "table", "netdev", TABLE])

    def remove_all(self) -> None:
        """Take everything away that is the lab's, and nothing else."""
        shown = self.read()
        if shown.has_root:
            _must(_qdisc(self.name, "del", "root", "handle", ROOT_HANDLE))
        if shown.has_ingress:
            _must(_qdisc(self.name, "del", "ingress"))
        if shown.has_ifb:
            _must(["ip", "link", "del", "dev", IFB])
        self.remove_table(shown)

    def _remove_redirects(self) -> None:
        for number in range(1, len(REDIRECTED) + 1):
            _run(["tc", "filter", "del", "block", str(BLOCK), "pref", str(number)])


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


@lru_cache(maxsize=1)
def tc_knows_seeds() -> bool:
    """Return whether tc takes ``seed N`` (iproute2 6.7 and later)."""
    return not refuse_wrong_words(("seed", "1"))


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Return the versions of the kernel, of tc and of nft."""
    tc, nft = _run(["tc", "-V"]).stdout, _run(["nft", "--version"]).stdout
    return {
        "kernel": os.uname().release,
        "tc": tc.partition("iproute2-")[2].partition(",")[0].strip(),
        "nft": nft.partition(" v")[2].partition(" ")[0].strip(),
    }


def _out_discards() -> int:
    """Return how many datagrams this namespace could not send: the counter of RFC 4293.

    A full queue refuses a datagram, and IP counts that (of UDP, ICMP and raw sockets; TCP tries
    again by itself). What netem loses at random was taken, as far as IP knows.
    """
    lines = [line.split() for line in SNMP.read_text(encoding="ascii").splitlines()]
    names, values = (line for line in lines if line[0] == "Ip:")
    return int(values[names.index("OutDiscards")])


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


def _shown_by_tc(*commands: str) -> list[Any]:
    """Return what each command shows, of one tc: to start a program is what takes its time here.

    What is not there (a device, a block of filters) shows nothing, nor does what comes after it.
    """
    done = _run(["tc", "-j", "-s", "-batch", "-"], stdin="\n".join(commands) + "\n")
    if done.returncode and "Cannot find" not in done.stderr:
        raise NetemError(f"tc {'; '.join(commands)}: {_first_line(done.stderr)}")
    decoder, text, found = json.JSONDecoder(), done.stdout.strip(), []
    while text:
        shown, end = decoder.raw_decode(text)
        found.append(shown)
        text = text[end:].lstrip()
    return found + [[]] * (len(commands) - len(found))


def _parsed(done: "subprocess.CompletedProcess[str]") -> Any:
    if done.returncode:
        raise NetemError(f"{' '.join(done.args)}: {_first_line(done.stderr)}")
    return json.loads(done.stdout or "[]")


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0] or "no reason given"
