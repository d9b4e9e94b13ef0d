"""Ping a UDP server: ``python -m clients.udp [MESSAGE] [options]``."""

import argparse
import os
import random
import secrets
import signal
import sys
from collections.abc import Callable, Sequence

from clients.udp.pinger import Pinger, TooLarge
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
from clients.udp.wire import Interrupted, NoSuchServer, UdpWire
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


def run_identifier(seed: int | None) -> str:
    """Return 8 hexadecimal digits: always the same for a seed, unpredictable for None."""
    if seed is None:
        return secrets.token_hex(4)
    return f"{random.Random(seed).getrandbits(32):08x}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program with ``arguments`` (those of the command line when None)."""
    settings = parser().parse_args(arguments)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # "| head" ends this like any other program
    run = run_identifier(settings.seed)
    schedule = Schedule(
        settings.count, settings.timeout, settings.backoff, settings.max_tries, settings.interval
    )
    message = os.fsencode(settings.message)  # the very bytes of the command line
    try:
        with UdpWire(settings.host, settings.port) as wire:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda number, frame: wire.interrupt(number))
            return ping(settings, wire, Pinger(wire, schedule, run, message, settings.size))
    except NoSuchServer as error:
        print(f"udp-client: {error}", file=sys.stderr)
        return 1
    except TooLarge as error:
        print(f"udp-client: {error} (see udp-client --help)", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:  # before the first ping, while the name was resolved: no summary
        return 128 + signal.SIGINT


def ping(settings: argparse.Namespace, wire: UdpWire, pinger: Pinger) -> int:
    """Make the requests, print what happens, and return the exit status."""
    is_address = wire.address.rpartition(":")[0].strip("[]") == settings.host
    server = wire.address if is_address else f"{settings.host} ({wire.address})"
    in_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    interrupted: Interrupted | None = None
    try:
        if not settings.json:  # nothing but the document, since a container may mix both streams
            print(opening(server, pinger), flush=True)
        for event in pinger.run():
            line = event_line(event)
            if line and not settings.json:
                print(coloured(line, event.what) if in_colour else line, flush=True)
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


if __name__ == "__main__":
    sys.exit(main())
