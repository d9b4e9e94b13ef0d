"""Scenarios: a network condition as a small file, ``scenarios/NAME.toml``. Reading, nothing more.

::

    description = "one sentence for the list"
    source = "the measurement that the figures are from, or why these were chosen"
    seed = 1                             # optional: the same losses again, where kernel and tc can

    [all]                                # or [udp], [clock], [http]; the narrower one wins
    to_server = "loss 1%"                # tc netem's words; not named: unimpaired
    from_server = "delay 300ms"

    [udp.settings]                       # the server's own; not named: as given to make up
    UDP_DROP = 0.5

    [[timeline]]                         # in the foreground, seconds after the beginning
    at = "10s"
    all = "partition"                    # loss 100 % both ways
    [[timeline]]
    at = "20s"
    all = "heal"                         # what the tables above say
    udp.to_server = "loss 50%"           # words here as well

Everything is checked before anything happens: an error names the file, the key, what was wrong and
what would be right. A scenario is called as its file is (``name = "..."`` may say it again).
"""

import difflib
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.settings import EXERCISES, ROOT, SETTINGS
from services.netem import WrongWords
from services.netem.impairment import Impairment, parse
from services.options import LOG_STYLES, duration_s, integer, positive_duration_s, probability
from services.udp.drop import positions

FOLDER = ROOT / "scenarios"
DIRECTIONS = ("to_server", "from_server")
OFF = "off"
PARTITION = "loss 100%"
ALL = "all"
LONGEST_DESCRIPTION = 200
LARGEST_SEED = 2**32

_GOOD_NAME = "abcdefghijklmnopqrstuvwxyz0123456789-"


@dataclass(frozen=True)
class Link:
    """The network of one server: what happens to packets each way, in ``tc netem``'s words."""

    to_server: str = OFF
    from_server: str = OFF

    def impairment(self, direction: str) -> Impairment | None:
        """Return what the words mean; None for none. Raises WrongWords."""
        return meaning(getattr(self, direction))


Network = Mapping[str, Link]
"""Exercise: its link."""


@dataclass(frozen=True)
class Step:
    """A moment of the timeline, and the whole network from then on; ``changes`` tells people."""

    at_s: float
    changes: str
    network: Network


@dataclass(frozen=True)
class Scenario:
    """A network condition, and what the servers are told with it.

    ``settings`` are variables of ``make up``. Without a timeline the network stays as it is.
    """

    name: str
    description: str
    source: str
    network: Network
    settings: Mapping[str, str]
    timeline: tuple[Step, ...] = ()

    @property
    def is_loss_alone(self) -> bool:
        """Whether it works on a kernel without netem, too."""
        networks = [self.network, *(step.network for step in self.timeline)]
        return all(
            impairment is None or impairment.is_loss_alone
            for network in networks
            for link in network.values()
            for impairment in map(link.impairment, DIRECTIONS)
        )

    def settings_of(self, exercise: str) -> dict[str, str]:
        """Return those of the settings that are for one exercise's server."""
        return {n: v for n, v in self.settings.items() if n in settings_for(exercise)}


def meaning(words: str) -> Impairment | None:
    """Return what words of ``tc netem``, or ``off``, ask for. Raises WrongWords."""
    return None if words == OFF else parse(words.split())


def settings_for(exercise: str) -> tuple[str, ...]:
    """Return the variables of ``make up`` that a scenario may set for one exercise's server."""
    prefix = f"{exercise.upper()}_"
    return tuple(n for n in SETTINGS if n.startswith(prefix) and not n.endswith("_PORT"))


def all_names(folder: Path = FOLDER) -> list[str]:
    """Return the names of the scenarios, in order."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def all_scenarios(folder: Path = FOLDER) -> list[Scenario]:
    """Return every scenario of the folder. Raises LabError for the first that is wrong."""
    return [load(folder / f"{name}.toml") for name in all_names(folder)]


def named(name: str, folder: Path = FOLDER) -> Scenario:
    """Return the scenario of that name. Raises LabError."""
    names = all_names(folder)
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        raise LabError(
            "choosing a scenario",
            f"there is no scenario {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            f"make scenario lists them: {', '.join(names)}, or off",
        )
    return load(folder / f"{name}.toml")


def load(path: Path) -> Scenario:
    """Return the scenario in a file. Raises LabError: file, key, what is wrong, what is right."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise LabError(
            f"reading {_shown(path)}", reason, "make scenario lists what there is"
        ) from None
    return parsed(text, path)


def parsed(text: str, path: Path) -> Scenario:
    """Return the scenario that the text of ``path`` describes. Raises LabError."""
    return _Reader(path).scenario(text)


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


