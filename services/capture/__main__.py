"""Capture what passes an interface, as pcapng on standard output: ``python -m services.capture``.

Packets are written as they come, so the file is a valid one whenever this is killed. SIGTERM,
Ctrl-C, the end of standard input, ``--seconds`` and ``--max-bytes`` (for strangers' packets) end it
properly: what has come is written, then how many packets there were and how many were missed. On
standard error: a line (JSON) when the tap is in place, and one at the end.
"""

import argparse
import math
import os
import select
import stat
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from services.capture import pcapng, selection
from services.capture.tap import Packet, Tap, TapError
from services.events import Events
from services.lifetime import TICK_S, Lifetime
from services.options import OptionParser, integer, port, positive_duration_s

SNAP_LENGTH = 262_144
"""Bytes kept of each packet, by default: more than there are in any (TCP's super-packets too)."""

LOT = 64
"""So many packets that queue up are written at once; nothing is kept back while none comes."""

APPLICATION = "progres-lab capture"

EXAMPLES = """\
examples:
  python -m services.capture --port 1234 > udp.pcapng
  python -m services.capture --interface lo --protocol tcp --port 12345 --seconds 10 > http.pcapng

Needs root and the capability NET_RAW.
exit status: 0 ended as told; 1 no tap, or nobody takes the output; 2 wrong usage
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the settings; exits with status 2 on wrong usage."""
    parser = OptionParser(
        "CAPTURE",
        prog="capture",
        description="Write what passes a network interface to standard output, as pcapng.",
        epilog=EXAMPLES,
    )
    parser.add_setting("interface", default="eth0", help="network interface to tap")
    parser.add_setting(
        "protocol", default="udp", choices=tuple(selection.PROTOCOLS), help="keep packets of it"
    )
    parser.add_setting("port", type=port, default=1234, help="keep packets from or to this port")
    parser.add_setting(
        "snap-length",
        type=integer(64, SNAP_LENGTH),
        default=SNAP_LENGTH,
        metavar="BYTES",
        help="keep so many bytes of each packet",
    )
    parser.add_setting(
        "seconds", type=positive_duration_s, default=None, metavar="S", help="end after so long"
    )
    parser.add_setting(
        "max-bytes",
        type=integer(1),
        default=None,
        metavar="N",
        help="end at a file of so many bytes",
    )
    parser.add_setting(
        "description", default="", metavar="TEXT", help="what the file says of the interface"
    )
    return parser.parse_args(arguments)


@dataclass
class Totals:
    """What a capture came to; ``accepted`` counts the ``missed`` packets, too."""

    accepted: int = 0
    missed: int = 0


class Output:
    """Standard output, written to without a buffer of our own; ``written`` counts the bytes."""

    def __init__(self, descriptor: int) -> None:
        self.written = 0
        self._descriptor = descriptor

    def write(self, block: bytes) -> None:
        """Write all of it. Raises OSError when nobody takes it."""
        self.written += len(block)
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


def capture(
    tap: Tap,
    output: Output,
    lifetime: Lifetime,
    seconds: float | None = None,
    max_bytes: int | None = None,
    watched: Sequence[int] = (),
) -> Totals:
    """Write packets until ``lifetime`` is over; return what it came to. Raises OSError.

    It is over after so many ``seconds``, at a file of ``max_bytes`` (give or take a lot of
    packets), or when one of the ``watched`` descriptors has ended.
    """
    most_bytes = math.inf if max_bytes is None else max_bytes
    begun_ns = time.time_ns()
    end_s = math.inf if seconds is None else time.monotonic() + seconds
    while not lifetime.over():
        wait_s = max(0.0, min(TICK_S, end_s - time.monotonic()))
        readable, _, _ = select.select([tap.fileno(), *watched], [], [], wait_s)
        while blocks := [_block(packet) for packet in islice(tap.packets(), LOT)]:
            output.write(b"".join(blocks))
            if output.written >= most_bytes:
                lifetime.end("the file is full")
            if lifetime.over() or time.monotonic() >= end_s:  # in a flood there is always one more
                break
        if any(descriptor in readable and not os.read(descriptor, 4096) for descriptor in watched):
            lifetime.end("end of input")
        if time.monotonic() >= end_s:
            lifetime.end("time is up")
    tap.close_to_new()
    for packet in tap.packets():
        if output.written < most_bytes:
            output.write(_block(packet))
    totals = Totals(*tap.statistics())
    output.write(
        pcapng.interface_statistics(begun_ns, time.time_ns(), totals.accepted, totals.missed)
    )
    return totals


def _block(packet: Packet) -> bytes:
    return pcapng.enhanced_packet(packet.time_ns, packet.data, packet.length, packet.direction)


def main(arguments: Sequence[str] | None = None) -> int:
    """Capture until told to stop; return the exit status."""
    settings = parse(arguments)
    if sys.stdout.isatty():
        print("capture: a terminal cannot show this: > file.pcapng", file=sys.stderr)
        return 2
    events = Events("capture", "json", stream=sys.stderr)
    lifetime = Lifetime(settings.interface).end_on_signals()
    program = selection.program(settings.protocol, settings.port, settings.snap_length)
    kept = selection.words(settings.protocol, settings.port)
    output = Output(sys.stdout.fileno())
    try:
        with Tap(settings.interface, program, settings.snap_length) as tap:
            system = os.uname()
            output.write(pcapng.section_header(f"{system.sysname} {system.release}", APPLICATION))
            output.write(
                pcapng.interface_description(
                    settings.interface, settings.description, settings.snap_length, kept
                )
            )
            events("capturing", interface=settings.interface, kept=kept)
            totals = capture(tap, output, lifetime, settings.seconds, settings.max_bytes, _inputs())
    except TapError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:  # EPIPE: whoever took the output has gone; ENOSPC, EIO
        print(f"capture: {(error.strerror or str(error)).lower()}", file=sys.stderr)
        return 1
    events("stopped", reason=lifetime.reason, packets=totals.accepted, missed=totals.missed)
    return 0


def _inputs() -> list[int]:
    """Return standard input if it is a pipe, whose end means that nobody listens any more."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:  # EBADF: there is none
        return []
    return [0] if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else []


if __name__ == "__main__":
    sys.exit(main())
