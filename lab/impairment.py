"""What is in effect on each server's network, as its sidecar reads it back from the kernel."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab import compose
from lab.errors import LabError
from lab.settings import EXERCISES, PORTS

_SIDECAR = ("python3", "-m", "services.netem")


def netem() -> int:
    """Show or change the impairment, as SERVICE and NETEM of the environment say.

    Returns the exit status of the sidecar: 0 in effect, 2 wrong words, 3 not on this kernel.
    Raises LabError for an unknown service or a lab that is not running.
    """
    exercise, words = os.environ.get("SERVICE", ""), os.environ.get("NETEM", "")
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
    return _exec(exercise, "set", words).returncode


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
    with ThreadPoolExecutor(thread_name_prefix="show") as pool:
        receipts = list(pool.map(_receipt, exercises))
    rows = [("service", "address", "network, one way: server to clients")]
    rows += [
        (exercise, addresses.get(exercise, "not published"), _sentence(receipt))
        for exercise, receipt in zip(exercises, receipts, strict=True)
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for row in rows:
        print(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}")


def _sentence(receipt: dict[str, Any]) -> str:
    if receipt["verdict"] != "in effect":
        return f"NOT IN EFFECT: {receipt['asked']} (make logs SERVICE={receipt['service']}-netem)"
    if receipt["mechanism"] == "none":
        return "unimpaired"
    return f"{receipt['in_effect']} ({receipt['mechanism']}, set by {receipt['source']})"


def _receipt(exercise: str) -> dict[str, Any]:
    shown = _exec(exercise, "show", "--json", quiet=True)
    try:
        receipt: dict[str, Any] = json.loads(shown.stdout)
    except ValueError:
        raise LabError(
            "reading the network back",
            f"the sidecar of {exercise} does not answer: {shown.stderr.strip() or 'no output'}",
            "make up",
        ) from None
    return receipt


def _exec(exercise: str, *arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    argv = compose.command("exec", "--no-TTY", f"{exercise}-netem", *_SIDECAR, *arguments)
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
