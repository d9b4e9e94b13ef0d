"""What is in effect on each server's network, as its sidecar reads it back from the kernel."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab import compose, settings, sidecars
from lab.errors import LabError
from lab.settings import EXERCISES, PORTS

DIRECTIONS = {"from_server": "server to clients", "to_server": "clients to server"}


def netem() -> int:
    """Show or change the impairment, as SERVICE, NETEM and DIRECTION of the environment say.

    Returns the exit status of the sidecar: 0 in effect, 2 wrong words, 3 not on this kernel.
    Raises LabError for an unknown service or direction, or a lab that is not running.
    """
    exercise, words = os.environ.get("SERVICE", ""), os.environ.get("NETEM", "")
    direction = os.environ.get("DIRECTION", "")
    if direction and direction not in DIRECTIONS:
        raise LabError(
            "changing the network",
            f"no direction {direction!r}",
            f"name one of {', '.join(DIRECTIONS)}:"
            ' make netem SERVICE=udp DIRECTION=to_server NETEM="loss 5%"',
        )
    if direction and not words:
        raise LabError(
            "changing the network",
            "DIRECTION is given without NETEM",
            f'say what to do: make netem SERVICE=udp DIRECTION={direction} NETEM="loss 5%"'
            " (make netem shows both directions)",
        )
    if exercise and exercise not in EXERCISES:
        raise LabError(
            "changing the network",
            f"no service {exercise!r}",
            f"name one of {', '.join(EXERCISES)}: make netem SERVICE=udp",
        )
    if words and not exercise:
        raise LabError(
            "changing the network",
            "NETEM is given without SERVICE",
            f'name one of {", ".join(EXERCISES)}: make netem SERVICE=udp NETEM="{words}"',
        )
    if not words:
        print_table(EXERCISES if not exercise else (exercise,))
        return 0
    return _exec(exercise, "set", "--direction", direction or "from_server", words).returncode


def reset() -> None:
    """Bring back what ``make up`` set up, after any crash: every network, and every server.

    What was set at run time is forgotten, also where a sidecar cannot start with it; containers
    that ended are started, and those with other settings are made anew. Where all is as it should
    be, nothing happens. Raises LabError.
    """
    if not compose.containers():
        raise LabError("resetting the lab", "it is not running", "make up")
    # Without these no sidecar can be reached.
    _must_up(*(f"{exercise}-net" for exercise in EXERCISES))
    with ThreadPoolExecutor(thread_name_prefix="reset") as pool:
        list(pool.map(_reset, EXERCISES))
    settings.tell({})
    _must_up("--wait")
    print_table()


def _must_up(*arguments: str) -> None:
    if compose.run("up", "--detach", "--no-build", *arguments).returncode != 0:
        raise LabError(
            "resetting the lab", "docker compose up failed, its output is above", "make up"
        )


def _reset(exercise: str) -> None:
    runs = f"{exercise}-netem" in sidecars.running()
    if runs and _exec(exercise, "reset", quiet=True).returncode == 0:
        return
    # It does not run: perhaps because of the very setting that is to be forgotten.
    anew = ("run", "--rm", "--no-deps", "--no-TTY", f"{exercise}-netem", *sidecars.COMMAND, "reset")
    argv, environment = compose.command(*anew), compose.environment_without_settings()
    done = compose.captured(argv, environment=environment)
    if done.returncode != 0:
        raise LabError(
            "resetting the network",
            f"the sidecar of {exercise} says: {done.stderr.strip()}",
            f"make logs SERVICE={exercise}-netem",
        )


def forget_run_time_setting(exercise: str) -> None:
    """Go back to the setting in the environment. Raises LabError when the sidecar refuses."""
    if _exec(exercise, "set", "default", quiet=True).returncode != 0:
        raise LabError(
            "setting the network",
            f"the sidecar of {exercise} did not apply its setting",
            f"read why: make logs SERVICE={exercise}-netem",
        )


def print_table(exercises: tuple[str, ...] = EXERCISES) -> None:
    """Print service, address and impairment in effect, a line each. Raises LabError."""
    addresses = _addresses()
    receipts = sidecars.show(exercises)
    rows = [("service", "address", *DIRECTIONS.values())]
    rows += [
        (exercise, addresses.get(exercise, "not published"), *_in_words(receipts[exercise]))
        for exercise in exercises
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _in_words(receipt: dict[str, Any]) -> tuple[str, ...]:
    """Return what is in effect in each direction."""
    directions = [receipt["directions"][name] for name in DIRECTIONS]
    if receipt["verdict"] != "in effect":
        logs = f"make logs SERVICE={receipt['service']}-netem"
        return tuple(f"NOT IN EFFECT: {each['asked']} ({logs})" for each in directions)
    return tuple(
        "unimpaired"
        if each["mechanism"] == "none"
        else f"{each['in_effect']} ({each['mechanism']}, set by {each['source']})"
        for each in directions
    )


def _exec(exercise: str, *arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    # Not "docker compose exec": to start Compose takes longer than all the rest.
    container = sidecars.containers((exercise,))[exercise]
    argv = ["docker", "exec", container, *sidecars.COMMAND, *arguments]
    if quiet:
        return compose.captured(argv)
    return subprocess.run(argv, stdin=subprocess.DEVNULL, text=True, check=False)


def _addresses() -> dict[str, str]:
    """Return exercise: address on localhost, of the containers that run."""
    ports = compose.published_ports(compose.containers())
    return {
        exercise: f"http://localhost:{port}"
        if exercise == "http"
        else f"localhost:{port}/{PORTS[exercise][0]}"
        for exercise, port in ports.items()
    }
