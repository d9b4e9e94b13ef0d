"""The lab's settings: which there are, and how those given to ``make up`` last until ``make down``.

Compose reads a setting from the environment, then from ``.env``, then from ``compose.yaml``. A lab
started with a variable set in the shell would therefore be recreated with the defaults by a later
plain ``docker compose run``. So ``make up`` writes what it was given into a block of its own in
``.env``, and ``make down`` takes the block out again. What a scenario tells the servers stands in a
second block below it, so that it wins, until another scenario takes its place. Other lines of
``.env`` are the user's and are never touched.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from lab.errors import LabError

ROOT = Path(__file__).resolve().parent.parent
"""The project's folder."""

EXERCISES = ("udp", "clock", "http")

PORTS = {"udp": ("udp", 1234), "clock": ("tcp", 1236), "http": ("tcp", 12345)}
"""Exercise: its transport protocol and its port, inside the lab and by default on localhost."""

SETTINGS = (
    "UDP_PORT", "CLOCK_PORT", "HTTP_PORT",
    "LAB_UDP_NETEM", "LAB_CLOCK_NETEM", "LAB_HTTP_NETEM",
    "UDP_DROP", "UDP_SEED", "UDP_DROP_SCHEDULE", "UDP_LOG",
    "CLOCK_OFFSET", "CLOCK_DRIFT_PPM", "CLOCK_MAX_CLIENTS", "CLOCK_LOG",
    "HTTP_WORKERS", "HTTP_MAX_CONNECTIONS", "HTTP_IDLE_TIMEOUT", "HTTP_HEAD_TIMEOUT", "HTTP_LOG",
    "LAB_TAG",
)  # fmt: skip
"""Every variable that ``compose.yaml`` takes from the user."""

OWN_FOLDERS = {"udp": "UDP_DIR", "clock": "CLOCK_DIR", "http": "HTTP_DIR"}
"""Exercise: the variable that names the folder of a program of your own (``lab.own``)."""

COMPOSE_FILE = "COMPOSE_FILE"
"""Compose's own variable: the files that say what the lab is."""

_BLOCK_START = '# >>> given to "make up"; "make down" removes this block'
_SCENARIO_START = '# >>> told by the scenario in effect; "make reset" removes this block'
_OWN_START = '# >>> programs of your own; a "make up" without them removes this block'
_BLOCK_END = "# <<<"
_BLOCKS = (_BLOCK_START, _SCENARIO_START, _OWN_START)


def env_file() -> Path:
    """Return the file that holds the settings: ``.env``, or what ``LAB_ENV_FILE`` names."""
    return Path(os.environ.get("LAB_ENV_FILE") or ROOT / ".env")


def effective(name: str, default: str = "") -> str:
    """Return a setting as Compose will see it: environment, then ``.env``, then ``default``."""
    return os.environ.get(name) or _assignments(_lines(env_file())).get(name) or default


def host_port(exercise: str) -> int:
    """Return the port on localhost of an exercise's server; 0 means that the engine chooses.

    Raises LabError when the variable does not hold a port.
    """
    name = f"{exercise.upper()}_PORT"
    text = effective(name, str(PORTS[exercise][1]))
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise LabError(
            "reading the settings",
            f"{name}={text!r} is not a port",
            f"give a number up to 65535: make up {name}={PORTS[exercise][1]}",
        )
    return int(text)


def image(name: str) -> str:
    """Return an image's name with its tag, as ``compose.yaml`` has it: ``progres-lab:latest``.

    ``LAB_TAG`` keeps labs made from different code apart, such as the tests' from a running one.
    """
    return f"{name}:{effective('LAB_TAG', 'latest')}"


def record(environment: Mapping[str, str]) -> dict[str, str]:
    """Write the settings that ``environment`` gives into the block; return those that are new.

    Raises LabError for a value that an environment file cannot hold.
    """
    path = env_file()
    lines = _lines(path)
    users, blocks = _parts(lines)
    present = _assignments(lines)
    given = {name: environment[name] for name in SETTINGS if environment.get(name)}
    _refuse_what_a_file_cannot_hold(given)
    new = {name: value for name, value in given.items() if present.get(name) != value}
    if new:
        told = blocks[_SCENARIO_START]
        blocks[_SCENARIO_START] = {name: told[name] for name in told if name not in new}
        blocks[_BLOCK_START] |= new
        _write(path, _joined(users, blocks))
    return new


