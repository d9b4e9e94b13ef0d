"""A program of your own in place of a lab's server: ``make up UDP_DIR=path``.

The folder is read as for grading (``grading.manifest``: its ``lab.toml``, or common names). Compose
gets a second file that says what is different, by way of ``COMPOSE_FILE`` in ``.env``, so that a
plain ``docker compose run`` sees the same lab::

    udp-net     the same; publishes the port that the program listens on
    udp-netem   the same impairment; takes the way out of the lab away
    udp         your program, from your folder (read-only), confined as in grading
    udp-client  ours, told the port

A program that has to be built is built when it starts, in the same container, in a copy of the
folder in memory. It is not started again when it ends: that it ended is what there is to see.
"""

import hashlib
import json
import os
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grading import FORGETTING_CLOSED, GradingError
from grading.images import ensure_image
from grading.manifest import OWN_IMAGE, Program, load
from lab import compose, settings
from lab.errors import LabError
from lab.say import say
from lab.settings import COMPOSE_FILE, EXERCISES, OWN_FOLDERS, PORTS, ROOT

OVERRIDES = ROOT / ".lab" / "own"
"""Where the second Compose files are; a name holds the project and a hash of the content."""

READY_WITHIN_S = 20
BUILT_WITHIN_S = 180
"""How long a program may take to listen, and how much longer when it is built first, in seconds."""

FOLDER = "/submission"
SOURCE = "/source"
"""Where the program runs; and where its folder is when a build needs a copy that it can write."""


@dataclass(frozen=True)
class OwnServer:
    """A student's server that takes the place of the lab's."""

    exercise: str
    folder: Path
    program: Program

    @property
    def ready_within_s(self) -> int:
        """From the start of the container until the program must listen, in seconds."""
        return READY_WITHIN_S + (BUILT_WITHIN_S if self.program.build else 0)


def recognised(environment: Mapping[str, str]) -> list[OwnServer]:
    """Return the servers that ``make up`` is told to take. Raises LabError; nothing is touched."""
    servers = []
    for exercise, folder in folders(environment, settings.own_folders_of_the_user()).items():
        program = _recognised(exercise, folder)
        refuse_what_our_clients_cannot_ask(exercise, program)
        servers.append(OwnServer(exercise, folder, program))
    return servers


def _recognised(exercise: str, folder: Path) -> Program:
    step, name = f"taking your {exercise} server", f"{exercise}-server"
    try:
        manifest = load(folder)
    except GradingError as error:
        raise LabError(step, str(error), "correct that (docs/grading.md), make up again") from None
    if name not in manifest.programs:
        others = ", ".join(manifest.programs) or "nothing"
        raise LabError(
            step,
            f"{folder} has no {name}; there is {others}",
            f'write into its lab.toml: [{name}] command = "python3 server.py", port = 1234',
        )
    program = manifest.programs[name]
    if program.image == OWN_IMAGE:
        raise LabError(
            step,
            f'{folder}: image = "{OWN_IMAGE}" is for grading alone',
            'choose one of the list: image = "python", "c", "java", "go" (docs/grading.md)',
        )
    if manifest.drafted:
        say(f"{folder} has no lab.toml; taken for the {name}: {program.command}")
    return program


def folders(environment: Mapping[str, str], users: Mapping[str, str]) -> dict[str, Path]:
    """Return exercise: the folder that stands for it, from ``UDP_DIR`` and the like.

    ``environment`` wins over ``users``, the user's own lines in ``.env``. Raises LabError for what
    is no folder, or one that a container's user cannot read.
    """
    found = {}
    for exercise in EXERCISES:
        name = OWN_FOLDERS[exercise]
        text = environment.get(name) or users.get(name)
        if not text:
            continue
        folder = Path(text).expanduser().resolve()
        if not folder.is_dir():
            raise LabError(
                f"taking your {exercise} server",
                f"{name}={text}: there is no such folder",
                f"name the folder with your program in it: make up {name}=../my-exercise",
            )
        if not folder.stat().st_mode & 0o005 == 0o005:
            raise LabError(
                f"taking your {exercise} server",
                f"{folder} is closed to other users, and so to the container's",
                f"chmod -R o+rX {shlex.quote(str(folder))}",
            )
        found[exercise] = folder
    return found


