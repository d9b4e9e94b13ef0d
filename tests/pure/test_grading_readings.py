"""What other people's programs say: times in every writing, and quantities in every unit."""

import struct

import pytest

from grading.readings import Form, quantities, template, time_in

SECOND = 1_000_000_000
NOW = 1_795_374_198_975_123_456
"""2026-11-22T19:03:18.975123456Z"""


@pytest.mark.parametrize(
    ("answer", "resolution_ns"),
    [
        ("Sun Nov 22 19:03:18 2026\n", SECOND),
        ("Sun Nov 22 19:03:18 UTC 2026", SECOND),
        ("Il est : Sun Nov 22 19:03:18 2026\r\n", SECOND),
        ("2026-11-22T19:03:18.975123456Z\n", 1),
        ("2026-11-22T20:03:18.975123+01:00", 1000),
        ("2026-11-22 19:03:18.975123456 +0000 UTC m=+0.000052", 1),
        ("2026-11-22 19:03:18", SECOND),
        ("2026-11-22 20:03:18 CET", SECOND),
        ("Sun, 22 Nov 2026 19:03:18 GMT", SECOND),
        ("November 22, 2026 7:03:18 PM", SECOND),
        ("11/22/2026 07:03:18 PM", SECOND),
        ("22/11/2026 19:03:18", SECOND),
        ("22/11/26 19:03:18", SECOND),
        ("19:03:18 le 22/11/2026", SECOND),
        ("Nous sommes le dimanche 22 novembre 2026, il est 19:03:18", SECOND),
        ("dim. 22 nov. 2026 19:03:18", SECOND),
        ("dimanche 22 novembre 2026 à 19h03min18s", SECOND),
        ("19:03:18.975", 1_000_000),
        ("Il est 19h03m18", SECOND),
        ("Il est 19 h 03 min 18 s", SECOND),
        ("19:03:18 pour toi, 127.0.0.1", SECOND),
        ("19h03", 60 * SECOND),
        ("1795374198", SECOND),
        ("1795374198.975123", 1000),
        ("1795374198,975", 1_000_000),
        ("1795374198975", 1_000_000),
        ("1795374198975123", 1000),
        ("1795374198975123456", 1),
        ('{"time": 1795374198.97}', 10_000_000),
    ],
)
def test_a_time_is_found_in_any_writing_and_written_again_in_the_same(
    answer: str, resolution_ns: int
) -> None:
    reading = time_in(answer.encode(), NOW)
    assert reading is not None
    assert reading.resolution_ns == resolution_ns
    assert -resolution_ns < reading.ahead_ns(NOW) <= 0
    form = template(answer.encode(), NOW)
    assert form is not None
    assert form.write(NOW) == answer.encode()
    later = NOW + 83 * SECOND
    read_again = time_in(form.write(later), later)
    assert read_again is not None
    assert -resolution_ns < read_again.ahead_ns(later) <= 0


@pytest.mark.parametrize("kind", ["!I", "<I", "!d", "<d", "!Q", "<q"])
def test_a_time_is_found_in_packed_bytes(kind: str) -> None:
    value = NOW / SECOND if kind[-1] == "d" else NOW // SECOND
    data = struct.pack(kind, value)
    reading = time_in(data, NOW)
    assert reading is not None
    assert abs(reading.ahead_ns(NOW)) < SECOND
    assert reading.form.write(NOW) == data


def test_seconds_since_1900_are_known_from_those_since_1970() -> None:
    reading = time_in(struct.pack("!I", NOW // SECOND + 2_208_988_800), NOW)
    assert reading is not None
    assert abs(reading.ahead_ns(NOW)) < SECOND
    assert reading.form.epoch_s == -2_208_988_800


def test_a_wrong_time_is_read_as_it_stands() -> None:
    reading = time_in(b"Sun Nov 22 20:03:18 2026", NOW)
    assert reading is not None
    assert reading.ahead_ns(NOW) // SECOND == 3599
    assert not reading.zone_named


def test_a_day_that_can_be_a_month_is_read_the_way_that_is_nearer() -> None:
    now = 1_780_000_000 * SECOND  # 2026-05-28
    for answer in (b"06/05/2026 12:00:00", b"05/06/2026 12:00:00"):
        reading = time_in(answer, now)
        assert reading is not None
        assert abs(reading.ahead_ns(now)) < 10 * 86_400 * SECOND


def test_a_time_of_day_is_right_on_both_sides_of_midnight() -> None:
    midnight = 1_795_392_000 * SECOND
    reading = time_in(b"23:59:59", midnight + 2 * SECOND)
    assert reading is not None
    assert reading.ahead_ns(midnight + 2 * SECOND) == -3 * SECOND


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"error: please ask",
        b"127.0.0.1:1236",
        b"31/11/2026",
        b"25:61:61",
        b"\xff\xfe\x00",
        b"1",
    ],
)
def test_what_is_no_time_is_none(answer: bytes) -> None:
    assert time_in(answer, NOW) is None
    assert template(answer, NOW) is None


def test_braces_around_a_time_stay_what_they_are() -> None:
    form = template(b'{"t": "19:03:18"} {}', NOW)
    assert form == Form('{{"t": "{hour:02}:{minute:02}:{second:02}"}} {{}}')
    assert form.write(NOW) == b'{"t": "19:03:18"} {}'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("RTT = 0.0123 s", [(0.0123, "s")]),
        ("rtt 5.96e-05", [(5.96e-05, "")]),
        ("moyenne : 12,345 ms", [(12.345, "ms")]),
        ("answered in 1.2ms, 340µs there", [(1.2, "ms"), (340.0, "us")]),
        ("ecart en microsecondes : -57300000", [(-57300000.0, "us")]),
        ("difference (ms): 12", [(12.0, "ms")]),
        ("RTT_ms=3.4", [(3.4, "ms")]),
        ("1\u202f234,5 ms", [(1234.5, "ms")]),
        ("1,234.5 ms", [(1234.5, "ms")]),
        ("offset +83.4 s ± 25.6 us", [(83.4, "s"), (25.6, "us")]),
        ("[0.1, 0.2]", [(0.1, ""), (0.2, "")]),
        ("il s'est écoulé 12", [(12.0, "")]),
        ("réponse 1 en 3 secondes", [(1.0, ""), (3.0, "s")]),
        ("127.0.0.1:1236 answers: 3", [(3.0, "")]),
        ("1m23.4s", [(83.4, "s")]),
        ("-1m29.5s", [(-89.5, "s")]),
        ("1 minute 23.4 secondes d'avance", [(83.4, "s")]),
        ("difference : 0:00:02.500000", [(2.5, "s")]),
        ("difference : -1 day, 23:59:57.500000", [(-2.5, "s")]),
        ("nothing", []),
    ],
)
def test_quantities_have_their_values_and_units(text: str, found: list[tuple[float, str]]) -> None:
    read = quantities(text)
    assert [quantity.unit for quantity in read] == [unit for _, unit in found]
    assert [quantity.value for quantity in read] == pytest.approx([value for value, _ in found])


def test_a_number_without_a_unit_can_be_in_any() -> None:
    (quantity,) = quantities("difference: 83400")
    assert quantity.seconds()["ms"] == pytest.approx(83.4)
    assert quantity.seconds()["s"] == 83400


def test_what_is_known_to_be_a_time_of_day_is_no_quantity() -> None:
    text = "12:00:01 3 s"
    assert [quantity.text for quantity in quantities(text, [(0, 8)])] == ["3 s"]
