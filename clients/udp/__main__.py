"""Ping a UDP server: ``python -m clients.udp [MESSAGE] [options]``."""

import argparse
import os
import random
import secrets
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from clients.udp.pinger import Pinger
from clients.udp.report import coloured, document, event_line, opening, summary
from clients.udp.schedule import (
    BACKOFF,
    COUNT,
    FIRST_TIMEOUT_S,
    INTERVAL_S,
    MAX_TRIES,
    SMALLEST_BACKOFF,
    Schedule,
)
from clients.udp.wire import NoSuchServer, UdpWire
from services.options import (
    USAGE_ERROR,
    OptionParser,
    integer,
    non_negative_duration_s,
    positive_duration_s,
)
from services.udp.protocol import LARGEST_DATAGRAM, PORT

EXAMPLES = f"""\
Durations are in seconds, or with a unit: 200ms, 1.5s. Attempt k of a request waits
timeout x backoff^(k-1) for its answer: 200 ms, 250 ms, 312.5 ms, ... by default.

examples:
  python -m clients.udp                             ten pings to 127.0.0.1:{PORT}
  python -m clients.udp --host udp --count 3 hello
  python -m clients.udp --size 1200 --interval 1s --json > run.json
  docker compose run --rm udp-client --count 3      inside the lab

exit status: 0 every request was answered; 1 not every one, or no server there; 2 wrong usage;
130 Ctrl-C, 143 SIGTERM (both print the summary so far)
"""


class Interrupted(Exception):
    """Ctrl-C or SIGTERM; ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def backoff(text: str) -> float:
    """Return a factor by which waits grow. Raises ValueError."""
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not SMALLEST_BACKOFF <= factor <= 100:
        raise ValueError(
            f"must be a factor from {SMALLEST_BACKOFF} to 100, not {text!r}: "
            "a retry waits longer than the attempt before it"
        )
    return factor


def parser() -> OptionParser:
    """Return the options of the client; see ``--help``."""
    options = OptionParser(
        "UDP",
        prog="udp-client",
        description="Send pings, again and again until each is confirmed, and measure.",
        epilog=EXAMPLES,
    )
    options.add_argument("message", nargs="?", default="hello", help="text to send (default hello)")
    options.add_setting("host", default="127.0.0.1", help="name or address of the server")
    options.add_setting("port", type=integer(1, 65535), default=PORT, help="its UDP port")

    def add(name: str, convert: Callable[[str], object], default: object, what: str) -> None:
        def converted(text: str) -> object:
            try:
                return convert(text)
            except ValueError as error:  # argparse would hide the message of a bare ValueError
                raise argparse.ArgumentTypeError(str(error)) from error

        shown = "" if default is None else f" (default {default})"
        options.add_argument(f"--{name}", type=converted, default=default, help=what + shown)

    add("count", integer(1, 1_000_000), COUNT, "requests")
    add("timeout", positive_duration_s, FIRST_TIMEOUT_S, "wait of each first attempt, seconds")
    add("backoff", backoff, BACKOFF, "factor from one wait to the next, more than 1")
    add("max-tries", integer(1, 1_000_000), MAX_TRIES, "attempts at one request")
    add("interval", non_negative_duration_s, INTERVAL_S, "seconds from one request to the next")
    add("size", integer(0, LARGEST_DATAGRAM), None, "bytes of each datagram, padded with dots")
    add("seed", integer(0), None, "makes the run's identifier repeatable; else it is random")
    options.add_argument("--json", action="store_true", help="print one JSON document instead")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program with ``arguments`` (those of the command line when None)."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # "| head" ends this like any other program
    settings = parser().parse_args(arguments)
    if settings.seed is None:
        run = secrets.token_hex(4)
    else:
        run = f"{random.Random(settings.seed).getrandbits(32):08x}"
    schedule = Schedule(
        settings.count, settings.timeout, settings.backoff, settings.max_tries, settings.interval
    )
    message = os.fsencode(settings.message)  # the very bytes of the command line
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
        with UdpWire(settings.host, settings.port) as wire:
            return ping(settings, wire, Pinger(wire, schedule, run, message, settings.size))
    except NoSuchServer as error:
        print(f"udp-client: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"udp-client: {error} (see udp-client --help)", file=sys.stderr)
        return USAGE_ERROR
    except Interrupted as signalled:  # before the first ping: there is no summary
        return 128 + signalled.number


def ping(settings: argparse.Namespace, wire: UdpWire, pinger: Pinger) -> int:
    """Make the requests, print what happens, and return the exit status."""
    own_name = wire.address.strip("[").startswith(settings.host)
    server = wire.address if own_name else f"{settings.host} ({wire.address})"
    in_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    interrupted: Interrupted | None = None
    try:
        if not settings.json:  # nothing but the document, since a container may mix both streams
            print(opening(server, pinger), flush=True)
        for event in pinger.run():
            line = event_line(event)
            if line and not settings.json:
                print(coloured(line, event.what) if in_colour else line, flush=True)
        _ignore_signals()  # the summary takes no time, and it must be whole
    except Interrupted as signalled:
        interrupted = signalled
    elapsed_s = (wire.now_ns() - pinger.begun_ns) / 1e9
    if settings.json:
        asked_for = {
            "message": settings.message,
            "host": settings.host,
            "port": settings.port,
            "count": settings.count,
            "timeout_s": settings.timeout,
            "backoff": settings.backoff,
            "max_tries": settings.max_tries,
            "interval_s": settings.interval,
            "size_bytes": settings.size,
            "seed": settings.seed,
        }
        name = str(interrupted) if interrupted else None
        print(document(pinger, asked_for, wire.address, elapsed_s, name), flush=True)
    else:
        print(summary(pinger, server, elapsed_s), flush=True)
    requests = pinger.ledger.requests
    if pinger.hopeless:
        print(
            f"udp-client: {server}: {pinger.hopeless} (start the lab with make up, or set "
            "UDP_HOST and UDP_PORT, or --host and --port)",
            file=sys.stderr,
        )
    elif requests and all(request.gave_up for request in requests):
        print(f"udp-client: {server}: no answer at all; is the server there?", file=sys.stderr)
    if interrupted is not None:
        return 128 + interrupted.number
    return 0 if all(request.confirmed_ns is not None for request in requests) else 1


def _interrupt(number: int, frame: FrameType | None) -> None:
    _ignore_signals()
    raise Interrupted(number)


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
