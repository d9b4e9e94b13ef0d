"""The clock server: answers ``what time is it?`` over TCP, one thread per client.

Try it with:  nc localhost 1236   and type the question.
"""

import argparse
import math
import os
import sys
import threading
from collections.abc import Sequence

from services.clock.check import check
from services.clock.protocol import PORT, ClockError, rfc3339
from services.clock.server import CHECK_PLACES, REFUSED_KEPT, ClockServer, Limits, open_listener
from services.clock.skew import SkewedClock
from services.events import Events
from services.lifetime import Lifetime
from services.options import (
    LOG_STYLES,
    OptionParser,
    duration_s,
    integer,
    port,
    positive_duration_s,
)

STACK_BYTES = 128 * 1024
"""Of each client's thread. The usual 8 MiB are only address space, but 5,000 times 8 MiB of it."""

SWITCH_INTERVAL_S = 1.0
"""How long a thread waits for the interpreter's lock before it demands it. A thread that works lets
go of it at its next call of recv or sendall anyway, a millisecond later at most; but of 5,000 that
wait, because all clients have left at once, each would wake every 5 ms (the default) to demand it,
and that alone kept two processors busy for 20 s. Now it is over in 2."""

MAX_CLIENTS = 5100
"""Each costs a thread, so a container needs a pids limit above this."""

SPARE_DESCRIPTORS = CHECK_PLACES + REFUSED_KEPT + 32
"""Needed beside one for each client: the listener, the log, modules being read."""

MAX_OFFSET_S = 50 * 365.25 * 86400
MAX_DRIFT_PPM = 100_000.0


def offset_s(text: str) -> float:
    """Return seconds, of either sign, at most 50 years. Raises ValueError."""
    value = duration_s(text)
    if abs(value) > MAX_OFFSET_S:
        raise ValueError(f"an offset is at most 50 years, not {text!r}")
    return value


def drift_ppm(text: str) -> float:
    """Return microseconds a second, of either sign. Raises ValueError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= MAX_DRIFT_PPM:
        raise ValueError(f"a drift is a number from -100000 to 100000 ppm, not {text!r}")
    return value


def parser() -> OptionParser:
    """Return the options of the server; see ``--help``."""
    options = OptionParser(
        "CLOCK",
        prog="python -m services.clock",
        description=__doc__,
        epilog="""examples:
  python -m services.clock --offset 2.5s              two and a half seconds ahead
  python -m services.clock --offset -20ms --drift-ppm 50
  python -m services.clock --check                    is the server on this machine well?

exit status: 0 ended by SIGTERM or Ctrl-C, or the check is good; 1 cannot bind, or the check is bad;
2 wrong usage""",
    )
    options.add_setting("host", default="0.0.0.0", help="address to listen on")
    options.add_setting("port", type=port, default=PORT, help="TCP port, 0 for any free one")
    options.add_setting(
        "offset",
        type=offset_s,
        default=0.0,
        metavar="TIME",
        help="make the clock wrong by this much, as in 2.5s or -20ms",
    )
    options.add_setting(
        "drift-ppm",
        type=drift_ppm,
        default=0.0,
        metavar="PPM",
        help="make it gain this many microseconds a second, from the start of the server on",
    )
    options.add_setting(
        "max-clients",
        type=integer(1),
        default=MAX_CLIENTS,
        metavar="N",
        help="clients served at a time",
    )
    options.add_setting(
        "idle-timeout",
        type=positive_duration_s,
        default=600.0,
        metavar="TIME",
        help="close a connection on which nothing was asked for so long",
    )
    options.add_setting(
        "send-timeout",
        type=positive_duration_s,
        default=10.0,
        metavar="TIME",
        help="reset a connection whose client does not read its answers",
    )
    options.add_setting("log", choices=LOG_STYLES, default="human", help="form of the log")
    options.add_setting(
        "interface", default=None, metavar="NAME", help="end when this network interface is gone"
    )
    options.add_argument(
        "--check", action="store_true", help="ask a running server; for containers"
    )
    return options


def places(max_clients: int) -> int:
    """Return how many clients there are descriptors for, at most ``max_clients``.

    Raises this process's soft limit on open files as far as that needs, and the hard limit allows.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return max_clients
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max_clients + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, min(max_clients, soft - SPARE_DESCRIPTORS))
    return max_clients


def run(settings: argparse.Namespace) -> int:
    """Serve, or check, as ``settings`` say, and return the exit status."""
    if settings.check:
        trouble = check(settings.host, settings.port)
        print(trouble or "the clock server answers")
        return 1 if trouble else 0
    clock = SkewedClock(settings.offset, settings.drift_ppm)
    lifetime = Lifetime(settings.interface).end_on_signals()
    try:
        listener = open_listener(settings.host, settings.port)
    except ClockError as error:
        print(error, file=sys.stderr)
        return 1
    max_clients = places(settings.max_clients)
    events = Events("clock", settings.log)
    address, bound_port = listener.getsockname()[:2]
    events(
        "listening",
        address=address,
        port=bound_port,
        offset_s=clock.offset_s,
        drift_ppm=clock.drift_ppm,
        started=rfc3339(clock.started_wall_ns),
        max_clients=max_clients,
    )
    threading.stack_size(STACK_BYTES)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    limits = Limits(max_clients, settings.idle_timeout, settings.send_timeout)
    ClockServer(listener, clock, events, limits).serve(lifetime)
    if threading.active_count() > 1:
        # Threads of clients that could not be ended in time. The interpreter's own end would abort
        # if one of them were just writing to the log.
        os._exit(0)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program with ``arguments`` (those of the command line when None)."""
    return run(parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
