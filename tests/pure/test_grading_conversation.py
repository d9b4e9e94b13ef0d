"""The number that follows our delays is the RTT, in any writing; its mean; growing waits."""

from collections.abc import Callable
from typing import Any

import pytest

from grading.conversation import (
    Exchange,
    Found,
    Span,
    agreeing,
    called_average,
    enough,
    exchanges,
    find,
    ladder,
    waits_grow,
    waits_longer_and_longer,
)

MS = 1_000_000
HELD_MS = (100, 200, 50, 150, 75)
SPANS = [Span(held / 1000, held / 1000) for held in HELD_MS]


def datagram(at_ms: float, request: int, attempt: int = 1, **more: Any) -> dict[str, Any]:
    common = {"data": f"m{request}", "bytes": 2, "early": False, "lost": False}
    place = {"t_ns": int(at_ms * MS), "request": request, "attempt": attempt}
    return {"event": "datagram", **common, **place, **more}


def answer(at_ms: float, request: int, kind: str = "first") -> dict[str, Any]:
    place = {"t_ns": int(at_ms * MS), "request": request, "kind": kind}
    return {"event": "answer", "data": "ok", "bytes": 2, **place}


def test_a_request_is_its_attempts_and_the_answer_to_the_last() -> None:
    events = [
        datagram(0, 1, lost=True),
        datagram(500, 1, 2),
        answer(600, 1),
        answer(600.1, 1, "second"),
        datagram(601, 2),
        datagram(610, 2, 2, early=True, lost=True, data="m3"),
        answer(700, 2),
    ]
    first, second = exchanges(events)
    assert (first.held_s, first.total_s, first.waits_s) == (0.1, 0.6, [0.5])
    assert first.held == Span(0.1, 0.101)
    assert first.total == Span(0.6, 0.601)
    assert (second.held_s, second.early_data, second.next_ns) == (0.099, ("m3",), None)


def test_a_ladder_has_every_packet_and_says_which_were_lost() -> None:
    rungs = ladder([{"event": "ready", "t_ns": 0}, datagram(1, 1, lost=True), answer(2, 1, "late")])
    assert [(rung["from"], rung["lost"]) for rung in rungs] == [("program", True), ("peer", False)]
    assert rungs[1]["what"] == "ok (late, to the lost one)"


WRITINGS: dict[str, tuple[str, Callable[[int], str]]] = {
    "seconds as time.time() gives them": ("s", lambda ms: f"RTT = {ms / 1000 + 0.0004123}"),
    "milliseconds": ("ms", lambda ms: f"seq={ms} time={ms + 0.4:.3f} ms"),
    "a decimal comma": ("ms", lambda ms: f"Requête : RTT = {ms + 0.4:.1f} ms".replace(".", ",")),
    "microseconds": ("us", lambda ms: f"RTT {ms * 1000 + 400} µs"),
    "the unit before": ("ms", lambda ms: f"RTT (ms) : {ms + 0.4:.2f}"),
    "rounded to hundredths": ("s", lambda ms: f"rtt {(ms + 1) / 1000:.2f}"),
    "as Go prints them": ("ms", lambda ms: f"request: rtt {ms}.412345ms"),
}


@pytest.mark.parametrize("name", WRITINGS)
def test_the_rtt_is_found_in_any_writing(name: str) -> None:
    unit, write = WRITINGS[name]
    lines = []
    for number, held in enumerate(HELD_MS, 1):
        lines += [f"request {number}, timeout 0.5 s", "no answer, timeout 1.0 s", write(held)]
    found = find("\n".join(lines), SPANS)
    assert [place for place, _ in found.pairs] == [0, 1, 2, 3, 4]
    assert found.unit == unit
    assert found.samples_s == pytest.approx([held / 1000 for held in HELD_MS], abs=0.006)


@pytest.mark.parametrize(
    "output",
    [
        "",
        "confirmed\n" * 5,
        "\n".join(f"request {n} confirmed, timeout 0.5 s" for n in range(5)),
        "\n".join(f"RTT = {cpu} s" for cpu in (0.0002, 0.0003, 0.0002, 0.0001, 0.0004)),
        "\n".join("RTT = 0 s" for _ in range(5)),
        "\n".join("RTT = 0.1 s" for _ in range(5)),
    ],
)
def test_what_does_not_follow_the_delays_is_not_the_rtt(output: str) -> None:
    assert not enough(len(find(output, SPANS).pairs), len(SPANS))


def test_a_stall_is_believed_only_when_the_next_datagram_was_late_too() -> None:
    text = "\n".join(f"RTT {held + (290 if held == 50 else 1)} ms" for held in HELD_MS)
    assert len(find(text, SPANS).pairs) == 4
    stalled = [Span(s.wire_s, s.wire_s + (0.3 if s.wire_s == 0.05 else 0)) for s in SPANS]
    assert len(find(text, stalled).pairs) == 5


def test_a_wrong_unit_is_found_when_units_are_not_trusted() -> None:
    text = "\n".join(f"RTT = {held / 1000 + 0.0004} ms" for held in HELD_MS)
    assert not find(text, SPANS).pairs
    found = find(text, SPANS, trusting=False)
    assert (len(found.pairs), found.unit, found.called) == (5, "s", "ms")


