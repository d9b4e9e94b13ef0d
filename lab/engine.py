"""The Docker engine: find it, check its version, start it, install it where it is missing.

An engine that answers is used as it is, from Engine 25 and Compose 2.26 on; one that is too old is
never replaced. What is missing is installed from the distribution's own packages, and only that:

============  ==================================================================================
Debian 12     docker.io docker-cli docker-compose docker-buildx containerd, all of them Debian 13's
Debian 13     docker.io docker-cli docker-compose docker-buildx
Ubuntu 24.04  docker.io docker-compose-v2 docker-buildx
============  ==================================================================================
"""

import getpass
import json
import os
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab import packages
from lab.errors import LabError
from lab.packages import as_root
from lab.say import say
from lab.system import (
    NOT_FOUND,
    Output,
    System,
    detect,
    find_program,
    output_of,
    search_path,
    version_numbers,
)

ENGINE_MINIMUM = (25,)
COMPOSE_MINIMUM = (2, 26)

Condition = Literal["answers", "not running", "no permission", "no client", "podman", "broken"]
Plugin = Literal["compose", "buildx"]
Part = Literal["engine", "client", Plugin]

_LOCAL_SOCKETS = ("unix:///var/run/docker.sock", "unix:///run/docker.sock")
_PID_FILES = {
    "dockerd": Path("/var/run/docker.pid"),
    "containerd": Path("/var/run/docker/containerd/containerd.pid"),
}
_LOG_FILE = "/var/log/progres-lab-dockerd.log"
_START_TIMEOUT_S = 120.0

_PACKAGES: dict[str, dict[Part, tuple[str, ...]]] = {
    "debian 12": {
        "engine": ("docker.io/trixie", "containerd/trixie", "iptables", "ca-certificates"),
        "client": ("docker-cli/trixie",),
        "compose": ("docker-compose/trixie",),
        "buildx": ("docker-buildx/trixie",),
    },
    "debian": {
        "engine": ("docker.io", "iptables", "ca-certificates"),
        "client": ("docker-cli",),
        "compose": ("docker-compose",),
        "buildx": ("docker-buildx",),
    },
    "ubuntu": {
        "engine": ("docker.io", "iptables", "ca-certificates"),
        "client": (),  # is part of docker.io
        "compose": ("docker-compose-v2",),
        "buildx": ("docker-buildx",),
    },
    "docker-ce": {  # Docker's own packages are configured here; they do not mix with the others
        "engine": ("docker-ce", "containerd.io"),
        "client": ("docker-ce-cli",),
        "compose": ("docker-compose-plugin",),
        "buildx": ("docker-buildx-plugin",),
    },
}

_INSTALL_ELSEWHERE = {
    "macos": "install and start Docker Desktop (or colima, or OrbStack)",
    "windows": "install Docker Desktop with the WSL 2 backend and run the lab inside WSL",
    "fedora": "sudo dnf install moby-engine docker-cli docker-compose docker-buildx && "
    "sudo systemctl enable --now docker",
    "arch": "sudo pacman -S docker docker-compose docker-buildx && "
    "sudo systemctl enable --now docker",
}


@dataclass(frozen=True)
class Engine:
    """An engine that answers, and its client's plugins; versions as they call themselves."""

    version: str
    compose: str
    buildx: str


@dataclass(frozen=True)
class Finding:
    """What ``docker`` said: the engine's condition, its versions ("" where there is none)."""

    condition: Condition
    complaint: str = ""
    version: str = ""
    compose: str = ""
    buildx: str = ""


def ensure_engine(install: bool = True) -> Engine:
    """Return an engine that the lab can use, started where need be, and installed if it may be.

    Running it again changes nothing. Raises LabError.
    """
    finding = find()
    system = detect()
    if verdict(finding, system) is not None:
        finding = _set_up(system, finding, install)
    if finding.condition == "no permission" and is_local(endpoint()):
        _enter_group(system)
    if problem := verdict(finding, system):
        raise problem
    return Engine(finding.version, finding.compose, finding.buildx)


