"""What became of the attempts without an answer: the server is asked for its account of the run.

Pure, like ``pinger``: over the same ``Wire``. The account comes in pieces, and each is asked for
until it is there: questions and answers are lost like any other datagram. All this is bounded, by
time and by tries. Who is asked: a server whose confirmations tell the times, since it is ours, and
one that has not answered at all, since it may be ours and drop everything.

How account and answers combine (``Attempt.outcome``)::

    an answer came                          answered, or answered late
    the server answered, no answer came     lost on the way back
    it received no copy but dropped ones    dropped by the server
    it received none                        lost on the way there
    it cannot know, or was not asked        unknown

"It cannot know": it was not running yet when the attempt was sent, or it has had to forget. It is
not believed at all if it has not answered what was answered (two servers behind one address).
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from clients.udp.ledger import Attempt
from clients.udp.pinger import Arrival, Event, Pinger, SendError, Wire
from clients.udp.timeouts import Adaptive
from services.udp.protocol import (
    ACCOUNT_LIMIT,
    Account,
    AccountQuestion,
    Fate,
    find_account,
)

PIECE = 1200
"""Attempts in one piece: the answer fits one Ethernet frame."""

QUESTIONS_AT_ONCE = 16
TRIES = 20
TRIES_AT_A_SILENT_SERVER = 4
SAMPLES = 64
"""From so many of the last round trips follows how long to wait for an account."""

LEAST_WAIT_S = 0.02
LONGEST_WAIT_S = 3.0
BUDGET_S = 5.0
PIECES_PER_BUDGET = 25
"""How long the asking may take, in seconds, and for how many pieces as long again."""

NO_ACCOUNT = "this server gives no account of what it received, so causes are unknown"

CLOCK_TOLERANCE = 500e-6
"""By how much two machines' clocks may differ in rate (RFC 5905 calls it PHI, and takes 15e-6)."""


@dataclass
class Settlement:
    """How the asking went: whether the server told all, its drop, and what to say if it did not."""

    complete: bool = False
    drop: float | None = None
    """The server's probability of dropping; None: not known, or by a schedule."""
    copies_there: int = 0
    """How many datagrams more the server received than were sent: duplicated on the way there."""
    remark: str = ""


def settle(wire: Wire, pinger: Pinger, budget_s: float = BUDGET_S) -> Iterator[Event | Settlement]:
    """Ask for the account of the run and enter it; yield what comes in meanwhile, then the result.

    May raise what the wire raises.
    """
    ledger = pinger.ledger
    unsettled = [a for a in ledger.attempts if not a.send_error]
    heard = ledger.answers_in_order or ledger.ambiguous_answers
    ours = any(attempt.times for attempt in ledger.answers_in_order)
    if pinger.hopeless or not unsettled or (heard and not ours):
        yield Settlement(remark=NO_ACCOUNT if heard else "")
        return
    highest = min(unsettled[-1].sequence, ACCOUNT_LIMIT)
    pieces = [(n, min(n + PIECE - 1, highest)) for n in range(1, highest + 1, PIECE)]
    listen_ns = pinger.last_listen_ns()
    wait_s = Adaptive(listen_ns / 1e9, LEAST_WAIT_S)
    for attempt in ledger.answers_in_order[-SAMPLES:]:
        wait_s.sampled(attempt.elapsed_ns or 0)
    asking = _Asking(pieces, wait_s.rto_s, TRIES if ours else TRIES_AT_A_SILENT_SERVER)
    end_ns = wire.now_ns() + round(budget_s * (1 + len(pieces) / PIECES_PER_BUDGET) * 1e9)
    while wire.now_ns() < end_ns:
        for piece in asking.due(wire.now_ns()):
            try:
                wire.send(AccountQuestion(ledger.run, *piece).datagram())
            except SendError:
                pass  # it is asked again
        if not asking.open:
            break
        incoming = wire.receive(min(*asking.open.values(), end_ns))
        if isinstance(incoming, Arrival) and incoming.from_server:
            account = find_account(incoming.datagram)
            if account and account.run == ledger.run:
                asking.told(account, wire.now_ns())
                continue
        if incoming is not None:
            yield from pinger.take(incoming)
    yield _enter(pinger, asking, listen_ns)


