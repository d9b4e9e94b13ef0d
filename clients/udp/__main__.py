"""Ping a UDP server: ``python -m clients.udp [MESSAGE] [options]``."""

import argparse
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Callable, Sequence

from clients.udp.pinger import Event, Pinger, TooLarge, What
from clients.udp.report import (
    coloured,
    document,
    event_line,
    opening,
    progress,
    summary,
    table,
)
from clients.udp.schedule import (
    BACKOFF,
    COUNT,
    FIRST_TIMEOUT_S,
    INTERVAL_S,
    MAX_TRIES,
    SMALLEST_BACKOFF,
    Schedule,
)
from clients.udp.settlement import BUDGET_S, Settlement, settle
from clients.udp.statistics import Expectation
from clients.udp.timeouts import MAX_RTO_S, MIN_RTO_S, WAYS
from clients.udp.wire import Interrupted, NoSuchServer, UdpWire
from services.options import (
    USAGE_ERROR,
    OptionParser,
    integer,
    non_negative_duration_s,
    positive_duration_s,
    probability,
)
from services.udp.protocol import LARGEST_DATAGRAM, PORT

EXAMPLES = f"""\
Durations are in seconds, or with a unit: 200ms, 1.5s. How long attempt k of a request waits:
  --rto backoff    timeout x backoff^(k-1): 200 ms, 250 ms, 312.5 ms, ... by default
  --rto fixed      timeout, then the retry pauses until --rto backoff would send it
  --rto adaptive   as TCP does, from the round trips so far (RFC 6298); -v shows each step

examples:
  python -m clients.udp                             ten pings to 127.0.0.1:{PORT}
  python -m clients.udp --host udp --count 3 hello
  python -m clients.udp --size 1200 --interval 1s --json > run.json
  python -m clients.udp --paced --interval 1ms --count 10000      measure, no retries
  python -m clients.udp --expect back=10%           what these settings lead one to expect
  docker compose run --rm udp-client --count 3      inside the lab

exit status: 0 every request was answered; 1 not every one, or no server there; 2 wrong usage;
130 Ctrl-C, 143 SIGTERM (both print the summary so far)
"""

INTERRUPTED_BUDGET_S = 0.5
"""After Ctrl-C nobody wants to wait long for the server's account."""

PROGRESS_EVERY_S = 0.1

ROUTINE = (What.SENT, What.TIMED_OUT, What.GAVE_UP, What.ANSWERED)
"""What happens thousands of times in a paced run: no line each."""


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


def expectation(text: str) -> dict[str, float]:
    """Return what ``drop=0.5,there=0,back=10%`` says, or a part of it. Raises ValueError."""
    said: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name not in ("drop", "there", "back") or name in said:
            raise ValueError(f"say what is known as drop=0.5,there=0,back=10%, not {text!r}")
        said[name] = probability(value)
    return said


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
    options.add_argument(
        "--rto", choices=WAYS, default=WAYS[0], help=f"how timeouts are chosen (default {WAYS[0]})"
    )
    add("min-rto", positive_duration_s, MIN_RTO_S, "smallest timeout of --rto adaptive, seconds")
    add("max-rto", positive_duration_s, MAX_RTO_S, "largest timeout of --rto adaptive, seconds")
    options.add_argument(
        "--paced", action="store_true", help="a request at every interval, no retries"
    )
    add(
        "expect",
        expectation,
        None,
        "show what follows from drop=P,there=Q,back=Q (losses each way)",
    )
    add("size", integer(0, LARGEST_DATAGRAM), None, "bytes of each datagram, padded with dots")
    add("seed", integer(0), None, "makes the run's identifier repeatable; else it is random")
    options.add_argument("-v", "--verbose", action="store_true", help="also how timeouts change")
    form = options.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document instead")
    form.add_argument("--csv", action="store_true", help="print a line for each attempt instead")
    return options


