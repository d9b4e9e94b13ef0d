"""``make doctor``: can the lab run here? A line for each thing it needs, with the remedy.

Each check is a function of facts, so that its wording can be tested; ``run`` gathers the facts.
A ``failed`` line means that ``make up`` cannot work (exit status 1); a ``warning`` names what will
be missing.
"""

import gzip
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lab import base_image, engine, ports, settings
from lab.engine import Finding
from lab.errors import LabError
from lab.packages import decision
from lab.say import painted
from lab.system import (
    TIMED_OUT,
    Output,
    System,
    available_mib,
    detect,
    find_program,
    output_of,
    search_path,
    version_numbers,
)
from services.netem.kernel import INGRESS_MODULES

_MEMORY_MIB = 1024
_DISK_MIB = 2048
_DISK_LEAST_MIB = 512
_QEMU_MINIMUM = (8,)

_COLOURS = {"ok": "\033[32m", "warning": "\033[33m", "failed": "\033[31m"}

# Says "netem", "incoming" and "nftables", each if the kernel takes it.
_PROBE = """
tc qdisc add dev lo root handle 1: prio && tc qdisc add dev lo parent 1:1 netem loss 1% &&
echo netem
ip link add probe type ifb && ip link set probe up && tc qdisc add dev lo ingress &&
tc filter add dev lo parent ffff: protocol ip u32 match u32 0 0 \\
    action mirred egress redirect dev probe &&
tc qdisc add dev probe root handle 1: tbf rate 1gbit burst 1mb latency 1s &&
tc qdisc add dev probe parent 1:1 netem loss 1% && echo incoming
nft add table netdev probe &&
nft add chain netdev probe out '{ type filter hook egress device lo priority 0; }' &&
nft add rule netdev probe out numgen random mod 100 '<' 20 drop && echo nftables
"""


@dataclass(frozen=True)
class Check:
    """One line of the doctor's: its subject, how it is, in words, and the way out."""

    subject: str
    status: Literal["ok", "warning", "failed"]
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Impairment:
    """What a kernel can do to packets; None where it could not be tried.

    ``how`` says what was asked: a container, a network namespace, or the kernel's modules.
    """

    kernel: str
    netem: bool | None
    nftables: bool | None
    how: str
    incoming: bool | None = None
    """Whether netem can also be put to what comes in: it takes ``INGRESS_MODULES``."""

    complaint: str = ""
    """Why the engine could not start the container that was to try it."""


def run() -> int:
    """Print every check on standard output; return 0 when the lab can run, else 1."""
    checks = examine()
    width = max(len(check.subject) for check in checks)
    for check in checks:
        status = painted(f"{check.status:7}", _COLOURS[check.status], sys.stdout.isatty())
        print(f"{status}  {check.subject:{width}}  {line(check)}")
    failed = [check.subject for check in checks if check.status == "failed"]
    print(f"The lab cannot run: {', '.join(failed)}." if failed else "The lab can run here.")
    return 1 if failed else 0


def line(check: Check) -> str:
    """Return a check's text and remedy as one line, without long lists of commands."""
    if not check.remedy:
        return check.text
    several = "\n" in check.remedy
    remedy = "make up prints the exact commands for this system" if several else check.remedy
    return f"{' '.join(check.text.split())}; way out: {remedy}"


def examine() -> list[Check]:
    """Gather the facts and return the checks, in the order in which to mend what they find."""
    system = detect()
    finding = engine.find()
    host = engine.endpoint()
    answers = finding.condition == "answers"
    checks = [
        engine_check(finding, system),
        plugin_check("compose", finding, system),
        plugin_check("buildx", finding, system),
        impairment_check(_impairment(answers, host), system),
    ]
    checks += [_port(exercise) for exercise in settings.EXERCISES]
    if answers:
        checks += [_address_pools(), _memory(), _disk(host), _registry(system)]
    else:
        checks += [
            Check(subject, "warning", "not checked: no engine answers")
            for subject in ("address pools", "memory", "disk", "image registry")
        ]
    qemu = output_of(["qemu-system-x86_64", "--version"]).out
    checks.append(emulation_check(qemu, find_program("mmdebstrap") is not None))
    return checks


