"""From nothing to a healthy lab and back: ``make up``, ``make down``, ``make clean``."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from typing import Any

from lab import compose, own, settings
from lab.base_image import ensure_base_image
from lab.engine import ensure_engine
from lab.errors import LabError
from lab.impairment import forget_run_time_setting, print_table
from lab.ports import holder
from lab.say import say
from lab.settings import EXERCISES, PORTS, ROOT

IMAGES = {"progres-lab": "udp-net", "progres-lab-netem": "udp-netem"}
"""Image, without its tag: one Compose service that builds it."""

HEALTHY_WITHIN_S = 600
"""How long a slow (emulated) machine may take until all nine containers are healthy."""


def up() -> None:
    """Set up what is missing, build what changed, start, wait until healthy, say what is there.

    Raises LabError; a lab that this call began is then taken down again, and one that was running
    goes back to the settings that it had.
    """
    programs = own.recognised(os.environ)
    ensure_engine()
    before = compose.containers()
    _require_free_ports(before)
    new: dict[str, str] = {}
    others = False
    try:
        with settings.kept_only_if_all_goes_well():
            new = settings.record(os.environ)
            others = own.take(programs)
            if new:
                shown = " ".join(f"{name}={value!r}" for name, value in new.items())
                say(f"kept in {settings.env_file().name} until make down: {shown}")
            build()
            _start(programs)
    except BaseException:  # Ctrl-C, too
        if not before:
            say("taking down again what was started")
            down()
        elif new or others:
            say("going back to the settings from before")
            compose.run("up", "--detach", "--no-build")
        own.forget_old()
        raise
    for exercise in EXERCISES:
        if f"LAB_{exercise.upper()}_NETEM" in new:
            forget_run_time_setting(exercise)  # the newest word counts
    own.forget_old()
    print_table()
    for program in programs:
        print(f"{program.exercise}: your program, {program.program.command}, in {program.folder}")
    print(
        "\nTry next:\n"
        "  docker compose run --rm udp-client          ten pings through loss\n"
        "  docker compose run --rm clock-client        how wrong is the server's clock?\n"
        '  make netem SERVICE=udp NETEM="loss 30%"     a worse network, at once'
    )


def _start(programs: Sequence[own.OwnServer]) -> None:
    if programs and compose.run("up", "--detach", "--no-build").returncode == 0:
        for program in programs:
            own.await_listening(program)
    started = compose.run(
        "up", "--detach", "--no-build", "--wait", "--wait-timeout", str(HEALTHY_WITHIN_S)
    )
    if started.returncode != 0:
        cause = _why_not_healthy()
        raise LabError("starting the lab", cause, "correct that and run make up again; make doctor")


def build() -> None:
    """Build the images that do not match the files in the tree. Raises LabError."""
    source = source_hash()
    stale = [image for image in IMAGES if compose.image_source(settings.image(image)) != source]
    if not stale:
        return
    say(f"building {' and '.join(stale)}")
    arguments = {"BASE_IMAGE": ensure_base_image(), "SOURCE_HASH": source}
    argv = compose.command("build", *(IMAGES[image] for image in stale))
    argv[2:2] = ["--progress", "plain"]
    compose.build("building the images", argv, os.environ | arguments)


def source_hash() -> str:
    """Return one hash of all the files that the images are made from."""
    digest = hashlib.sha256()
    files = [ROOT / "Dockerfile"]
    for folder in ("services", "clients"):
        files += [
            p for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts
        ]
    for path in sorted(files):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(ROOT).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def down() -> None:
    """Remove the lab's containers, networks and volumes, and the settings given to ``make up``.

    Works on half a lab, too, and where ``compose.yaml`` or ``.env`` cannot be read any more.
    Raises LabError when something would not go.
    """
    removed = compose.run(
        "--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5"
    )
    if removed.returncode != 0:
        say("docker compose down failed; removing by label")
    removal = {"container": ["rm", "--force", "--volumes"], "network": ["network", "rm"],
               "volume": ["volume", "rm", "--force"]}  # fmt: skip
    for kind, ids in compose.leftovers().items():
        if ids:
            compose.captured(["docker", *removal[kind], *ids])
    if left := {kind: ids for kind, ids in compose.leftovers().items() if ids}:
        shown = ", ".join(f"{kind} {' '.join(ids)}" for kind, ids in left.items())
        raise LabError(
            "taking the lab down",
            f"the engine keeps {shown}",
            "see what uses it: docker network inspect, docker ps --all",
        )
    settings.forget()


def remove_images() -> None:
    """Remove the lab's images, and what the engine keeps to build them faster."""
    shown = ["--filter", "reference=progres-lab*", "--format", "{{.Repository}}:{{.Tag}}"]
    images = compose.captured(["docker", "image", "ls", *shown]).stdout.split()
    if images:  # those that another lab uses stay
        compose.captured(["docker", "image", "rm", *images])
    compose.captured(["docker", "builder", "prune", "--force"], timeout_s=120)


def remove_caches() -> None:
    """Remove every cache in the project's folder."""
    for folder in (".lab", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"):
        shutil.rmtree(ROOT / folder, ignore_errors=True)


def _require_free_ports(containers: list[dict[str, Any]]) -> None:
    """Raise LabError when somebody else holds a port that this lab is to publish."""
    ours = compose.published_ports(containers)
    for exercise in EXERCISES:
        protocol, _ = PORTS[exercise]
        port = settings.host_port(exercise)
        if port in (0, ours.get(exercise)):
            continue  # the engine chooses, or this very lab has it
        if (who := holder(protocol, port)) is not None:
            name = f"{exercise.upper()}_PORT"
            raise LabError(
                "starting the lab",
                f"port {port}/{protocol} of localhost is taken by {who}",
                f"stop that, or choose another port: make up {name}={(port + 10000) % 60000}",
            )


def _why_not_healthy() -> str:
    """Return the log's end of every container that is not running and healthy."""
    lines = []
    for container in compose.containers():
        state = container["State"]
        health = state.get("Health", {}).get("Status", "healthy")
        if state["Running"] and not state["Restarting"] and health == "healthy":
            continue
        lines.append(f"{compose.service_of(container)} is {state['Status']}, {health}")
        log = compose.captured(["docker", "logs", "--tail", "6", container["Id"]])
        lines += [f"    {line}" for line in (log.stdout + log.stderr).splitlines()]
    return "\n".join(lines) or "docker compose up failed, its output is above"
