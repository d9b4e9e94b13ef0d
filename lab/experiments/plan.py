"""An experiment's file (``experiments/NAME.toml``) and the cells that it comes to.

::

    title = "..."                   # one line, the report's headline
    question = "..."                # what one wants to know, a sentence or two
    exercise = "udp"                # udp, clock or http: whose server, whose client
    repetitions = 1                 # how often the whole grid is measured (default 1)
    clients = 8                     # run at the same time in each cell (default 1)

    [axes]                          # every combination of their values is a cell
    loss = [0, 10, 20]
    drop = [0, 0.5]

    [labels]                        # optional: an axis in words, for the plots
    loss = "loss on the way back (%)"

    [network]                       # tc netem's words, each way; {axis} stands for its value
    from_server = "loss {loss}%"
    to_server = "off"
    # or scenario = "{scenario}", one of scenarios/ (without a timeline)

    [settings]                      # of the server (lab/settings.py), this exercise's alone
    UDP_DROP = "{drop}"

    [client]                        # options of the client, as on its command line
    count = 60
    timeout = "50ms"

The first axis is the x axis of the report's plots; the others tell the curves apart. ``loss 0%``
and ``delay 0ms`` are no impairment and are left out of the words. A text that is nothing but
``{axis}`` keeps the value's type; ``true`` gives an option without a value, ``false`` leaves the
option out.
"""

import contextlib
import hashlib
import io
import itertools
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clients.clock.__main__ as clock_client
import clients.http.__main__ as http_client
import clients.udp.__main__ as udp_client
from lab.errors import LabError
from lab.scenario import DIRECTIONS, OFF, Scenario, named, rules, settings_for
from lab.settings import EXERCISES, ROOT
from services.netem import WrongWords
from services.netem.impairment import parse
from services.options import OptionParser

FOLDER = ROOT / "experiments"

LARGEST_GRID = 400
MOST_CLIENTS = 16
"""At the same time in one container, whose limit is 32 processes."""

Scalar = str | int | float | bool

_PARSERS = {
    "udp": udp_client.parser,
    "clock": clock_client.parser,
    "http": http_client.parser,
}
_OWN = ("host", "port", "url", "json", "csv")
"""Options of the clients that the experiment itself gives."""

_PLACE = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_NOTHING = re.compile(
    r"(?<!\S)(?:loss|delay|duplicate|corrupt|reorder)\s+0+(?:\.0+)?(?:%|[a-z]+)?(?!\S)"
)


@dataclass(frozen=True)
class Cell:
    """One point of the grid. ``number`` counts from 1, in the order of the file."""

    number: int
    parameters: dict[str, Scalar]
    network: dict[str, str]
    settings: dict[str, str]
    clients: int
    arguments: tuple[str, ...]
    """The client's command line."""
    options: dict[str, Any]
    """What the client understands by that."""

    @property
    def label(self) -> str:
        """The cell in a few words: ``loss 10, drop 0.5``."""
        return ", ".join(f"{name} {value}" for name, value in self.parameters.items()) or "all"


@dataclass(frozen=True)
class Experiment:
    """An experiment's file, checked. ``text`` is the file as it stands, ``digest`` of it."""

    name: str
    text: str
    title: str
    question: str
    exercise: str
    repetitions: int
    axes: dict[str, list[Scalar]]
    labels: dict[str, str]
    cells: list[Cell]

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that differ when the file differs."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def names(folder: Path = FOLDER) -> list[str]:
    """Return the names of the experiments in a folder, sorted."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def path_of(name: str) -> Path:
    """Return the file of an experiment: one of ours by its name, anybody's by its path."""
    return Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"