def engine_check(finding: Finding, system: System) -> Check:
    """Is there an engine, of a version that will do?"""
    wrong = engine.engine_problem(finding, system)
    if wrong is None:
        return Check("engine", "ok", f"Docker Engine {finding.version} answers")
    if finding.condition in ("no client", "not running") and (will := _make_up_will(system)):
        return Check("engine", "failed", wrong.cause, will)
    return Check("engine", "failed", wrong.cause, wrong.remedy)


def plugin_check(part: engine.Plugin, finding: Finding, system: System) -> Check:
    """Is there the client's plugin, of a version that will do?"""
    wrong = engine.plugin_problem(part, finding, system)
    version: str = getattr(finding, part)
    if wrong is None:
        return Check(part, "ok", f"docker {part} {version}")
    remedy = "" if version else _make_up_will(system)
    return Check(part, "failed", wrong.cause, remedy or wrong.remedy)


def _make_up_will(system: System) -> str:
    way = decision(system) if system.is_debian else "stop"
    if way == "stop":
        return ""
    return "make up (installs or starts it" + (", and asks first)" if way == "ask" else ")")


def impairment_check(found: Impairment, system: System) -> Check:
    """Can this kernel degrade the network, and how much of it?"""
    if found.complaint:
        remedy = "correct what the engine complains of; its log tells more: journalctl -u docker"
        return Check("containers", "failed", f"cannot be started: {found.complaint}", remedy)
    kernel = f"kernel {found.kernel}"
    asked = f"(asked {found.how})"
    if found.netem and found.incoming is False:
        works = "nothing works" if found.nftables is False else "loss works, by nftables, no more"
        return Check(
            "netem",
            "warning",
            f"{kernel} has it {asked}, but not for what comes in: towards the servers {works}",
            f"sudo modprobe -a {' '.join(INGRESS_MODULES)}; "
            "make test-vm runs the lab on a kernel that has them",
        )
    if found.netem:
        return Check("netem", "ok", f"{kernel} has it {asked}")
    remedy = how_to_get_netem(found.kernel, system)
    if found.netem is None:
        return Check(
            "netem", "warning", f"could not be tried on {kernel}",
            "make up says which mechanism is in effect",
        )  # fmt: skip
    if found.nftables is False:
        text = f"{kernel} has neither netem nor nftables' netdev egress hook {asked}"
        return Check("netem", "failed", text, remedy)
    fallback = "loss works all the same, by nftables"
    if found.nftables is None:
        fallback = "loss may work all the same, by nftables"
    return Check(
        "netem",
        "warning",
        f"{kernel} lacks it {asked}: {fallback}; delay and the rest do not",
        remedy,
    )


def how_to_get_netem(kernel: str, system: System) -> str:
    """Return how to come to a kernel with ``sch_netem`` here."""
    anywhere = "make test-vm runs the lab on a kernel that has it"
    if "microsoft" in kernel.lower():
        return f"wsl --update, or a WSL 2 kernel built with CONFIG_NET_SCH_NETEM; {anywhere}"
    if "linuxkit" in kernel or system.distribution in ("macos", "windows"):
        return f"upgrade Docker Desktop, or use colima, whose virtual machine has it; {anywhere}"
    if system.distribution in ("fedora", "rhel", "centos", "rocky", "almalinux"):
        return "sudo dnf install kernel-modules-extra && sudo modprobe sch_netem"
    if system.distribution == "ubuntu":
        return f"sudo apt-get install linux-modules-extra-{kernel}; {anywhere}"
    if system.distribution == "debian" and "deb" in kernel:
        return f"sudo modprobe sch_netem (linux-image-{kernel.split('-')[-1]} has it); {anywhere}"
    return f"boot a kernel built with CONFIG_NET_SCH_NETEM; {anywhere}"