def is_absent(finding: Finding, system: System, dockerd: bool, host: str) -> bool:
    """Return whether this machine has no engine at all, so that no lab can be on it.

    ``dockerd`` tells whether that program is here, ``host`` where the client looks. An engine that
    is only stopped, or another machine's, is one: it may have containers.
    """
    if dockerd or system.distribution in ("macos", "windows"):
        return False
    return finding.condition == "no client" or (
        finding.condition == "not running" and is_local(host)
    )


def find() -> Finding:
    """Ask the client for the engine and the plugins; quick, changes nothing."""
    answer = output_of(["docker", "version", "--format", "{{json .}}"])
    finding = classify(answer)
    if finding.condition in ("no client", "podman"):
        return finding
    compose = output_of(["docker", "compose", "version", "--short"])
    buildx = output_of(["docker", "buildx", "version"])
    return Finding(
        finding.condition,
        finding.complaint,
        finding.version,
        compose.out.strip() if compose.status == 0 else "",
        (buildx.out.split() + ["", "unknown"])[1] if buildx.status == 0 else "",
    )


def classify(answer: Output) -> Finding:
    """Return the engine's condition from the answer to ``docker version --format '{{json .}}'``."""
    if answer.status == NOT_FOUND:
        return Finding("no client")
    said = answer.err.lower()
    if "podman" in said or "podman" in answer.out.lower():
        return Finding("podman", answer.complaint)
    try:
        server = json.loads(answer.out).get("Server") or {}
    except (json.JSONDecodeError, AttributeError):
        server = {}
    if answer.status == 0 and server.get("Version"):
        return Finding("answers", version=server["Version"])
    if "permission denied" in said:
        return Finding("no permission", answer.complaint)
    absent = (
        "cannot connect to the docker daemon",
        "connection refused",
        "no such file",
        "failed to connect",
    )
    if any(words in said for words in absent):
        return Finding("not running", answer.complaint)
    return Finding("broken", answer.complaint)


def verdict(finding: Finding, system: System) -> LabError | None:
    """Return what is wrong with the engine found, or None when the lab can use it."""
    return (
        engine_problem(finding, system)
        or plugin_problem("compose", finding, system)
        or plugin_problem("buildx", finding, system)
    )


def engine_problem(finding: Finding, system: System) -> LabError | None:
    """Return what is wrong with the engine itself, or None."""
    cause, remedy = finding.complaint, "see what 'docker version' says"
    match finding.condition:
        case "answers":
            if version_numbers(finding.version) >= ENGINE_MINIMUM:
                return None
            cause = (
                f"Docker Engine {finding.version} is too old, the lab needs {_text(ENGINE_MINIMUM)}"
            )
            remedy = f"upgrade it, the lab does not replace an engine: {how_to_install(system)}"
        case "no client":
            cause, remedy = "there is no docker command", how_to_install(system)
        case "podman":
            cause, remedy = "docker is Podman's stand-in here", how_to_install(system)
        case "no permission":
            cause, remedy = f"this user may not use the engine ({cause})", _join_group(system)
        case "not running":
            remedy = how_to_start(system, endpoint())
    return LabError("finding a Docker engine", cause, remedy)


def plugin_problem(plugin: Plugin, finding: Finding, system: System) -> LabError | None:
    """Return what is wrong with a plugin of the client, or None."""
    version: str = getattr(finding, plugin)
    minimum = COMPOSE_MINIMUM if plugin == "compose" else ()
    if version and version_numbers(version) >= minimum:
        return None
    cause = f"there is no 'docker {plugin}'"
    if version:
        cause = f"docker {plugin} {version} is too old, the lab needs {_text(minimum)}"
    return LabError("finding a Docker engine", cause, how_to_install(system, (plugin,)))