def load(path: Path) -> Experiment:
    """Return the experiment in a file. Raises LabError naming file, key, what was wrong, the way
    out.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LabError(
            f"reading {path.name}",
            "there is no such experiment",
            f"name one of {', '.join(names(path.parent)) or 'none yet'}",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"reading {path.name}", str(error), "a text file in UTF-8") from None
    return parse_text(text, path.stem)


def parse_text(text: str, name: str) -> Experiment:
    """Return the experiment that ``text`` (TOML) describes. Raises LabError."""
    return _Reading(name, text).experiment()


class _Reading:
    """One file being read; every complaint names the file and the key."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text

    def experiment(self) -> Experiment:
        try:
            document = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            raise self._wrong("", str(error), "TOML, as in docs/experiments.md") from None
        known = {
            "title", "question", "exercise", "repetitions", "clients",
            "axes", "labels", "network", "settings", "client",
        }  # fmt: skip
        if unknown := sorted(set(document) - known):
            raise self._wrong(unknown[0], "no such key", f"one of {', '.join(sorted(known))}")
        exercise = document.get("exercise")
        if exercise not in EXERCISES:
            raise self._wrong("exercise", f"{exercise!r}", f"one of {', '.join(EXERCISES)}")
        repetitions = document.get("repetitions", 1)
        if not _is_integer(repetitions) or not 1 <= repetitions <= 1000:
            raise self._wrong("repetitions", f"{repetitions!r}", "a number from 1 to 1000")
        axes = self._axes(document)
        cells = [
            self._cell(number, dict(zip(axes, values, strict=True)), document)
            for number, values in enumerate(itertools.product(*axes.values()), start=1)
        ]
        self._require_used(axes, document)
        return Experiment(
            self._name,
            self._text,
            self._sentence(document, "title"),
            self._sentence(document, "question"),
            exercise,
            repetitions,
            axes,
            self._labels(document, axes),
            cells,
        )

    def _wrong(self, key: str, what: str, right: str) -> LabError:
        cause = f"{key}: {what}" if key else what
        return LabError(f"reading {self._name}.toml", cause, f"write {right}")

    def _sentence(self, document: Mapping[str, Any], key: str) -> str:
        text = document.get(key)
        if not isinstance(text, str) or not text.strip():
            raise self._wrong(key, "missing" if text is None else f"{text!r}", "a sentence")
        return " ".join(text.split())

    def _table(self, document: Mapping[str, Any], key: str) -> dict[str, Any]:
        table = document.get(key, {})
        if not isinstance(table, dict):
            raise self._wrong(key, f"{table!r}", f"a table, [{key}]")
        return table

    def _axes(self, document: Mapping[str, Any]) -> dict[str, list[Scalar]]:
        axes = self._table(document, "axes")
        size = 1
        for name, values in axes.items():
            key = f"axes.{name}"
            if not _NAME.fullmatch(name):
                raise self._wrong(key, "not a name", "small letters, digits and _")
            if not isinstance(values, list) or not values:
                raise self._wrong(key, f"{values!r}", "a list of values, as in [0, 10, 20]")
            if any(not isinstance(value, Scalar) for value in values):
                raise self._wrong(key, f"{values!r}", "numbers or texts in the list")
            if len({str(value) for value in values}) < len(values):
                raise self._wrong(key, "a value stands there twice", "each value once")
            size *= len(values)
        if size > LARGEST_GRID:
            raise self._wrong("axes", f"{size} cells", f"a grid of {LARGEST_GRID} at most")
        return axes

    def _labels(self, document: Mapping[str, Any], axes: Mapping[str, Any]) -> dict[str, str]:
        labels = self._table(document, "labels")
        for name, text in labels.items():
            if name not in axes:
                raise self._wrong(f"labels.{name}", "no such axis", f"one of {', '.join(axes)}")
            if not isinstance(text, str):
                raise self._wrong(f"labels.{name}", f"{text!r}", "a text")
        return {name: labels.get(name, name) for name in axes}

    def _cell(
        self, number: int, parameters: dict[str, Scalar], document: Mapping[str, Any]
    ) -> Cell:
        exercise = document["exercise"]
        clients = self._filled("clients", document.get("clients", 1), parameters)
        if not _is_integer(clients) or not 1 <= clients <= MOST_CLIENTS:
            raise self._wrong("clients", f"{clients!r}", f"a number from 1 to {MOST_CLIENTS}")
        arguments, options = self._client(exercise, self._table(document, "client"), parameters)
        network, settings = self._network(exercise, self._table(document, "network"), parameters)
        return Cell(
            number,
            parameters,
            network,
            settings | self._settings(exercise, self._table(document, "settings"), parameters),
            clients,
            arguments,
            options,
        )

    def _network(
        self, exercise: str, table: Mapping[str, Any], parameters: Mapping[str, Scalar]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Return the words for each direction, and what a scenario sets on the server."""
        if "scenario" in table:
            if len(table) > 1:
                raise self._wrong("network", "a scenario and words as well", "one of them")
            scenario = self._scenario(
                self._filled("network.scenario", table["scenario"], parameters)
            )
            link = scenario.network[exercise]
            words = {direction: getattr(link, direction) for direction in DIRECTIONS}
            return words, scenario.settings_of(exercise)
        for key in table:
            if key not in DIRECTIONS:
                right = f"{' or '.join(DIRECTIONS)}, or scenario"
                raise self._wrong(f"network.{key}", "no such key", right)
        return {d: self._words(d, table.get(d, OFF), parameters) for d in DIRECTIONS}, {}

    def _scenario(self, name: Any) -> Scenario:
        scenario = named(str(name))
        if scenario.timeline:
            raise self._wrong(
                "network.scenario", f"{name} has a timeline", "one that stays as it is"
            )
        return scenario

    def _words(self, direction: str, template: Any, parameters: Mapping[str, Scalar]) -> str:
        key = f"network.{direction}"
        right = f'tc netem\'s words, as in "loss 10% delay 20ms", or "{OFF}"'
        words = self._filled(key, template, parameters)
        if not isinstance(words, str):
            raise self._wrong(key, f"{words!r}", right)
        words = " ".join(_NOTHING.sub(" ", words).split()) or OFF
        try:
            if words != OFF:
                parse(words.split())
        except WrongWords as error:
            raise self._wrong(key, f"{words!r}: {error}", right) from None
        return words

    def _settings(
        self, exercise: str, table: Mapping[str, Any], parameters: Mapping[str, Scalar]
    ) -> dict[str, str]:
        known = [name for name in settings_for(exercise) if not name.endswith("_LOG")]
        settings = {}
        for name, template in table.items():
            key = f"settings.{name}"
            if name not in known:
                raise self._wrong(key, f"no setting of {exercise}", f"one of {', '.join(known)}")
            settings[name] = str(self._filled(key, template, parameters))
            try:
                rules()[name](settings[name])
            except ValueError as error:
                raise self._wrong(key, str(error), f"what make up {name}=... takes") from None
        return settings

    def _client(
        self, exercise: str, table: Mapping[str, Any], parameters: Mapping[str, Scalar]
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        arguments: list[str] = []
        for name, template in table.items():
            key = f"client.{name}"
            if name in _OWN:
                raise self._wrong(key, "the experiment gives this one itself", "the other options")
            value = self._filled(key, template, parameters)
            if not isinstance(value, Scalar):
                raise self._wrong(key, f"{value!r}", "a number, a text, true or false")
            option = f"--{name.replace('_', '-')}"
            if isinstance(value, bool):
                arguments += [option] * value
            else:
                arguments.append(f"{option}={value}")
        with _without_settings(exercise):
            options = _understood(_PARSERS[exercise], arguments)
        if isinstance(options, str):
            raise self._wrong("client", options, "options as on the client's command line")
        return tuple(arguments), options

    def _filled(self, key: str, template: Any, parameters: Mapping[str, Scalar]) -> Any:
        """Return ``template`` with the axes' values in their places."""
        if not isinstance(template, str):
            return template

        def value(match: re.Match[str]) -> str:
            if match[1] not in parameters:
                axes = ", ".join(parameters) or "none"
                raise self._wrong(key, f"no axis {match[1]!r}", f"one of the axes: {axes}")
            return str(parameters[match[1]])

        if (whole := _PLACE.fullmatch(template)) and whole[1] in parameters:
            return parameters[whole[1]]
        return _PLACE.sub(value, template)

    def _require_used(self, axes: Mapping[str, Any], document: Mapping[str, Any]) -> None:
        templates = [document.get("clients", "")]
        for key in ("network", "settings", "client"):
            templates += self._table(document, key).values()
        used = {name for text in templates for name in _PLACE.findall(str(text))}
        for name in axes:
            if name not in used:
                raise self._wrong(f"axes.{name}", "used nowhere", f"{{{name}}} where it counts")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _understood(parser: Any, arguments: list[str]) -> dict[str, Any] | str:
    """Return what the client makes of its command line, or its complaint."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint), contextlib.redirect_stdout(complaint):
            options: OptionParser = parser()
            parsed = options.parse_args(arguments)
    except SystemExit:
        return complaint.getvalue().strip().splitlines()[-1]
    return {
        name: value
        for name, value in vars(parsed).items()
        if name not in _OWN and isinstance(value, Scalar | None)
    }


@contextlib.contextmanager
def _without_settings(exercise: str) -> Iterator[None]:
    """Keep this machine's ``UDP_PORT`` and the like from the client's parser, which reads them."""
    prefix = f"{exercise.upper()}_"
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(prefix)}
    try:
        yield
    finally:
        os.environ.update(kept)
