"""Which answer is credited to which attempt."""

import pytest

from clients.udp.ledger import Attempt, Credit, Ledger, Outcome
from services.udp.protocol import Ping, confirm

RUN = "7f3a9c01"
TIMEOUT_NS = 100


def answer_to(attempt: Attempt) -> bytes:
    return confirm(Ping(RUN, attempt.request, attempt.number).datagram(b"hello"))


def test_an_answer_is_credited_to_the_attempt_that_it_quotes_and_not_to_the_latest() -> None:
    ledger = Ledger(RUN)
    request = ledger.begin()
    first = ledger.sent(request, 0, TIMEOUT_NS)
    ledger.timed_out(first)
    second = ledger.sent(request, 100, TIMEOUT_NS)
    receipt = ledger.received(answer_to(first), 130, True)
    assert receipt.credit is Credit.ANSWER
    assert receipt.attempt is first
    assert receipt.completed is request
    assert (first.rtt_ns, second.rtt_ns) == (130, None)
    assert first.outcome is Outcome.LATE
    assert second.outcome is Outcome.UNKNOWN
    assert request.time_to_confirmation_ns == 130


def test_a_request_is_completed_once_and_later_answers_still_count_for_their_attempts() -> None:
    ledger = Ledger(RUN)
    request = ledger.begin()
    first = ledger.sent(request, 0, TIMEOUT_NS)
    second = ledger.sent(request, 100, TIMEOUT_NS)
    ledger.received(answer_to(second), 110, True)
    receipt = ledger.received(answer_to(first), 150, True)
    assert receipt.credit is Credit.ANSWER
    assert receipt.completed is None
    assert request.confirmed_ns == 110
    assert (first.outcome, first.rtt_ns) == (Outcome.LATE, 150)
    assert (second.outcome, second.rtt_ns) == (Outcome.ANSWERED, 10)


def test_a_second_answer_to_the_same_attempt_is_a_duplicate_and_changes_no_sample() -> None:
    ledger = Ledger(RUN)
    attempt = ledger.sent(ledger.begin(), 0, TIMEOUT_NS)
    ledger.received(answer_to(attempt), 10, True)
    assert ledger.received(answer_to(attempt), 20, True).credit is Credit.DUPLICATE
    assert (attempt.rtt_ns, attempt.duplicates, ledger.duplicates) == (10, 1, 1)


@pytest.mark.parametrize(
    ("datagram", "from_server", "reason"),
    [
        (confirm(Ping(RUN, 1, 1).datagram(b"")), False, "from another address"),
        (b"OK", False, "from another address"),
        (confirm(Ping("00000000", 1, 1).datagram(b"")), True, "of another run"),
        (confirm(Ping(RUN, 1, 2).datagram(b"")), True, "for an attempt that was never sent"),
        (confirm(Ping(RUN, 2, 1).datagram(b"")), True, "for an attempt that was never sent"),
    ],
)
def test_a_stray_is_counted_and_answers_nothing(
    datagram: bytes, from_server: bool, reason: str
) -> None:
    ledger = Ledger(RUN)
    request = ledger.begin()
    ledger.sent(request, 0, TIMEOUT_NS)
    receipt = ledger.received(datagram, 10, from_server)
    assert (receipt.credit, receipt.reason) == (Credit.STRAY, reason)
    assert ledger.strays == {reason: 1}
    assert request.confirmed_ns is None


def test_an_answer_that_quotes_nothing_is_a_sample_if_one_attempt_alone_can_have_caused_it() -> (
    None
):
    ledger = Ledger(RUN)
    for sent_ns in (0, 1000):
        attempt = ledger.sent(ledger.begin(), sent_ns, TIMEOUT_NS)
        receipt = ledger.received(b"OK", sent_ns + 10, True)
        assert (receipt.credit, receipt.attempt) == (Credit.ANSWER, attempt)
        assert attempt.rtt_ns == 10


def test_an_answer_that_quotes_nothing_after_a_retry_completes_the_request_without_a_sample() -> (
    None
):
    ledger = Ledger(RUN)
    request = ledger.begin()
    attempts = [ledger.sent(request, 0, TIMEOUT_NS), ledger.sent(request, 100, TIMEOUT_NS)]
    receipt = ledger.received(b"OK", 110, True)
    assert (receipt.credit, receipt.attempt) == (Credit.AMBIGUOUS, None)
    assert receipt.completed is request
    assert request.time_to_confirmation_ns == 110
    assert [attempt.rtt_ns for attempt in attempts] == [None, None]
    assert [attempt.outcome for attempt in attempts] == [Outcome.UNKNOWN, Outcome.UNKNOWN]


def test_an_earlier_requests_lost_attempt_makes_an_answer_ambiguous_too() -> None:
    ledger = Ledger(RUN)
    lost = ledger.sent(ledger.begin(), 0, TIMEOUT_NS)
    ledger.timed_out(lost)
    ledger.requests[0].gave_up = True
    request = ledger.begin()
    ledger.sent(request, 200, TIMEOUT_NS)
    assert ledger.received(b"OK", 210, True).completed is request
    assert ledger.ambiguous_answers == 1


def test_more_answers_that_quote_nothing_than_attempts_are_duplicates() -> None:
    ledger = Ledger(RUN)
    request = ledger.begin()
    for sent_ns in (0, 100):
        ledger.sent(request, sent_ns, TIMEOUT_NS)
    credits = [ledger.received(b"OK", 110 + i, True).credit for i in range(3)]
    assert credits == [Credit.AMBIGUOUS, Credit.AMBIGUOUS, Credit.DUPLICATE]


