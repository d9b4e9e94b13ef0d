"""What the UDP server remembers of each run, within bounds."""

from hypothesis import given
from hypothesis import strategies as st

from services.udp.account import PAGE, Accounts
from services.udp.protocol import ACCOUNT_LIMIT, ANSWERED, DROPPED, UNANSWERED, Fate


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now_s = 100

    def __call__(self) -> int:
        return self.now_s * 1_000_000_000


def test_codes_say_what_became_of_each_datagram() -> None:
    accounts = Accounts(Clock())
    accounts.note("run", 1, ANSWERED)
    accounts.note("run", 2, DROPPED)
    accounts.note("run", 4, DROPPED)
    accounts.note("run", 4, ANSWERED)
    accounts.note("run", 5, UNANSWERED)
    assert accounts.codes("run", 1, 6) == b"1405@0"
    assert accounts.codes("run", 2, 4) == b"405"
    assert accounts.codes("another run", 1, 3) == b"000"


@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.sampled_from([ANSWERED, DROPPED, UNANSWERED])),
        max_size=200,
    )
)
def test_every_end_is_counted_up_to_three(noted: list[tuple[int, int]]) -> None:
    accounts = Accounts(Clock())
    for number, end in noted:
        accounts.note("run", number, end)
    for number, code in enumerate(accounts.codes("run", 1, 40), 1):
        ends = [end for other, end in noted if other == number]
        fate = Fate.of(code)
        told = (fate.answered, fate.dropped, fate.unanswered)
        assert told == tuple(min(ends.count(e), 3) for e in (ANSWERED, DROPPED, UNANSWERED))
        assert fate.copies == sum(told)


def test_datagrams_on_both_sides_of_a_page_are_told_in_one_piece() -> None:
    accounts = Accounts(Clock())
    accounts.note("run", PAGE - 1, ANSWERED)
    accounts.note("run", PAGE, DROPPED)
    accounts.note("run", 3 * PAGE, ANSWERED)
    codes = accounts.codes("run", PAGE - 1, 3 * PAGE)
    assert codes == b"14" + b"0" * (2 * PAGE - 1) + b"1"


def test_numbers_beyond_the_limit_take_no_memory_and_are_not_told() -> None:
    accounts = Accounts(Clock(), pages=1)
    accounts.note("run", 1, ANSWERED)
    accounts.note("run", ACCOUNT_LIMIT + 1, ANSWERED)
    assert accounts.codes("run", 1, 1) == b"1"
    assert accounts.codes("run", ACCOUNT_LIMIT + 1, ACCOUNT_LIMIT + 5) == b""
    assert len(accounts.codes("run", ACCOUNT_LIMIT - 1, 999_999_999)) == 2


def test_when_memory_is_full_the_oldest_run_is_forgotten_and_says_since_when_it_is_known() -> None:
    clock = Clock()
    accounts = Accounts(clock, pages=3)
    accounts.note("first", 1, ANSWERED)
    clock.now_s += 10
    accounts.note("second", 1, ANSWERED)
    assert accounts.complete_s("first") == 10
    clock.now_s += 5
    accounts.note("first", PAGE, ANSWERED)  # now "second" has been silent longest
    accounts.note("third", 1, ANSWERED)
    assert accounts.codes("second", 1, 1) == b"0"
    assert accounts.complete_s("second") == 0
    clock.now_s += 2
    assert accounts.complete_s("second") == 2
    assert accounts.complete_s("first") == 17
    accounts.note("second", 1, DROPPED)  # and now "first" has, with both pages
    assert accounts.complete_s("second") == 0
    assert accounts.codes("first", 1, 1) + accounts.codes("second", 1, 1) == b"04"


def test_a_flood_of_runs_and_numbers_stays_within_its_pages() -> None:
    accounts = Accounts(Clock(), pages=20)
    for number in range(500):
        accounts.note(f"run {number % 50}", 1 + number * PAGE % ACCOUNT_LIMIT, ANSWERED)
    assert sum(len(run.pages) for run in accounts._runs.values()) <= 20
