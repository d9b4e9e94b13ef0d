"""A draft of ``lab.toml`` for a folder without one: its programs recognised by what is in them.

Folders hold more than the exercises ask for: a first server that loses nothing, a client that waits
for ever, the next exercise. So a source is not taken or left by one word: the kind of its socket
and whether it is bound say what it can be, what else stands in it says which exercise it is, and of
several for the same program the one with most signs of what is asked is taken.
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from grading import PORTS, PROGRAMS, GradingError
from grading.sources import read, sources

_UDP = (
    r"SOCK_DGRAM|create_datagram_endpoint|UDPServer|Datagram(?:Socket|Packet|Channel)"
    r"|ListenPacket\(\s*\"udp|ListenUDP|Dial(?:UDP|\(\s*\"udp)"
)
_TCP = (
    r"SOCK_STREAM|create_connection|create_server|start_server|open_connection|TCPServer"
    r"|ServerSocket|new Socket\(|net\.Listen\(|net\.Dial\w*\(|socket\(\)"
)
_SERVER = (
    r"\bbind\s*\(|\.listen\(|create_server|start_server|local_addr|UDPServer|TCPServer"
    r"|ServerSocket|DatagramSocket\(\s*\w|ListenPacket|ListenUDP|net\.Listen\("
)

ADDRESS = "127.0.0.1"
_LANGUAGES = {".py": "python", ".c": "c", ".java": "java", ".go": "go"}

Signs = Sequence[tuple[int, str]]
"""Points, and what is looked for in lower case, in the text after its name and its folder's."""

_PING: Signs = (
    (3, r"random|\brand(?:int)?\s*\(|rand\.|\bdrop"),
    (2, r"timeout|timed out|rcvtimeo|setsotimeout|setreaddeadline|\bselect\b"),
    (2, r"\brtt|rtt\b|round.?trip|aller.?retour"),
    (1, r"\bping|\bpong"),
    (1, r"retr(?:y|ies|ans)|essai|tentative|attempt|perdu|\blost\b|\bloss\b"),
)
_CLOCK: Signs = (
    (3, r"what time|get[ _]?time|time[ _]?(?:server|client)|(?:server|client)[ _]?time|horloge"),
    (3, r"^\S*(?:clock|heure|time(?!out|r))"),
    (2, r"heure|clock(?!_gettime|_monotonic|_realtime)|strptime|mktime"),
    (2, r"diff[ée]rence|d[ée]calage|[ée]cart\b|\boffset\b"),
)
_SHOWN_TIME: Signs = (
    (1, r"ctime|strftime|isoformat|datetime|time\.time|time_ns|time\(null\)|currenttimemillis"),
    (1, r"localdatetime|instant\.now|time\.now|unixnano|clock_realtime|gettimeofday"),
)
"""A sign of a clock over TCP; over UDP a round trip is measured with the same."""

_HTTP: Signs = (
    (5, r"http/1\.|httprequesthandler|text/html|content-type"),
    (2, r"^\S*(?:http|web|www)"),
    (1, r"\bget\b"),
    (1, r"\b404\b|\b500\b|index\.html"),
)
_MANY_AT_A_TIME: Signs = (
    (2, r"thread|\bfork\s*\(|asyncio|selectors|\bgo (?:func\b|\w+\()|executor"),
)
_WHAT_IS_ASKED: Signs = ((3, r"server is working"), (1, r"\bexcept\b|catch\s*\("))
_FILES: Signs = ((-4, r"fichier|filename|\bopen\s*\(|fopen|fileinputstream|os\.open"),)
"""Signs of the exercise that follows: files over UDP."""


@dataclass(frozen=True)
class Found:
    """A source that was recognised as ``program``, and how many signs of it there are."""

    program: str
    points: int
    name: Path
    text: str


