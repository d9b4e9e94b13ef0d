"""Docker Compose and the engine, as commands: the lab's one way to reach its containers."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lab.errors import LabError
from lab.settings import COMPOSE_FILE, PORTS, ROOT, SETTINGS, compose_files, env_file

PROJECT_LABEL = "com.docker.compose.project"

_BUILT_WITHIN_S = 1800.0
_SHOWN_LINES = 8


def project_name() -> str:
    """Return the Compose project's name; ``COMPOSE_PROJECT_NAME`` makes a lab beside the first."""
    return os.environ.get("COMPOSE_PROJECT_NAME") or "progres-lab"


def command(*arguments: str) -> list[str]:
    """Return the command line of ``docker compose`` for this project."""
    files = [word for name in compose_files() for word in ("--file", name)]
    files += ["--project-directory", str(ROOT)]
    if env_file().exists():
        files += ["--env-file", str(env_file())]
    return ["docker", "compose", *files, "--project-name", project_name(), *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``docker compose`` on the user's terminal and return it, whatever its status.

    The settings come from the environment file alone: ``make up`` has recorded there what it was
    given, so every later command sees the same. Raises LabError where there is no docker.
    """
    argv = command(*arguments)
    if not sys.stderr.isatty():  # its progress is a moving picture; in a log it is a wall of lines
        argv[2:2] = ["--progress", "quiet"]
    try:
        return subprocess.run(argv, env=environment_without_settings(), check=False)
    except FileNotFoundError:
        raise _without_docker(argv) from None


def _without_docker(argv: Sequence[str]) -> LabError:
    missing = f"there is no {argv[0]} command here"
    return LabError(f"running {' '.join(argv[:3])}", missing, "make up sets up what is missing")


def environment_without_settings() -> dict[str, str]:
    """Return this process's environment less the lab's settings."""
    names = {*SETTINGS, COMPOSE_FILE}
    return {name: value for name, value in os.environ.items() if name not in names}


def captured(
    argv: Sequence[str],
    timeout_s: float = 60,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command with its output captured, whatever its status.

    Raises LabError when there is no such command, or when it does not end within ``timeout_s``.
    """
    try:
        return subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except FileNotFoundError:
        raise _without_docker(argv) from None
    except subprocess.TimeoutExpired:
        raise LabError(
            f"running {' '.join(argv[:4])} ...",
            f"no answer within {timeout_s:.0f} s",
            "see what the engine is doing: make doctor",
        ) from None


def printed(container: str, *argv: str) -> str:
    """Return what a short program prints in a container; it prints something.

    Of a program that ends at once the engine loses, now and then, all that it printed (seen with
    Engine 26.1, 14 times in 1,600 beside other work): then it is run again.
    """
    for _ in range(5):
        done = captured(["docker", "exec", container, *argv])
        if done.stdout or done.returncode:
            break
    return done.stdout


def build(step: str, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run a command that builds images. Raises LabError with what its failing step printed.

    Where this machine's programs reach the network through a proxy, those of the build do, too.
    """
    argv = [*argv, *proxy_arguments(os.environ if environment is None else environment)]
    built = captured(argv, timeout_s=_BUILT_WITHIN_S, environment=environment)
    if built.returncode != 0:
        # Compose and buildx differ in which of the two streams a step's output goes to.
        lines = failing_step(built.stdout + built.stderr)
        cause = f"{' '.join(argv[:2])} failed" + "".join(f"\n    {line}" for line in lines)
        raise LabError(step, cause, "is the package mirror in reach? (make doctor)")


def proxy_arguments(environment: Mapping[str, str]) -> list[str]:
    """Return the words that hand the proxies to a build; they stay out of the image's history.

    The value is taken from the environment, by name: it may hold a password.
    """
    names = ("http_proxy", "https_proxy", "no_proxy")
    given = [name for each in names for name in (each, each.upper()) if environment.get(name)]
    return [word for name in given for word in ("--build-arg", name)]


def failing_step(output: str) -> list[str]:
    """Return the last lines that the step printed that made a build fail, without their times.

    ``output`` is the plain progress of BuildKit: it shows them once more at the end, between two
    rules. Without these the last lines of the output.
    """
    section = re.search(r"^------\n > .*\n((?:.*\n)*?)------$", output, re.MULTILINE)
    lines = [
        re.sub(r"^\d+\.\d+ ", "", line).strip()
        for line in (section[1] if section else output).splitlines()
    ]
    return [line for line in lines if line][-_SHOWN_LINES:]


def containers() -> list[dict[str, Any]]:
    """Return ``docker inspect`` of all containers of this project, stopped ones too."""
    filters = ["--filter", f"label={PROJECT_LABEL}={project_name()}"]
    ids = captured(["docker", "ps", "--all", "--quiet", "--no-trunc", *filters]).stdout.split()
    if not ids:
        return []
    # One that vanishes in between makes inspect exit 1, but it still prints the others.
    found: list[dict[str, Any]] = json.loads(captured(["docker", "inspect", *ids]).stdout or "[]")
    return found


def service_of(container: dict[str, Any]) -> str:
    """Return the Compose service that a container (as inspected) belongs to."""
    return str(container["Config"]["Labels"].get("com.docker.compose.service", ""))


def published_ports(inspected: list[dict[str, Any]]) -> dict[str, int]:
    """Return exercise: port on localhost, of the running ones among these containers."""
    found = {}
    for container in inspected:
        exercise = service_of(container).removesuffix("-net")
        if exercise in PORTS and container["State"]["Running"]:
            # One port is published; in the container it is the lab's, or that of one's own program.
            for bindings in filter(None, container["NetworkSettings"]["Ports"].values()):
                found[exercise] = int(bindings[0]["HostPort"])
    return found


def image_source(image: str) -> str:
    """Return the hash of the files that an image was made from, or "" without such an image."""
    label = '{{index .Config.Labels "progres-lab.source"}}'
    found = captured(["docker", "image", "inspect", "--format", label, image])
    return found.stdout.strip() if found.returncode == 0 else ""


def leftovers() -> dict[str, list[str]]:
    """Return what exists under this project's name, by kind: container, network, volume."""
    label = f"label={PROJECT_LABEL}={project_name()}"
    listing = {
        "container": ["docker", "ps", "--all", "--quiet", "--filter", label],
        "network": ["docker", "network", "ls", "--quiet", "--filter", label],
        "volume": ["docker", "volume", "ls", "--quiet", "--filter", label],
    }
    return {kind: captured(argv).stdout.split() for kind, argv in listing.items()}
