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

from collections.abc import Iterator
from dataclasses import dataclass

from clients.udp.ledger import Attempt
from clients.udp.pinger import Arrival, Event, Pinger, SendError, Wire
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
LEAST_WAIT_S = 0.02
BUDGET_S = 5.0
"""How long the whole asking may take, in seconds."""

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
    told: list[tuple[Account, int, int]] = []
    listen_ns = pinger.last_listen_ns()
    slowest_ns = max((a.elapsed_ns or 0 for a in ledger.answers_in_order), default=listen_ns // 2)
    wait_s = max(2 * slowest_ns / 1e9, LEAST_WAIT_S)
    end_ns = wire.now_ns() + round(budget_s * 1e9)
    for _ in range(TRIES if ours else TRIES_AT_A_SILENT_SERVER):
        for first in range(0, len(pieces), QUESTIONS_AT_ONCE):
            batch = set(pieces[first : first + QUESTIONS_AT_ONCE])
            asked_ns = wire.now_ns()
            for piece in sorted(batch):
                try:
                    wire.send(AccountQuestion(ledger.run, *piece).datagram())
                except SendError:
                    pass  # it is asked again
            deadline_ns = min(asked_ns + round(wait_s * 1e9), end_ns)
            while batch:
                incoming = wire.receive(deadline_ns)
                if incoming is None:
                    break
                account = (
                    find_account(incoming.datagram)
                    if isinstance(incoming, Arrival) and incoming.from_server
                    else None
                )
                if account is None or account.run != ledger.run:
                    yield from pinger.take(incoming)
                    continue
                piece = (account.first, account.first + len(account.codes) - 1)
                if piece in batch:
                    batch.remove(piece)
                    told.append((account, asked_ns, wire.now_ns()))
                if wire.now_ns() >= deadline_ns:
                    break
        done = {account.first for account, _, _ in told}
        pieces = [piece for piece in pieces if piece[0] not in done]
        if not pieces or wire.now_ns() >= end_ns:
            break
        wait_s *= 1.5
    yield _enter(pinger, told, listen_ns, len(pieces))


def _enter(
    pinger: Pinger, told: list[tuple[Account, int, int]], listen_ns: int, missing: int
) -> Settlement:
    attempts = pinger.ledger.attempts
    fates: list[tuple[Attempt, Fate]] = []
    contradicted = 0
    for account, asked_ns, told_ns in told:
        complete_ns = account.complete_s * 1e9 * (1 - CLOCK_TOLERANCE)
        for attempt, code in zip(attempts[account.first - 1 :], account.codes, strict=False):
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
    settlement = Settlement(complete=bool(told) and not missing)
    if told:
        settlement.drop = told[-1][0].drop
    settlement.copies_there = sum(max(fate.copies - 1, 0) for _, fate in fates)
    unknown = sum(a.fate is None and a.received_ns is None and not a.send_error for a in attempts)
    if not told:
        settlement.remark = NO_ACCOUNT
    elif missing:
        settlement.remark = "parts of the server's account were lost on the way, all tries of them"
    elif unknown:
        settlement.remark = (
            f"the server cannot know of {unknown} attempts: it was started, or has had to forget, "
            "after they were sent, or they may still be on their way"
        )
    return settlement
