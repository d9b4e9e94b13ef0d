"""Progress, one line each on standard error; coloured on a terminal only."""

import os
import sys

_BOLD, _PLAIN = "\033[1m", "\033[0m"


def say(text: str) -> None:
    """Write one line of progress. ``NO_COLOR`` set to anything keeps it plain."""
    print(f"{painted('lab:', _BOLD, sys.stderr.isatty())} {text}", file=sys.stderr, flush=True)


def painted(text: str, colour: str, terminal: bool) -> str:
    """Return ``text`` between ``colour`` (an SGR sequence) and its end, where colour is wanted."""
    return f"{colour}{text}{_PLAIN}" if terminal and not os.environ.get("NO_COLOR") else text