def test_a_mean_near_the_last_time_is_not_taken_for_its_sample() -> None:
    lines = [f"hello {n} RTT = {held + 0.4} s" for n, held in enumerate(HELD_MS)]
    text = "\n".join(line.replace(" s", " ms") for line in [*lines[:4], "hello 4 RTT = 83.4 s"])
    found = find(f"{text}\nRTT moyen = 76 ms", SPANS)
    assert found.samples_s[-1] == pytest.approx(0.0834)


def test_a_sample_measured_in_a_stall_counts_in_the_mean() -> None:
    spans = [*SPANS, Span(0.09, 0.09)]
    text = "\n".join(f"RTT {held} ms" for held in (*HELD_MS, 390))
    found = find(f"{text}\naverage {965 / 6:.3f} ms", spans)
    assert len(found.pairs) == 5
    assert agreeing(f"{text}\naverage {965 / 6:.3f} ms", found, sum(found.all_samples_s) / 6)


SAMPLES = "\n".join(f"RTT {held}.4 ms" for held in HELD_MS)


@pytest.mark.parametrize(
    "last",
    ["average 115.4 ms", "moyenne: 115,40 ms", "min/avg/max = 50.4/115.4/200.4 ms", "0.1154 s"],
)
def test_the_mean_of_the_samples_is_found(last: str) -> None:
    found = find(SAMPLES, SPANS)
    assert agreeing(f"{SAMPLES}\n{last}", found, 0.1154) is not None


@pytest.mark.parametrize("last", ["average 290.2 ms", "moyenne: 89 ms", "", "average 0 ms"])
def test_another_number_is_not_the_mean(last: str) -> None:
    found = find(SAMPLES, SPANS)
    assert agreeing(f"{SAMPLES}\n{last}", found, 0.1154) is None


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("RTT moyen : 0.305 s sur 10 requetes", 0.305),
        ("rtt min/avg/max = 1.5/2.5/3.5 ms", 2.5),
        ("10 answered, average rtt 7.5ms", 7.5),
    ],
)
def test_what_is_called_an_average_is_found(line: str, value: float) -> None:
    found = called_average(f"request 1\n{line}\nbye 3\n")
    assert found is not None
    assert found.value == value


def test_nothing_is_called_an_average() -> None:
    assert called_average("RTT 5 ms\n") is None


@pytest.mark.parametrize(
    ("pairs", "silence", "grows"),
    [
        ([(0.5, 1.0)], [0.5, 1.0, 2.0, 4.0], True),
        ([(0.2, 0.25)], [0.2, 0.25, 0.31, 0.39, 0.49, 0.61], True),
        ([(0.33, 0.25)], [0.3, 0.25, 0.31, 0.39, 0.49, 0.61], True),  # the first was stalled
        ([(1.0, 1.1)], [1.0, 1.1, 1.2, 1.3, 1.4], True),
        ([(0.5, 1.0)], [0.5, 1.0, 0.5, 1.0, 0.5, 1.0], True),  # two attempts each
        ([(2.0, 4.0)], [], True),
        ([], [2.0, 4.0], True),
        ([(0.5, 0.5)], [0.5, 0.5, 0.5, 0.5], False),
        ([(0.5, 0.506)], [0.501, 0.638, 0.514, 0.524, 0.518, 0.501], False),  # a busy machine
        ([(0.5, 0.64)], [0.5] * 20, False),
        ([(1.0, 0.5)], [1.0, 0.5, 0.25, 0.12], False),  # shrinks
        ([], [], None),
        ([], [1.0], None),
    ],
)
def test_growing_waits(
    pairs: list[tuple[float, float]], silence: list[float], grows: bool | None
) -> None:
    assert waits_grow(pairs, silence) is grows


def test_found_is_empty_by_default() -> None:
    assert Found().samples_s == []
    assert Exchange(1, (0,)).waits_s == []


def test_an_average_near_the_last_time_is_not_taken_for_it() -> None:
    spans = [Span(0.054), Span(0.048), Span(0.053)]
    own = (0.0544, 0.0480, 0.0570)
    output = "".join(f"RTT = {rtt} s\n" for rtt in own) + f"RTT moyen = {sum(own) / 3} s\n"
    found = find(output, spans)
    assert found.samples_s == list(own)
    assert agreeing(output, found, sum(own) / 3) is not None


def gaps(*seconds: float) -> list[dict[str, object]]:
    """Events of a client whose datagrams come so long after the answer to the one before."""
    now_ns, events = 0, [{"event": "datagram", "t_ns": 0}]
    for gap_s in seconds:
        events.append({"event": "answer", "t_ns": now_ns})
        now_ns += round(gap_s * 1e9)
        events.append({"event": "datagram", "t_ns": now_ns})
    return events


@pytest.mark.parametrize(
    ("waited_s", "longer"),
    [
        ((0.2, 0.4, 0.8), True),
        ((0.2, 0.3, 0.45), True),
        ((0.001, 0.2, 0.4, 0.8), True),
        ((0.2, 0.4), False),
        ((0.2, 0.4, 0.4), False),
        ((1.0, 1.0, 1.0), False),
        ((0.001, 0.002, 0.004), False),  # what a busy machine does
        ((), False),
    ],
)
def test_a_client_that_does_not_take_its_answers_waits_longer_and_longer(
    waited_s: tuple[float, ...], longer: bool
) -> None:
    assert waits_longer_and_longer(gaps(*waited_s)) is longer
