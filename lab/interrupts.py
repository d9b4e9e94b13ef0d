"""SIGTERM takes the same way out of a command as Ctrl-C: what it began is taken back."""

import contextlib
import signal
from collections.abc import Iterator


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


def number_of(interrupt: KeyboardInterrupt) -> signal.Signals:
    """Return the signal that it stands for; a command's exit status is 128 and that."""
    return signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Raise Terminated, in the main thread, when SIGTERM comes meanwhile."""

    def interrupt(number: int, frame: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
