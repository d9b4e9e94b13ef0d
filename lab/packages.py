"""Debian and Ubuntu packages: which are missing, may they be installed, install them.

The rule, for whatever the lab installs: on a terminal it asks first; as root without a terminal
(CI, containers) it goes on and says so; otherwise it stops with the exact commands for this
system. ``LAB_NO_INSTALL=1`` always stops.
"""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lab import apt_sources
from lab.errors import LabError
from lab.say import say
from lab.system import Output, System, output_of

Decision = Literal["ask", "go on", "stop"]

INSTALL_TIMEOUT_S = 1800
LOCK_TIMEOUT_S = 300
"""How long to wait for another apt, such as the unattended upgrades of a freshly booted machine."""

_ALIASES = {"trixie": "stable"}


@dataclass(frozen=True)
class File:
    """A file that root writes."""

    path: str
    content: str


def missing(names: Sequence[str]) -> list[str]:
    """Return those of the packages that are not installed; a ``/release`` suffix is ignored."""
    found = installed([name.partition("/")[0] for name in names])
    return [name for name in names if name.partition("/")[0] not in found]


def installed(names: Sequence[str]) -> dict[str, str]:
    """Return the versions of those packages that are fully installed."""
    form = "${Package} ${db:Status-Status} ${Version}\\n"
    answer = output_of(["dpkg-query", "--show", f"--showformat={form}", *names])
    rows = [line.split() for line in answer.out.splitlines()]
    return {row[0]: row[2] for row in rows if len(row) == 3 and row[1] == "installed"}


def decision(system: System) -> Decision:
    """Return what the rule above says for this machine and this call."""
    if not system.may_install or not (system.root or system.sudo):
        return "stop"
    if system.terminal:
        return "ask"
    return "go on" if system.root else "stop"


def install(step: str, system: System, names: Sequence[str]) -> None:
    """Install packages by the rule above; ``names`` are what ``apt-get install`` takes.

    A name such as ``docker.io/trixie`` or ``qemu-system-x86/bookworm-backports`` brings that Debian
    release as an extra source, from the machine's own mirror and at a priority that upgrades
    nothing else; it is removed again when the installation fails. Raises LabError.
    """
    files = source_files(names)
    if files and not files[-1].content.count("Suites:"):
        raise LabError(
            step,
            "no Debian mirror with the component main is configured in /etc/apt",
            "add your release's sources to /etc/apt/sources.list.d/ and run this again",
        )
    what = " ".join(names)
    by_hand = shown_commands(system, files, names)
    answer = decision(system)
    if answer == "stop":
        raise LabError(step, f"{what} missing{_why_stop(system)}", f"run\n{by_hand}")
    if answer == "ask" and not agreed(step, by_hand):
        raise LabError(step, f"{what} missing, and you did not agree", "run the above yourself")
    say(f"{step}: apt-get install {what} (this takes a minute or two)")
    # Whatever is in the way of a package is the user's to remove.
    options = ("--no-install-recommends", "--no-remove")
    succeeded = False
    try:
        for file in files:
            _write(step, system, file)
        refreshed = as_root(system, _apt("update"))
        result = as_root(system, _apt("install", *options, *names))
        if "dpkg --configure -a" in result.err:  # an earlier installation was cut off
            as_root(system, ["dpkg", "--configure", "-a"])
            result = as_root(system, _apt("install", *options, *names))
        succeeded = result.status == 0
        if not succeeded:
            raise LabError(
                step,
                _complaints(refreshed, result),
                "correct that (is the package mirror in reach?) and run this again",
            )
    finally:
        if files and not succeeded:
            as_root(system, ["rm", "--force", *(file.path for file in files)])


def shown_commands(system: System, files: Sequence[File], names: Sequence[str]) -> str:
    """Return the installation as commands that a person can paste into a shell."""
    prefix = "" if system.root else "sudo " if system.sudo else ""
    lines = [] if prefix or system.root else ["su -    # the commands below as root"]
    for file in files:
        lines += [f"{prefix}tee {file.path} <<'END'", *file.content.rstrip("\n").split("\n"), "END"]
    lines.append(f"{prefix}apt-get update")
    lines.append(f"{prefix}apt-get install --yes --no-install-recommends {shlex.join(names)}")
    return "\n".join(lines)  # not indented: a pasted here-document must end in a bare END


def as_root(system: System, argv: Sequence[str], timeout_s: float = INSTALL_TIMEOUT_S) -> Output:
    """Run a command as root, through sudo where needed (which asks for its password itself)."""
    prefix = [] if system.root else ["sudo"] if system.terminal else ["sudo", "--non-interactive"]
    return output_of([*prefix, *argv], timeout_s=timeout_s)


def source_files(names: Sequence[str]) -> list[File]:
    """Return the files that make known the releases that ``package/release`` names ask for."""
    releases = sorted({name.partition("/")[2] for name in names} - {""})
    sources = apt_sources.configured() if releases else []
    return [file for release in releases for file in extra_source(sources, release)]


def extra_source(sources: Sequence[apt_sources.Source], release: str) -> list[File]:
    """Return the files that add a release at priority 100, or [] when it is configured already."""
    if apt_sources.offers(sources, release, _ALIASES.get(release, release)):
        return []
    stanzas = [source.stanza() for source in apt_sources.for_release(sources, release)]
    name = f"progres-lab-{release}"
    comment = "# Added by progres-lab; see the preferences of the same name.\n"
    # The asterisk: trixie-updates and trixie-security would otherwise come in at 500.
    pin = f"Package: *\nPin: release n={release}*\nPin-Priority: 100\n"
    return [
        File(f"/etc/apt/preferences.d/{name}", pin),
        File(f"/etc/apt/sources.list.d/{name}.sources", comment + "\n".join(stanzas)),
    ]


def _why_stop(system: System) -> str:
    if not system.may_install:
        return ", and LAB_NO_INSTALL is set"
    if not (system.root or system.sudo):
        return ", and there is neither root nor sudo here"
    return ", and without a terminal only root may install"


def agreed(step: str, by_hand: str) -> bool:
    """Show the commands and ask on the terminal; no answer (end of input) means no."""
    print(f"{step} means to run\n{by_hand}\nGo on? [Y/n] ", end="", file=sys.stderr, flush=True)
    try:
        return input().strip().lower() in ("", "y", "yes")
    except EOFError:
        return False


def _apt(action: str, *arguments: str) -> list[str]:
    return [
        "env", "DEBIAN_FRONTEND=noninteractive",
        "apt-get", action, "--yes", "--quiet", "-o", f"DPkg::Lock::Timeout={LOCK_TIMEOUT_S}",
        *arguments,
    ]  # fmt: skip


def _write(step: str, system: System, file: File) -> None:
    prefix = [] if system.root else ["sudo"]
    done = subprocess.run(
        [*prefix, "tee", file.path],
        input=file.content, text=True, stdout=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise LabError(step, f"cannot write {file.path}", "run this as root, or as a sudo user")


def _complaints(refreshed: Output, result: Output) -> str:
    """Return apt's own words; update's warnings (it exits 0) explain install's errors."""
    lines = [
        line
        for output in (refreshed, result)
        for line in output.err.splitlines()
        if line.startswith(("E:", "W:"))
    ]
    return "\n    ".join(["apt-get failed", *(lines[:8] or [result.complaint])])