def run_identifier(seed: int | None) -> str:
    """Return 8 hexadecimal digits: always the same for a seed, unpredictable for None."""
    if seed is None:
        return secrets.token_hex(4)
    return f"{random.Random(seed).getrandbits(32):08x}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program with ``arguments`` (those of the command line when None)."""
    options = parser()
    settings = options.parse_args(arguments)
    if settings.min_rto > settings.max_rto:
        options.error("--min-rto is more than --max-rto")
    if settings.paced and not settings.interval:
        options.error("--paced needs an --interval of more than 0")
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # "| head" ends this like any other program
    run = run_identifier(settings.seed)
    schedule = Schedule(
        settings.count,
        settings.timeout,
        settings.backoff,
        1 if settings.paced else settings.max_tries,
        settings.interval,
        settings.rto,
        settings.min_rto,
        settings.max_rto,
        settings.paced,
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
    # Nothing but the document or the table, since a container may mix both streams.
    show = Display(settings, pinger) if not (settings.json or settings.csv) else None
    interrupted: Interrupted | None = None
    try:
        if show:
            print(opening(server, pinger), flush=True)
        for event in pinger.run():
            if show:
                show(event)
    except Interrupted as signalled:
        interrupted = signalled
    elapsed_s = (wire.now_ns() - pinger.begun_ns) / 1e9
    settlement = Settlement()
    try:
        wire.resume()
        for told in settle(wire, pinger, INTERRUPTED_BUDGET_S if interrupted else BUDGET_S):
            if isinstance(told, Settlement):
                settlement = told
            elif show:
                show(told)
    except Interrupted as signalled:  # without the account, then
        interrupted = interrupted or signalled
    if show:
        show.end()
    _print_results(settings, wire, pinger, server, elapsed_s, settlement, interrupted)
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


class Display:
    """Prints a line for each event; of a paced run one that is written over, on a terminal."""

    def __init__(self, settings: argparse.Namespace, pinger: Pinger) -> None:
        self._pinger = pinger
        self._verbose: bool = settings.verbose
        self._paced: bool = settings.paced
        self._on_terminal = sys.stdout.isatty()
        self._in_colour = self._on_terminal and not os.environ.get("NO_COLOR")
        self._next_progress_s = 0.0
        self._shown = False

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if self._paced and event.what in ROUTINE:
            if self._on_terminal and time.monotonic() >= self._next_progress_s:
                self._next_progress_s = time.monotonic() + PROGRESS_EVERY_S
                print(f"\r\x1b[K{progress(self._pinger)}", end="", flush=True)
                self._shown = True
            return
        if event.what is What.RTO and not self._verbose:
            return
        if line := event_line(event):
            self.end()
            print(coloured(line, event.what) if self._in_colour else line, flush=True)

    def end(self) -> None:
        """Take away the line that is written over."""
        if self._shown:
            print("\r\x1b[K", end="", flush=True)
            self._shown = False


def _print_results(
    settings: argparse.Namespace,
    wire: UdpWire,
    pinger: Pinger,
    server: str,
    elapsed_s: float,
    settlement: Settlement,
    interrupted: Interrupted | None,
) -> None:
    expected = _expectation(settings.expect, pinger, settlement)
    remarks = _remarks(wire)
    if settings.csv:
        print(table(pinger), end="", flush=True)
    elif settings.json:
        asked_for = {
            "message": settings.message,
            "host": settings.host,
            "port": settings.port,
            "count": settings.count,
            "timeout_s": settings.timeout,
            "backoff": settings.backoff,
            "max_tries": settings.max_tries,
            "interval_s": settings.interval,
            "rto": settings.rto,
            "min_rto_s": settings.min_rto,
            "max_rto_s": settings.max_rto,
            "paced": settings.paced,
            "expect": settings.expect,
            "size_bytes": settings.size,
            "seed": settings.seed,
        }
        in_effect = {
            "server": wire.address,
            "max_tries": pinger.schedule.max_tries,
            "kernel_stamps": wire.kernel_stamps,
            "clock_steps_s": [step_ns / 1e9 for step_ns in wire.wall_clock.steps],
            "receive_buffer_bytes": wire.receive_buffer(),
            "receive_buffer_overflows": wire.overflowed(),
            "server_drop": settlement.drop,
        }
        name = str(interrupted) if interrupted else None
        text = document(
            pinger, asked_for, in_effect, elapsed_s, name, settlement, expected, remarks
        )
        print(text, flush=True)
    else:
        text = summary(pinger, server, elapsed_s, settlement, expected, remarks)
        print(text, flush=True)


def _expectation(
    said: dict[str, float] | None, pinger: Pinger, settlement: Settlement
) -> Expectation | None:
    """Return what to expect of what is said; the server's drop also from its account."""
    if said is None:
        return None
    drop = said.get("drop", settlement.drop)
    if drop is None:
        return None
    tries = pinger.schedule.max_tries
    return Expectation(drop, said.get("there", 0.0), said.get("back", 0.0), tries)


def _remarks(wire: UdpWire) -> tuple[str, ...]:
    """Return what else one has to know of the figures."""
    remarks = []
    if steps := wire.wall_clock.steps:
        by = ", ".join(f"{step_ns / 1e9:+.6f} s" for step_ns in steps[:5])
        remarks.append(
            f"This machine's clock was set {len(steps)} times during the run ({by}): round trips "
            "of those moments are by the program's own, monotonic clock."
        )
    if lost := wire.overflowed():
        remarks.append(
            f"{lost} answers reached this machine and found this program's receive buffer full: "
            "they are among those lost on the way back. A longer --interval helps."
        )
    return tuple(remarks)


if __name__ == "__main__":
    sys.exit(main())
