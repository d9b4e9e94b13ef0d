"""An impairment in the words of ``tc netem``: words to fields, fields to words. No I/O.

The grammar is that of tc-netem(8) as iproute2 6.15 parses it (tc/q_netem.c); ``tc`` itself has
accepted the words before they come here, so this module only has to understand them well enough to
compare what was asked with what the kernel shows::

    limit PACKETS
    delay TIME [JITTER [CORRELATION]]   [distribution NAME]
    loss [random] PERCENT [CORRELATION]
    loss state P13 [P31 [P32 [P23 [P14]]]]
    loss gemodel P [R [1-H [1-K]]]      [ecn]
    corrupt PERCENT [CORRELATION]
    duplicate PERCENT [CORRELATION]
    reorder PERCENT [CORRELATION]       [gap DISTANCE]
    rate RATE [PACKETOVERHEAD [CELLSIZE [CELLOVERHEAD]]]
    slot MIN_DELAY [MAX_DELAY] [packets N] [bytes N]
    slot distribution NAME DELAY JITTER [packets N] [bytes N]
    seed SEED

Keywords may be shortened as ``tc`` allows (``lo 10%``), ``latency`` is delay, ``drop`` is loss.

Refused on purpose, though ``tc`` takes it, because it could not be checked against the kernel or
means something else than it says: a time without a unit (nanoseconds or microseconds, by version),
a rate in percent, a keyword given twice, octal and hexadecimal numbers, values so small that netem
rounds them to nothing, and what has no effect (jitter without delay, a correlation of nothing).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from services.netem import WrongWords

KEYWORDS = (
    "limit", "latency", "delay", "loss", "drop", "ecn", "reorder", "corrupt", "gap", "duplicate",
    "distribution", "rate", "seed", "slot",
)  # fmt: skip
"""In tc's own order: a shortened keyword means the first that begins so (``d`` is delay)."""

DISTRIBUTIONS = ("normal", "pareto", "paretonormal", "experimental")
"""The tables that iproute2 ships; any other name would have tc read a file."""

TC_DEFAULT_LIMIT = 1000
LARGEST_LIMIT = 100_000
FASTEST_SENDER_PPS = 100_000
"""Packets per second of the lab's fastest server, about: a bare UDP loop in Python."""
SMALLEST_PACKET_BYTES = 64
WIDEST_JITTER = 4
"""tc's tables hold 16-bit values in units of 1/8192: no delay is more than 4 jitters off."""

SMALLEST_PROBABILITY = 1 / (2**32 - 1)
"""netem counts probabilities in 32 bits."""

_PERCENT = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?")
_TIME = re.compile(r"(\d+\.?\d*|\.\d+)([a-z]*)", re.IGNORECASE)
_RATE = re.compile(r"(\d+\.?\d*|\.\d+)([a-z]*)", re.IGNORECASE)
_INTEGER = re.compile(r"0|-?[1-9]\d*")

_SECONDS_PER_UNIT = {
    name: factor
    for factor, names in {
        1.0: ("s", "sec", "secs"),
        1e-3: ("ms", "msec", "msecs"),
        1e-6: ("us", "usec", "usecs"),
        1e-9: ("ns", "nsec", "nsecs"),
    }.items()
    for name in names
}
_BITS_PER_UNIT = {"": 1, "bit": 1, "bps": 8} | {
    f"{prefix}{unit}": factor * bits
    for prefix, factor in (
        ("k", 10**3), ("m", 10**6), ("g", 10**9), ("t", 10**12),
        ("ki", 2**10), ("mi", 2**20), ("gi", 2**30), ("ti", 2**40),
    )
    for unit, bits in (("bit", 1), ("bps", 8))
}  # fmt: skip


