"""What a submission says of itself: ``lab.toml``, or a draft of it from what can be recognised.

::

    [udp-server]                    also udp-client, clock-server, clock-client, http-server
    command = "python3 serveur.py"  required: how it starts, in the submission's folder
    image = "python"                python, c, java or go; "Dockerfile": the folder's own, on trust
    build = "make"                  runs once, in the same sandbox
    port = 1234                     the exercise's own by default
    address = "192.168.1.10"        where the server listens or what the client calls
    stdin = ["10", "hello"]         lines that are typed when it runs
    requests = 10                   clients: how many requests that makes
    page = "/accueil.html"          http-server: where its page is, if not at "/"
    trigger = "/boom"               http-server: a path whose handler raises
    protocol = "udp"                clock programs: if it is not TCP
    question = "GIVE TIME\\n"       clock-server: how it is asked, if in words of its own

A table that is not there is an exercise that was not handed in. Nothing here follows a symbolic
link.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from grading import PORTS, PROGRAMS, GradingError
from grading.recognition import draft
from grading.sources import read

NAME = "lab.toml"
OWN_IMAGE = "Dockerfile"
"""What ``image`` says of a program that runs in an image of its own making."""

IMAGES = ("python", "c", "java", "go", OWN_IMAGE)
MAX_MANIFEST_BYTES = 64 << 10


@dataclass(frozen=True)
class Program:
    """One program of a submission."""

    name: str
    command: str
    port: int
    image: str = "python"
    build: str = ""
    address: str = "127.0.0.1"
    stdin: tuple[str, ...] = ()
    requests: int | None = None
    page: str = ""
    trigger: str = ""
    protocol: str = ""
    question: str = ""


@dataclass(frozen=True)
class Manifest:
    """The programs that were handed in, by name; ``drafted`` when no lab.toml said so."""

    programs: Mapping[str, Program]
    drafted: bool = False


def load(folder: Path) -> Manifest:
    """Return the folder's manifest, drafted where it has none.

    Raises GradingError naming file, table and key, and what would be right.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise GradingError(f"{folder}: not a folder (a symbolic link is not followed)")
    text = read(folder / NAME, MAX_MANIFEST_BYTES)
    if text is None:
        return Manifest(parse(draft(folder), f"the draft of {NAME}").programs, drafted=True)
    return parse(text, str(folder / NAME))


def parse(text: str, where: str = NAME) -> Manifest:
    """Return what the text of a lab.toml says. Raises GradingError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise GradingError(f"{where}: not TOML: {error}") from None
    programs = {}
    for name, table in document.items():
        if name not in PROGRAMS:
            raise GradingError(f"{where}: [{name}] is none of {', '.join(PROGRAMS)}")
        if not isinstance(table, dict):
            raise GradingError(f'{where}: {name} must be a table: [{name}] command = "..."')
        programs[name] = _program(name, table, f"{where}: [{name}]")
    return Manifest({name: programs[name] for name in PROGRAMS if name in programs})


_KINDS: dict[str, type] = {"port": int, "requests": int, "stdin": list}


def _program(name: str, table: Mapping[str, Any], where: str) -> Program:
    known = {field.name for field in fields(Program)} - {"name"}
    for key, value in table.items():
        if key not in known:
            raise GradingError(f"{where} {key}: unknown; known are {', '.join(sorted(known))}")
        kind = _KINDS.get(key, str)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise GradingError(f"{where} {key} = {value!r}: must be a {_named(kind)}")
    if not table.get("command", "").strip():
        raise GradingError(f'{where}: no command; say how it starts: command = "python3 server.py"')
    port = table.get("port", PORTS[name])
    if not 1 <= port <= 65535:
        raise GradingError(f"{where} port = {port}: must be from 1 to 65535")
    if not 1 <= table.get("requests", 1) <= 1000:
        raise GradingError(f"{where} requests = {table['requests']}: must be from 1 to 1000")
    if (image := table.get("image", "python")) not in IMAGES:
        raise GradingError(f"{where} image = {image!r}: one of {', '.join(IMAGES)}")
    for key in ("page", "trigger"):
        if not re.fullmatch(r"(?:/[!-~]*)?", table.get(key, "")):
            raise GradingError(
                f'{where} {key} = {table[key]!r}: must be a path, as in "/page.html"'
            )
    if table.get("protocol", "") not in ("", "tcp", "udp"):
        raise GradingError(f'{where} protocol: "tcp" or "udp"')
    address = table.get("address", "127.0.0.1")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,252}", address):
        raise GradingError(f"{where} address = {address!r}: must be an address or a host name")
    lines = table.get("stdin", [])
    if not all(isinstance(line, str) and "\n" not in line for line in lines):
        raise GradingError(f'{where} stdin: a list of lines, as in ["10", "hello"]')
    return Program(name, **{**table, "port": port, "stdin": tuple(lines)})


def _named(kind: type) -> str:
    return {int: "whole number", list: "list of lines", str: "text"}[kind]
