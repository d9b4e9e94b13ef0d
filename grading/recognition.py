"""A draft of ``lab.toml`` for a folder without one: its programs recognised by what is in them.

Folders hold more than the exercises ask for: a first server that loses nothing, a client that waits
for ever, the next exercise. So a source is not taken or left by one word: the kind of its socket
and whether it is bound say what it can be, what else stands in it says which exercise it is, and of
several for the same program the one with most signs of what is asked is taken.
"""

import ast
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


_SUBCOMMANDS = tuple(
    (program, re.compile(rf"(?:{what})[-_ ]?{role}|{role}[-_ ]?(?:{what})|{alone}", re.IGNORECASE))
    for program, what, role, alone in (
        ("udp-server", "udp|ping", r"serv\w*", "pong"),
        ("udp-client", "udp|ping", "client", "ping"),
        ("clock-server", "clock|time|heure|horloge|temps", r"serv\w*", "clockd"),
        ("clock-client", "clock|time|heure|horloge|temps", "client", "ask"),
        ("http-server", "http|web|www", r"serv\w*", "http|web|www|httpd"),
    )
)
"""What the parts of a program are called that is all five, as in ``main.py udp-server``."""


@dataclass(frozen=True)
class Found:
    """A source that was recognised as ``program``, and how many signs of it there are.

    ``part``: the word that makes it that program, of a source that is several.
    """

    program: str
    points: int
    name: Path
    text: str
    part: str = ""


def draft(folder: Path) -> str:
    """Return a lab.toml for review, of the programs that can be recognised.

    Raises GradingError when nothing can be.
    """
    found: dict[str, Found] = {}
    for path in sources(folder):
        text = read(path) if path.suffix in _LANGUAGES else None
        if text is None:
            continue
        name = path.relative_to(folder)
        for each in several(name, text) or filter(None, [recognised(name, text)]):
            if each.program not in found or each.points > found[each.program].points:
                found[each.program] = each
    if not found:
        raise GradingError(
            f"{folder}: no lab.toml, and no program in it was recognised; write one, for example\n"
            f'    [udp-server]\n    command = "python3 serveur.py"\n    port = 1234'
        )
    lines = ["# Drafted from what was found; look it over and save it as lab.toml."]
    for program in (program for program in PROGRAMS if program in found):
        text, part = found[program].text, found[program].part
        server = found.get(program.replace("client", "server"))
        texts = [text, server.text] if server else [text]
        port = _port(program, *texts)
        words = [part] if part else _arguments(found[program], port)
        lines += ["", f"[{program}]", *_start(folder, found[program], words)]
        if re.search(r"sys\.argv|argparse|\bargv\[1\]|args\[0\]|os\.Args|flag\.", text):
            lines[-1] += "  # it reads arguments: are these right?"
        typed = [] if part else _typed(found[program], port)
        if str(_count(program)) in words:  # it asks only for what no argument tells it
            typed = [line for line in typed if line not in words]
        lines.append(f"port = {port}")
        if typed:
            lines.append(f"stdin = [{', '.join(map(_quoted, typed))}]")
        if program.endswith("client") and str(_count(program)) in (*words, *typed):
            lines.append(f"requests = {_count(program)}")
        if program.startswith("clock") and not part and not re.search(_TCP, text):
            lines.append('protocol = "udp"')
    return "\n".join(lines) + "\n"


def several(name: Path, text: str) -> list[Found]:
    """Return the programs that a Python source is together, one for each of its sub-commands."""
    if name.suffix != ".py" or "add_subparsers" not in text:
        return []
    words = dict.fromkeys(re.findall(r"[\"']([\w-]{2,24})[\"']", text))
    found = [
        (program, next((word for word in words if sign.fullmatch(word)), ""))
        for program, sign in _SUBCOMMANDS
    ]
    named = [Found(program, 100, name, text, word) for program, word in found if word]
    return named if len(named) > 1 else []


def recognised(name: Path, text: str) -> Found | None:
    """Return what a source seems to be, if it is one of the five programs; ``name`` is relative."""
    if name.suffix == ".py" and only_defines(text):
        return None
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


def only_defines(text: str) -> bool:
    """Return whether a Python source does nothing when it is started: it is there to be imported.

    What is of an older Python counts as a program.
    """
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    defining = (
        ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef,
        ast.Assign, ast.AnnAssign, ast.Pass,
    )  # fmt: skip
    named = {
        each.name
        for each in body
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }

    def runs(statement: ast.stmt) -> bool:
        """Whether it is more than a definition: result = main() is."""
        if not isinstance(statement, ast.Assign | ast.AnnAssign):
            return not isinstance(statement, defining)
        calls = (each.func for each in ast.walk(statement) if isinstance(each, ast.Call))
        return any(isinstance(called, ast.Name) and called.id in named for called in calls)

    docstring = isinstance(body[0], ast.Expr) if body else False
    return bool(named) and not any(map(runs, body[docstring:]))


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
        # int(argv[1]) if len(argv) > 1 else 5001, args.length > 0 ? ... : 2236
        pairs += re.findall(r"\barg[sv]?\b[^\n]*?(?:\belse|[^\w\"']:) *(\d{4,5})(?![\w.])", text)
        for number in (*named, *pairs):
            if 1 <= int(number) <= 65535:
                return int(number)
    return own


