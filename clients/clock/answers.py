"""Reads the time out of a clock server's answer: ours, and those of other people's servers.

==================================  ===================  ==========================================
Form                                Example              Source
==================================  ===================  ==========================================
RFC 3339, ISO 8601                  2026-11-22T19:03:18  ``T`` or a space; any number of fraction
                                    .975123456Z          digits; ``Z``, ``UTC``, ``+01:00`` or no
                                                         zone
ctime                               Sun Nov 22 19:03:18  C's asctime, ``time.ctime()``, ``date``
                                    2026
seconds since the epoch             1795374198.975       ``time.time()``, whole or with a fraction
our extension                       received 2026-...Z   ``services.clock.protocol``: two times in
                                    by kernel sent       RFC 3339 form
                                    2026-...Z
==================================  ===================  ==========================================

An answer is an interval, not an instant: a clock that shows whole seconds and says 19:03:18 has
read anything from 18.0 up to, but not including, 19.0, and a little more: C's ``time()``, and with
it ``time.ctime()``, reads the clock as of the kernel's last tick. A fraction may have been cut or
rounded, which cannot be seen, so there the interval begins half a digit earlier.

Left out on purpose: other languages, times of day without a date, milliseconds since the epoch.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from services.clock.protocol import NANOSECONDS

FLOAT_RESOLUTION_NS = 1_000
"""``time.time()`` is a double: today its neighbours are 238 ns apart, whatever digits it shows."""

COARSE_CLOCK_NS = 20_000_000
"""How far ``time()`` may lag behind the clock: a tick (Linux: up to 10 ms, CONFIG_HZ=100; Windows:
15.6 ms), and by what the tick itself is late (5.5 ms of 4 were seen in a virtual machine)."""

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d+))? ?"
    r"(Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)
_CTIME = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d)"
    r"(?: (UTC|GMT))? (\d{4})",
    re.ASCII,
)
_EPOCH = re.compile(r"(-?\d+)(?:\.(\d+))?", re.ASCII)
_EXACT = re.compile(r"received (\S{19,40}Z) by (kernel|process) sent (\S{19,40}Z)", re.ASCII)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_YEARS_S = (-62135596800, 253402300799)  # 0001-01-01 to 9999-12-31


class UnreadableAnswer(ValueError):
    """The text is not a time in a form that is known here."""


@dataclass(frozen=True)
class ServerTime:
    """What a server's clock showed: the instant lies in ``earliest_ns <= instant < latest_ns``.

    All in nanoseconds since the epoch. ``zone_assumed`` is the zone that the text did not name, or
    None when it named one (or needed none). An answer to the exact question says when it was sent
    (the interval), and before which instant the question was received, and who noted that.
    """

    text: str
    earliest_ns: int
    latest_ns: int
    resolution_ns: int
    zone_assumed: str | None = None
    received_before_ns: int | None = None
    received_by: str | None = None

    @property
    def receive_latest_ns(self) -> int:
        """What the server's clock showed at the latest when the question had arrived (T2)."""
        return self.latest_ns if self.received_before_ns is None else self.received_before_ns

    @property
    def transmit_earliest_ns(self) -> int:
        """What it showed at the earliest when the answer left (T3)."""
        return self.earliest_ns

    @property
    def residence_ns(self) -> int | None:
        """How long the server had the question, if it said so."""
        if self.received_before_ns is None:
            return None
        return self.latest_ns - self.received_before_ns


def parse_time(text: str, zone: tzinfo = UTC) -> ServerTime:
    """Return the time that ``text`` says, in ``zone`` if it names none. Raises UnreadableAnswer."""
    text = text.strip()
    if match := _ISO.fullmatch(text):
        year, month, day, hour, minute, second, fraction, named = match.groups()
        return _calendar(text, (year, month, day, hour, minute, second), fraction, named, zone)
    if (match := _CTIME.fullmatch(text)) and match[1] in _MONTHS:
        name, day, hour, minute, second, named, year = match.groups()
        month = str(_MONTHS.index(name) + 1)
        return _calendar(text, (year, month, day, hour, minute, second), None, named, zone)
    if match := _EPOCH.fullmatch(text):
        whole, fraction = match.groups()
        if len(whole) > 15 or not _YEARS_S[0] <= int(whole) <= _YEARS_S[1]:
            raise UnreadableAnswer(f"{shown(text)} is not a year from 1 to 9999 as seconds")
        value_ns, resolution_ns = _fraction_ns(fraction)
        value_ns = int(whole) * NANOSECONDS + (-value_ns if whole.startswith("-") else value_ns)
        if fraction:
            resolution_ns = max(resolution_ns, FLOAT_RESOLUTION_NS)
        return _interval(text, value_ns, resolution_ns, fraction is not None, None)
    raise UnreadableAnswer(f"{shown(text)} is not a time that can be read")


