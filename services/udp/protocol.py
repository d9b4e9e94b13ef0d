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

The lab's own client puts a head before its message. By it the client recognises its answers, and
people read it in a log or a capture::

    +------+----+---------+----+---------+---+---------+----+---+--------+---+----+- - - - - -+
    | ping | SP | run     | SP | request | . | attempt | SP | # | number | : | SP | message   |
    +------+----+---------+----+---------+---+---------+----+---+--------+---+----+- - - - - -+

    ping 7f3a9c01 3.2 #5: hello               request 3, attempt 2 (a retry), fifth datagram of all

``run`` is 8 hexadecimal digits. ``SP # number`` may be missing. Where it is there, right at the
beginning of the datagram, it asks for two things more (docs/udp.md shows what for).

**Times.** The confirmation says when the question reached this machine and how long the server held
it, until just before it called the system to send::

    received 27 bytes at 1792000000.123456789 +21417ns: ping 7f3a9c01 3.2 #5: hello

    times = " at " [ "~" ] seconds "." 9DIGIT " +" 1*12DIGIT "ns"     ; after "bytes"

The instant is the kernel's receive stamp, in seconds since 1970 of the server's clock; ``~`` says
that there is none, and that the program read the clock itself, when it could not know any more for
how long it had held the question. The end of holding cannot be a kernel stamp: it would have to
travel in the packet that it stamps, and one that is taken where the packet leaves would contain,
and so hide, the delay that netem makes there.

**An account.** The server remembers what became of the numbered datagrams of a run, and tells the
client that made it, from the same address and port, about the datagrams ``first`` to ``last``::

    account? 7f3a9c01 1 6 ..............................................
    account 7f3a9c01 from 1, complete for 12.345 s, drop 0.5: 114041

    question = "account? " run SP first SP last [ SP *OCTET ] [ LF ]
    account  = "account " run " from " first ", complete for " 1*9DIGIT "." 3DIGIT " s, drop " drop
               ": " 1*code LF
    drop     = probability / "schedule"
    code     = %x30-6F             ; answered + 4 * dropped + 16 * unanswered + 48, each 0 to 3

The codes are those of ``first`` and the datagrams after it, as many as fit: an account is at most
``LARGEST_GROWTH + LARGEST_TIMES`` bytes longer than its question, just as a confirmation is, so the
question is padded to the length that it wants back. 0: never received; 1: answered; 4: dropped on
purpose; 5: received twice, once dropped and once answered; 3 of a kind may be more. The account is
complete for what came within the time that it names: before that the server was not yet running, or
had to forget a run. Asking takes no drop decision and no place in a schedule, and is neither
counted nor logged.

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

LINE_FEED = 0x0A

LOOP_DEPTH = 3
"""A question that is a confirmation of a confirmation, this many deep, is not answered."""

LONGEST_HELD_NS = 10**12 - 1
"""Longer than this no server holds a datagram: something is wrong with its clock."""

LARGEST_TIMES = len(b" at ~1792000000.123456789 +999999999999ns")
"""How many bytes more a confirmation has that tells the times."""

ACCOUNT_LIMIT = 1 << 20
"""The account of a run has its datagrams up to this number."""

LARGEST_ACCOUNT = 1400
"""Bytes: an account fits one Ethernet frame, and tunnels in it."""

_HEAD = rb"ping ([0-9a-f]{8}) ([1-9]\d{0,8})\.([1-9]\d{0,8})"
_GOING_ROUND = re.compile(rb"(?:received \d{1,5} bytes(?: at [^ ]+ [^ ]+)?: ){%d}" % LOOP_DEPTH)
_PING = re.compile(_HEAD + rb"(?: #([1-9]\d{0,8}))?:", re.IGNORECASE)
_TIMES = re.compile(rb"received \d{1,5} bytes at (~?)(\d{1,10})\.(\d{9}) \+(\d{1,12})ns: ")
_ACCOUNT_QUESTION = re.compile(rb"account\? ([0-9a-f]{8}) ([1-9]\d{0,8}) ([1-9]\d{0,8})(?:[ \n]|$)")
_ACCOUNT = re.compile(
    rb"account ([0-9a-f]{8}) from ([1-9]\d{0,8}), complete for (\d{1,9}\.\d{3}) s, "
    rb"drop (schedule|[01](?:\.\d{1,9})?): ([0-o]+)\n"
)

SPECIAL = (b"ping ", b"account? ", b"received ", HEALTH_CHECK)
"""How whatever is more than a text to be confirmed begins."""

match_ping = re.compile(
    rb"ping ([0-9a-f]{8}) ([1-9]\d{0,8}\.[1-9]\d{0,8})(?: #([1-9]\d{0,8}))?:"
).match
"""Match a datagram that begins with a ping: run, "request.attempt" and number or None, as bytes."""

_HEADS = [b"received %d bytes: " % size for size in range(QUOTE_LIMIT + 1)]


def confirm(datagram: bytes, times: bytes = b"") -> bytes:
    """Return the confirmation of ``datagram``, at most ``LARGEST_GROWTH`` bytes longer.

    ``times`` is the text of the times, where they are asked for.
    """
    size = len(datagram)
    if 0 < size <= QUOTE_LIMIT and not times and datagram[-1] != LINE_FEED:
        return _HEADS[size] + datagram + b"\n"  # nearly always, at half the cost of formatting
    if not datagram:
        return b"received 0 bytes\n"
    quote = datagram[:QUOTE_LIMIT]
    end = b"" if quote.endswith(b"\n") else b"\n"
    return b"received %d bytes%b: %b%b" % (size, times, quote, end)


