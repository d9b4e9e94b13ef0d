"""Start the UDP ping server: ``python -m services.udp``; its health check: ``... --check``."""

import argparse
import random
import secrets
import sys
from collections.abc import Sequence

from services.events import Events
from services.lifetime import Lifetime
from services.options import LOG_STYLES, OptionParser, integer, port, probability
from services.udp.drop import DROP_PROBABILITY, DropDecision, ScheduledDrop, positions, random_drop
from services.udp.protocol import PORT
from services.udp.server import PingServer, ServerError, bound_socket, check

EXAMPLES = """\
examples:
  python -m services.udp                            half of the datagrams get no answer
  python -m services.udp --drop 0.3 --seed 7        three in ten, the same ones every time
  python -m services.udp --drop-schedule 1,3,4      each client's first, third and fourth
  nc -u 127.0.0.1 1234                              ask it by hand (type a line)

exit status: 0 after SIGTERM or Ctrl-C; 1 cannot start, or not healthy; 2 wrong usage
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the settings; exits with status 2 on wrong usage."""
    parser = OptionParser(
        "UDP",
        prog="udp-server",
        description="Confirm every datagram, except for those dropped on purpose.",
        epilog=EXAMPLES,
    )
    parser.add_setting("host", default="0.0.0.0", help="address to listen on")
    parser.add_setting("port", type=port, default=PORT, help="UDP port, 0 for any free one")
    parser.add_setting(
        "drop",
        type=probability,
        default=DROP_PROBABILITY,
        metavar="P",
        help="probability of dropping a datagram, 0 to 1 or 0% to 100%",
    )
    parser.add_setting(
        "seed",
        type=integer(0),
        default=None,
        metavar="N",
        help="make the sequence of drop decisions repeatable; chosen and logged if not given",
    )
    parser.add_setting(
        "drop-schedule",
        type=positions,
        default=None,
        metavar="1,3,4",
        help="drop exactly these of each client's datagrams; --drop and --seed then do nothing",
    )
    parser.add_setting("log", choices=LOG_STYLES, default="human", help="one line per event, as")
    parser.add_setting(
        "interface", default=None, help="end when this network interface has gone (containers)"
    )
    parser.add_argument(
        "--check", action="store_true", help="ask a running server on this machine if it is well"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; return the exit status."""
    settings = parse(arguments)
    if settings.check:
        complaint = check(settings.host, settings.port)
        print(complaint or "healthy", file=sys.stderr if complaint else sys.stdout)
        return 1 if complaint else 0
    lifetime = Lifetime(settings.interface).end_on_signals()
    return serve(settings, lifetime, Events("udp", settings.log))


def serve(settings: argparse.Namespace, lifetime: Lifetime, events: Events) -> int:
    """Serve until ``lifetime`` is over; return the exit status."""
    drop: DropDecision
    shown: dict[str, str | int | float]
    if settings.drop_schedule is not None:
        drop = ScheduledDrop(settings.drop_schedule)
        shown = {"drop_schedule": ",".join(map(str, sorted(settings.drop_schedule)))}
    else:
        seed = secrets.randbits(32) if settings.seed is None else settings.seed
        drop = random_drop(settings.drop, random.Random(seed).random)
        shown = {"drop": settings.drop, "seed": seed}
    try:
        server_socket = bound_socket(settings.host, settings.port)
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    with server_socket:
        address, own_port = server_socket.getsockname()[:2]
        events("listening", address=address, port=own_port, **shown)
        probability = None if settings.drop_schedule is not None else settings.drop
        server = PingServer(server_socket, drop, events, probability)
        server.serve(lifetime)
    events("stopped", reason=lifetime.reason, **server.counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
