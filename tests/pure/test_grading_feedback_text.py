import sys
import unicodedata

import pytest

from grading.feedback.text import number, one_line, shortened, shown, visible


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        ("Serveur prêt, 3 µs, 你好, 🙂\n\tok", "Serveur prêt, 3 µs, 你好, 🙂\n\tok"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\r\nb\0\b", "a\\r\nb\\0\\b"),
        ("\x9b31m", r"\x9b31m"),
        ("user\u202etxt.exe", r"user\u202etxt.exe"),
        ("a\u2028b\u200b\ufeff\xad", r"a\u2028b\u200b\ufeff\xad"),
        ("\udcff \ud800", r"\xff \ud800"),
        ("\ufffe\U000e0041", r"\ufffe\U000e0041"),
    ],
)
def test_what_does_not_print_is_shown_as_an_escape(raw: str, seen: str) -> None:
    assert visible(raw) == seen


def test_nothing_that_a_terminal_or_xml_cannot_have_is_left() -> None:
    every = visible("".join(map(chr, [*range(0x3000), *range(0xD800, 0x10000), sys.maxunicode])))
    left = {unicodedata.category(c) for c in every if c not in "\n\t"}
    assert not left & {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}
    every.encode("utf-8")


def test_a_name_has_one_line() -> None:
    assert one_line(" martin\n\tpaul\x1b ") == r"martin  paul\x1b"


def test_long_text_keeps_its_beginning_and_its_end() -> None:
    text = shortened("a" * 900 + "b" * 100, 100)
    assert text.startswith("a" * 75 + "\n[... 900 characters left out ...]\n")
    assert text.endswith("b" * 25)
    assert shortened("short", 100) == "short"


def test_an_escape_cannot_make_the_bound_longer_than_ten_times() -> None:
    assert len(shown("\U000e0041" * 10**6, 100)) < 1_100


@pytest.mark.parametrize(("value", "text"), [(3, "3"), (2.5, "2.5"), (0.0, "0"), (10, "10")])
def test_points_are_written_as_a_person_writes_them(value: float, text: str) -> None:
    assert number(value) == text
