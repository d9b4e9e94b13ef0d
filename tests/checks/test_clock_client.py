"""Clock client: asks as often as it is told, and prints how far the clocks are apart."""

import re
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from grading.arena import STARTS_WITHIN_S, Arena
from grading.differences import Told, agreed, in_another_unit, matches
from grading.manifest import Program
from grading.readings import SECOND_NS, Form, template, time_in
from grading.verdict import Judge
from tests.checks.clocks import FORMS, STARTS_S, learned
from tests.checks.servers import in_quotes, listening, quoted

PROGRAM = "clock-client"
SERVER = "clock-server"
LIMIT_S = 20.0
"""The longest that one run is watched."""

SILENCE_S = 6.0
"""A client that asks nothing for so long has come to its end, or waits for something else."""

PIECES, GAP_S = 3, 0.05
SLOW_S = 0.7

FAREWELL = re.compile(r"(quit|exit|q|bye|goodbye|end|stop|fin|close|au revoir)\W*$", re.IGNORECASE)

COMPLAINT = re.compile(r"traceback|exception|error|erreur", re.IGNORECASE)
TRYING_S = 60.0
"""How long ways of answering are tried."""


@dataclass(frozen=True)
class Session:
    """One run of the client against our server, which was ``offset_s`` ahead."""

    offset_s: float
    events: list[dict[str, Any]]
    output: str
    exit_status: int | None
    """None: it still ran, and was ended by us."""
    ending: str
    form: Form
    late_s: float = 0.0
    frames: tuple[float, float] = (0.0, 0.0)
    """From when to when it was, in seconds since 1970."""
    packets: Path | None = None

    @property
    def questions(self) -> list[dict[str, Any]]:
        """What was asked; a farewell is no question."""
        asked = [event for event in self.events if event["event"] == "asked"]
        return [event for event in asked if not FAREWELL.match(event["data"].strip())]

    @property
    def told(self) -> Told:
        """Return what the printed numbers are to be compared with."""
        answers = [event["clock_ns"] for event in self.events if event["event"] == "answered"]
        now_ns = answers[0] if answers else time.time_ns()
        reading = time_in(self.form.write(now_ns), now_ns)
        resolution_s = reading.resolution_ns / SECOND_NS if reading else 1.0
        dated = reading is None or reading.dated
        return Told(self.offset_s, resolution_s, self.output, tuple(answers), self.late_s, dated)

    @property
    def over_udp(self) -> bool:
        """Whether it asked by datagrams."""
        return any(event["client"].startswith("udp") for event in self.questions)


