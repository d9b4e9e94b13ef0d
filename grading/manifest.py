"""What a submission says of itself: ``lab.toml``, or a draft of it from what can be recognised.

::

    [udp-server]                    also udp-client, clock-server, clock-client, http-server
    command = "python3 serveur.py"  required: how it starts, in the submission's folder
    image = "python"                python, c, java or go
    build = "make"                  runs once, in the same sandbox
    port = 1234                     the exercise's own by default
    address = "192.168.1.10"        where the server listens or what the client calls
    stdin = ["10", "hello"]         lines that are typed when it runs
    requests = 10                   clients: how many requests that makes
    trigger = "/boom"               http-server: a path whose handler raises
    protocol = "udp"                clock programs: if it is not TCP

A table that is not there is an exercise that was not handed in. Nothing here follows a symbolic
link.
"""

import ipaddress
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from grading import GradingError

NAME = "lab.toml"
PORTS = {
    "udp-server": 1234,
    "udp-client": 1234,
    "clock-server": 1236,
    "clock-client": 1236,
    "http-server": 12345,
}
"""Program: the exercise's own port."""

PROGRAMS = tuple(PORTS)
IMAGES = ("python", "c", "java", "go")
MAX_SOURCE_BYTES = 1 << 20
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
    trigger: str = ""
    protocol: str = ""


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
    text = _read(folder / NAME, MAX_MANIFEST_BYTES)
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


def literal_addresses(folder: Path) -> list[str]:
    """Return the IPv4 addresses that stand in the folder's sources and could be a server's."""
    found = set()
    for path in sources(folder):
        for text in re.findall(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])", _read(path) or ""):
            try:
                address = ipaddress.IPv4Address(text)
            except ValueError:  # 300.1.1.1
                continue
            # Broadcast and future use are "reserved".
            special = address.is_multicast or address.is_reserved or address.is_unspecified
            if not (special or address.is_loopback):
                found.add(text)
    return sorted(found)[:16]


def sources(folder: Path) -> list[Path]:
    """Return the folder's regular files, symbolic links not followed, in a fixed order."""
    found: list[Path] = []
    for place, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        found += [Path(place, name) for name in sorted(files)]
        if len(found) > 2000:
            break
    return [path for path in found if stat.S_ISREG(path.lstat().st_mode)]


def _read(path: Path, limit: int = MAX_SOURCE_BYTES) -> str | None:
    """Return a regular file's text; None when it is none, or too long, or cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # ENOENT, ELOOP (a symbolic link), EACCES
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        content = file.read(limit + 1)
    return None if len(content) > limit else content.decode("utf-8", errors="replace")


_SERVER_SIGNS = r"\.bind\(|\.listen\(|create_server|DatagramServer|TCPServer|ServerSocket"
_EXERCISES = {
    "udp": (r"SOCK_DGRAM|create_datagram_endpoint|UDPServer", r"udp|ping"),
    "http": (r"HTTP/1\.|text/html", r"http|web|www"),
    "clock": (r"what time|ctime|strftime|isoformat|time\.time", r"clock|horloge|time|heure"),
}  # fmt: skip
"""Exercise: what its sources have, and what its files are called."""


def draft(folder: Path) -> str:
    """Return a lab.toml for review, of the Python programs that can be recognised.

    By contents first (what kind of socket, whether it is bound), by the name where that leaves two.
    Raises GradingError when nothing can be.
    """
    found: dict[str, tuple[int, str, str]] = {}
    for path in sources(folder):
        text = _read(path)
        if path.suffix != ".py" or text is None or "socket" not in text.lower():
            continue
        name = path.relative_to(folder).as_posix()
        exercise = _exercise(name.lower(), text)
        role = "server" if _is_server(name.lower(), text) else "client"
        program = f"{exercise}-{role}"
        if exercise is None or program not in PROGRAMS:
            continue
        certainty = sum(word in name.lower() for word in (role, exercise, "serveur"))
        if program not in found or certainty > found[program][0]:
            found[program] = (certainty, name, text)
    if not found:
        raise GradingError(
            f"{folder}: no {NAME}, and no program in it was recognised; write one, for example\n"
            f'    [udp-server]\n    command = "python3 serveur.py"\n    port = 1234'
        )
    lines = [f"# Drafted from what was found; look it over and save it as {NAME}."]
    for program in PROGRAMS:
        if program in found:
            _, name, text = found[program]
            lines += ["", f"[{program}]", f'command = "python3 {name}"']
            lines += [f"port = {_port(program, text)}", *_typed(program, text)]
    return "\n".join(lines) + "\n"


def _exercise(name: str, text: str) -> str | None:
    scores = {}
    for exercise, (contents, names) in _EXERCISES.items():
        by_contents = bool(re.search(contents, text, re.IGNORECASE))
        scores[exercise] = 2 * by_contents + bool(re.search(names, name))
    # A page or a ping may show a time, too: the clock comes last.
    best = max(scores, key=lambda exercise: scores[exercise])
    return best if scores[best] >= 2 else None


def _is_server(name: str, text: str) -> bool:
    if re.search(r"client", name):
        return False
    return bool(re.search(_SERVER_SIGNS, text)) or bool(re.search(r"serv", name))


def _port(program: str, text: str) -> int:
    """Return the port that the source names: the exercise's own if it is there."""
    own = PORTS[program]
    numbers = [int(n) for n in re.findall(r"(?<![\w.])(\d{2,5})(?![\w.])", text)]
    if own in numbers:
        return own
    named = re.findall(r"port\w*\s*[:=]\s*(?:int\s*=\s*)?(\d{2,5})", text, re.IGNORECASE)
    pairs = re.findall(r"\(\s*[\"'\w.]*\s*,\s*(\d{2,5})\s*\)", text)
    return next((int(n) for n in (*named, *pairs) if 1 <= int(n) <= 65535), own)


def _typed(program: str, text: str) -> list[str]:
    """Return the lines for a client that asks its user: numbers first, as most exercises do."""
    prompts = re.findall(r"(int\s*\(\s*)?input\s*\(", text)
    if not program.endswith("client"):
        return []
    count = 10 if program == "udp-client" else 5
    if not prompts:
        return []
    typed = [f'"{count}"' if number else '"hello"' for number in prompts]
    lines = [f"stdin = [{', '.join(typed)}]"]
    return lines + [f"requests = {count}"] if any(prompts) else lines