def test_a_refusal_is_credited_to_the_attempt_that_it_quotes() -> None:
    ledger = Ledger(RUN)
    request = ledger.begin()
    first = ledger.sent(request, 0, TIMEOUT_NS)
    second = ledger.sent(request, 100, TIMEOUT_NS)
    assert ledger.refused(Ping(RUN, 1, 1).datagram(b"hello"), "refused") is first
    assert (first.outcome, second.outcome) == (Outcome.REFUSED, Outcome.UNKNOWN)


@pytest.mark.parametrize("quote", [b"", b"OK", Ping("00000000", 1, 1).datagram(b"")])
def test_a_refusal_of_something_else_is_credited_to_nothing(quote: bytes) -> None:
    ledger = Ledger(RUN)
    attempt = ledger.sent(ledger.begin(), 0, TIMEOUT_NS)
    assert ledger.refused(quote, "refused") is None
    assert attempt.outcome is Outcome.UNKNOWN


def test_what_was_not_sent_is_no_candidate_for_an_answer() -> None:
    ledger = Ledger(RUN)
    request = ledger.begin()
    unsent = ledger.sent(request, 0, TIMEOUT_NS)
    ledger.not_sent(unsent, "no route")
    second = ledger.sent(request, 100, TIMEOUT_NS)
    assert ledger.received(b"OK", 105, True).attempt is second
    assert unsent.outcome is Outcome.UNSENT


def test_an_answer_after_giving_up_counts_for_its_attempt_and_not_for_the_request() -> None:
    ledger = Ledger(RUN)
    request = ledger.begin()
    attempt = ledger.sent(request, 0, TIMEOUT_NS)
    ledger.timed_out(attempt)
    request.gave_up = True
    assert ledger.received(answer_to(attempt), 500, True).completed is None
    assert attempt.outcome is Outcome.LATE
    assert request.confirmed_ns is None


@pytest.mark.parametrize("cut", [b"received 24 bytes: ping 7f3a9c01 1.", b"received 24 b"])
def test_a_confirmation_that_was_cut_is_no_answer(cut: bytes) -> None:
    ledger = Ledger(RUN)
    attempt = ledger.sent(ledger.begin(), 0, TIMEOUT_NS)
    assert ledger.received(cut, 10, True).credit is Credit.STRAY
    assert attempt.outcome is Outcome.UNKNOWN


def test_once_a_server_has_quoted_a_ping_what_quotes_none_never_was_an_answer() -> None:
    ledger = Ledger(RUN)
    request = ledger.begin()
    first = ledger.sent(request, 0, TIMEOUT_NS)
    assert ledger.received(b"OK", 10, True).attempt is first
    assert ledger.received(answer_to(first), 30, True).credit is Credit.ANSWER
    assert (first.rtt_ns, first.duplicates) == (30, 0)
    second = ledger.sent(ledger.begin(), 50, TIMEOUT_NS)
    assert ledger.received(b"OK", 60, True).credit is Credit.STRAY
    assert second.rtt_ns is None
    assert ledger.strays == {"that quotes no whole ping": 2}
    assert ledger.answers_in_order == [first]


def test_an_answer_that_quotes_another_sequence_number_is_a_stray() -> None:
    ledger = Ledger(RUN)
    attempt = ledger.sent(ledger.begin(), 0, TIMEOUT_NS)
    forged = confirm(Ping(RUN, 1, 1, number=2).datagram(b""))
    assert ledger.received(forged, 10, True).credit is Credit.STRAY
    assert attempt.rtt_ns is None


def test_kernel_stamps_are_taken_where_they_can_be_true() -> None:
    ledger = Ledger(RUN)
    request = ledger.begin()
    attempts = [ledger.sent(request, 1_000_000, TIMEOUT_NS) for _ in range(2)]
    ledger.left(b"ether, IP and UDP heads" + Ping(RUN, 1, 1).datagram(b""), 1_004_000)
    ledger.left(Ping(RUN, 1, 2).datagram(b""), 900_000)  # before the program sent it
    ledger.left(Ping("00000000", 1, 2).datagram(b""), 1_004_000)
    ledger.left(Ping(RUN, 9, 9).datagram(b""), 1_004_000)
    assert [attempt.left_ns for attempt in attempts] == [1_004_000, None]
    ledger.received(answer_to(attempts[0]), 1_050_000, True, 1_024_000)
    ledger.received(answer_to(attempts[1]), 1_050_000, True, 999_000)  # before it was sent
    assert [attempt.rtt_ns for attempt in attempts] == [20_000, 50_000]
    assert [attempt.by_kernel for attempt in attempts] == [True, False]


def test_a_packet_left_when_it_left_the_queue_unless_the_queue_held_it() -> None:
    ledger = Ledger(RUN)
    request = ledger.begin()
    at_once, held = (ledger.sent(request, 1_000, TIMEOUT_NS) for _ in range(2))
    for number, left_ns in ((1, 6_000), (1, 17_000), (2, 6_000), (2, 20_000_000)):
        ledger.left(Ping(RUN, 1, number).datagram(b""), left_ns)
    assert (at_once.left_ns, held.left_ns) == (17_000, 6_000)


def test_answers_that_overtake_others_are_counted_as_rfc_4737_says() -> None:
    ledger = Ledger(RUN)
    attempts = [ledger.sent(ledger.begin(), 0, TIMEOUT_NS) for _ in range(5)]
    for number in (1, 4, 2, 3, 5):
        ledger.received(answer_to(attempts[number - 1]), 10, True)
    assert [attempt.reordered for attempt in attempts] == [False, True, True, False, False]
    assert ledger.reordered == 2