def draft(folder: Path) -> str:
    """Return a lab.toml for review, of the programs that can be recognised.

    Raises GradingError when nothing can be.
    """
    found: dict[str, Found] = {}
    for path in sources(folder):
        text = read(path) if path.suffix in _LANGUAGES else None
        each = recognised(path.relative_to(folder), text) if text is not None else None
        if each and (each.program not in found or each.points > found[each.program].points):
            found[each.program] = each
    if not found:
        raise GradingError(
            f"{folder}: no lab.toml, and no program in it was recognised; write one, for example\n"
            f'    [udp-server]\n    command = "python3 serveur.py"\n    port = 1234'
        )
    lines = ["# Drafted from what was found; look it over and save it as lab.toml."]
    for program in (program for program in PROGRAMS if program in found):
        text = found[program].text
        server = found.get(program.replace("client", "server"))
        texts = [text, server.text] if server else [text]
        port = _port(program, *texts)
        words = _arguments(found[program], port)
        lines += ["", f"[{program}]", *_start(folder, found[program], words)]
        if re.search(r"sys\.argv|argparse|\bargv\[1\]|args\[0\]|os\.Args|flag\.", text):
            lines[-1] += "  # it reads arguments: are these right?"
        typed = _typed(program, text, port)
        lines.append(f"port = {port}")
        if typed:
            lines.append(f"stdin = [{', '.join(map(_quoted, typed))}]")
        if program.endswith("client") and str(_count(program)) in (*words, *typed):
            lines.append(f"requests = {_count(program)}")
        if program.startswith("clock") and not re.search(_TCP, text):
            lines.append('protocol = "udp"')
    return "\n".join(lines) + "\n"


def recognised(name: Path, text: str) -> Found | None:
    """Return what a source seems to be, if it is one of the five programs; ``name`` is relative."""
    udp, tcp = re.search(_UDP, text), re.search(_TCP, text)
    shown = f"{_last_two(name)}\n{text}".lower()
    weights = {"clock": _points(shown, _CLOCK)}
    if udp:  # over whatever it speaks: a clock over UDP is a clock
        weights = {"udp": _points(shown, _PING)} | weights
    elif tcp:
        weights["clock"] += _points(shown, _SHOWN_TIME)
        weights["http"] = _points(shown, _HTTP)
        if not any(weights.values()):
            return None
    else:
        return None
    exercise = max(weights, key=weights.__getitem__)
    role = "server" if _is_server(_last_two(name).lower(), text) else "client"
    if f"{exercise}-{role}" not in PROGRAMS:
        return None
    points = weights[exercise] + _points(shown, _FILES if exercise == "udp" else _WHAT_IS_ASKED)
    if role == "server" and exercise != "udp":
        points += _points(shown, _MANY_AT_A_TIME)
    return Found(f"{exercise}-{role}", points, name, text)


def _points(shown: str, signs: Signs) -> int:
    return sum(points for points, sign in signs if re.search(sign, shown))


def _is_server(name: str, text: str) -> bool:
    if "client" in name:
        return False
    return bool(re.search(_SERVER, text)) or "serv" in name


def _start(folder: Path, found: Found, words: Sequence[str]) -> list[str]:
    """Return the lines that say how a source file is built, and started with these arguments."""
    *built, command = _built(folder, found)
    return [*built, f"command = {_quoted(' '.join([command, *map(shlex.quote, words)]))}"]