def port_check(exercise: str, protocol: str, port: int, who: str | None) -> Check:
    """Is the port on localhost free, or the lab's own?"""
    subject = f"port {port}/{protocol}"
    if who is None:
        return Check(subject, "ok", "free")
    if who == "the lab itself":
        return Check(subject, "ok", "held by the lab itself")
    variable = f"{exercise.upper()}_PORT"
    return Check(
        subject, "failed", f"taken by {who}",
        f"stop that, or choose another port: make up {variable}={ports.suggestion(port)}",
    )  # fmt: skip


def address_pools_check(networks: int, probe: Output) -> Check:
    """Is there an address range left for the lab's network?"""
    there = f"{networks} networks exist"
    if probe.status == 0:
        return Check("address pools", "ok", f"room for another network ({there})")
    if "non-overlapping" in probe.err or "fully subnetted" in probe.err:
        return Check(
            "address pools", "failed", f"used up: {there}",
            "docker network prune (removes unused networks), or add default-address-pools to "
            "/etc/docker/daemon.json",
        )  # fmt: skip
    return Check("address pools", "failed", probe.complaint, "docker network ls")


def memory_check(available_mib: int) -> Check:
    """Is there memory for nine small containers and the building of their images?"""
    text = f"{available_mib} MiB available"
    if available_mib >= _MEMORY_MIB:
        return Check("memory", "ok", text)
    return Check("memory", "warning", f"{text}, {_MEMORY_MIB} are wanted", "end other programs")


def disk_check(folder: str, free_mib: int) -> Check:
    """Is there room for the images?"""
    text = f"{free_mib} MiB free in {folder}"
    if free_mib >= _DISK_MIB:
        return Check("disk", "ok", text)
    status: Literal["warning", "failed"] = "warning" if free_mib >= _DISK_LEAST_MIB else "failed"
    remedy = "docker system df shows what takes it; docker image prune frees unused images"
    return Check("disk", status, f"{text}, {_DISK_MIB} are wanted", remedy)


def registry_check(local: str, manifest: Output, can_build: bool) -> Check:
    """Can the base image be had? ``local`` is the one that is here already, or ""."""
    if manifest.status == 0:
        return Check("image registry", "ok", f"has {base_image.OFFICIAL}")
    said = "does not answer" if manifest.status == TIMED_OUT else manifest.complaint
    if local:
        return Check("image registry", "ok", f"not reached, not needed: {local} is here ({said})")
    if can_build:
        return Check(
            "image registry", "warning", said,
            f"none needed: make up builds {base_image.BUILT} from Debian's packages",
        )  # fmt: skip
    return Check("image registry", "failed", said, base_image.WITHOUT_REGISTRY)


def emulation_check(qemu: str, mmdebstrap: bool) -> Check:
    """Can ``make test-vm`` run? ``qemu`` is what ``qemu-system-x86_64 --version`` says, or ""."""
    remedy = "make test-vm installs what it needs on Debian and Ubuntu"
    match = re.search(r"version (\S+)", qemu)
    absent = [] if match else ["qemu-system-x86_64"]
    absent += [] if mmdebstrap else ["mmdebstrap"]
    if absent:
        return Check("emulation", "warning", f"{' and '.join(absent)} missing", remedy)
    assert match is not None
    version = match[1].rstrip("()")
    if version_numbers(version) < _QEMU_MINIMUM:
        text = f"QEMU {version}: before 8 it crashes its guest when emulating on several cores"
        return Check("emulation", "warning", text, remedy)
    return Check("emulation", "ok", f"QEMU {version}, mmdebstrap")