@dataclass(frozen=True)
class Impairment:
    """What netem does to packets, field by field; the defaults do nothing.

    Probabilities and correlations are fractions from 0 to 1, times are seconds. ``seed`` None means
    that netem chose one itself.
    """

    limit: int = TC_DEFAULT_LIMIT
    delay_s: float = 0.0
    jitter_s: float = 0.0
    delay_correlation: float = 0.0
    distribution: str = ""
    loss: float = 0.0
    loss_correlation: float = 0.0
    loss_state: tuple[float, ...] = ()  # p13, p31, p32, p23, p14
    loss_gemodel: tuple[float, ...] = ()  # p, r, 1-h, 1-k
    ecn: bool = False
    corrupt: float = 0.0
    corrupt_correlation: float = 0.0
    duplicate: float = 0.0
    duplicate_correlation: float = 0.0
    reorder: float = 0.0
    reorder_correlation: float = 0.0
    gap: int = 0
    rate_bytes_per_s: int = 0
    packet_overhead_bytes: int = 0
    cell_size_bytes: int = 0
    cell_overhead_bytes: int = 0
    slot_min_s: float = 0.0
    slot_max_s: float = 0.0
    slot_distribution: str = ""
    slot_delay_s: float = 0.0
    slot_jitter_s: float = 0.0
    slot_packets: int = 0
    slot_bytes: int = 0
    seed: int | None = None

    @property
    def is_loss_alone(self) -> bool:
        """Whether this is nothing but independent loss, which nftables can do as well.

        A seed does not change what is lost on average; nftables has none, and the receipt says so.
        """
        return self == Impairment(loss=self.loss, seed=self.seed)

    @property
    def loses_at_random(self) -> bool:
        """Whether packets are lost for another reason than a full queue."""
        return bool(self.loss or self.loss_state or self.loss_gemodel)

    @property
    def is_random(self) -> bool:
        """Whether anything here is drawn: what happens to a packet, or when."""
        drawn = (self.corrupt, self.duplicate, self.reorder, self.jitter_s, self.slot_jitter_s)
        return self.loses_at_random or any(drawn) or self.slot_min_s < self.slot_max_s

    @property
    def not_verifiable(self) -> tuple[str, ...]:
        """What is asked for but never shows when the kernel is asked: the shape of a table."""
        named = {"distribution": self.distribution, "slot distribution": self.slot_distribution}
        return tuple(f"{keyword} {name}" for keyword, name in named.items() if name)


def parse(words: Sequence[str]) -> Impairment:
    """Return what the words of ``tc netem`` ask for; ``limit`` is computed where not given.

    Raises WrongWords, which names the word that does not fit.
    """
    reader = _Reader(words)
    found: dict[str, object] = {}
    given: set[str] = set()
    while (word := reader.next_word()) is not None:
        keyword = _keyword(word)
        if keyword in given:
            raise WrongWords(f'"{word}": {keyword} is given twice')
        given.add(keyword)
        found |= reader.values_of(keyword)
    impairment = Impairment(**found)  # type: ignore[arg-type]
    if impairment.reorder and not impairment.gap:
        impairment = replace(impairment, gap=1)  # as tc does
    if "limit" not in given:
        impairment = replace(impairment, limit=queue_limit(impairment))
    _refuse_what_has_no_effect(impairment, given)
    return impairment


def queue_limit(impairment: Impairment) -> int:
    """Return how many packets netem's queue must hold so that delay alone loses none of them.

    tc's default of 1,000 for those that wait, and as many as can be on their way: the longest delay
    times the packets per second (of the rate, in packets of 64 bytes, or else of the lab's fastest
    server). At most 100,000. Loss alone holds nothing back and keeps tc's default.
    """
    longest_s = (
        impairment.delay_s
        + WIDEST_JITTER * impairment.jitter_s
        + max(
            impairment.slot_max_s,
            impairment.slot_delay_s + WIDEST_JITTER * impairment.slot_jitter_s,
        )
    )
    packets_per_s = float(FASTEST_SENDER_PPS)
    if impairment.rate_bytes_per_s:
        packets_per_s = min(packets_per_s, impairment.rate_bytes_per_s / SMALLEST_PACKET_BYTES)
    return min(LARGEST_LIMIT, TC_DEFAULT_LIMIT + math.ceil(longest_s * packets_per_s))