def package_names(system: System, parts: tuple[Part, ...], docker_ce: bool) -> list[str]:
    """Return the packages that bring those parts here, as ``apt-get install`` takes them."""
    if docker_ce:
        key = "docker-ce"
    else:
        key = "debian 12" if system.version[:1] == (12,) else system.distribution
    return [name for part in parts for name in _PACKAGES[key][part]]


def how_to_install(
    system: System, parts: tuple[Part, ...] = ("engine", "client", "compose", "buildx")
) -> str:
    """Return the remedy for missing parts on this system."""
    if not system.is_debian:
        other = (
            "follow https://docs.docker.com/engine/install/ (with the compose and buildx plugins)"
        )
        return _INSTALL_ELSEWHERE.get(system.distribution, other)
    names = package_names(system, parts, docker_ce=False)
    return f"run\n{packages.shown_commands(system, packages.source_files(names), names)}"


def how_to_start(system: System, host: str) -> str:
    """Return the remedy for an engine that does not run; ``host`` is where the client looks."""
    if host.startswith(("tcp:", "ssh:", "http")):
        return f"see that {host} is up, or unset DOCKER_HOST / choose another docker context"
    if system.distribution in ("macos", "windows") or "desktop" in host:
        return "start Docker Desktop"
    if "/user/" in host:
        return "start your rootless engine: systemctl --user start docker"
    sudo = "" if system.root else "sudo "
    by_hand = {
        "systemd": "systemctl start docker",
        "sysv": "service docker start",
        "none": "dockerd",
    }
    return f"{sudo}{by_hand[system.service_manager]}"


def endpoint(environment: Mapping[str, str] = os.environ) -> str:
    """Return where the client looks for its engine, such as ``unix:///var/run/docker.sock``."""
    if environment.get("DOCKER_HOST"):
        return environment["DOCKER_HOST"]
    form = "{{.Endpoints.docker.Host}}"
    return output_of(["docker", "context", "inspect", "--format", form]).out.strip()


def is_local(host: str) -> bool:
    """Return whether an endpoint is this machine's own engine, which the lab may start."""
    return host in ("", *_LOCAL_SOCKETS)


def _set_up(system: System, finding: Finding, install: bool) -> Finding:
    """Start what is there and install what is missing; return what is found then."""
    if finding.condition in ("podman", "broken"):
        return finding
    if finding.condition != "answers" and not is_local(endpoint()):
        return finding  # somebody else's engine: the remedy says how to reach it
    if finding.condition == "not running" and find_program("dockerd"):
        _start(system)
        finding = find()
    if finding.condition == "answers" and engine_problem(finding, system):
        return finding  # too old: nothing is added to it
    if install and (parts := _missing_parts(finding)) and system.is_debian:
        _install(system, parts)
        finding = find()
        if finding.condition == "not running":  # the packages' own scripts may have started it
            _start(detect())  # a SysV script has come with them
            finding = find()
    return finding


def _missing_parts(finding: Finding) -> tuple[Part, ...]:
    present: dict[Part, object] = {
        "engine": finding.condition in ("answers", "no permission") or find_program("dockerd"),
        "client": finding.condition != "no client",
        "compose": finding.compose,
        "buildx": finding.buildx,
    }
    return tuple(part for part, there in present.items() if not there)


def _install(system: System, parts: tuple[Part, ...]) -> None:
    what = "a Docker engine" if "engine" in parts else f"what Docker lacks: {', '.join(parts)}"
    step = f"installing {what}"
    there = packages.installed(["docker-ce", "docker-ce-cli", "docker-compose"])
    names = package_names(
        system, parts, docker_ce=bool(there.keys() & {"docker-ce", "docker-ce-cli"})
    )
    old = there.get("docker-compose", "")
    if "compose" in parts and old and version_numbers(old) < COMPOSE_MINIMUM:
        raise LabError(
            step,
            f"docker-compose {old} is installed, the lab needs {_text(COMPOSE_MINIMUM)}",
            f"replace it yourself, the lab does not: {how_to_install(system, ('compose',))}",
        )
    packages.install(step, system, names)


