"""Start the web server: ``python -m services.http``.

What serving takes is imported after the options are read, because the container's health check is
this program too, every few seconds.
"""

import argparse
import os
import socket
import sys
from collections.abc import Sequence

from services.http.check import check
from services.http.limits import PORT, Limits
from services.options import LOG_STYLES, OptionParser, integer, port, positive_duration_s

SPARE_DESCRIPTORS = 128
"""For whatever is no client: the listener, refused connections, health checks, pages, the log."""


def parser() -> OptionParser:
    """Return the options of the server; see ``--help``."""
    options = OptionParser(
        "HTTP",
        prog="python -m services.http",
        description="A small web server, one thread per connection.",
        epilog="""examples:
  python -m services.http --port 8080 --log json
  python -m services.http --workers 2       two processes, for more than one core
  python -m services.http --check           is the server on this machine well?

exit status: 0 ended by SIGTERM or Ctrl-C, or the check is good; 1 cannot bind, or the check is bad;
2 wrong usage""",
    )
    options.add_setting("host", default="0.0.0.0", help="address to listen on")
    options.add_setting("port", default=PORT, type=port, help="TCP port, 0 for any free one")
    options.add_setting(
        "log", default="human", choices=LOG_STYLES, help="one line per event on standard output"
    )
    options.add_setting(
        "interface",
        default=None,
        metavar="NAME",
        help="network interface to watch: if it goes, the server ends",
    )
    options.add_setting(
        "pages", default=None, metavar="FOLDER", help="folder to serve instead of the lab's pages"
    )
    options.add_setting(
        "workers",
        default=1,
        type=integer(1, 64),
        metavar="N",
        help="processes that serve the port, each on a core of its own and with limits of its own",
    )
    options.add_setting(
        "cores",
        default="one",
        choices=("one", "any"),
        help="whether the threads of a process keep to one core, which is quicker, or use any",
    )
    defaults = Limits()
    options.add_setting(
        "max-connections",
        default=defaults.max_connections,
        type=integer(1, 100_000),
        metavar="N",
        help="clients at once, a thread each; one more gets 503",
    )
    for name, value, help_text in (
        ("idle-timeout", defaults.idle_timeout_s, "wait for the next request on a connection"),
        ("head-timeout", defaults.head_timeout_s, "for a whole request head to arrive"),
        ("body-timeout", defaults.body_timeout_s, "for a request body to arrive, see --min-rate"),
        ("send-timeout", defaults.send_timeout_s, "for an answer to be taken, see --min-rate"),
        ("linger", defaults.linger_s, "for a client to close after the last answer"),
    ):
        options.add_setting(
            name, default=value, type=positive_duration_s, metavar="TIME", help=help_text
        )
    options.add_setting(
        "min-rate",
        default=defaults.min_rate,
        type=integer(1),
        metavar="N",
        help="bytes of a body or an answer for which a client gets another second",
    )
    options.add_argument(
        "--check", action="store_true", help="ask a running server; for containers"
    )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve, or check a running server; return the exit status."""
    settings = parser().parse_args(arguments)
    if settings.check:
        trouble = check(settings.host, settings.port)
        print(trouble or "the web server answers")
        return 1 if trouble else 0
    return serve(settings)


def serve(settings: argparse.Namespace) -> int:
    """Serve as ``settings`` say and return the exit status."""
    from pathlib import Path

    from services.events import Events
    from services.http.server import BindError, Server, keep_to_one_core, listen
    from services.http.site import Site
    from services.http.workers import supervise
    from services.lifetime import Lifetime

    several = settings.workers > 1
    lifetime = Lifetime(settings.interface).end_on_signals()
    listeners: list[socket.socket] = []
    try:
        for _ in range(settings.workers):
            bound_port = listeners[0].getsockname()[1] if listeners else settings.port
            listeners.append(listen(settings.host, bound_port, shared=several))
    except BindError as error:
        print(error, file=sys.stderr)
        return 1
    limits = Limits(
        max_connections=places(settings.max_connections),
        idle_timeout_s=settings.idle_timeout,
        head_timeout_s=settings.head_timeout,
        body_timeout_s=settings.body_timeout,
        send_timeout_s=settings.send_timeout,
        min_rate=settings.min_rate,
        linger_s=settings.linger,
    )
    events = Events("http", settings.log, shared=several)
    address, bound_port = listeners[0].getsockname()[:2]
    events(
        "listening",
        address=address,
        port=bound_port,
        max_connections=limits.max_connections,
        workers=settings.workers,
    )
    site = Site() if settings.pages is None else Site(Path(settings.pages))

    def work(number: int, until: Lifetime) -> None:
        if settings.cores == "one":
            keep_to_one_core(number - 1)
        for listener in listeners[: number - 1] + listeners[number:]:
            listener.close()  # of the other workers
        server = Server(site, events, until, limits)
        all_finished = server.serve(listeners[number - 1])
        events(
            "worker-stopped" if several else "stopped",
            **{"worker": number} if several else {},
            reason=until.reason,
            connections=server.connections,
            requests=server.requests,
            refused=server.refused,
        )
        if not all_finished:
            # Threads of clients that could not be ended in time. The interpreter's own end would
            # abort if one of them were just writing to the log.
            os._exit(0)

    if several:
        supervise(settings.workers, work, lifetime, events)
        events("stopped", reason=lifetime.reason)
    else:
        work(1, lifetime)
    return 0


def places(wanted: int) -> int:
    """Return how many clients there are descriptors for, at most ``wanted``.

    Raises this process's soft limit on open files as far as that needs, and the hard limit allows.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, min(wanted, soft - SPARE_DESCRIPTORS))
    return wanted


if __name__ == "__main__":
    sys.exit(main())