def without_seed(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words without ``seed N``, for a tc that does not know it."""
    kept, rest = [], iter(words)
    for word in rest:
        if word and "seed".startswith(word):  # as in KEYWORDS, "s" alone means seed
            next(rest, None)
        else:
            kept.append(word)
    return tuple(kept)


def words_of(impairment: Impairment) -> str:
    """Return the impairment in tc's words, without tc's defaults and without the seed.

    ``no impairment`` if there is none.
    """
    i = impairment
    parts: list[str] = []
    if i.delay_s:
        parts += ["delay", _time(i.delay_s)]
        if i.jitter_s or i.delay_correlation:
            parts.append(_time(i.jitter_s))
        parts += [_percent(i.delay_correlation)] if i.delay_correlation else []
    parts += ["distribution", i.distribution] if i.distribution else []
    for keyword, fraction, correlation in (
        ("loss", i.loss, i.loss_correlation),
        ("corrupt", i.corrupt, i.corrupt_correlation),
        ("duplicate", i.duplicate, i.duplicate_correlation),
        ("reorder", i.reorder, i.reorder_correlation),
    ):
        if fraction:
            parts += [keyword, _percent(fraction)]
            parts += [_percent(correlation)] if correlation else []
    for model, chances in (("state", i.loss_state), ("gemodel", i.loss_gemodel)):
        if chances:
            parts += ["loss", model, *map(_percent, chances)]
    parts += ["ecn"] if i.ecn else []
    parts += ["gap", str(i.gap)] if i.gap else []
    if i.rate_bytes_per_s:
        parts += ["rate", _rate(i.rate_bytes_per_s)]
        extras = [i.packet_overhead_bytes, i.cell_size_bytes, i.cell_overhead_bytes]
        while extras and not extras[-1]:
            extras.pop()
        parts += [str(extra) for extra in extras]
    if i.slot_min_s or i.slot_max_s:
        parts += ["slot", _time(i.slot_min_s), _time(i.slot_max_s)]
    elif i.slot_delay_s or i.slot_jitter_s:
        parts += ["slot", "distribution", i.slot_distribution or "(not shown)"]
        parts += [_time(i.slot_delay_s), _time(i.slot_jitter_s)]
    parts += ["packets", str(i.slot_packets)] if i.slot_packets else []
    parts += ["bytes", str(i.slot_bytes)] if i.slot_bytes else []
    parts += ["limit", str(i.limit)] if i.limit != TC_DEFAULT_LIMIT else []
    return " ".join(parts) or "no impairment"


def differences(asked: Impairment, shown: Impairment) -> list[str]:
    """Return one sentence for each field in which the kernel shows something else than asked.

    Compared are all fields, not only those asked for, so that nothing of an older setting stays
    unseen; but not the shape of a distribution, which the kernel never shows, and not a seed that
    nobody asked for or that the kernel does not know: the receipt says then that nothing repeats.
    ``tc`` prints six digits, and netem counts probabilities in 32 bits and times in nanoseconds:
    that much may differ.
    """
    found = []
    for field in fields(Impairment):
        wanted, seen = getattr(asked, field.name), getattr(shown, field.name)
        if field.name.endswith("distribution") or (field.name == "seed" and None in (wanted, seen)):
            continue
        if not _alike(wanted, seen):
            found.append(f"{field.name}: asked for {wanted}, the kernel shows {seen}")
    return found


def _alike(wanted: object, seen: object) -> bool:
    if isinstance(wanted, tuple) and isinstance(seen, tuple):
        return len(wanted) == len(seen) and all(map(_alike, wanted, seen))
    if isinstance(wanted, float) and isinstance(seen, float | int):
        return math.isclose(wanted, seen, rel_tol=1e-5, abs_tol=1e-9)
    return wanted == seen


def _keyword(word: str) -> str:
    for keyword in KEYWORDS:
        if keyword.startswith(word):
            return {"latency": "delay", "drop": "loss"}.get(keyword, keyword)
    raise WrongWords(f'"{word}" is not a word of tc netem')


class _Reader:
    """Takes the words one by one; an optional number is one that begins with a digit, as in tc."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)
        self._position = 0

    def next_word(self) -> str | None:
        """Return the next word and step over it; None at the end."""
        word = self._peek()
        self._position += 1
        return word or None

    def values_of(self, keyword: str) -> dict[str, object]:
        """Return the fields that follow ``keyword``, and step over them."""
        match keyword:
            case "delay":
                return self._delay()
            case "loss":
                return self._loss()
            case "corrupt" | "duplicate" | "reorder":
                fraction, correlation = self._fraction(keyword), self._optional_fraction()
                return {keyword: fraction, f"{keyword}_correlation": correlation}
            case "rate":
                return self._rate()
            case "slot":
                return self._slot()
            case "distribution":
                return {"distribution": self._distribution(keyword)}
            case "ecn":
                return {"ecn": True}
        return {keyword: self._whole_number(keyword)}  # limit, gap, seed

    def _delay(self) -> dict[str, object]:
        found: dict[str, object] = {"delay_s": self._time("delay")}
        if self._number_follows():
            found["jitter_s"] = self._time("delay")
            found["delay_correlation"] = self._optional_fraction()
        return found

    def _loss(self) -> dict[str, object]:
        model = self._peek()
        if model in ("state", "gemodel"):
            self._position += 1
            first = self._fraction(f"loss {model}")
            # tc's defaults for what is not given: without loss states, and a bad state that loses
            # all, left at once.
            chances = [first, 1 - first, 0.0, 1.0, 0.0] if model == "state" else []
            chances = chances or [first, 1 - first, 1.0, 0.0]
            for index in range(1, len(chances)):
                if not self._number_follows():
                    break
                chances[index] = self._fraction(f"loss {model}")
            return {f"loss_{model}": tuple(chances)}
        if model == "random":
            self._position += 1
        return {"loss": self._fraction("loss"), "loss_correlation": self._optional_fraction()}

    def _rate(self) -> dict[str, object]:
        text = self._value("rate")
        match = _RATE.fullmatch(text)
        unit = match[2].lower() if match else ""
        if text.endswith("%"):
            raise WrongWords(f'"{text}": a container\'s interface has no speed to take percent of')
        if match is None or unit not in _BITS_PER_UNIT:
            raise WrongWords(f'"{text}" is not a rate such as 1mbit')
        bytes_per_s = int(float(match[1]) * _BITS_PER_UNIT[unit] / 8)
        if not 1 <= bytes_per_s < 2**63:
            raise WrongWords(f'"{text}" is not a rate that netem can keep')
        found: dict[str, object] = {"rate_bytes_per_s": bytes_per_s}
        for name in ("packet_overhead_bytes", "cell_size_bytes", "cell_overhead_bytes"):
            if not self._number_follows(signed=name != "cell_size_bytes"):
                break
            found[name] = self._whole_number("rate", signed=name != "cell_size_bytes")
        return found

    def _slot(self) -> dict[str, object]:
        found: dict[str, object] = {}
        if self._peek() == "distribution":
            self._position += 1
            found["slot_distribution"] = self._distribution("slot distribution")
            found["slot_delay_s"] = self._time("slot distribution")
            found["slot_jitter_s"] = self._time("slot distribution")
        else:
            shortest = self._time("slot")
            longest = self._time("slot") if self._number_follows() else shortest
            found |= {"slot_min_s": shortest, "slot_max_s": longest}
        if not any(value for name, value in found.items() if name.endswith("_s")):
            raise WrongWords('"slot": a slot must be longer than 0')
        for name in ("packets", "bytes"):
            if self._peek() == name:
                self._position += 1
                found[f"slot_{name}"] = self._whole_number(f"slot {name}")
        return found

    def _distribution(self, keyword: str) -> str:
        name = self._value(keyword)
        if name not in DISTRIBUTIONS:
            raise WrongWords(f'"{name}" is not one of {", ".join(DISTRIBUTIONS)}')
        return name

    def _fraction(self, keyword: str) -> float:
        text = self._value(keyword)
        match = _PERCENT.fullmatch(text)
        value = float(text.removesuffix("%")) / 100 if match else -1.0
        if not 0 <= value <= 1:
            raise WrongWords(f'"{text}" after "{keyword}" is not a percentage from 0% to 100%')
        if 0 < value < SMALLEST_PROBABILITY:
            raise WrongWords(f'"{text}" after "{keyword}" is so small that netem takes it for 0')
        return value

    def _optional_fraction(self) -> float:
        return self._fraction("correlation") if self._number_follows() else 0.0

    def _time(self, keyword: str) -> float:
        text = self._value(keyword)
        match = _TIME.fullmatch(text)
        if match is None:
            raise WrongWords(f'"{text}" after "{keyword}" is not a time such as 100ms')
        if not match[2] and float(match[1]):
            raise WrongWords(f'"{text}" after "{keyword}" has no unit: s, ms, us or ns')
        if match[2] and match[2].lower() not in _SECONDS_PER_UNIT:
            raise WrongWords(f'"{text}" after "{keyword}": units are s, ms, us, ns')
        seconds = float(match[1]) * _SECONDS_PER_UNIT[match[2].lower() or "s"]
        if 0 < seconds < 1e-9:
            raise WrongWords(f'"{text}" after "{keyword}" is less than a nanosecond')
        return seconds

    def _whole_number(self, keyword: str, *, signed: bool = False) -> int:
        text = self._value(keyword)
        if not _INTEGER.fullmatch(text) or (text.startswith("-") and not signed):
            raise WrongWords(f'"{text}" after "{keyword}" is not a plain whole number')
        return int(text)

    def _value(self, keyword: str) -> str:
        word = self.next_word()
        if word is None:
            raise WrongWords(f'"{keyword}" is the last word: its value is missing')
        return word

    def _number_follows(self, *, signed: bool = False) -> bool:
        first = self._peek()[:1]
        return (first.isascii() and first.isdigit()) or (signed and first == "-")

    def _peek(self) -> str:
        return self._words[self._position] if self._position < len(self._words) else ""


def _refuse_what_has_no_effect(i: Impairment, given: set[str]) -> None:
    if (i.jitter_s or i.delay_correlation) and not i.delay_s:
        raise WrongWords('"delay": tc shows no jitter without a delay; write delay 1us and more')
    if "distribution" in given and not (i.delay_s and i.jitter_s):
        raise WrongWords('"distribution" needs a delay and a jitter')
    if "gap" in given and not i.reorder:
        raise WrongWords('"gap" needs reorder')
    if i.reorder and not i.delay_s:
        raise WrongWords('"reorder" needs a delay')
    if i.ecn and not (i.loss or i.loss_state or i.loss_gemodel):
        raise WrongWords('"ecn" needs a loss')
    for keyword in ("loss", "corrupt", "duplicate", "reorder"):
        if getattr(i, f"{keyword}_correlation") and not getattr(i, keyword):
            raise WrongWords(f'"{keyword}": a correlation needs a percentage above 0')


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.6g}%"


def _time(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= factor:
            return f"{seconds / factor:.6g}{unit}"
    return f"{seconds / 1e-9:.6g}ns" if seconds else "0s"


def _rate(bytes_per_s: int) -> str:
    bits = 8 * bytes_per_s
    for unit, factor in (("gbit", 10**9), ("mbit", 10**6), ("kbit", 10**3)):
        if bits % factor == 0:
            return f"{bits // factor}{unit}"
    return f"{bits}bit"
