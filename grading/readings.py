"""Reads times and durations out of what other people's programs say. Pure.

Two things are recognised: a *time* (when is it?), in a clock server's answer, and a *quantity* (how
long, how far apart?), in what a client prints.

========================  ================================================================
Time                      Example
========================  ================================================================
ISO 8601, RFC 3339        2026-11-22T19:03:18.975+01:00, 2026-11-22 19:03:18
ctime, date, Java's Date  Sun Nov 22 19:03:18 2026, Sun Nov 22 19:03:18 UTC 2026
RFC 5322, written out     Sun, 22 Nov 2026 19:03:18 GMT, November 22, 2026 7:03:18 PM
French                    dimanche 22 novembre 2026 à 19h03min18s, 22/11/2026 19:03:18
the day's time alone      19:03:18.975, 19h03m18
since an epoch            1795374198.975, in s, ms, us or ns; as packed bytes from 1970 or 1900
========================  ================================================================

A reading keeps how it is written (``Form``), so that another instant can be written the same way:
a client under test understands what its own server says.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS

_MONTHS = {
    "en": "January February March April May June July August September October November December",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "plain": "janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre",
    "en3": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
    "fr3": "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
}
_DAYS = {
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "fr": "lundi mardi mercredi jeudi vendredi samedi dimanche",
    "en3": "Mon Tue Wed Thu Fri Sat Sun",
    "fr3": "lun. mar. mer. jeu. ven. sam. dim.",
}
_ZONES = {
    "utc": 0, "gmt": 0, "z": 0, "cet": 1, "cest": 2, "met": 1, "mest": 2, "wet": 0, "west": 1,
    "eet": 2, "eest": 3, "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6,
    "pst": -8, "pdt": -7, "msk": 3, "jst": 9,
}  # fmt: skip
"""Abbreviation: hours ahead of UTC."""

NEAR_NS = 400 * DAY_NS
"""A number is a time since an epoch when it is that close to now."""


@dataclass(frozen=True)
class Form:
    """How a time is written: text with fields, or packed bytes.

    ``template`` is for ``str.format``, as in ``{hour:02}:{minute:02}``; the time is that of a zone
    ``zone_s`` ahead of UTC. ``packed`` is a format of ``struct``, for a number of ``unit_ns`` since
    ``epoch_s`` seconds after 1970.
    """

    template: str = ""
    zone_s: int = 0
    packed: str = ""
    unit_ns: int = 1
    epoch_s: int = 0

    def write(self, instant_ns: int) -> bytes:
        """Return an instant (nanoseconds since 1970) in this form."""
        if self.packed:
            value = (instant_ns - self.epoch_s * SECOND_NS) / self.unit_ns
            return struct.pack(self.packed, value if self.packed[-1] in "df" else int(value))
        seconds, rest_ns = divmod(instant_ns + self.zone_s * SECOND_NS, SECOND_NS)
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        fields: dict[str, str | int] = {
            "year": moment.year,
            "year2": moment.year % 100,
            "month": moment.month,
            "day": moment.day,
            "hour": moment.hour,
            "hour12": moment.hour % 12 or 12,
            "half": "PM" if moment.hour >= 12 else "AM",
            "minute": moment.minute,
            "second": moment.second,
        }
        for digits in range(1, 10):
            fields[f"fraction{digits}"] = f"{rest_ns:09}"[:digits]
        for name, unit_ns in (("s", SECOND_NS), ("ms", 10**6), ("us", 1000), ("ns", 1)):
            fields[f"epoch_{name}"] = instant_ns // unit_ns
        for language, names in _MONTHS.items():
            fields[f"month_{language}"] = names.split()[moment.month - 1]
        for language, names in _DAYS.items():
            fields[f"weekday_{language}"] = names.split()[moment.weekday()]
        return self.template.format_map(fields).encode()


@dataclass(frozen=True)
class Reading:
    """A time that was found, from character (of bytes: byte) ``start`` to ``end``.

    ``instant_ns``: since 1970, in UTC where no zone is named; since midnight when it is not
    ``dated``. ``resolution_ns``: of its last digit. ``form`` writes it, and it alone.
    """

    start: int
    end: int
    instant_ns: int
    resolution_ns: int
    form: Form
    dated: bool = True
    zone_named: bool = False

    def ahead_ns(self, now_ns: int) -> int:
        """Return how far it is ahead of ``now_ns``; without a date, by half a day at most."""
        if self.dated:
            return self.instant_ns - now_ns
        return (self.instant_ns - now_ns + DAY_NS // 2) % DAY_NS - DAY_NS // 2


_TIME = (
    r"(?P<H>\d{1,2})(?::| ?h ?)(?P<M>\d{2})"
    r"(?:(?::| ?m(?:in)? ?|'|(?<=h\d\d)|(?<=h \d\d) ?)"
    r"(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?(?: ?s\b|''|\")?)?"
    r"(?: ?(?P<half>[AP]M)\b)?"
    rf"(?: ?(?P<z>(?:{'|'.join(_ZONES)})\b|[+-]\d\d:?\d\d(?: UTC)?)(?:\[[A-Za-z/_]+\])?)?"
)
_WORDS = "|".join(
    sorted({w.rstrip(".") for t in _MONTHS.values() for w in t.split()}, key=len, reverse=True)
)
_WEEKDAYS = "|".join(
    sorted({w.rstrip(".") for t in _DAYS.values() for w in t.split()}, key=len, reverse=True)
)
_MONTH = rf"(?P<mon>(?:{_WORDS})\b\.?)"
_WEEKDAY = rf"(?:(?P<wd>(?:{_WEEKDAYS})\b\.?),? )?"
_JOIN = r"(?:[T_]|,? +(?:- |à |a |at |@ )?)"
_DATES = (
    r"(?P<Y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<D>\d{1,2})",
    r"(?P<D>\d{1,2})[-/.](?P<m>\d{1,2})[-/.](?P<Y>\d{4}|\d{2})",
    r"(?P<m>\d{1,2})[-/.](?P<D>\d{1,2})[-/.](?P<Y>\d{4}|\d{2})",
    rf"{_WEEKDAY}(?P<D>\d{{1,2}})(?:er)?[ -]{_MONTH}[ -](?P<Y>\d{{4}})",
    rf"{_WEEKDAY}{_MONTH} (?P<D>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<Y>\d{{4}})",
)
_CTIME = rf"{_WEEKDAY}{_MONTH} (?P<D> ?\d{{1,2}}) {_TIME} (?P<Y>\d{{4}})"
_EDGE, _BRINK = r"(?<![\w:.,/-])", r"(?![\w:])"
_PATTERNS = tuple(
    re.compile(f"{_EDGE}{pattern}{_BRINK}", re.IGNORECASE)
    for pattern in (
        _CTIME,
        *(f"{date}{_JOIN}{_TIME}" for date in _DATES),
        *(f"{_TIME}(?:,? +(?:le |on |- )?){date}" for date in _DATES),
        _TIME,
    )
)
_EPOCH = re.compile(r"(?<![\w.,:-])(\d{10,19})(?:([.,])(\d{1,9}))?(?![\d:])")
_PACKED = {4: "If", 8: "QqdI"}
_SINCE_1900_S = -2_208_988_800  # RFC 868, RFC 5905
_UNITS_NS = {"s": SECOND_NS, "ms": 10**6, "us": 1000, "ns": 1}


def times(text: str, now_ns: int) -> list[Reading]:
    """Return the times that stand in a text; one that can be read in two ways is there twice."""
    found = [r for pattern in _PATTERNS for m in pattern.finditer(text) if (r := _calendar(m))]
    for match in _EPOCH.finditer(text):
        whole, point, fraction = match.groups()
        for name, unit_ns in _UNITS_NS.items():
            value_ns = int(float(f"0.{fraction or 0}") * unit_ns)
            if abs(int(whole) * unit_ns + value_ns - now_ns) > NEAR_NS:
                continue
            form, resolution_ns = f"{{epoch_{name}}}", unit_ns
            if fraction:
                # What is left of a second, in digits: only a time in seconds is written so.
                form += f"{point}{{fraction{len(fraction)}}}"
                resolution_ns = max(1, unit_ns // 10 ** len(fraction))
            found.append(
                Reading(
                    *match.span(),
                    int(whole) * unit_ns + value_ns,
                    resolution_ns,
                    Form(form),
                    zone_named=True,
                )
            )
    return found


def time_in(data: bytes, now_ns: int) -> Reading | None:
    """Return the time that an answer tells, the one nearest to ``now_ns`` if it can be several.

    A date and a time of day come before a time of day alone, and text before packed bytes.
    """
    found = times(data.decode("utf-8", errors="replace"), now_ns) or list(_unpacked(data, now_ns))
    # A longer text explains more: 19:03:18 within 2026-11-22 19:03:18 is the same time.
    whole = [r for r in found if not any(_within(r, other) for other in found)]
    return min(whole, key=lambda r: (not r.dated, abs(r.ahead_ns(now_ns)), r.start), default=None)


def template(data: bytes, now_ns: int) -> Form | None:
    """Return the form of a whole answer, with the words around its time; None: no time in it."""
    reading = time_in(data, now_ns)
    if reading is None:
        return None
    if reading.form.packed:
        return reading.form
    text = data.decode("utf-8", errors="replace")
    before, after = _literal(text[: reading.start]), _literal(text[reading.end :])
    return Form(before + reading.form.template + after, reading.form.zone_s)


def _within(inner: Reading, outer: Reading) -> bool:
    longer = outer.end - outer.start > inner.end - inner.start
    return longer and outer.start <= inner.start and inner.end <= outer.end


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _calendar(match: "re.Match[str]") -> Reading | None:
    """Return a match of ``_PATTERNS`` as a reading; None: there is no such time."""
    groups = match.groupdict()
    hour, fraction, zone = int(groups["H"]), groups["f"], groups["z"]
    if groups["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (groups["half"].upper() == "PM")
    zone_s = _zone_s(zone)
    dated = "Y" in groups
    year, month, day = 1970, 1, 1
    if dated:
        year, day = int(groups["Y"]), int(groups["D"])
        year += 2000 if year < 100 else 0
        month = int(groups["m"]) if groups.get("m") else _month(groups["mon"])
    try:
        moment = datetime(
            year, month, day, hour, int(groups["M"]), int(groups["S"] or 0), tzinfo=UTC
        )
    except ValueError:  # the 31st of November
        return None
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    resolution_ns = SECOND_NS if groups["S"] else 60 * SECOND_NS
    if fraction:
        resolution_ns = 10 ** (9 - len(fraction))
    instant_ns = (seconds - zone_s) * SECOND_NS + int((fraction or "").ljust(9, "0"))
    return Reading(
        *match.span(),
        instant_ns if dated else instant_ns % DAY_NS,
        resolution_ns,
        Form(_fields(match), zone_s),
        dated,
        zone is not None,
    )


def _fields(match: "re.Match[str]") -> str:
    """Return the template of the text that matched: numbers and names have become fields."""
    pieces, at = [], match.start()
    spans = [(match.start(name), name) for name, text in match.groupdict().items() if text]
    for start, name in sorted(spans):
        text = match[name]
        field = _field(name, text, match)
        if field is not None:
            pieces += [_literal(match.string[at:start]), field]
            at = start + len(text)
    return "".join([*pieces, _literal(match.string[at : match.end()])])


def _field(name: str, text: str, match: "re.Match[str]") -> str | None:
    twelve = match.groupdict().get("half")
    numbers = {
        "Y": "year" if len(text) == 4 else "year2",
        "m": "month",
        "D": "day",
        "H": "hour12" if twelve else "hour",
        "M": "minute",
        "S": "second",
    }
    if name in numbers:
        padding = ":2" if text.startswith(" ") else ":02" if len(text) == 2 else ""
        return f"{{{numbers[name]}{padding}}}"
    if name == "f":
        return f"{{fraction{len(text)}}}"
    if name == "half":
        return "{half}"
    if name in ("mon", "wd"):
        names = _MONTHS if name == "mon" else _DAYS
        kind = "month" if name == "mon" else "weekday"
        for language, words in names.items():
            if text in words.split():
                return f"{{{kind}_{language}}}"
        lowered = text.lower().rstrip(".")
        for language, words in names.items():
            if lowered in [word.lower().rstrip(".") for word in words.split()]:
                return f"{{{kind}_{language}}}"
    return None


def _month(name: str) -> int:
    lowered = name.lower().rstrip(".")
    for words in _MONTHS.values():
        names = [word.lower().rstrip(".") for word in words.split()]
        if lowered in names:
            return names.index(lowered) + 1
    return 0


def _zone_s(zone: str | None) -> int:
    """Return seconds ahead of UTC; 0 where no zone is named."""
    if zone is None:
        return 0
    if zone[0] in "+-":
        digits = zone[1:6].replace(":", "")
        seconds = int(digits[:2]) * 3600 + int(digits[2:4]) * 60
        return -seconds if zone[0] == "-" else seconds
    return _ZONES[zone.lower()] * 3600


def _unpacked(data: bytes, now_ns: int) -> Iterator[Reading]:
    for kind in _PACKED.get(len(data), ""):
        for order in "!<":
            if struct.calcsize(order + kind) != len(data):
                continue
            (value,) = struct.unpack(order + kind, data)
            for unit_ns in _UNITS_NS.values():
                for epoch_s in (0, _SINCE_1900_S):
                    if not abs(value) < 1e20:  # inf and nan, too
                        continue
                    instant_ns = int(value * unit_ns) + epoch_s * SECOND_NS
                    if abs(instant_ns - now_ns) > NEAR_NS:
                        continue
                    resolution_ns = unit_ns if kind not in "df" else 1000
                    if kind == "f":
                        resolution_ns = 128 * unit_ns  # 24 bits for 31
                    form = Form("", 0, order + kind, unit_ns, epoch_s)
                    yield Reading(0, len(data), instant_ns, resolution_ns, form, zone_named=True)


_UNIT_WORDS = {
    "h": r"h|hrs?|hours?|heures?",
    "min": r"min|mins|minutes?|mn",
    "s": r"s|secs?|seconds?|secondes?",
    "ms": r"ms|msecs?|millis|milli-?seconds?|milli-?secondes?",
    "us": r"us|µs|μs|usecs?|micros|micro-?seconds?|micro-?secondes?",
    "ns": r"ns|nsecs?|nanos|nano-?seconds?|nano-?secondes?",
}
_IN_SECONDS = {"h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_SIGN = r"(?:(?<![\w)])[-+\u2212])?"
_GROUPED = r"\d{1,3}(?:[\u00a0\u202f]\d{3})+(?:[.,]\d+)?|\d{1,3}(?:,\d{3})+\.\d+"
_NUMBER = rf"(?P<number>{_SIGN}(?:{_GROUPED}|\d+(?:[.,]\d+)?|\.\d+)(?:[eE][-+]?\d+)?)"
_UNIT = "|".join(f"(?P<{unit}>{words})" for unit, words in reversed(_UNIT_WORDS.items()))
_QUANTITY = re.compile(
    rf"(?<![\w.,:]){_NUMBER}(?![.,:]?\d)(?:[ \u00a0\u202f]?[(\[]?(?:{_UNIT})(?![^\W\d_])[)\]]?)?",
    re.IGNORECASE,
)
_COMPOUND = re.compile(
    rf"(?<![\w.,:])(?P<sign>{_SIGN})(?:(?P<h>\d+) ?h(?:ours?|eures?)? ?)?"
    r"(?:(?P<m>\d+) ?m(?:in(?:utes?)?)? ?)(?P<s>\d+(?:[.,]\d+)?) ?s(?:ec(?:onde?s?)?)?(?![^\W\d_])",
    re.IGNORECASE,
)
_CLOCKED = re.compile(
    rf"(?<![\w.,:])(?:(?P<days>-?\d+) days?, )?(?P<sign>{_SIGN})(?P<h>\d+):(?P<m>\d\d):"
    r"(?P<s>\d\d(?:[.,]\d+)?)(?![\w:])"
)
_LABEL = re.compile(
    r"(?:[(\[_]|\b(?:en|in)\s+)(?P<any>" + "|".join(_UNIT_WORDS.values()) + r")(?![^\W\d_])"
    r"|\b(?P<long>(?:milli|micro|nano)-?second(?:e?s)?|second(?:es|s)|ms|µs|μs|us|ns)(?![^\W\d_])",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?(?![\w.])")


@dataclass(frozen=True)
class Quantity:
    """A number that was printed, from character ``start`` to ``end`` of the text.

    ``unit``: s, ms, us, ns, min or h, from behind the number or from the words before it; empty:
    none was given. ``step``: the value of its last digit, in its unit.
    """

    start: int
    end: int
    text: str
    value: float
    unit: str
    step: float

    def seconds(self) -> dict[str, float]:
        """Return its value in seconds: by its unit, or by each unit that it could be in."""
        units = (self.unit,) if self.unit else ("s", "ms", "us", "ns")
        return {unit: self.value * _IN_SECONDS[unit] for unit in units}

    def step_s(self, unit: str) -> float:
        """Return the value of its last digit, in seconds, when its unit is ``unit``."""
        return self.step * _IN_SECONDS[unit]


def quantities(text: str, spans: Sequence[tuple[int, int]] = ()) -> list[Quantity]:
    """Return the numbers that a text has, with their units; what ``spans`` cover is left out.

    Durations of several parts (``1m2.5s``, ``0:01:02.5``, ``-1 day, 23:59:57.5``) are one quantity,
    in seconds. Addresses are none.
    """
    for start, end in (*spans, *(match.span() for match in _ADDRESS.finditer(text))):
        text = text[:start] + "\x00" * (end - start) + text[end:]
    found = []
    for pattern in (_CLOCKED, _COMPOUND):
        for match in pattern.finditer(text):
            parts = match.groupdict()
            seconds = float(parts["s"].replace(",", "."))
            value = int(parts["h"] or 0) * 3600 + int(parts["m"]) * 60 + seconds
            value = -value if parts["sign"] in ("-", "\u2212") else value
            value += 86400 * int(parts.get("days") or 0)
            found.append(Quantity(*match.span(), match[0], value, "s", _step(parts["s"])))
        for quantity in found:
            start, end = quantity.start, quantity.end
            text = text[:start] + "\x00" * (end - start) + text[end:]
    for match in _QUANTITY.finditer(text):
        unit = next((u for u in _UNIT_WORDS if match[u]), "")
        found.append(
            Quantity(
                *match.span(),
                match[0],
                _value(match["number"]),
                unit or _label(text, match.start()),
                _step(match["number"]),
            )
        )
    return sorted(found, key=lambda quantity: quantity.start)


def _value(number: str) -> float:
    plain = re.sub(r"[\u00a0\u202f]", "", number).replace("\u2212", "-")
    if "," in plain and "." in plain:
        plain = plain.replace(",", "")
    return float(plain.replace(",", "."))


def _step(number: str) -> float:
    mantissa, _, exponent = re.sub(r"[\u00a0\u202f]", "", number).lower().partition("e")
    decimals = len(re.split(r"[.,]", mantissa)[-1]) if re.search(r"[.,]", mantissa) else 0
    return float(10.0 ** (int(exponent or 0) - decimals))


def _label(text: str, end: int) -> str:
    """Return the unit that is named between a number and the one before it, on its line."""
    start = max(text.rfind("\n", 0, end), text.rfind("\x00", 0, end)) + 1
    words = re.split(r"\d", text[start:end])[-1]
    labels = list(_LABEL.finditer(words))
    if not labels:
        return ""
    match = labels[-1]
    word = (match["any"] or match["long"]).lower()
    return next(u for u, words in _UNIT_WORDS.items() if re.fullmatch(words, word))
