"""Where did it go: three accounts joined, each missing answer attributed, beside theory."""

import random
from typing import Any

import pytest

from lab.chance import at_least, share_band
from lab.where import (
    ERROR,
    Cause,
    Explained,
    Way,
    Why,
    as_document,
    explained,
    log_facts,
    snmp_counters,
    told,
)

RUN = "7f3a9c01"
QUIET = {"to_server": Way(), "from_server": Way()}


def document(*outcomes: str) -> dict[str, Any]:
    """Return a client's document: one request for each outcome, one attempt each."""
    return {
        "run": RUN,
        "server": "192.0.2.1:1234",
        "requests": [
            {"request": number, "attempts": [{"attempt": 1, "outcome": outcome}]}
            for number, outcome in enumerate(outcomes, 1)
        ],
    }


def causes(found: Explained) -> list[Cause]:
    return [cause for _, _, cause, _ in found.attempts]


def test_each_outcome_of_the_client_has_its_cause() -> None:
    found = explained(
        document(
            "answered", "answered late", "dropped by the server", "lost on the way there",
            "lost on the way back", "refused", "not sent", "unknown",
        ), None, QUIET, 0.5,
    )  # fmt: skip
    assert causes(found) == list(Cause)[:3] + [
        Cause.TO_SERVER, Cause.FROM_SERVER, Cause.REFUSED, Cause.UNSENT, Cause.UNKNOWN,
    ]  # fmt: skip
    assert found.counts.total() == 8


def log_line(event: str, request: int, style: str = "human") -> str:
    if style == "human":
        fields = f"client=192.0.2.2:5 bytes=27 ping={RUN}/{request}.1"
        return f"2026-01-01T00:00:00.000Z udp {event} {fields}"
    return (
        f'{{"time": "2026-01-01T00:00:00.000Z", "service": "udp", "event": "{event}", '
        f'"client": "192.0.2.2:5", "bytes": 27, "ping": "{RUN}/{request}.1"}}'
    )


@pytest.mark.parametrize("style", ["human", "json"])
def test_the_servers_log_settles_what_the_client_could_not_know(style: str) -> None:
    lines = [
        *(log_line(event, 1, style) for event in ("received", "answered")),
        *(log_line(event, 2, style) for event in ("received", "dropped")),
        log_line("received", 4, style).replace(RUN, "00000000"),  # of another run
        "2026-01-01T00:00:00.000Z udp listening address=0.0.0.0 port=1234 drop=0.5",
    ]
    found = explained(
        document("unknown", "unknown", "unknown", "unknown"), log_facts(lines, RUN), QUIET, 0.5
    )
    assert causes(found) == [Cause.FROM_SERVER, Cause.DROPPED, Cause.TO_SERVER, Cause.TO_SERVER]
    assert found.settled_by_log == 4
    assert "4 that the client could not know of are by the server's log" in told(found)


def test_a_server_without_a_log_leaves_unknown_what_is_unknown() -> None:
    found = explained(document("unknown"), None, QUIET, 0.5)
    assert causes(found) == [Cause.UNKNOWN]
    assert found.settled_by_log == 0


@pytest.mark.parametrize(
    ("outcome", "logged", "says"),
    [
        ("answered", ["received", "dropped"], "does not say that it answered"),
        ("lost on the way back", [], "does not say that it answered"),
        ("dropped by the server", ["received", "answered"], "does not say so"),
        ("lost on the way there", ["received", "dropped"], "says received"),
    ],
)
def test_accounts_that_disagree_are_shown(outcome: str, logged: list[str], says: str) -> None:
    facts = log_facts([log_line(event, 1) for event in logged], RUN)
    found = explained(document(outcome), facts, QUIET, 0.5)
    (text,) = found.disagreements
    assert says in text
    assert "the accounts disagree on 1" in told(found)


def test_accounts_that_agree_say_nothing() -> None:
    facts = log_facts(
        [log_line("received", 1), log_line("answered", 1), log_line("received", 2),
         log_line("dropped", 2)], RUN,
    )  # fmt: skip
    outcomes = ("answered", "dropped by the server", "lost on the way there")
    assert explained(document(*outcomes), facts, QUIET, 0.5).disagreements == []


@pytest.mark.parametrize(
    ("way", "lost", "reasons"),
    [
        (Way(dropped=12), 10, {Why.NETWORK: 10}),  # the account's questions are lost too
        (Way(dropped=10, overflowed=10), 10, {Why.QUEUE: 10}),
        (Way(dropped=10, overflowed=4), 10, {Why.QUEUE: 4, Why.NETWORK: 6}),
        (Way(checksum_errors=3), 3, {Why.CORRUPTED: 3}),
        (Way(buffer_errors=2), 2, {Why.BUFFER: 2}),
        (Way(dropped=1), 3, {Why.NETWORK: 1, Why.UNEXPLAINED: 2}),
        (Way(dropped=5), 0, {}),
    ],
)
def test_the_counters_tell_why_a_way_lost_what_it_lost(
    way: Way, lost: int, reasons: dict[Why, int]
) -> None:
    assert way.reasons(lost) == reasons
    assert sum(way.reasons(lost).values()) == lost