class Client:
    """The client under test and its runs; each is made once, when a check needs it."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.program = arena.program
        self.told = told_requests(arena.program)
        self._sessions: dict[str, Session] = {}
        self._answers: dict[str, Any] | None = None

    @property
    def answers(self) -> dict[str, Any]:
        """How our server answers, so that this client understands: parts of the peer's order."""
        if self._answers is None:
            self._answers = self._of_its_server() or self._by_trying()
        return self._answers

    def plain(self) -> Session:
        """Return the run against a server that is ahead."""
        return self._session("plain", 83.4)

    def behind(self) -> Session:
        """Return the run against a server that is behind; told another number, where it can be."""
        return self._session("behind", -57.3, program=varied(self.program, self.told))

    def in_pieces(self) -> Session:
        """Return the run in which each answer comes in pieces."""
        late_s = (PIECES - 1) * GAP_S
        return self._session("in pieces", 41.7, late_s, pieces=PIECES, piece_gap_s=GAP_S)

    def slow(self) -> Session:
        """Return the run in which one answer is late."""
        second = [min(2, self.told or 2)]
        return self._session("slow", -33.6, slow=second, slow_s=SLOW_S)

    def _session(
        self, name: str, offset_s: float, late_s: float = 0.0, program: Program | None = None,
        **order: Any,
    ) -> Session:  # fmt: skip
        if name not in self._sessions:
            given = {**self.answers, "offset_s": offset_s, **order}
            self._sessions[name] = self._watch(given, program or self.program, late_s=late_s)
        return self._sessions[name]

    def _of_its_server(self) -> dict[str, Any] | None:
        """Return how the submission's own clock server answers; None: it does not."""
        server = self.arena.submitted.get(SERVER)
        if server is None:
            return None
        with self.arena.playing(server):
            place = listening(self.arena, ("tcp", "udp"))
            known = learned(self.arena, place) if place is not None else None
            self.arena.end()
        if known is None or known["event"] != "learned":
            return None
        form = template(known["answer"].encode("latin-1"), known["wall_ns"])
        assert form is not None  # or it would not have been learned
        closes = known["end"] in ("close", "reset")
        kept = {name: known[name] for name in ("greeting", "unasked")}
        return {"form": asdict(form), "closes": closes, **kept}

    def _by_trying(self) -> dict[str, Any]:
        """Return the first way of answering after which the client prints the difference.

        Where it never does: the one after which it asks most, and complains least. Some clients
        read until the server closes: those stay silent after the first answer.
        """
        tried: list[tuple[int, int, int, dict[str, Any]]] = []
        end = time.monotonic() + TRYING_S
        closing = [False, True]
        for form in (*FORMS, *(form.rstrip() for form in FORMS)):
            if len(tried) >= len(FORMS) and min(found[0] for found in tried) < -1:
                break  # it understood line ends; without them it will not do better
            for closes in list(closing):
                answers = {"form": asdict(Form(form)), "closes": closes}
                session = self._watch({**answers, "offset_s": 83.4}, self.program, enough=2)
                if matches(session.told) or in_another_unit(session.told):
                    return answers
                complaints = len(COMPLAINT.findall(session.output))
                tried.append((-len(session.questions), complaints, len(tried), answers))
                if session.exit_status is not None or len(session.questions) != 1:
                    # This is how it goes on; it is how to begin with the next form.
                    closing.sort(key=lambda each: each != closes)
                    break
            # Without a question it does not get so far as to see an answer.
            if not session.questions or time.monotonic() > end:
                break
        return min(tried, key=lambda found: found[:3])[-1]

    def _watch(
        self, given: dict[str, Any], program: Program, late_s: float = 0.0, enough: int = 0
    ) -> Session:
        """Run the client once; ``enough``: answers after which it need not be watched longer."""
        arena, told = self.arena, told_requests(program) or 0
        form, begun_s = Form(**given["form"]), time.time()
        with arena.peer("clock_server", {"port": program.port, **given}) as service:
            service.wait_for("ready", STARTS_S)
            with arena.playing(program):
                run = arena.start()
            begin = last = time.monotonic()
            patience_s = max(STARTS_S, STARTS_WITHIN_S.get(program.image, 0.0))
            seen, printed, gap_s = 0, 0, 0.0
            while (now := time.monotonic()) < begin + LIMIT_S + patience_s:
                asked = sum(event["event"] == "asked" for event in service.events)
                if asked > seen:
                    gap_s = max(gap_s, now - last) if seen else 0.0
                    seen, last = asked, now
                elif run.output.size > printed:
                    printed = run.output.size
                if not run.alive:
                    break
                quiet_s = now - last
                if enough and seen >= enough and quiet_s > 0.5:
                    # Has it printed what it makes of the answers? If so, it need not end.
                    so_far = Session(
                        given["offset_s"], list(service.events), run.output.text, None, "", form
                    )
                    if matches(so_far.told) or quiet_s > 2.0:
                        break
                if seen and seen >= told > 0 and quiet_s > max(1.0, 1.5 * gap_s):
                    break
                if quiet_s > (max(SILENCE_S, 2 * gap_s) if seen else patience_s):
                    break
                time.sleep(0.05)
            status = run.exit_status
            if status is not None:
                run.wait(2.0)
            ending = run.ending()
            output = run.output.text
            run.stop()
        return Session(
            given["offset_s"], service.events, output, status, ending, form, late_s,
            (begun_s, time.time()), arena.packets,
        )  # fmt: skip


def told_requests(program: Program) -> int | None:
    """Return how many requests the program is told to make, by lab.toml; None: it does not say."""
    if program.requests is not None:
        return program.requests
    numbers = [int(line) for line in program.stdin if re.fullmatch(r"\d{1,3}", line.strip())]
    return numbers[0] if len(numbers) == 1 else None


def varied(program: Program, told: int | None) -> Program:
    """Return the program, told another number at its prompt; the same where there is no such."""
    places = [n for n, line in enumerate(program.stdin) if line.strip() == str(told)]
    if told is None or told < 3 or len(places) != 1:
        return program
    other = told - 2 if told > 3 else told + 1
    lines = list(program.stdin)
    lines[places[0]] = str(other)
    return replace(program, stdin=tuple(lines), requests=other)


@pytest.fixture(scope="module")
def client(arena: Arena | None) -> Client | None:
    """The client under test."""
    return None if arena is None else Client(arena)


def keep(judge: Judge, session: Session) -> None:
    """Keep what happened as the check's evidence."""
    judge.finding.output = session.output[-20_000:]
    judge.rests_on(session.frames, session.packets, "")
    for event in session.events:
        if event["event"] in ("asked", "answered"):
            judge.finding.ladder.append(
                {
                    "t_ns": event["t_ns"],
                    "from": "program" if event["event"] == "asked" else "peer",
                    "what": quoted(event["data"]),
                    "bytes": event["size"],
                    "lost": False,
                }
            )
    way = "ahead" if session.offset_s > 0 else "behind"
    judge.step(
        f"our server's clock is {abs(session.offset_s)} s {way}; it answers"
        f" {quoted(_example(session))}"
    )


def _example(session: Session) -> str:
    answered = [event["data"] for event in session.events if event["event"] == "answered"]
    return answered[0] if answered else session.form.write(time.time_ns()).decode("latin-1")


def asked_at_all(client: Client, judge: Judge, session: Session) -> None:
    """End the check when the client never asked."""
    if session.questions:
        return
    if judge.finding.check != f"{PROGRAM}.asks-as-often-as-told":
        judge.not_shown("it never asked, so there is nothing to look at here")
    judge.fail(
        expected=f"it connects to {client.program.address}, port {client.program.port}, and asks",
        observed=f"nobody asked; {session.ending}",
        hint="do address and port in lab.toml agree with those in the program?",
    )