def take(servers: Sequence[OwnServer]) -> bool:
    """Make Compose use these programs in place of the lab's; return whether that is a change.

    No programs: the lab's own again. Raises LabError.
    """
    if not servers:
        return settings.put_own({})
    OVERRIDES.mkdir(parents=True, exist_ok=True)
    images = {server.exercise: ensure_image(server.program.image) for server in servers}
    content = override(servers, images)
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    path = OVERRIDES / f"{compose.project_name()}-{digest}.yaml"
    path.write_text(content, encoding="utf-8")
    named = {OWN_FOLDERS[server.exercise]: str(server.folder) for server in servers}
    files = os.pathsep.join([str(ROOT / "compose.yaml"), str(path)])
    return settings.put_own(named | {COMPOSE_FILE: files})


def forget_old() -> None:
    """Remove this project's second Compose files that are no longer used."""
    used = settings.compose_files()
    for path in OVERRIDES.glob(f"{compose.project_name()}-{'?' * 16}.yaml"):
        if str(path) not in used:
            path.unlink(missing_ok=True)


def await_listening(server: OwnServer) -> None:
    """Wait until the program listens where others can reach it.

    Raises LabError when it does not, saying why. A program that has ended is not waited for: what
    it said last is in its log.
    """
    step = f"starting your {server.exercise} server"
    protocol, _ = PORTS[server.exercise]
    port = server.program.port
    deadline = time.monotonic() + server.ready_within_s
    while (tables := _sockets(server.exercise, protocol)) is not None:
        if re.search(listening_pattern(protocol, port), tables, re.MULTILINE):
            return
        if re.search(f"^ *\\d+: [0-9A-F]+:{port:04X} ", tables, re.MULTILINE):
            raise LabError(
                step,
                f"it listens on localhost only (port {port}): programs on other machines cannot"
                " reach it, and in the lab each is a machine of its own",
                'bind it to "" or "0.0.0.0" instead of "localhost", then make up again',
            )
        if time.monotonic() > deadline:
            raise LabError(
                step,
                f"{server.ready_within_s} s after its start nothing listens on port"
                f" {port}/{protocol}",
                f"say the right port in {server.folder / 'lab.toml'}, then make up again",
            )
        time.sleep(0.2)


def _sockets(exercise: str, protocol: str) -> str | None:
    """Return the kernel's tables of sockets as the exercise's server sees them, if it runs."""
    for container in compose.containers():
        if compose.service_of(container) == exercise and container["State"]["Running"]:
            look = ["docker", "exec", container["Id"], "sh", "-c", f"cat /proc/net/{protocol}*"]
            return compose.captured(look).stdout
    return None