def _impairment(engine_answers: bool, host: str) -> Impairment:
    """Try it: in the sidecar's own image, else in a network namespace, else ask for the module."""
    kernel = platform.release()
    if engine_answers:
        kernel = (
            output_of(["docker", "info", "--format", "{{.KernelVersion}}"]).out.strip() or kernel
        )
        image = settings.image("progres-lab-netem")
        if output_of(["docker", "image", "inspect", image]).status == 0:
            confined = ["--network=none", "--cap-drop=ALL", "--cap-add=NET_ADMIN"]
            argv = ["docker", "run", "--rm", *confined, image, "sh", "-c", _PROBE]
            probed = output_of(argv)
            if probed.status >= TIMED_OUT:  # from 125 on "docker run" speaks of itself
                return Impairment(kernel, None, None, "", complaint=probed.complaint)
            return _impairment_of(probed.out, kernel, "in a container")
    if platform.system() != "Linux" or not (engine.is_local(host) or "/user/" in host):
        return Impairment(kernel, None, None, "")
    if (
        find_program("tc")
        and output_of(["unshare", "--map-root-user", "--net", "true"]).status == 0
    ):
        probe = ["unshare", "--map-root-user", "--net", "sh", "-c", _PROBE]
        said = output_of(probe, environment={"PATH": search_path()}).out
        found = _impairment_of(said, kernel, "in a network namespace")
        return found if find_program("nft") else replace(found, nftables=None)
    return Impairment(
        kernel,
        _first_known(
            module_there(kernel, "sch_netem"), built_in("NET_SCH_NETEM", _configuration(kernel))
        ),
        built_in("NETFILTER_EGRESS", _configuration(kernel)),
        "for its modules",
    )


def _impairment_of(said: str, kernel: str, how: str) -> Impairment:
    """Return what the probe has found out."""
    known = said.split()
    return Impairment(kernel, "netem" in known, "nftables" in known, how, "incoming" in known)


def module_there(kernel: str, name: str, root: Path = Path("/")) -> bool | None:
    """Return whether a kernel has a module, loadable or built in; None where nothing tells."""
    folder = root / "lib" / "modules" / kernel
    try:
        listed = (folder / "modules.builtin").read_text(encoding="utf-8")
        listed += (folder / "modules.dep").read_text(encoding="utf-8")
    except OSError:
        return None
    return f"/{name}.ko" in listed


def built_in(option: str, configuration: str) -> bool | None:
    """Return what a kernel's configuration says of an option; None for a module or no word."""
    if not configuration or f"CONFIG_{option}=m" in configuration:
        return None
    return f"CONFIG_{option}=y" in configuration


def _configuration(kernel: str) -> str:
    try:
        with gzip.open("/proc/config.gz", "rt", encoding="utf-8") as file:
            return file.read()
    except OSError:
        pass
    try:
        return Path(f"/boot/config-{kernel}").read_text(encoding="utf-8")
    except OSError:
        return ""


def _first_known(*answers: bool | None) -> bool | None:
    return next((answer for answer in answers if answer is not None), None)


def _port(exercise: str) -> Check:
    protocol, _ = settings.PORTS[exercise]
    try:
        port = settings.host_port(exercise)
    except LabError as error:
        return Check(f"{exercise.upper()}_PORT", "failed", error.cause, error.remedy)
    if port == 0:
        return Check(f"{exercise.upper()}_PORT", "ok", "0: the engine chooses a port")
    return port_check(exercise, protocol, port, ports.holder(protocol, port))


def _address_pools() -> Check:
    networks = len(output_of(["docker", "network", "ls", "--quiet"]).out.split())
    name = f"progres-lab-doctor-{os.getpid()}"
    probe = output_of(["docker", "network", "create", name])
    if probe.status == 0:
        output_of(["docker", "network", "rm", name])
    return address_pools_check(networks, probe)


def _memory() -> Check:
    """The engine's machine tells its total; only Linux tells what is available of it."""
    total = output_of(["docker", "info", "--format", "{{.MemTotal}}"]).out.strip()
    return memory_check(available_mib() or (int(total) >> 20 if total.isdigit() else 0))


def _disk(host: str) -> Check:
    folder = output_of(["docker", "info", "--format", "{{.DockerRootDir}}"]).out.strip()
    # Where the engine is another machine's, the project's own folder is what can be told.
    path = Path(folder if engine.is_local(host) and folder else settings.ROOT)
    while not path.exists() or not os.access(path, os.X_OK):
        path = path.parent
    return disk_check(str(path), shutil.disk_usage(path).free >> 20)


def _registry(system: System) -> Check:
    local = base_image.local()
    manifest = output_of(["docker", "manifest", "inspect", base_image.OFFICIAL], timeout_s=6)
    return registry_check(local, manifest, base_image.can_build(system))
