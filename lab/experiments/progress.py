"""What an experiment shows while it runs: a bar with the time to go, or a line for each cell."""

import contextlib
import io
import os
import sys
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from lab.say import say


class Clock:
    """The time to go: what is still expected, at the pace so far. ``now`` is in seconds."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._cell_began = now
        self._done_s = 0.0
        self._rest_s: list[float] = []

    def begins(self, rest_s: Sequence[float], now: float) -> None:
        """A cell begins: the durations expected of it and of those after it."""
        self._rest_s = list(rest_s)
        self._cell_began = now

    def ended(self, now: float) -> None:
        """The cell is done."""
        self._done_s += self._rest_s.pop(0)
        self._cell_began = now

    def to_go_s(self, now: float) -> float:
        """Return the seconds to go; an expectation that proved too short never goes below 0."""
        if not self._rest_s:
            return 0.0
        took_s = self._cell_began - self._began
        pace = took_s / self._done_s if self._done_s else 1.0
        this_s = max(0.0, self._rest_s[0] * pace - (now - self._cell_began))
        return this_s + pace * sum(self._rest_s[1:])


class _ToGo(ProgressColumn):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def render(self, task: Task) -> Text:
        seconds = round(self._clock.to_go_s(time.monotonic()))
        return Text(f"{seconds // 60}:{seconds % 60:02} to go", style="progress.remaining")


class AboveTheBar(io.TextIOBase):
    """Standard error while a bar is shown: lines appear above it.

    It is no terminal, so that whatever else draws moving pictures on one (Compose) leaves it alone.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._line = ""

    def write(self, text: str) -> int:
        """Print the lines that are whole."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._console.print(line, markup=False, highlight=False)
        return len(text)

    def isatty(self) -> bool:
        """Return that it is none."""
        return False


class Progress:
    """A context in which cells are measured one after the other."""

    def __init__(self, cells: int) -> None:
        self._around = contextlib.ExitStack()
        self._cells = cells
        self._number = 0
        self._label = ""
        self._cell_began = 0.0
        self._clock = Clock(time.monotonic())
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            console = Console(file=sys.stderr, no_color=bool(os.environ.get("NO_COLOR")) or None)
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                _ToGo(self._clock),
                console=console,
                transient=True,
                redirect_stderr=False,
            )
            self._task = self._bar.add_task("", total=cells)

    def __enter__(self) -> "Progress":
        if self._bar:
            self._around.enter_context(self._bar)
            self._around.enter_context(contextlib.redirect_stderr(AboveTheBar(self._bar.console)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._around.close()

    def begins(self, label: str, rest_s: Sequence[float]) -> None:
        """A cell begins; ``rest_s`` are the seconds expected of it and of those after it."""
        self._number += 1
        self._label = label
        self._cell_began = time.monotonic()
        self._clock.begins(rest_s, self._cell_began)
        if self._bar:
            self._bar.update(self._task, description=label)

    def ended(self, status: str, because: Sequence[str]) -> None:
        """The cell is done; what went wrong is said at once, on a line of its own."""
        now = time.monotonic()
        self._clock.ended(now)
        why = f": {because[0]}" if because else ""
        line = f"cell {self._number} of {self._cells}: {self._label}: {status}{why}"
        took_s, to_go_s = now - self._cell_began, self._clock.to_go_s(now)
        if self._bar:
            self._bar.advance(self._task)
            say(f"{line} ({took_s:.0f} s)")
        else:
            say(f"{line} ({took_s:.0f} s; {to_go_s:.0f} s to go)")