def _built(folder: Path, found: Found) -> list[str]:
    """Return the lines before the command, and the command itself."""
    name = found.name
    source, program = shlex.quote(name.as_posix()), shlex.quote(f"./{name.stem}")
    match _LANGUAGES[name.suffix]:
        case "c":
            build = f"gcc -O2 -pthread -o {program} {source} -lm"
            return [f"image = {_quoted('c')}", f"build = {_quoted(build)}", program]
        case "java":
            place = shlex.quote(str(name.parent))
            build = f"javac {place}/*.java"
            lines = [f"image = {_quoted('java')}", f"build = {_quoted(build)}"]
            return [*lines, f"java -cp {place} {shlex.quote(name.stem)}"]
        case "go":
            program = shlex.quote(f"./{name.parent.name or name.stem}-program")
            # A folder is a package: all of its files belong together.
            what = shlex.quote(f"./{name.parent.as_posix()}") if name.parent.name else source
            build = f"go build -o {program} {what}"
            return [f"image = {_quoted('go')}", f"build = {_quoted(build)}", program]
    if not name.parent.name:
        return [f"python3 {source}"]
    if (folder / name.parent / "__init__.py").exists():
        return [f"python3 -m {'.'.join(name.with_suffix('').parts)}"]
    if f"{name.parent.name}/" in found.text:
        return [f"python3 {source}"]
    # As most who keep an exercise in a folder do: what it opens lies beside it.
    return [f"cd {shlex.quote(str(name.parent))} && python3 {shlex.quote(name.name)}"]


def _quoted(text: str) -> str:
    """Return a TOML string: JSON's rules, which are TOML's but for one character."""
    return json.dumps(text).replace("\x7f", "\\u007f")


def _last_two(name: Path) -> str:
    """Return a file's name with its folder's: Go's programs are all called main.go."""
    return "/".join(name.parts[-2:])


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


def _count(program: str) -> int:
    """Return how many requests a client is told to make."""
    return 10 if program == "udp-client" else 5


def _typed(program: str, text: str, port: int) -> list[str]:
    """Return the lines for a client that asks its user, one for each prompt in the source."""
    if not program.endswith("client"):
        return []
    prompts = re.findall(r"(int\s*\(\s*)?\binput\s*\(\s*(?:[bfru]*[\"']([^\"'\n]*))?", text)
    return [
        _answer(program, prompt, port) or (str(_count(program)) if number else "hello")
        for number, prompt in prompts
    ]


_ARGUMENTS = {"python": r"sys\.argv", "c": r"\bargv", "java": r"\bargs", "go": r"os\.Args"}


def _arguments(source: Found, port: int) -> list[str]:
    """Return what to start a program with that reads arguments, by what it calls them."""
    program, text, language = source.program, source.text, _LANGUAGES[source.name.suffix]
    argument = re.compile(rf"{_ARGUMENTS[language]}\[(\d)\]")
    found: dict[int, str] = {}
    for line in text.splitlines():
        left, equals, right = line.partition("=")
        if not equals:
            left, right = "", line
        names, values = left.split(","), right.split(",")
        for n, value in enumerate(values):
            for place in map(int, argument.findall(value)):
                hint = names[n] if len(names) == len(values) else f"{left} {value}"
                guess = _answer(program, hint, port)
                if guess is None and re.search(r"\bint\(|atoi|parseInt|Atoi|strtol", value):
                    follows = found.get(place - 1) == ADDRESS  # the port, as in connect()
                    is_port = follows or program.endswith("server")
                    guess = str(port if is_port else _count(program))
                found.setdefault(place, guess or ADDRESS)
    if not found:
        positional = re.findall(r"add_argument\(\s*[\"'](\w+)[\"']", text)
        return [_answer(program, name, port) or ADDRESS for name in positional]
    first = 0 if language == "java" else 1  # elsewhere the program's own name comes first
    return [found.get(place, ADDRESS) for place in range(first, max(found) + 1)]


def _answer(program: str, hint: str, port: int) -> str | None:
    """Return what fits a prompt, or the name of an argument."""
    hint = hint.lower()
    for sign, answer in (
        (r"port", str(port)),
        (r"\bip\b|_ip|ip_|host|addr|adresse|h[oô]te|serv", ADDRESS),
        (r"combien|how many|nombre|number|count|times|fois|\bn\b|\bnb|num|requ|pings?\b",
         str(_count(program))),
        (r"mess|text|phrase|sentence|\bmots?\b|\bword", "hello"),
    ):  # fmt: skip
        if re.search(sign, hint):
            return answer
    return None