def is_going_round(datagram: bytes) -> bool:
    """Return True for a confirmation that servers have sent each other several times.

    A forged sender can point one such server at another, or at an echo service (RFC 862): each
    would answer the other's answers for ever. Every round adds a head, by which it is recognised.
    """
    return datagram.startswith(b"received ") and _GOING_ROUND.match(datagram) is not None


def is_own_machine(address: str, own_address: str) -> bool:
    """Return True if ``address`` is loopback, or the one address that the server is bound to.

    From outside, packets with such a source are discarded by the kernel as "martians" (RFC 1812,
    section 5.3.7), so a health check cannot be forged.
    """
    return address in ("::1", own_address) or address.startswith(("127.", "::ffff:127."))


@dataclass(frozen=True)
class Times:
    """When the server received a ping, on its own wall clock, and how long it held it."""

    received_ns: int
    held_ns: int
    by_kernel: bool


def times_text(received_ns: int, held_ns: int, by_kernel: bool) -> bytes:
    """Return ``Times`` as they stand in a confirmation."""
    seconds, nanoseconds = divmod(received_ns, 1_000_000_000)
    if by_kernel:
        return b" at %d.%09d +%dns" % (seconds, nanoseconds, held_ns)
    return b" at ~%d.%09d +%dns" % (seconds, nanoseconds, held_ns)


def find_times(confirmation: bytes) -> Times | None:
    """Return the times that a confirmation tells, or None."""
    match = _TIMES.match(confirmation)
    if match is None:
        return None
    received_ns = int(match[2]) * 1_000_000_000 + int(match[3])
    return Times(received_ns, int(match[4]), not match[1])


@dataclass(frozen=True)
class Ping:
    """The head of the lab's own pings: ``run`` is 8 hexadecimal digits, the others count from 1.

    ``number`` is the datagram's, of all that the run has sent; None: it asks for nothing more.
    """

    run: str
    request: int
    attempt: int
    number: int | None = None

    def datagram(self, message: bytes, size: int = 0) -> bytes:
        """Return the ping with its message, padded with dots to ``size`` bytes."""
        number = "" if self.number is None else f" #{self.number}"
        head = f"ping {self.run} {self.request}.{self.attempt}{number}:".encode()
        return (head + b" " + message if message else head).ljust(size, b".")


def find_ping(data: bytes) -> Ping | None:
    """Return the first ping head in ``data`` (a question, a confirmation, an echo), or None.

    Letter case does not matter, because textbook servers answer in capitals (Kurose and Ross, the
    "UDP pinger"). A head that was cut short is none: its colon is missing.
    """
    match = _PING.search(data)
    if match is None:
        return None
    run, request, attempt, number = match.groups()
    return Ping(run.decode().lower(), int(request), int(attempt), int(number) if number else None)


@dataclass(frozen=True)
class AccountQuestion:
    """Asks what became of the datagrams ``first`` to ``last`` of a run."""

    run: str
    first: int
    last: int

    def datagram(self) -> bytes:
        """Return the question, padded so that all codes may come back."""
        head = f"account? {self.run} {self.first} {self.last} ".encode()
        return head.ljust(min(50 + self.last - self.first, LARGEST_ACCOUNT), b".")


def find_account_question(datagram: bytes) -> AccountQuestion | None:
    """Return the question for an account that a datagram is, or None."""
    match = _ACCOUNT_QUESTION.match(datagram)
    if match is None or int(match[2]) > int(match[3]):
        return None
    return AccountQuestion(match[1].decode(), int(match[2]), int(match[3]))


@dataclass(frozen=True)
class Account:
    """What the server says of the datagrams from ``first`` on, a code each.

    ``complete_s``: it knows all that came within so many seconds. ``drop`` is its probability of
    dropping, None for a schedule.
    """

    run: str
    first: int
    complete_s: float
    drop: float | None
    codes: bytes

    def datagram(self, longest: int) -> bytes:
        """Return the account, with as many codes as ``longest`` bytes have room for."""
        drop = "schedule" if self.drop is None else f"{self.drop:.9f}".rstrip("0").rstrip(".")
        complete_s = int(self.complete_s * 1000) / 1000  # never more than is so
        head = f"account {self.run} from {self.first}, complete for {complete_s:.3f} s, "
        text = f"{head}drop {drop}: ".encode()
        return text + self.codes[: max(longest - len(text) - 1, 0)] + b"\n"


def find_account(datagram: bytes) -> Account | None:
    """Return the account that a datagram is, from beginning to end, or None."""
    match = _ACCOUNT.fullmatch(datagram)
    if match is None:
        return None
    drop = None if match[4] == b"schedule" else float(match[4])
    if drop is not None and drop > 1:
        return None
    return Account(match[1].decode(), int(match[2]), float(match[3]), drop, match[5])


@dataclass(frozen=True)
class Fate:
    """How often a numbered datagram came to each end at the server, up to 3."""

    answered: int
    dropped: int
    unanswered: int

    @classmethod
    def of(cls, code: int) -> "Fate":
        """Return what a code of an account says; ``code`` is one byte of it."""
        value = code - NEVER_RECEIVED
        return cls(value & 3, value >> 2 & 3, value >> 4 & 3)

    @property
    def copies(self) -> int:
        """How many copies of the datagram reached the server."""
        return self.answered + self.dropped + self.unanswered


NEVER_RECEIVED = 0x30
ANSWERED, DROPPED, UNANSWERED = 0, 2, 4
ENDS = {"answered": ANSWERED, "dropped": DROPPED, "unanswered": UNANSWERED}
"""The lowest bit, in a code, of the count of each end."""
