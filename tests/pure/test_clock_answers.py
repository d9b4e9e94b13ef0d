"""Reading the time out of the answers of all sorts of servers."""

import time
from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.clock.answers import COARSE_CLOCK_NS, UnreadableAnswer, parse_time, read_answer
from services.clock.protocol import rfc3339

S = 1_000_000_000
WHOLE = S + COARSE_CLOCK_NS
NOW_S = 1795374198  # 2026-11-22T19:03:18Z
PARIS = timezone(timedelta(hours=1), "CET")


@pytest.mark.parametrize(
    ("text", "earliest_ns", "latest_ns", "assumed"),
    [
        ("2026-11-22T19:03:18.975123456Z", NOW_S * S + 975123456, NOW_S * S + 975123457, None),
        ("2026-11-22T19:03:18Z", NOW_S * S, NOW_S * S + WHOLE, None),
        ("2026-11-22t19:03:18z", NOW_S * S, NOW_S * S + WHOLE, None),
        ("2026-11-22 19:03:18 UTC", NOW_S * S, NOW_S * S + WHOLE, None),
        ("2026-11-22T20:03:18+01:00", NOW_S * S, NOW_S * S + WHOLE, None),
        ("2026-11-22T13:33:18-0530", NOW_S * S, NOW_S * S + WHOLE, None),
        ("2026-11-22T20:03:18+01", NOW_S * S, NOW_S * S + WHOLE, None),
        ("2026-11-22T20:03:18", NOW_S * S, NOW_S * S + WHOLE, "CET"),
        ("2026-11-22 20:03:18,5", NOW_S * S + 450_000_000, NOW_S * S + 600_000_000, "CET"),
        (
            "2026-11-22 20:03:18.000123",
            NOW_S * S + 122_500,
            NOW_S * S + 124_000,
            "CET",
        ),
        ("2026-11-22T19:03:18.9751234567890Z", NOW_S * S + 975123456, NOW_S * S + 975123457, None),
        ("2016-12-31T23:59:60Z", 1483228800 * S, 1483228800 * S + WHOLE, None),
        ("Sun Nov 22 20:03:18 2026", NOW_S * S, NOW_S * S + WHOLE, "CET"),
        ("Sun Nov 22 19:03:18 UTC 2026", NOW_S * S, NOW_S * S + WHOLE, None),
        (
            "Sun Nov  1 20:03:18 2026",
            (NOW_S - 21 * 86400) * S,
            (NOW_S - 21 * 86400) * S + WHOLE,
            "CET",
        ),
        ("1795374198", NOW_S * S, NOW_S * S + WHOLE, None),
        ("1795374198.5", NOW_S * S + 450_000_000, NOW_S * S + 600_000_000, None),
        ("1795374198.9751234", NOW_S * S + 975122900, NOW_S * S + 975124400, None),
        ("0", 0, WHOLE, None),
        ("-1.5", -1_550_000_000, -1_400_000_000, None),
    ],
)
def test_a_form_is_read_as_the_interval_that_it_leaves_open(
    text: str, earliest_ns: int, latest_ns: int, assumed: str | None
) -> None:
    found = parse_time(f" {text}\r\n", PARIS)
    assert found.text == text
    assert (found.earliest_ns, found.latest_ns) == (earliest_ns, latest_ns)
    assert found.zone_assumed == assumed