Piece = tuple[int, int]


class _Asking:
    """Which pieces to ask for next, and what was told; a lost one is asked for again, and later."""

    def __init__(self, pieces: list[Piece], wait_s: float, tries: int) -> None:
        self.accounts: list[tuple[Account, int, int]] = []
        """What was told, when it was first asked for, and when the answer came."""
        self.missing = set(pieces)
        self.open: dict[Piece, int] = {}
        """What was asked for, and until when to wait for it."""
        self._waiting = deque(pieces)
        self._first_asked_ns: dict[Piece, int] = {}
        self._tried = dict.fromkeys(pieces, 0)
        self._wait_s = wait_s
        self._tries = tries

    def due(self, now_ns: int) -> list[Piece]:
        """Return the pieces to ask for now; not too many are open at a time."""
        for piece in [piece for piece, until_ns in self.open.items() if until_ns <= now_ns]:
            del self.open[piece]
            if self._tried[piece] < self._tries:
                self._waiting.append(piece)
        asked = []
        while self._waiting and len(self.open) < QUESTIONS_AT_ONCE:
            piece = self._waiting.popleft()
            wait_s = min(self._wait_s * 1.5 ** self._tried[piece], LONGEST_WAIT_S)
            self.open[piece] = now_ns + round(wait_s * 1e9)
            self._tried[piece] += 1
            self._first_asked_ns.setdefault(piece, now_ns)
            asked.append(piece)
        return asked

    def told(self, account: Account, now_ns: int) -> None:
        """Take in an account, if it is of a piece that is missing, and whole."""
        piece = (account.first, account.first + len(account.codes) - 1)
        if piece in self.missing and piece in self._first_asked_ns:
            self.missing.remove(piece)
            self.open.pop(piece, None)
            if piece in self._waiting:
                self._waiting.remove(piece)
            self.accounts.append((account, self._first_asked_ns[piece], now_ns))


def _enter(pinger: Pinger, asking: _Asking, listen_ns: int) -> Settlement:
    attempts, told = pinger.ledger.attempts, asking.accounts
    fates: list[tuple[Attempt, Fate]] = []
    contradicted = 0
    for account, asked_ns, told_ns in told:
        complete_ns = account.complete_s * 1e9 * (1 - CLOCK_TOLERANCE)
        here = slice(account.first - 1, account.first - 1 + len(account.codes))
        for attempt, code in zip(attempts[here], account.codes, strict=True):
            fate = Fate.of(code)
            knows = told_ns - complete_ns <= attempt.sent_ns
            over = attempt.sent_ns <= asked_ns - listen_ns  # nothing of it is still on its way
            if attempt.received_ns is not None:
                contradicted += knows and not fate.answered
            elif not over and not fate.dropped:
                continue
            if fate.copies or (knows and attempt.received_ns is None):
                fates.append((attempt, fate))
    if contradicted:
        remark = f"the server's account contradicts {contradicted} answers: it is not believed"
        return Settlement(remark=remark)
    for attempt, fate in fates:
        pinger.ledger.settle(attempt, fate)
    settlement = Settlement(complete=not asking.missing)
    if told:
        settlement.drop = told[-1][0].drop
    settlement.copies_there = sum(max(fate.copies - 1, 0) for _, fate in fates)
    unknown = sum(a.fate is None and a.received_ns is None and not a.send_error for a in attempts)
    if not told:
        settlement.remark = NO_ACCOUNT
    elif asking.missing:
        settlement.remark = "parts of the server's account were lost on the way, all tries of them"
    elif unknown:
        settlement.remark = (
            f"the server cannot know of {unknown} attempts: it was started, or has had to forget, "
            "after they were sent, or they may still be on their way"
        )
    return settlement
