"""One place for each setting: a command-line option and an environment variable of the same name.

``--drop`` of the service with the prefix ``UDP`` is also ``UDP_DROP``. The command line wins over
the environment, the environment over the default; ``--help`` shows all three. A value from the
environment is checked by the same rule as one from the command line, and the error names the
variable.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

USAGE_ERROR = 2
"""Exit status for wrong usage, as argparse and getopt programs have it."""

LOG_STYLES = ("human", "json", "off")

_DURATION = re.compile(r"([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)(ns|us|ms|s|min|h)?")
_NEGATIVE_WITH_UNIT = re.compile(r"-\.?\d[\d.]*[a-z]+")
_LONG = re.compile(r"--[a-z][a-z-]*")
_SECONDS_PER_UNIT = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


class OptionParser(argparse.ArgumentParser):
    """An ``ArgumentParser`` whose options may also be given as ``PREFIX_NAME`` in the environment.

    ``environment`` is read once per parse; pass a mapping of your own in tests.
    """

    def __init__(
        self,
        prefix: str,
        *,
        environment: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)
        self._prefix = prefix
        self._environment = os.environ if environment is None else environment

    def add_setting(
        self,
        name: str,
        *,
        default: Any,
        help: str,
        type: Callable[[str], Any] = str,
        choices: tuple[str, ...] | None = None,
        metavar: str | None = None,
    ) -> None:
        """Add ``--name`` with its environment twin; ``type`` raises ValueError on a bad value.

        An empty variable counts as unset, because that is what an empty line in ``.env`` means.
        """
        variable = f"{self._prefix}_{name.upper().replace('-', '_')}"
        shown = "" if default is None else f"; default {default}"
        effective = default
        text = self._environment.get(variable, "")
        if text:
            try:
                effective = type(text)
                if choices is not None and effective not in choices:
                    raise ValueError(f"choose from {', '.join(choices)}")
            except (ValueError, argparse.ArgumentTypeError) as error:
                self.error(f"environment variable {variable}={text!r}: {error}")

        self.add_argument(
            f"--{name}",
            type=type,
            default=effective,
            choices=choices,
            metavar=metavar,
            help=f"{help} (${variable}{shown})".replace("%", "%%"),
        )

    def add_argument(self, *names: str, **kwargs: Any) -> argparse.Action:
        """Add an option as argparse does, but show the message of a ValueError of its ``type``."""
        if converter := kwargs.get("type"):

            def convert(value: str) -> Any:
                try:
                    return converter(value)
                except ValueError as error:  # argparse would say "invalid convert value"
                    raise argparse.ArgumentTypeError(str(error)) from error

            kwargs["type"] = convert
        return super().add_argument(*names, **kwargs)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, but take ``--offset -2.5s`` for what it means.

        argparse knows that ``-2.5`` is a value; it would call ``-2.5s`` an unknown option.
        """
        joined: list[str] = []
        for word in sys.argv[1:] if args is None else args:
            if _NEGATIVE_WITH_UNIT.fullmatch(word) and joined and _LONG.fullmatch(joined[-1]):
                joined[-1] += f"={word}"
            else:
                joined.append(word)
        return super().parse_known_args(joined, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the message and the way to the help, and exit with status 2."""
        self.exit(USAGE_ERROR, f"{self.prog}: {message} (see {self.prog} --help)\n")


def port(text: str) -> int:
    """Return a port number, 0 meaning any free one. Raises ValueError."""
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number <= 65535:
        raise ValueError(f"a port is a number from 0 to 65535, not {text!r}")
    return number


def probability(text: str) -> float:
    """Return a probability from 0 to 1; ``50%`` means 0.5. Raises ValueError."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"a probability is a number from 0 to 1 (or 0% to 100%), not {text!r}")
    return value


def duration_s(text: str) -> float:
    """Return seconds from ``2.5``, ``2.5s``, ``20ms``, ``-1min``. Raises ValueError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"a duration is a number with ns, us, ms, s, min or h, not {text!r}")
    return float(match[1]) * _SECONDS_PER_UNIT[match[2] or "s"]


def positive_duration_s(text: str) -> float:
    """Return seconds, more than 0. Raises ValueError."""
    value = duration_s(text)
    if value <= 0:
        raise ValueError(f"this duration must be more than 0, not {text!r}")
    return value


def non_negative_duration_s(text: str) -> float:
    """Return seconds, 0 or more. Raises ValueError."""
    value = duration_s(text)
    if value < 0:
        raise ValueError(f"this duration cannot be negative: {text!r}")
    return value


def integer(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """Return a converter to a whole number within bounds; it raises ValueError outside them."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"a whole number is needed, not {text!r}") from None
        if value < minimum or (maximum is not None and value > maximum):
            upper = "" if maximum is None else f" and at most {maximum}"
            raise ValueError(f"must be at least {minimum}{upper}, not {value}")
        return value

    return convert