def _start(system: System) -> None:
    """Start the installed engine in the way of this machine and wait until it answers."""
    step = "starting the Docker engine"
    pid = ours = 0
    say(f"{step} ({how_to_start(system, '')})")
    if system.service_manager == "none":
        log = ["tail", "-n", "15", _LOG_FILE]
        started = Output(0, "", "")
        if not (pid := _running("dockerd")):
            started = _start_by_hand(system)
            pid = ours = int(started.out or 0)
    else:
        log = ["journalctl", "--unit=docker", "--lines=15", "--no-pager", "--output=cat"]
        if system.service_manager == "sysv":
            log = ["tail", "-n", "15", "/var/log/docker.log"]
        started = as_root(system, how_to_start(system, "").removeprefix("sudo ").split())
    deadline = time.monotonic() + _START_TIMEOUT_S
    while started.status == 0:
        finding = find()
        if finding.condition in ("answers", "no permission"):
            return
        if pid and pid != ours and not process_runs(pid):  # that one was only ending
            started = _start_by_hand(system)
            pid = ours = int(started.out or 0)
            continue
        if time.monotonic() > deadline or (pid and not process_runs(pid)):
            break
        time.sleep(0.2)
    tail = "".join(f"\n    {line}" for line in as_root(system, log).out.splitlines())
    cause = started.complaint if started.status else "it does not answer"
    raise LabError(step, f"{cause}{tail}", "correct what its log says; then make up again")


def _start_by_hand(system: System) -> Output:
    """Start dockerd in a session of its own; the output is its process id."""
    # An engine that was killed leaves its pid files and its containerd's. A new one refuses to
    # start, or waits in vain, while any process has such a number; a zombie counts, and where
    # process 1 does not reap (a container's, often) the old ones stay zombies.
    stale = [str(path) for name, path in _PID_FILES.items() if not _running(name)]
    as_root(system, ["rm", "--force", *stale])
    program = find_program("dockerd") or "dockerd"
    script = f"setsid {program} </dev/null >{_LOG_FILE} 2>&1 & echo $!"  # dockerd calls iptables
    return as_root(system, ["env", f"PATH={search_path()}", "sh", "-c", script])


def _running(name: str) -> int:
    """Return the process id that a program's pid file names, or 0 where it is not (any more) it."""
    try:
        pid = int(_PID_FILES[name].read_text(encoding="ascii"))
        actual = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return 0
    return pid if actual == name and process_runs(pid) else 0


def _enter_group(system: System) -> None:
    """Start this program again as a member of the group docker, if the user is or wants to be one.

    Membership counts from the next log-in on; sg(1) gives it to one program at once. Returns
    where that is not the way.
    """
    user = _user()
    members = output_of(["getent", "group", "docker"]).out.strip().rpartition(":")[2].split(",")
    if os.environ.get("LAB_ENTERED_GROUP") or find_program("sg") is None:
        return
    if user not in members:
        command = ["usermod", "--append", "--groups", "docker", user]
        if packages.decision(system) != "ask" or not packages.agreed(
            f"using the Docker engine as {user} (the group docker is as good as root)",
            f"sudo {shlex.join(command)}",
        ):
            return
        if as_root(system, command).status != 0:
            return
        say(f"{user} is in the group docker from the next log-in on; until then: newgrp docker")
    os.environ["LAB_ENTERED_GROUP"] = "1"
    again = shlex.join([sys.executable, *sys.orig_argv[1:]])
    os.execvp("sg", ["sg", "docker", "-c", again])


def process_runs(pid: int) -> bool:
    """Return whether a process exists and is more than a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def _join_group(system: System) -> str:
    if system.distribution in ("macos", "windows"):
        return "start Docker Desktop as this user"
    return (
        f"sudo usermod --append --groups docker {_user()}, log out and in again "
        "(or: newgrp docker), then make up. The group docker is as good as root; the other way "
        "is sudo make up"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user number without a name
        return str(os.getuid())


def _text(version: tuple[int, ...]) -> str:
    return ".".join(str(number) for number in version) + " or newer"