def told_by_scenario() -> dict[str, str]:
    """Return the settings of the scenario in effect."""
    return _parts(_lines(env_file()))[1][_SCENARIO_START]


def tell(settings: Mapping[str, str]) -> None:
    """Put the settings of a scenario in the place of those of the one before."""
    _replace_block(_SCENARIO_START, settings)


def own_folders_of_the_user() -> dict[str, str]:
    """Return UDP_DIR and the like from the user's own lines in ``.env``."""
    assignments = _assignments(_parts(_lines(env_file()))[0])
    return {name: assignments[name] for name in OWN_FOLDERS.values() if name in assignments}


def put_own(values: Mapping[str, str]) -> bool:
    """Put ``values`` in the place of those for programs of one's own; return if they are others.

    Raises LabError for a value that an environment file cannot hold.
    """
    _refuse_what_a_file_cannot_hold(values)
    return _replace_block(_OWN_START, values)


def compose_files() -> list[str]:
    """Return the files that say what the lab is, as a plain ``docker compose`` finds them."""
    named = _assignments(_lines(env_file())).get(COMPOSE_FILE, "")
    # Where the cache was deleted under a running lab, there still is a lab to take down.
    found = [name for name in named.split(os.pathsep) if name and Path(name).is_file()]
    return found or [str(ROOT / "compose.yaml")]


@contextlib.contextmanager
def kept_only_if_all_goes_well() -> Iterator[None]:
    """Put the environment file back as it was when the body raises anything."""
    path = env_file()
    before = _lines(path)
    try:
        yield
    except BaseException:
        if _lines(path) != before:
            _write(path, before)
        raise


def forget() -> None:
    """Remove all blocks, and the file when nothing else is in it."""
    path = env_file()
    lines = _lines(path)
    users, _ = _parts(lines)
    if users != lines:
        _write(path, users)


def _replace_block(beginning: str, values: Mapping[str, str]) -> bool:
    """Put ``values`` into a block, and return whether that is a change."""
    path = env_file()
    lines = _lines(path)
    users, blocks = _parts(lines)
    wanted = _joined(users, blocks | {beginning: dict(values)})
    if wanted != lines:
        _write(path, wanted)
    return wanted != lines


def _refuse_what_a_file_cannot_hold(values: Mapping[str, str]) -> None:
    for name, value in values.items():
        if "'" in value or "\n" in value:
            raise LabError(
                "recording the settings",
                f"{name}={value!r} has a quotation mark or a line break",
                "give a value without them",
            )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def _write(path: Path, lines: list[str]) -> None:
    if not lines:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_name(path.name + ".new")
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    temporary.replace(path)


def _parts(lines: list[str]) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Return the user's lines, and what stands in each block."""
    blocks = {}
    for beginning in _BLOCKS:
        lines, inside = _split(lines, beginning)
        blocks[beginning] = _assignments(inside)
    return lines, blocks


def _joined(users: list[str], blocks: Mapping[str, Mapping[str, str]]) -> list[str]:
    lines = list(users)
    for beginning in _BLOCKS:
        if values := blocks[beginning]:
            names = (*SETTINGS, *OWN_FOLDERS.values(), COMPOSE_FILE)
            block = [f"{name}='{values[name]}'" for name in names if name in values]
            lines += [beginning, *block, _BLOCK_END]
    return lines


def _split(lines: list[str], beginning: str) -> tuple[list[str], list[str]]:
    """Return the lines around a block and the lines in it."""
    if beginning not in lines:
        return lines, []
    start = lines.index(beginning)
    tail = lines[start + 1 :]
    end = tail.index(_BLOCK_END) if _BLOCK_END in tail else len(tail)
    return lines[:start] + tail[end + 1 :], tail[:end]


def _assignments(lines: list[str]) -> dict[str, str]:
    """Return ``NAME=value`` lines as a dictionary, later ones winning, quotes taken off."""
    found = {}
    for line in lines:
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            value = value.strip()
            if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1]
            found[name.strip()] = value
    return found
