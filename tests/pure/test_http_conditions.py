"""Conditional requests: entity tags, dates, and which condition comes first."""

import datetime
import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.http.conditions import Validators, parse_http_date, status_by_conditions
from services.http.protocol import RequestReader, imf_fixdate

NOW_S = 1_800_000_000  # January 2027
MODIFIED_S = 784111777  # RFC 9110's own example
PAGE = Validators('"abc"', MODIFIED_S)

THEN = imf_fixdate(MODIFIED_S)
EARLIER = imf_fixdate(MODIFIED_S - 1)
LATER = imf_fixdate(MODIFIED_S + 1)


def status(*fields: str) -> int | None:
    reader = RequestReader()
    reader.feed("\r\n".join(["GET / HTTP/1.1", "Host: lab", *fields, "", ""]).encode("latin-1"))
    request = reader.next_request()
    assert request is not None
    assert request.conditional is bool(fields)
    return status_by_conditions(request, PAGE, NOW_S)


@pytest.mark.parametrize(
    ("value", "none_match", "match"),
    [
        ('"abc"', 304, None),
        ('W/"abc"', 304, 412),  # weak comparison for the one, strong for the other
        ('"x", "abc"', 304, None),
        (',, "x" ,\t"abc",', 304, None),
        ('"x","W/abc"', None, 412),
        ("*", 304, None),
        ('"abc', None, 412),
        ("abc", None, 412),
        ('w/"abc"', None, 412),
        ('"x" "abc"', None, 412),
        ('*, "x"', None, 412),
        ('"a,bc"', None, 412),
        ('"ABC"', None, 412),
        ("", None, 412),
        ('"\xe9", "abc"', 304, None),
    ],
)
def test_entity_tags_are_compared(value: str, none_match: int | None, match: int | None) -> None:
    assert status(f"If-None-Match: {value}") == none_match
    assert status(f"If-Match: {value}") == match


def test_entity_tags_in_several_field_lines_are_one_list() -> None:
    assert status('If-None-Match: "x"', 'If-None-Match: "abc"') == 304


@pytest.mark.parametrize(
    ("value", "modified_since", "unmodified_since"),
    [
        (THEN, 304, None),
        (LATER, 304, None),
        (EARLIER, None, 412),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 304, None),
        ("Sun Nov  6 08:49:37 1994", 304, None),
        ("Sun Nov  6 08:49:36 1994", None, 412),
        ("yesterday", None, None),
        (f"{THEN}, {THEN}", None, None),
        (THEN.replace("GMT", "CET"), None, None),
        ("", None, None),
        (imf_fixdate(NOW_S), 304, None),
        (imf_fixdate(NOW_S + 1), None, None),  # a clock that is wrong proves nothing
    ],
)
def test_dates_are_compared(
    value: str, modified_since: int | None, unmodified_since: int | None
) -> None:
    assert status(f"If-Modified-Since: {value}") == modified_since
    assert status(f"If-Unmodified-Since: {value}") == unmodified_since


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (('If-None-Match: "x"', f"If-Modified-Since: {THEN}"), None),
        (('If-None-Match: "abc"', f"If-Modified-Since: {EARLIER}"), 304),
        (('If-Match: "abc"', f"If-Unmodified-Since: {EARLIER}"), None),
        (('If-Match: "x"', 'If-None-Match: "abc"'), 412),
        (('If-Match: "abc"', 'If-None-Match: "abc"'), 304),
        ((f"If-Unmodified-Since: {EARLIER}", 'If-None-Match: "abc"'), 412),
        ((f"If-Unmodified-Since: {THEN}", f"If-Modified-Since: {THEN}"), 304),
    ],
)
def test_conditions_are_looked_at_in_the_order_of_the_rfc(
    fields: tuple[str, ...], expected: int | None
) -> None:
    assert status(*fields) == expected


@given(epoch_s=st.integers(0, 253402300799))
def test_every_date_that_is_written_is_read_again_in_each_form(epoch_s: int) -> None:
    text = imf_fixdate(epoch_s)
    assert text == email.utils.formatdate(epoch_s, usegmt=True)
    assert parse_http_date(text, NOW_S) == epoch_s
    moment = datetime.datetime.fromtimestamp(epoch_s, datetime.UTC)
    asctime = f"{text[:3]} {text[8:11]} {moment.day:2d} {text[17:25]} {text[12:16]}"
    assert parse_http_date(asctime, NOW_S) == epoch_s
    if 1977 < moment.year < 2077:
        days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
        name = days[moment.weekday()]
        rfc_850 = f"{name}, {text[5:7]}-{text[8:11]}-{text[14:16]} {text[17:]}"
        assert parse_http_date(rfc_850, NOW_S) == epoch_s


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 31 Feb 2025 00:00:00 GMT",
        "Sun, 00 Feb 2025 00:00:00 GMT",
        "Sun, 01 Feb 2025 24:00:00 GMT",
        "Sun, 01 Feb 2025 00:60:00 GMT",
        "Sun, 01 Feb 0000 00:00:00 GMT",
        "Sun, 1 Feb 2025 00:00:00 GMT",
        "sun, 01 feb 2025 00:00:00 gmt",
        "Sun, 01 Feb 2025 00:00:00",
        " Sun, 01 Feb 2025 00:00:00 GMT",
        "Sun, \u0660\u0661 Feb 2025 00:00:00 GMT",
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_http_date(text, NOW_S) is None


@given(text=st.text(max_size=40))
def test_no_text_is_too_much_for_the_dates_and_the_tags(text: str) -> None:
    parse_http_date(text, NOW_S)
    value = text.encode("ascii", "ignore").decode().translate(dict.fromkeys([*range(32), 127]))
    assert status(f"If-None-Match: {value}") in (None, 304)