def override(servers: Sequence[OwnServer], images: Mapping[str, str]) -> str:
    """Return the second Compose file; ``images`` are the references by exercise.

    It is YAML of which all but two tags is JSON.
    """
    services: dict[str, str] = {}
    for server in servers:
        exercise, program = server.exercise, server.program
        protocol, lab_port = PORTS[exercise]
        variable = f"{exercise.upper()}_PORT"
        port = f"127.0.0.1:${{{variable}:-{lab_port}}}:{program.port}/{protocol}"
        ports = f"!override {_json([port], raw=True)}"
        sysctls = _json(FORGETTING_CLOSED)
        services[f"{exercise}-net"] = f'{{ports: {ports}, "sysctls": {sysctls}}}'
        # Without a route there is no way out of the lab, not even for a program that looks for one;
        # its clients are on the link, and what comes in through a published port seems to be.
        no_way_out = 'ip route del default; ip -6 route del default; exec "$@"'
        services[f"{exercise}-netem"] = _json({"entrypoint": ["sh", "-c", no_way_out, "sidecar"]})
        confined = {
            "image": images[exercise],
            "restart": "no",
            "working_dir": FOLDER,
            "command": ["sh", "-c", shell_command(program)],
            "pids_limit": 128,
            "cpus": 1,
            **_memory(program),
            **_places(server),
            "healthcheck": _health(server),
        }
        own_environment = {"HOME": "/tmp", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        services[exercise] = (
            f"{_json(confined)[:-1]}, build: !reset null,"
            f" environment: !override {_json(own_environment)}}}"
        )
        services[f"{exercise}-client"] = _json({"environment": {variable: str(program.port)}})
    lines = [f"  {name}: {content}\n" for name, content in services.items()]
    return "# made by make up\nservices:\n" + "".join(lines)


def shell_command(program: Program) -> str:
    """Return what the container's shell runs: copy, build, type, start."""
    steps = []
    if program.build:
        steps.append(f"cp -r {SOURCE}/. {FOLDER} && cd {FOLDER} && {{ {program.build}\n}}")
    start = f"exec sh -c {shlex.quote(program.command)}"  # it may be a line of several
    if program.stdin:
        typed = " ".join(shlex.quote(line) for line in program.stdin)
        start = f"printf '%s\\n' {typed} | {start}"
    return " && ".join([*steps, start])


def refuse_what_our_clients_cannot_ask(exercise: str, program: Program) -> None:
    """Raise LabError for a clock over UDP: the lab's client asks over TCP."""
    if program.protocol not in ("", PORTS[exercise][0]):
        raise LabError(
            f"taking your {exercise} server",
            f"it speaks {program.protocol.upper()}, and the lab's {exercise} client"
            f" {PORTS[exercise][0].upper()}",
            "judge it for what it is: make grade SUBMISSION=path",
        )


def _memory(program: Program) -> dict[str, Any]:
    size = "512m" if program.image == "java" else "256m"
    return {"mem_limit": "1g" if program.build else size}


def _places(server: OwnServer) -> dict[str, Any]:
    mount = {
        "type": "bind",
        "source": str(server.folder),
        "target": SOURCE if server.program.build else FOLDER,
        "read_only": True,
        "bind": {"create_host_path": False},
    }
    tmpfs = ["/tmp:size=64m,mode=1777,exec"]
    if server.program.build:
        tmpfs.append(f"{FOLDER}:size=256m,mode=0700,uid=65534,gid=65534,exec")
    return {"volumes": [mount], "tmpfs": tmpfs}


def _health(server: OwnServer) -> dict[str, Any]:
    """Healthy while something listens on the port, on more than localhost."""
    protocol, _ = PORTS[server.exercise]
    listening = listening_pattern(protocol, server.program.port)
    return {
        "test": ["CMD-SHELL", f"cat /proc/net/{protocol}* | grep -Eq '{listening}'"],
        "start_period": f"{server.ready_within_s}s",
        "start_interval": "500ms",
        "interval": "5s",
        "retries": 1,
    }


def listening_pattern(protocol: str, port: int) -> str:
    """Return the regular expression of a line of /proc/net/udp or tcp, or udp6 or tcp6.

    It finds a socket that listens on ``port`` of all addresses, or of one that is not 127.x.y.z.
    Addresses stand there in the machine's byte order, little-endian.
    """
    state = "0A" if protocol == "tcp" else "07"
    not_127 = "([0-689A-F][0-9A-F]|7[0-9A-E])"
    address = f"(0{{32}}|(0{{16}}FFFF0000)?[0-9A-F]{{6}}{not_127})"
    return f"^ *[0-9]+: {address}:{port:04X} [0-9A-F]+:0000 {state} "


def _json(value: object, *, raw: bool = False) -> str:
    """Return JSON in which Compose replaces no variables (unless ``raw``)."""
    text = json.dumps(value)
    return text if raw else text.replace("$", "$$")