def goes_through(judge: Judge, client: Client, session: Session, hint: str) -> None:
    """Fail unless this run came as far as the plain one, and its differences agree."""
    plain = client.plain()
    wanted = min(len(plain.questions), client.told or len(plain.questions))
    count = len(session.questions)
    died = session.exit_status not in (None, 0) and session.exit_status != plain.exit_status
    if count < wanted or died:
        judge.fail(
            expected=f"it asks {wanted} times, and prints the difference, as it does otherwise",
            observed=f"it asked {count} of {wanted} times; {session.ending}",
            hint=hint,
        )
    if matches(plain.told) and not matches(session.told):
        judge.fail(
            expected=f"it prints the difference, {session.offset_s} s (either sign)",
            observed=f"it printed no such number, though it does otherwise: {_end(session)}",
            hint=hint,
        )


def _end(session: Session, lines: int = 3) -> str:
    said = [line for line in session.output.splitlines() if line.strip()]
    return in_quotes("\n".join(said[-lines:]), 300) if said else "it printed nothing"


def test_speaks_tcp(judge: Judge, client: Client) -> None:
    session = client.plain()
    keep(judge, session)
    asked_at_all(client, judge, session)
    if session.over_udp:
        judge.fail(
            expected="the clock is asked over TCP: connect, then as many questions as one likes",
            observed="it sent datagrams, and never connected; it was judged as it is",
            hint="socket(AF_INET, SOCK_STREAM), connect, sendall, recv",
        )


def test_asks_as_often_as_told(judge: Judge, client: Client) -> None:
    sessions = [(client.plain(), client.told)]
    keep(judge, sessions[0][0])
    asked_at_all(client, judge, sessions[0][0])
    if client.told is None:
        judge.not_shown(
            f"it asked {len(sessions[0][0].questions)} times; how often it was told to is not said",
            hint="say it in lab.toml: requests = 5",
        )
    other = varied(client.program, client.told)
    if other is not client.program:
        sessions.append((client.behind(), other.requests))
    for session, told in sessions:
        count = len(session.questions)
        judge.step(f"it was told to ask {told} times, and asked {count} times")
        judge.measured(**{f"asked_when_told_{told}": count})
        if count != told:
            judge.finding.output = session.output[-20_000:]
            judge.fail(
                expected=f"told to ask {told} times, it asks {told} times",
                observed=f"it asked {count} times; {session.ending}",
                hint="for i in range(n): ask, read the answer, print the difference",
            )


def test_difference(judge: Judge, client: Client) -> None:
    sessions = [client.plain(), client.behind()]
    for session in sessions:
        keep(judge, session)
    asked_at_all(client, judge, sessions[0])
    runs = [session.told for session in sessions]
    for run in runs:
        found = [match.quantity.text for match in matches(run)]
        judge.measured(**{f"printed_for_{run.offset_s}_s": found[:10]})
    if agreed(runs):
        return
    expected = "it prints by how much the clocks differ: " + " and ".join(
        f"{run.offset_s} s" for run in runs
    )
    others = [in_another_unit(run) for run in runs]
    if others[0] is not None and others[1] is not None:
        quantity, unit = others[0]
        judge.fail(
            expected=expected,
            observed=f"it printed {in_quotes(quantity.text)} where the clocks differ by"
            f" {runs[0].offset_s} s: that would be right in {unit}, but {quantity.unit} is named",
            hint="time.time() counts seconds; times 1000 makes milliseconds",
            mistake="wrong unit",
        )
    wrong = next(
        (s for s, run in zip(sessions, runs, strict=True) if not matches(run)), sessions[0]
    )
    judge.finding.output = wrong.output[-20_000:]
    judge.fail(
        expected=f"{expected}, with either sign, in any unit",
        observed=f"with a server that is {wrong.offset_s} s off it printed no such number; its"
        f" output ends: {_end(wrong)}",
        hint="subtract whole times (both as seconds since 1970, or both as datetime), taken when"
        " the answer is there; not parts of them, and not how long the answer took",
    )


def test_answer_in_pieces(judge: Judge, client: Client) -> None:
    plain = client.plain()
    asked_at_all(client, judge, plain)
    if plain.over_udp:
        judge.not_shown("the clock is asked over UDP: a datagram never comes in pieces")
    session = client.in_pieces()
    keep(judge, session)
    judge.step(f"each answer comes in {PIECES} pieces, {GAP_S:g} s apart")
    goes_through(
        judge,
        client,
        session,
        "TCP is a stream: one recv may give the beginning of an answer. Call it again until the"
        " answer's end (its line end) is there",
    )


def test_slow_answer(judge: Judge, client: Client) -> None:
    asked_at_all(client, judge, client.plain())
    session = client.slow()
    keep(judge, session)
    judge.step(f"one answer comes {SLOW_S:g} s late; the time in it is that of the answer")
    goes_through(
        judge,
        client,
        session,
        "wait longer for an answer than a busy network takes, some seconds; and if you give up on"
        " one, catch the timeout and go on with the next question",
    )
