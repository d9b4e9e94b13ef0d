"""The web server's numbers that are options too: its port, and what one client may cost."""

from typing import NamedTuple

PORT = 12345
"""TCP port of the web server."""


class Limits(NamedTuple):
    """What clients may cost. Each wait has an end; times in seconds."""

    max_connections: int = 10_100
    """Connections at once, a thread each; one more is answered with 503."""

    idle_timeout_s: float = 15.0
    """Between requests, and before the first: then the connection is closed without a word."""

    head_timeout_s: float = 10.0
    """From the first byte of a request to the end of its head: then 408."""

    body_timeout_s: float = 20.0
    """From the end of the head to the end of the body, more by the minimum rate: then 408."""

    send_timeout_s: float = 10.0
    """For the client to take an answer, more by the minimum rate: then it is cut off."""

    min_rate: int = 1024
    """Bytes that earn another second for a body or an answer, so that a long one may take its time
    but a client that trickles may not (as ``MinRate`` of Apache's mod_reqtimeout)."""

    linger_s: float = 2.0
    """For the client to close after our last answer."""