class _Reader:
    """Reads one file; every complaint is made here."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def scenario(self, text: str) -> Scenario:
        name = self._path.stem
        if not name or set(name) - set(_GOOD_NAME) or name == OFF:
            raise LabError(
                f"reading {_shown(self._path)}",
                f"{name!r} is no name for a scenario",
                "name the file with small letters, digits and hyphens, as in bad-wifi.toml",
            )
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise LabError(
                f"reading {_shown(self._path)}",
                f"it is not TOML: {error}",
                'keys = "values in quotation marks", [tables] in brackets; docs/scenarios.md',
            ) from None
        known = ("name", "description", "source", "seed", ALL, *EXERCISES, "timeline")
        self._only(document, known, "")
        if document.get("name", name) != name:
            raise self._wrong("name", f"it is not {document['name']!r}", f"the file's: {name}")
        seed = self._seed(document)
        network = self._network(document)
        return Scenario(
            name=name,
            description=self._sentence(document, "description", "what the list shows"),
            source=self._sentence(document, "source", "a published measurement, or why"),
            network=_seeded(network, seed),
            settings=self._all_settings(document),
            timeline=tuple(
                replace(step, network=_seeded(step.network, seed))
                for step in self._timeline(document, network)
            ),
        )

    def _seed(self, document: Mapping[str, Any]) -> int | None:
        seed = document.get("seed")
        if seed is None or (type(seed) is int and 0 < seed <= LARGEST_SEED):
            return seed
        raise self._wrong("seed", f"{seed!r} is no seed", f"a whole number, 1 to {LARGEST_SEED}")

    def _network(self, document: Mapping[str, Any]) -> dict[str, Link]:
        general = self._table(document, ALL)
        self._only(general, DIRECTIONS, ALL)
        network = dict.fromkeys(EXERCISES, self._link(general, Link(), ALL))
        for exercise in EXERCISES:
            table = self._table(document, exercise)
            self._only(table, (*DIRECTIONS, "settings"), exercise)
            network[exercise] = self._link(table, network[exercise], exercise)
        return network

    def _link(self, table: Mapping[str, Any], before: Link, key: str) -> Link:
        changes = {d: self._words(table[d], f"{key}.{d}") for d in DIRECTIONS if d in table}
        return replace(before, **changes)

    def _words(self, value: Any, key: str) -> str:
        right = f'tc netem\'s words, as in {key.rpartition(".")[2]} = "loss 10%", or "{OFF}"'
        if not isinstance(value, str) or not value.split():
            raise self._wrong(key, f"{value!r} are no words", right)
        words = " ".join(value.split())
        try:
            meaning(words)
        except WrongWords as error:
            raise self._wrong(key, str(error), right) from None
        return words

    def _all_settings(self, document: Mapping[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for exercise in EXERCISES:
            key = f"{exercise}.settings"
            table = self._table(self._table(document, exercise), "settings", key)
            self._only(table, settings_for(exercise), key)
            for name, value in table.items():
                found[name] = self._setting(name, value, f"{key}.{name}")
        return found

    def _setting(self, name: str, value: Any, key: str) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
            raise self._wrong(key, f"{value!r} is no setting", "a number, or text in quotes")
        text = str(value)
        try:
            rules()[name](text)
        except ValueError as error:
            raise self._wrong(key, str(error), f"what make up {name}=... takes; see README") from (
                None
            )
        return text

    def _timeline(self, document: Mapping[str, Any], base: Network) -> tuple[Step, ...]:
        entries = document.get("timeline", [])
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise self._wrong(
                "timeline", "it is no list of moments", "begin each with [[timeline]]"
            )
        steps: list[Step] = []
        now = dict(base)
        for number, entry in enumerate(entries, 1):
            key = f"timeline {number}"
            self._only(entry, ("at", ALL, *EXERCISES), key)
            at_s = self._moment(entry, key, after_s=steps[-1].at_s if steps else 0.0)
            before = dict(now)
            for scope in (ALL, *EXERCISES):
                if scope in entry:
                    for exercise in EXERCISES if scope == ALL else (scope,):
                        now[exercise] = self._change(
                            entry[scope], now[exercise], base[exercise], f"{key}: {scope}"
                        )
            if now == before:
                right = f'say what changes, as in {ALL} = "partition" or {ALL} = "heal"'
                raise self._wrong(key, "nothing changes", right)
            steps.append(Step(at_s, _changes(before, now, base), dict(now)))
        return tuple(steps)

    def _change(self, value: Any, now: Link, base: Link, key: str) -> Link:
        match value:
            case "partition":
                return Link(PARTITION, PARTITION)
            case "heal":
                return base
            case dict():
                self._only(value, DIRECTIONS, key)
                return self._link(value, now, key)
        raise self._wrong(
            key, f"{value!r} is no change", '"partition", "heal", or to_server and from_server'
        )

    def _moment(self, entry: Mapping[str, Any], key: str, after_s: float) -> float:
        text = entry.get("at")
        right = f'a time after {after_s:g} s, as in at = "{after_s + 10:g}s"'
        try:
            at_s = duration_s(text) if isinstance(text, str) else -1.0
        except ValueError:
            at_s = -1.0
        if at_s <= after_s:
            wrong = f"{text!r} is no later time" if text is not None else "there is no time"
            raise self._wrong(f"{key}: at", wrong, right)
        return at_s

    def _sentence(self, document: Mapping[str, Any], key: str, what: str) -> str:
        value = document.get(key)
        if not isinstance(value, str) or not value.strip():
            wrong = "it is missing" if value is None else f"{value!r} is no text"
            raise self._wrong(key, wrong, f'{what}: {key} = "..."')
        sentence = " ".join(value.split())
        if key == "description" and len(sentence) > LONGEST_DESCRIPTION:
            right = f"one sentence of at most {LONGEST_DESCRIPTION} characters"
            raise self._wrong(key, f"it has {len(sentence)} characters", right)
        return sentence

    def _table(self, document: Mapping[str, Any], name: str, key: str = "") -> Mapping[str, Any]:
        value = document.get(name, {})
        if not isinstance(value, dict):
            raise self._wrong(key or name, f"{value!r} is no table", f"a table: [{key or name}]")
        return value

    def _only(self, table: Mapping[str, Any], known: Iterable[str], key: str) -> None:
        for name in table:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                right = f"{near[0]}?" if near else f"one of {', '.join(known) or 'none'}"
                raise self._wrong(f"{key}.{name}".lstrip("."), "there is no such key", right)

    def _wrong(self, key: str, wrong: str, right: str) -> LabError:
        return LabError(f"reading {_shown(self._path)}", f"{key}: {wrong}", right)


def rules() -> dict[str, Callable[[str], object]]:
    """Return how each server setting is read; a reader raises ValueError with the reason."""
    from services.clock.__main__ import drift_ppm, offset_s

    return {
        "UDP_DROP": probability,
        "UDP_SEED": integer(0),
        "UDP_DROP_SCHEDULE": positions,
        "UDP_LOG": _log_style,
        "CLOCK_OFFSET": offset_s,
        "CLOCK_DRIFT_PPM": drift_ppm,
        "CLOCK_MAX_CLIENTS": integer(1),
        "CLOCK_LOG": _log_style,
        "HTTP_WORKERS": integer(1, 64),
        "HTTP_MAX_CONNECTIONS": integer(1, 100_000),
        "HTTP_IDLE_TIMEOUT": positive_duration_s,
        "HTTP_HEAD_TIMEOUT": positive_duration_s,
        "HTTP_LOG": _log_style,
    }


def _log_style(text: str) -> str:
    if text not in LOG_STYLES:
        raise ValueError(f"choose from {', '.join(LOG_STYLES)}")
    return text


def _seeded(network: Network, seed: int | None) -> dict[str, Link]:
    """Return the network with a seed for whatever is drawn, and another one for each direction.

    With the same one, both ways would lose the same packets.
    """
    found = dict(network)
    if seed is None:
        return found
    for number, exercise in enumerate(EXERCISES):
        for other, direction in enumerate(DIRECTIONS):
            words = getattr(network[exercise], direction)
            impairment = meaning(words)
            if impairment is None or words == PARTITION:
                continue
            if impairment.is_random and impairment.seed is None:
                own = seed + number * len(DIRECTIONS) + other
                found[exercise] = replace(found[exercise], **{direction: f"{words} seed {own}"})
    return found


def _changes(before: Network, after: Network, base: Network) -> str:
    """Return what a step does, for people: ``udp: partition; clock: to_server loss 5%``."""
    told: dict[str, list[str]] = {}
    for exercise in EXERCISES:
        old, new = before[exercise], after[exercise]
        if old == new:
            continue
        if new == base[exercise]:
            words = "heal"
        elif new == Link(PARTITION, PARTITION):
            words = "partition"
        else:
            words = ", ".join(
                f"{direction} {getattr(new, direction)}"
                for direction in DIRECTIONS
                if getattr(old, direction) != getattr(new, direction)
            )
        told.setdefault(words, []).append(exercise)
    return "; ".join(f"{', '.join(exercises)}: {words}" for words, exercises in told.items())
