"""What the UDP ping exercise speaks: any datagram is a question, its confirmation the answer.

The question may be anything, 0 to 65,507 bytes. The answer is text that ``nc -u`` can show::

    hello                                     received 5 bytes: hello
    (an empty datagram)                       received 0 bytes

It gives the question back, so that a client can tell which of its datagrams was answered. In
RFC 5234 grammar, LF being one line feed::

    confirmation = "received " size " bytes" [ ": " quote ] [ LF ]
    size         = 1*5DIGIT        ; of the question, in bytes
    quote        = 1*1000OCTET     ; its first bytes, unchanged; absent for an empty question

The line feed is left out where the quote ends in one already. So an answer is at most 23 bytes
larger than its question, and never larger than 1,023: the server is no amplifier for somebody who
forges the sender (RFC 8085, section 3.1.11 and RFC 4732 tell why that matters), and the answer to
the largest question still fits one Ethernet frame.

The lab's own client puts a head before its message. The server does not need it: it is for the
client to recognise its answers, and for people to read in a log or a capture::

    +------+----+-----------------+----+---------+---+---------+---+----+- - - - - - - - - - -+
    | ping | SP | run (8 hex dig) | SP | request | . | attempt | : | SP | message, padding    |
    +------+----+-----------------+----+---------+---+---------+---+----+- - - - - - - - - - -+

    ping 7f3a9c01 3.2: hello                  run 7f3a9c01, request 3, attempt 2 (a retry)

Health check: the exact datagram ``HEALTH_CHECK``, from the server's own machine, is always
confirmed. It takes no drop decision and no place in a drop schedule, and is not counted.

Left out on purpose: authentication (whoever can read a ping can forge its confirmation), and
integrity beyond the UDP checksum (RFC 768).
"""

import re
from dataclasses import dataclass

PORT = 1234
"""The exercise's port, for server and client."""

LARGEST_DATAGRAM = 65_507
"""Bytes that UDP over IPv4 can carry: 65,535 less 20 of IP header and 8 of UDP header."""

QUOTE_LIMIT = 1000
"""How many bytes of the question a confirmation gives back."""

LARGEST_GROWTH = len(b"received 65507 bytes: \n")
"""How many bytes longer than its question a confirmation can be."""

HEALTH_CHECK = b"progres-lab health check\n"

LOOP_DEPTH = 3
"""A question that is a confirmation of a confirmation, this many deep, is not answered."""

_GOING_ROUND = re.compile(rb"(?:received \d{1,5} bytes: ){%d}" % LOOP_DEPTH)
_PING = re.compile(rb"ping ([0-9a-f]{8}) ([1-9]\d{0,8})\.([1-9]\d{0,8}):", re.IGNORECASE)


def confirm(datagram: bytes) -> bytes:
    """Return the confirmation of ``datagram``, at most ``LARGEST_GROWTH`` bytes longer."""
    if not datagram:
        return b"received 0 bytes\n"
    quote = datagram[:QUOTE_LIMIT]
    end = b"" if quote.endswith(b"\n") else b"\n"
    return b"received %d bytes: %b%b" % (len(datagram), quote, end)


def is_going_round(datagram: bytes) -> bool:
    """Return True for a confirmation that servers have sent each other several times.

    A forged sender can point one such server at another, or at an echo service (RFC 862): each
    would answer the other's answers for ever. Every round adds a head, by which it is recognised.
    """
    return _GOING_ROUND.match(datagram) is not None


def is_own_machine(address: str, own_address: str) -> bool:
    """Return True if ``address`` is loopback, or the one address that the server is bound to.

    From outside, packets with such a source are discarded by the kernel as "martians" (RFC 1812,
    section 5.3.7), so a health check cannot be forged.
    """
    return address in ("::1", own_address) or address.startswith(("127.", "::ffff:127."))


@dataclass(frozen=True)
class Ping:
    """The head of the lab's own pings: ``run`` is 8 hexadecimal digits, the others count from 1."""

    run: str
    request: int
    attempt: int

    def datagram(self, message: bytes, size: int = 0) -> bytes:
        """Return the ping with its message, padded with dots to ``size`` bytes."""
        head = f"ping {self.run} {self.request}.{self.attempt}:".encode()
        return (head + b" " + message if message else head).ljust(size, b".")


def find_ping(data: bytes) -> Ping | None:
    """Return the first ping head in ``data`` (a question, a confirmation, an echo), or None.

    Letter case does not matter, because textbook servers answer in capitals (Kurose and Ross, the
    "UDP pinger"). A head that was cut short is none: its colon is missing.
    """
    match = _PING.search(data)
    if match is None:
        return None
    return Ping(match[1].decode().lower(), int(match[2]), int(match[3]))