def test_a_single_cause_is_every_ones_and_several_are_named_together() -> None:
    outcomes = ("lost on the way there", "lost on the way there")
    one = explained(document(*outcomes), None, QUIET | {"to_server": Way(dropped=2)}, 0.5)
    assert {why for _, _, _, why in one.attempts} == {str(Why.NETWORK)}
    mixed = Way(dropped=2, overflowed=1)
    two = explained(document(*outcomes), None, QUIET | {"to_server": mixed}, 0.5)
    assert {why for _, _, _, why in two.attempts} == {f"{Why.QUEUE} or {Why.NETWORK}"}


def simulated(drop: float, there: float, back: float, count: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    outcomes = []
    for _ in range(count):
        if chance.random() < there:
            outcomes.append("lost on the way there")
        elif chance.random() < drop:
            outcomes.append("dropped by the server")
        elif chance.random() < back:
            outcomes.append("lost on the way back")
        else:
            outcomes.append("answered")
    return outcomes


def ways(there: str, back: str) -> dict[str, Way]:
    return {
        "to_server": Way(there, "netem", dropped=10**6),
        "from_server": Way(back, "netem", dropped=10**6),
    }


def test_both_kinds_of_loss_stand_beside_what_probability_predicts() -> None:
    outcomes = simulated(0.5, 0.05, 0.1, 2000, seed=3)
    found = explained(document(*outcomes), None, ways("loss 5%", "loss 10%"), 0.5)
    program, there, back = found.expected
    assert there.of == 2000
    assert program.of == 2000 - there.count
    assert back.of == program.of - program.count
    assert [one.probability for one in found.expected] == [0.5, 0.05, 0.1]
    assert all(one.as_predicted for one in found.expected)
    assert told(found).count("  as predicted") == 3


def test_what_is_not_as_predicted_is_said_to_be_so() -> None:
    outcomes = simulated(0.3, 0.05, 0.1, 2000, seed=3)
    found = explained(document(*outcomes), None, ways("loss 5%", "loss 10%"), 0.5)
    assert [one.as_predicted for one in found.expected] == [False, True, True]
    assert "NOT as predicted" in told(found)


def test_losses_to_a_full_queue_are_not_held_against_the_probability() -> None:
    way = Way("rate 1mbit limit 50", "netem", dropped=300, overflowed=300)
    outcomes = ["lost on the way there"] * 300 + ["answered"] * 700
    found = explained(document(*outcomes), None, QUIET | {"to_server": way}, 0.0)
    assert found.reasons["to_server"] == {Why.QUEUE: 300}
    there = found.expected[1]
    assert (there.count, there.probability, there.as_predicted) == (0, 0, True)


def test_losses_in_bursts_have_the_wider_band_of_their_chain() -> None:
    words = "loss gemodel 1% 25% 70% 0.1%"
    outcomes = ["lost on the way there"] * 50 + ["answered"] * 950
    bursts = explained(document(*outcomes), None, ways(words, "off"), 0.0).expected[1]
    plain = explained(document(*outcomes), None, ways("loss 2.788%", "off"), 0.0).expected[1]
    assert bursts.probability == pytest.approx(plain.probability, abs=1e-4)
    assert bursts.high - bursts.low > 1.5 * (plain.high - plain.low)


def test_a_schedule_predicts_nothing_and_neither_does_an_empty_run() -> None:
    found = explained(document("dropped by the server"), None, QUIET, None)
    assert found.expected[0].as_predicted is None
    assert all(one.as_predicted is None for one in explained(document(), None, QUIET, 0.5).expected)
    assert told(explained(document(), None, QUIET, 0.5))


@pytest.mark.parametrize(
    ("trials", "p"), [(1000, 0.5), (1000, 0.01), (30, 0.9), (50, 0.0), (50, 1.0)]
)
def test_a_band_is_left_no_more_often_than_it_says_and_is_no_wider_than_need_be(
    trials: int, p: float
) -> None:
    low, high = share_band(trials, p, ERROR)
    assert 1 - at_least(low, trials, p) <= ERROR / 2
    assert at_least(high + 1, trials, p) <= ERROR / 2
    if low > 0:
        assert 1 - at_least(low + 1, trials, p) > ERROR / 2
    if high < trials:
        assert at_least(high, trials, p) > ERROR / 2


def test_a_small_run_names_every_missing_answer() -> None:
    found = explained(
        document("answered", "dropped by the server", "answered late"), None, QUIET, 0.5
    )
    lines = told(found).splitlines()
    assert "request 2, attempt 1: dropped by the server on purpose" in lines
    assert "request 3, attempt 1: timeout too short: the answer came after it" in lines
    assert not any(line.startswith("request 1,") for line in lines)


def test_the_document_has_every_attempt_with_its_cause() -> None:
    found = explained(document("lost on the way back"), None, ways("off", "loss 10%"), 0.5)
    kept = as_document(found)
    assert kept["attempts"] == [
        {"request": 1, "attempt": 1, "cause": "lost from the server", "why": str(Why.NETWORK)}
    ]
    assert kept["counts"]["lost from the server"] == 1
    assert kept["reasons"]["from_server"] == {str(Why.NETWORK): 1}


def test_the_kernels_counters_have_their_protocol_before_them() -> None:
    text = (
        "Ip: Forwarding InHdrErrors\nIp: 1 4\n"
        "Udp: InDatagrams NoPorts InErrors RcvbufErrors InCsumErrors\nUdp: 9 0 3 2 1\n"
    )
    counters = snmp_counters(text)
    assert counters["Udp InCsumErrors"] == 1
    assert counters["Udp RcvbufErrors"] == 2
    assert counters["Ip InHdrErrors"] == 4
    assert snmp_counters("") == {}
