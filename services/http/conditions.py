"""Conditional requests: is the client's copy of a page still good? Pure, RFC 9110, section 13.

A page has two validators, and a client that keeps a copy sends them back to ask for the page only
if it has changed::

    200 OK                                         GET /style.css HTTP/1.1
    ETag: "18a7c5e2f0-6ec"                  -->    If-None-Match: "18a7c5e2f0-6ec"
    Last-Modified: Sun, 06 Nov 1994 ...     -->    If-Modified-Since: Sun, 06 Nov 1994 ...

                                                   304 Not Modified, and no body

Entity tags are compared weakly for If-None-Match (``W/"a"`` is as good as ``"a"``) and strongly for
If-Match (only ``"a"`` is, section 8.8.3.2). Left out: Range and If-Range (section 14), so every
200 is the whole page.
"""

import calendar
import re
from dataclasses import dataclass

from services.http.protocol import DAYS, MONTHS, Request

_ENTITY_TAG = r'(?:W/)?"[!#-~\x80-\xff]*"'  # RFC 9110, section 8.8.3
_ONE_ENTITY_TAG = re.compile(_ENTITY_TAG)
_ENTITY_TAGS = re.compile(rf"[ \t,]*{_ENTITY_TAG}(?:[ \t]*,[ \t,]*(?:{_ENTITY_TAG})?)*[ \t,]*")

_DAY, _MONTH, _TIME = rf"(?:{'|'.join(DAYS)})", rf"({'|'.join(MONTHS)})", r"(\d\d):(\d\d):(\d\d)"
_IMF_FIXDATE = re.compile(rf"{_DAY}, (\d\d) {_MONTH} (\d{{4}}) {_TIME} GMT", re.ASCII)
_RFC_850_DATE = re.compile(
    rf"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (\d\d)-{_MONTH}-(\d\d) {_TIME} GMT", re.ASCII
)
_ASCTIME_DATE = re.compile(rf"{_DAY} {_MONTH} (\d\d| \d) {_TIME} (\d{{4}})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one state of a page from another: a strong entity tag, and seconds since 1970."""

    entity_tag: str
    modified_s: int


def status_by_conditions(request: Request, validators: Validators, now_s: int) -> int | None:
    """Return 304 or 412 if the request's conditions ask for that, None to answer as usual.

    The order is that of RFC 9110, section 13.2.2. A date that is none counts as not sent. For GET
    and HEAD, and only where the answer would be 200 otherwise.
    """
    tags = request.field("if-match")
    date_s = _date_s(request, "if-unmodified-since", now_s) if tags is None else None
    if tags is not None and not _matches(tags, validators.entity_tag, weak=False):
        return 412
    if date_s is not None and validators.modified_s > date_s:
        return 412
    if (tags := request.field("if-none-match")) is not None:
        return 304 if _matches(tags, validators.entity_tag, weak=True) else None
    if (date_s := _date_s(request, "if-modified-since", now_s)) is not None:
        # A date in the future is of a clock that is wrong: it proves nothing about the copy.
        return 304 if validators.modified_s <= date_s <= now_s else None
    return None


def parse_http_date(text: str, now_s: int) -> int | None:
    """Return seconds since 1970 for a date in any of HTTP's three forms, None if it is none.

    ``Sun, 06 Nov 1994 08:49:37 GMT``, ``Sunday, 06-Nov-94 08:49:37 GMT`` and
    ``Sun Nov  6 08:49:37 1994`` (RFC 9110, section 5.6.7). A year of two digits that seems to be
    more than 50 years after ``now_s`` is of the century before.
    """
    if match := _IMF_FIXDATE.fullmatch(text):
        day, month, year, *time = match.groups()
    elif match := _ASCTIME_DATE.fullmatch(text):
        month, day, *time, year = match.groups()
    elif match := _RFC_850_DATE.fullmatch(text):
        day, month, year, *time = match.groups()
        this_year = 1970 + now_s // 31556952  # mean length of a Gregorian year
        full_year = this_year - this_year % 100 + int(year)
        year = str(full_year - 100 if full_year > this_year + 50 else full_year)
    else:
        return None
    hour, minute, second = map(int, time)
    number = MONTHS.index(month) + 1
    if not (1 <= int(day) <= calendar.monthrange(max(int(year), 1), number)[1]):
        return None
    if hour > 23 or minute > 59 or second > 60 or int(year) < 1:
        return None
    return calendar.timegm((int(year), number, int(day), hour, minute, min(second, 59)))


def _date_s(request: Request, name: str, now_s: int) -> int | None:
    text = request.field(name)
    return None if text is None else parse_http_date(text, now_s)


def _matches(tags: str, entity_tag: str, *, weak: bool) -> bool:
    """Whether the page's tag is among ``tags``; ``*`` is any of them, a malformed list none."""
    if tags == "*":
        return True
    if _ENTITY_TAGS.fullmatch(tags) is None:
        return False
    sent = _ONE_ENTITY_TAG.findall(tags)
    return entity_tag in ([tag.removeprefix("W/") for tag in sent] if weak else sent)