@given(
    wall_ns=st.integers(S, 4_000_000_000 * S),
    zone=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_what_any_clock_shows_contains_what_it_read(wall_ns: int, zone: tzinfo) -> None:
    seconds = wall_ns // S
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=wall_ns // 1000)
    forms = [
        rfc3339(wall_ns),
        str(seconds),
        repr(wall_ns / S),
        f"{wall_ns / S:.3f}",
        time.asctime(time.gmtime(seconds)),
        moment.isoformat(),
        str(moment.astimezone(zone)),
        moment.strftime("%Y-%m-%d %H:%M:%S"),
    ]
    for text in forms:
        found = parse_time(text, UTC)
        assert found.earliest_ns <= wall_ns < found.latest_ns, text


@given(wall_ns=st.integers(S, 4_000_000_000 * S), lag_ns=st.integers(0, 15_600_000))
def test_whole_seconds_may_be_those_of_the_last_tick(wall_ns: int, lag_ns: int) -> None:
    seconds = (wall_ns - lag_ns) // S  # what time() says; the longest tick is that of Windows
    for text in (str(seconds), time.asctime(time.gmtime(seconds))):
        found = parse_time(text, UTC)
        assert found.earliest_ns <= wall_ns < found.latest_ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "12:00:05",
        "2026-11-22",
        "2026-11-22T19:03",
        "2026-13-22T19:03:18Z",
        "2026-02-30T19:03:18Z",
        "2026-11-22T19:03:61Z",
        "0001-01-01T00:00:00+24:00",
        "Sun Foo 22 20:03:18 2026",
        "1795374198975",  # milliseconds
        "9" * 400,
        "nan",
        "1e9",
        "0x10",
        "\uff11\uff17\uff19\uff15",  # digits of another script
        "2026-11-22T19:03:18+99:99",
        "2026-11-22T19:03:18Z 2026-11-22T19:03:18Z",
    ],
)
def test_what_is_not_a_time_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(UnreadableAnswer) as refusal:
        parse_time(text)
    assert ascii(text)[:20] in str(refusal.value)
    assert len(str(refusal.value)) < 200


EXACT = "received 2026-11-22T19:03:18.975100000Z by kernel sent 2026-11-22T19:03:18.975123456Z"


def test_the_exact_answer_says_when_the_question_came_and_when_the_answer_left() -> None:
    found = read_answer(EXACT, cut_off=False)
    assert found.transmit_earliest_ns == NOW_S * S + 975123456
    assert found.receive_latest_ns == NOW_S * S + 975100001  # its last digit may have been cut
    assert found.residence_ns == 23456
    assert (found.received_by, found.resolution_ns, found.text) == ("kernel", 1, EXACT)


def test_the_plain_answer_is_one_reading_of_which_both_bounds_are() -> None:
    found = read_answer("2026-11-22T19:03:18Z", cut_off=False)
    assert (found.transmit_earliest_ns, found.receive_latest_ns) == (NOW_S * S, NOW_S * S + WHOLE)
    assert found.residence_ns is None


def test_a_clock_that_runs_backwards_while_it_answers_is_refused() -> None:
    with pytest.raises(UnreadableAnswer, match="ran backwards while it answered"):
        read_answer(EXACT.replace("sent 2026", "sent 2025"), cut_off=False)


@pytest.mark.parametrize("at", range(len(EXACT)))
def test_an_exact_answer_that_was_cut_is_refused(at: int) -> None:
    for cut_off in (False, True):
        with pytest.raises(UnreadableAnswer):
            read_answer(EXACT[:at], cut_off=cut_off)


@given(text=st.one_of(st.text(max_size=40), st.from_regex(r"received .* by kernel sent .*")))
def test_any_text_is_a_time_or_unreadable(text: str) -> None:
    refusal = ""
    try:
        found = read_answer(text, cut_off=False)
        assert found.earliest_ns < found.latest_ns
    except UnreadableAnswer as error:
        refusal = str(error)
    assert refusal.isprintable()  # it goes to a terminal
    assert refusal.isascii()


def test_the_error_of_a_server_is_passed_on() -> None:
    with pytest.raises(UnreadableAnswer, match="the server says 'error: all 5 places are taken"):
        read_answer("error: all 5 places are taken, closing", cut_off=False)


def test_an_answer_that_broke_off_is_not_taken_for_a_time_in_1970() -> None:
    assert read_answer("1795374", cut_off=False).earliest_ns == 1795374 * S
    for text in ("1795374", "2026-11-2"):
        with pytest.raises(UnreadableAnswer, match=f"broke off after '{text}'"):
            read_answer(text, cut_off=True)
    assert read_answer("1795374198", cut_off=True).earliest_ns == NOW_S * S
