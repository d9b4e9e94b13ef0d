"""How a UDP server words its confirmations: learnt from a few, applied to any message. Pure.

Messages and confirmations are bytes as latin-1 text. A wording is a part of the peer's order::

    {"kind": "echo"}                                the message
    {"kind": "around", "before", "after", "change"} the message in between, changed: "upper", ...
    {"kind": "numbered", "text"}                    the message's numbers in a text of its own
    {"kind": "patched", "at": "2,3", "text"}        the message with other bytes at these places
    {"kind": "fixed", "text"}                       always the same

In ``before``, ``after`` and ``text`` the place ``LENGTH`` stands for the message's length in bytes.
"""

import re
from collections.abc import Callable, Mapping, Sequence

ECHO = {"kind": "echo"}
Wording = Mapping[str, str]

_CHANGES: dict[str, Callable[[str], str]] = {
    "": str,
    "upper": str.upper,
    "lower": str.lower,
    "capitalize": str.capitalize,
    "swapcase": str.swapcase,
    "reversed": lambda text: text[::-1],
}
LENGTH = "\0length\0"
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_PLACE = re.compile(r"\0(\d+)\0")


def learned(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the wording that gives most of these messages the confirmations they got.

    ``pairs`` has one at least.
    """
    if all(message == answer for message, answer in pairs):
        return dict(ECHO)
    worded = [found for pair in pairs for found in (*_around(*pair), *_numbered(*pair))]
    fixed = {"kind": "fixed", "text": pairs[0][1]}
    # The first of the best is taken. Those with a length are: messages are often of one length, up
    # to the tenth.
    candidates = [
        counted
        for message, _ in pairs
        for each in (*worded, fixed)
        if (counted := _counted(each, message)) != each
    ]
    candidates += [*worded, *(found for pair in pairs for found in _patched(*pair)), fixed]
    return max(candidates, key=lambda each: sum(word(each, m) == a for m, a in pairs))


def word(wording: Wording, message: str) -> str:
    """Return the confirmation of a message."""
    length = str(len(message))  # a character is a byte here
    wording = {key: text.replace(LENGTH, length) for key, text in wording.items()}
    match wording["kind"]:
        case "fixed":
            return wording["text"]
        case "around":
            return wording["before"] + _changed(wording["change"], message) + wording["after"]
        case "patched":
            octets = list(message)
            for place, octet in zip(wording["at"].split(","), wording["text"], strict=True):
                octets[int(place) : int(place) + 1] = octet if int(place) < len(octets) else ""
            return "".join(octets)
        case "numbered":
            numbers = _NUMBER.findall(message)
            return _PLACE.sub(lambda place: _at(numbers, int(place[1])), wording["text"])
    return message


def _around(message: str, answer: str) -> list[dict[str, str]]:
    found = []
    for change in _CHANGES:
        middle = _changed(change, message)
        if middle and middle in answer:
            before, _, after = answer.partition(middle)
            found.append({"kind": "around", "before": before, "after": after, "change": change})
    return found


def _numbered(message: str, answer: str) -> list[dict[str, str]]:
    numbers = _NUMBER.findall(message)

    def place(number: re.Match[str]) -> str:
        return f"\0{numbers.index(number[0])}\0" if number[0] in numbers else number[0]

    text = _NUMBER.sub(place, answer)
    return [{"kind": "numbered", "text": text}] if text != answer else []


def _patched(message: str, answer: str) -> list[dict[str, str]]:
    """A header of fixed size, in which the confirmation has another type, a flag and the like."""
    other = [n for n, (a, b) in enumerate(zip(message, answer, strict=False)) if a != b]
    if len(message) != len(answer) or not 0 < 2 * len(other) <= len(message):
        return []
    at, text = ",".join(map(str, other)), "".join(answer[n] for n in other)
    return [{"kind": "patched", "at": at, "text": text}]


def _counted(wording: Wording, message: str) -> dict[str, str]:
    """Return the wording with a place for the length, where the message's length stands in it."""
    length = re.compile(rf"(?<![\d.\0]){len(message)}(?![\d\0]|\.\d)")
    texts = ("before", "after", "text")
    return {key: length.sub(LENGTH, t) if key in texts else t for key, t in wording.items()}


def _at(numbers: Sequence[str], place: int) -> str:
    return numbers[place] if place < len(numbers) else ""


def _changed(change: str, message: str) -> str:
    text = message.encode("latin-1").decode("utf-8", "surrogateescape")
    return _CHANGES[change](text).encode("utf-8", "surrogateescape").decode("latin-1")