def read_answer(text: str, *, cut_off: bool, zone: tzinfo = UTC) -> ServerTime:
    """Return the time that a server's answer says. Raises UnreadableAnswer, which quotes it.

    ``cut_off`` says that its line end was not seen. It may be whole all the same; but a number of
    fewer than ten digits is then taken for the beginning of a time, not for one in 1970.
    """
    if text.lower().startswith("error"):
        raise UnreadableAnswer(f"the server says {shown(text, 200)}")
    if match := _EXACT.fullmatch(text):
        return _exact(text, *match.groups())
    try:
        found = parse_time(text, zone)
    except UnreadableAnswer:
        if cut_off:
            raise UnreadableAnswer(f"the answer broke off after {shown(text)}") from None
        raise
    if cut_off and _EPOCH.fullmatch(text) and abs(found.latest_ns) < 10**9 * NANOSECONDS:
        raise UnreadableAnswer(f"the answer broke off after {shown(text)}")
    return found


def _exact(text: str, receipt: str, by: str, transmission: str) -> ServerTime:
    received, sent = parse_time(receipt), parse_time(transmission)
    if sent.latest_ns < received.latest_ns:
        raise UnreadableAnswer(
            "the server's clock ran backwards while it answered: "
            f"received {receipt}, sent {transmission}"
        )
    return replace(
        sent,
        text=text,
        resolution_ns=max(received.resolution_ns, sent.resolution_ns),
        received_before_ns=received.latest_ns,
        received_by=by,
    )


def _calendar(
    text: str,
    fields: tuple[str, ...],
    fraction: str | None,
    named: str | None,
    zone: tzinfo,
) -> ServerTime:
    year, month, day, hour, minute, second = (int(field) for field in fields)
    leap = second == 60  # RFC 3339 section 5.7: a leap second; POSIX time has no number for it
    try:
        moment = datetime(
            year, month, day, hour, minute, second - leap, tzinfo=_named_zone(named) or zone
        )
        since_epoch = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise UnreadableAnswer(f"{shown(text)} is not a time: {error}") from None
    seconds = since_epoch // timedelta(seconds=1) + leap
    value_ns, resolution_ns = _fraction_ns(fraction)
    assumed = None if named else str(moment.tzname())
    return _interval(
        text, seconds * NANOSECONDS + value_ns, resolution_ns, fraction is not None, assumed
    )


def _named_zone(name: str | None) -> tzinfo | None:
    if name is None or name in ("Z", "z", "UTC", "GMT"):
        return UTC if name else None
    digits = name[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return timezone(timedelta(minutes=-minutes if name[0] == "-" else minutes))


def _fraction_ns(digits: str | None) -> tuple[int, int]:
    """Return the value of the fraction's digits and that of its last one, in nanoseconds."""
    if digits is None:
        return 0, NANOSECONDS
    return int(digits[:9].ljust(9, "0")), 10 ** (9 - min(len(digits), 9))


def _interval(
    text: str, value_ns: int, resolution_ns: int, has_fraction: bool, assumed: str | None
) -> ServerTime:
    before_ns, after_ns = (resolution_ns // 2, 0) if has_fraction else (0, COARSE_CLOCK_NS)
    return ServerTime(
        text,
        value_ns - before_ns,
        value_ns + resolution_ns + after_ns,
        resolution_ns,
        assumed,
    )


def shown(text: str, limit: int = 60) -> str:
    """Return a peer's text in quotes, escaped and shortened, fit for a terminal."""
    return ascii(text if len(text) <= limit else text[:limit] + "...")
