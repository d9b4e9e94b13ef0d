"""Text from a stranger, made fit to show: nothing invisible, nothing endless.

Every string of a verdicts document passes ``shown`` before any page sees it. What is left is plain
printable text, line feeds and tabs: no sequence that a terminal obeys (ECMA-48 starts them with ESC
or with C1), no mark that turns the writing direction round (Trojan Source, CVE-2021-42574), no
character that XML 1.0 forbids (section 2.2), no lone surrogate that UTF-8 cannot carry.
"""

import unicodedata

_MULTILINE = "\n\t"


class _Escapes(dict[int, str]):
    """What each character is shown as, found once per character."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        # C* is control, format (direction marks, soft hyphen, joiners), surrogate, unassigned and
        # private use, which alone is harmless; Zl and Zp break lines where nobody expects it.
        hidden = category in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp") and character not in _MULTILINE
        self[code] = escaped(code) if hidden else character
        return self[code]


_ESCAPES = _Escapes()
_SHORT = {0: r"\0", 8: r"\b", 13: r"\r"}


def escaped(code: int) -> str:
    r"""Return a character as Python writes it: ``\r``, ``\x1b``, ``\u202e``.

    A surrogate that stands for a byte that is not UTF-8 (PEP 383) is shown as that byte.
    """
    if code in _SHORT:
        return _SHORT[code]
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def visible(text: str) -> str:
    """Return ``text`` with everything that does not print shown as an escape; LF and tab stay."""
    return text.translate(_ESCAPES)


def one_line(text: str) -> str:
    """Return ``text`` on one line, as for a name, a title or a cell."""
    return " ".join(visible(text.replace("\t", " ")).split("\n")).strip()


def shortened(text: str, limit: int) -> str:
    """Return at most about ``limit`` characters: the beginning and the end, and what is between."""
    if len(text) <= limit:
        return text
    head, tail = limit * 3 // 4, limit // 4
    left_out = len(text) - head - tail
    return f"{text[:head]}\n[... {left_out:,} characters left out ...]\n{text[-tail:]}"


def shown(text: str, limit: int) -> str:
    """Return a stranger's text, bounded and visible. The bound counts characters as they came."""
    return visible(shortened(text, limit))


def number(value: float) -> str:
    """Return points as a person writes them: 3, 2.5, never 3.0."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return ``1 check``, ``2 checks``."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
