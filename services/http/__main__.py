"""Start the web server: ``python -m services.http``."""

import socket
import sys

from services.events import Events
from services.http.protocol import PORT
from services.http.server import HEALTH_CHECK_AGENT, BindError, Limits, Server, listen
from services.http.site import FAILING_PATH, Site
from services.lifetime import Lifetime
from services.options import LOG_STYLES, OptionParser, integer, port, positive_duration_s

CHECK_TIMEOUT_S = 2.0
SPARE_DESCRIPTORS = 64
"""For whatever is no client: the listener, the selector, the log."""


def main() -> int:
    """Serve, or check a running server; return the exit status."""
    defaults = Limits()
    parser = OptionParser(
        "HTTP",
        prog="python -m services.http",
        description=f"A small web server, one thread per connection. The page {FAILING_PATH} fails "
        "on purpose.",
        epilog="Exit status: 0 ended by a signal or check passed, 1 cannot serve or check failed, "
        "2 wrong usage.",
    )
    parser.add_setting("host", default="0.0.0.0", help="address to listen on")
    parser.add_setting("port", default=PORT, type=port, help="TCP port, 0 for any free one")
    parser.add_setting(
        "log", default="human", choices=LOG_STYLES, help="one line per event on standard output"
    )
    parser.add_setting(
        "interface", default=None, help="network interface to watch: if it goes, the server ends"
    )
    parser.add_setting(
        "max-connections",
        default=defaults.max_connections,
        type=integer(1, 100_000),
        help="clients at once, a thread each; one more gets 503",
    )
    for name, value, help_text in (
        ("idle-timeout", defaults.idle_timeout_s, "wait for the next request on a connection"),
        ("head-timeout", defaults.head_timeout_s, "for a whole request head to arrive"),
        ("body-timeout", defaults.body_timeout_s, "for a whole request body to arrive"),
        ("send-timeout", defaults.send_timeout_s, "for a client to take its answer"),
    ):
        parser.add_setting(
            name, default=value, type=positive_duration_s, metavar="TIME", help=help_text
        )
    parser.add_argument(
        "--check", action="store_true", help="ask a running server on loopback for / and exit"
    )
    options = parser.parse_args()
    if options.check:
        return check(options.host, options.port)
    try:
        listener = listen(options.host, options.port)
    except BindError as error:
        print(error, file=sys.stderr)
        return 1
    limits = Limits(
        max_connections=min(options.max_connections, _descriptors(options.max_connections)),
        idle_timeout_s=options.idle_timeout,
        head_timeout_s=options.head_timeout,
        body_timeout_s=options.body_timeout,
        send_timeout_s=options.send_timeout,
    )
    lifetime = Lifetime(options.interface).end_on_signals()
    Server(Site(), Events("http", options.log), lifetime, limits).serve(listener)
    return 0


def check(host: str, port_number: int) -> int:
    """Fetch ``/`` as the container's health check; return 0 if it is answered with 200."""
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    request = (
        f"GET / HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {HEALTH_CHECK_AGENT}\r\n"
        "Connection: close\r\n\r\n"
    )
    answer = b""
    try:
        with socket.create_connection((target, port_number), CHECK_TIMEOUT_S) as connection:
            connection.sendall(request.encode())
            while data := connection.recv(16384):
                answer += data
    except OSError as error:
        print(f"http {target}:{port_number}: {error}")
        return 1
    status_line = answer.partition(b"\r\n")[0].decode("latin-1")
    print(f"http {target}:{port_number}: {status_line!r}")
    return 0 if status_line.startswith("HTTP/1.1 200 ") else 1


def _descriptors(wanted: int) -> int:
    """Raise the soft limit on open files as far as needed; return how many clients it allows."""
    if sys.platform == "win32":
        return wanted  # no such limit there
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, soft - SPARE_DESCRIPTORS)


if __name__ == "__main__":
    sys.exit(main())