def _count(program: str) -> int:
    """Return how many requests a client is told to make."""
    return 10 if program == "udp-client" else 5


_KEYBOARD = re.compile(
    r"(\w+)\s*:?=\s*(?:new\s+)?(?:Scanner|BufferedReader|bufio\.New(?:Reader|Scanner))\s*\("
    r"(?:\s*new\s+InputStreamReader\s*\()?\s*(?:System\.in|os\.Stdin)\b"
)
"""What reads the keyboard in Java and Go, and its name; what else reads lines reads the socket."""


def _asked(text: str) -> list[tuple[str, str]]:
    """Return the prompts of a source in C, Java or Go, each with a word if it is for a number."""
    reads = [r"\bscanf\s*\(", r"fgets\s*\([^;\n]*\bstdin\b", r"fmt\.Scan\w*\("]
    for name in set(_KEYBOARD.findall(text)):
        reads.append(rf"\b{name}\.(?:next\w*|readLine|ReadString|Scan)\(")
    prompt = r"(?:print\w*|puts)\s*\(\s*\"((?:[^\"\\\n]|\\.){1,120})\"\s*\)"
    asked = re.compile(rf"{prompt}[^\"]{{0,160}}?(?:{'|'.join(reads)})", re.IGNORECASE)
    found = []
    for match in asked.finditer(text):
        reading = text[match.end() - 10 : match.end() + 5]
        found.append((match[1], "number" if re.search(r"Int\(|%[di]", reading) else ""))
    return found


def _typed(source: Found, port: int) -> list[str]:
    """Return the lines for a client that asks its user, one for each prompt in the source."""
    program, text = source.program, source.text
    if not program.endswith("client"):
        return []
    prompts = _prompts(text) if source.name.suffix == ".py" else _asked(text)
    return [
        _answer(program, prompt, port) or (str(_count(program)) if number else "hello")
        for prompt, number in prompts
    ]


def _prompts(text: str) -> list[tuple[str, str]]:
    """Return the prompts of a Python source, each with a word if a number is to be typed.

    Some ask by a function of their own: then its first argument is the prompt.
    """
    asking = r"(int\s*\(\s*)?\b{}\s*\(\s*(?:[bfru]*[\"']([^\"'\n]*))?"
    own = _functions_that_ask(text)
    for name in own:
        calls = re.findall(rf"(?<!def ){asking.format(name)}", text)
        if any(prompt for _, prompt in calls):
            return [(prompt, number) for number, prompt in calls]
    return [(prompt, number) for number, prompt in re.findall(asking.format("input"), text)]


def _functions_that_ask(text: str) -> list[str]:
    """Return the names of a Python source's functions, with a parameter, that call input."""
    found: list[str] = []
    current = ""
    for line in text.splitlines():
        if line[:1] not in ("", " ", "\t", "#"):
            begun = re.match(r"def (\w+)\(\w", line)
            current = begun[1] if begun else ""
        elif current and current not in found and re.search(r"\binput\s*\(", line):
            found.append(current)
    return found


_ARGUMENTS = {"python": r"sys\.argv", "c": r"\bargv", "java": r"\bargs", "go": r"os\.Args"}


def _by_their_usual_name(text: str) -> str:
    """Return a source in which arguments that go by another name have the usual one."""
    text = re.sub(r"flag\.Arg\((\d)\)", lambda arg: f"os.Args[{int(arg[1]) + 1}]", text)
    for name in re.findall(r"^\s*(\w+) *= *sys\.argv\[1:\]", text, re.MULTILINE):
        place = re.compile(rf"\b{name}\[(\d)\]")
        text = place.sub(lambda arg: f"sys.argv[{int(arg[1]) + 1}]", text)
    return text


def _arguments(source: Found, port: int) -> list[str]:
    """Return what to start a program with that reads arguments, by what it calls them."""
    program, language = source.program, _LANGUAGES[source.name.suffix]
    text = _by_their_usual_name(source.text)
    argument = re.compile(rf"{_ARGUMENTS[language]}\[(\d)\]")
    found: dict[int, str] = {}
    unnamed: list[int] = []
    for line in text.splitlines():
        left, equals, right = line.partition("=")
        if not equals:
            left, right = "", line
        names, values = left.split(","), right.split(",")
        for n, value in enumerate(values):
            for place in map(int, argument.findall(value)):
                hint = names[n] if len(names) == len(values) else f"{left} {value}"
                guess = _answer(program, hint, port)
                if guess is None and str(port) in value:  # ... if len(argv) > 2 else 5001
                    guess = str(port)
                if guess is None and re.search(r"\bint\(|atoi|parseInt|Atoi|strtol", value):
                    before = found.get(place - 1, ADDRESS if place - 1 in unnamed else "")
                    follows = before == ADDRESS  # the port, as in connect()
                    is_port = follows or program.endswith("server")
                    guess = str(port if is_port else _count(program))
                if guess:
                    found.setdefault(place, guess)
                else:
                    unnamed.append(place)
    for place in unnamed:
        found.setdefault(place, ADDRESS)
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
