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
    trigger = "/boom"               http-server: a path whose handler raises
    protocol = "udp"                clock programs: if it is not TCP
    question = "GIVE TIME\\n"       clock-server: how it is asked, if in words of its own

A table that is not there is an exercise that was not handed in. Nothing here follows a symbolic
link.
"""

import ipaddress
import json
import os
import re
import shlex
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
OWN_IMAGE = "Dockerfile"
"""What ``image`` says of a program that runs in an image of its own making."""

IMAGES = ("python", "c", "java", "go", OWN_IMAGE)
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


_UDP = (
    r"SOCK_DGRAM|create_datagram_endpoint|UDPServer|Datagram(?:Socket|Packet|Channel)"
    r"|ListenPacket\(\s*\"udp|ListenUDP|Dial(?:UDP|\(\s*\"udp)"
)
_TCP = (
    r"SOCK_STREAM|create_connection|create_server|start_server|open_connection|TCPServer"
    r"|ServerSocket|new Socket\(|net\.Listen\(|net\.Dial\w*\(|socket\(\)"
)
_SERVER = (
    r"\.bind\s*\(|\bbind\s*\(|\.listen\(|create_server|start_server|local_addr|UDPServer|TCPServer"
    r"|ServerSocket|DatagramSocket\(\s*\w|ListenPacket|ListenUDP|net\.Listen\("
)
_CLOCK = r"what time|ctime|strftime|isoformat|time\.Now\(\)\.Format|Instant|LocalDateTime"
_CLOCK_NAME = r"clock|horloge|heure|time"


def draft(folder: Path) -> str:
    """Return a lab.toml for review, of the programs that can be recognised.

    By contents first (what kind of socket, whether it is bound), by the name where that leaves two.
    Raises GradingError when nothing can be.
    """
    found: dict[str, tuple[int, Path, str]] = {}
    for path in sources(folder):
        text = _read(path)
        if path.suffix not in _LANGUAGES or text is None:
            continue
        name = path.relative_to(folder)
        lowered = name.as_posix().lower()
        exercise = _exercise(lowered, text)
        if exercise is None:
            continue
        role = "server" if _is_server(lowered, text) else "client"
        program = f"{exercise}-{role}"
        if program not in PROGRAMS:
            continue
        certainty = sum(word in lowered for word in (role, exercise, "serveur", "horloge"))
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
            lines += ["", f"[{program}]", *_start(name)]
            if re.search(r"sys\.argv|argparse|\bargv\[1\]|args\[0\]|os\.Args|flag\.", text):
                lines[-1] += "  # it reads arguments: should there be some?"
            server = found.get(program.replace("client", "server"), (0, name, ""))[2]
            lines += [f"port = {_port(program, text, server)}", *_typed(program, text)]
            if program.startswith("clock") and not re.search(_TCP, text):
                lines.append('protocol = "udp"')
    return "\n".join(lines) + "\n"


_LANGUAGES = {".py": "python", ".c": "c", ".java": "java", ".go": "go"}


def _start(name: Path) -> list[str]:
    """Return the lines that say how a source file is built and started."""
    source, program = shlex.quote(name.as_posix()), shlex.quote(f"./{name.stem}")
    match _LANGUAGES[name.suffix]:
        case "c":
            build = f"gcc -O2 -pthread -o {program} {source} -lm"
            return [f"image = {_quoted('c')}", f"build = {_quoted(build)}", _command(program)]
        case "java":
            folder = shlex.quote(str(name.parent))
            build = f"javac {folder}/*.java"
            lines = [f"image = {_quoted('java')}", f"build = {_quoted(build)}"]
            return [*lines, _command(f"java -cp {folder} {shlex.quote(name.stem)}")]
        case "go":
            program = shlex.quote(f"./{name.parent.name or name.stem}-program")
            # A folder is a package: all of its files belong together.
            what = shlex.quote(f"./{name.parent.as_posix()}") if name.parent.name else source
            build = f"go build -o {program} {what}"
            return [f"image = {_quoted('go')}", f"build = {_quoted(build)}", _command(program)]
    return [_command(f"python3 {source}")]


def _command(text: str) -> str:
    return f"command = {_quoted(text)}"


def _quoted(text: str) -> str:
    """Return a TOML string: JSON's rules, which are TOML's but for one character."""
    return json.dumps(text).replace("\x7f", "\\u007f")


def _exercise(name: str, text: str) -> str | None:
    """Return udp, clock or http by the kind of socket, the contents and the name."""
    udp, tcp = re.search(_UDP, text), re.search(_TCP, text)
    if not (udp or tcp):
        return None
    if re.search(r"HTTP/1\.|HTTPRequestHandler|text/html", text) and not udp:
        return "http"
    called = re.search(_CLOCK_NAME, _last_two(name)) is not None
    if "what time" in text.lower() or (called and re.search(_CLOCK, text)):
        return "clock"  # over whatever it speaks
    if udp:
        return "udp"
    return "clock" if called or re.search(_CLOCK, text) else None


def _is_server(name: str, text: str) -> bool:
    if "client" in _last_two(name):
        return False
    return bool(re.search(_SERVER, text)) or bool(re.search(r"serv", name))


def _last_two(name: str) -> str:
    """Return a file's name with its folder's: Go's programs are all called main.go."""
    return "/".join(name.split("/")[-2:])


def _port(program: str, *texts: str) -> int:
    """Return the port that the sources name, the first before the others; else the exercise's."""
    own = PORTS[program]
    for text in texts:
        if own in [int(n) for n in re.findall(r"(?<![\w.])(\d{2,5})(?![\w.])", text)]:
            return own
        named = re.findall(r"port\b[^\n\d]{0,40}?(?<![\w.])(\d{4,5})(?![\w.])", text, re.IGNORECASE)
        pairs = re.findall(r"\(\s*(?:[\"'][^\"'\n]*[\"']|[A-Za-z_.]*)\s*,\s*(\d{4,5})\s*\)", text)
        pairs += re.findall(r":(\d{4,5})[\"']", text)
        for number in (*named, *pairs):
            if 1 <= int(number) <= 65535:
                return int(number)
    return own


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
