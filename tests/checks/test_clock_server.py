"""Clock server: the right time, to each client, however TCP cuts the questions."""

from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from grading.arena import Arena
from grading.readings import SECOND_NS, Reading, time_in
from grading.verdict import Judge
from tests.checks.clocks import learned
from tests.checks.servers import (
    Events,
    Place,
    ending,
    heard,
    new_program_after_a_failure,
    quoted,
    reached,
    show,
)

__all__ = ["new_program_after_a_failure"]

PROGRAM = "clock-server"
CLIENTS = 8
QUESTIONS = 10
WAIT_S = 5.0
"""How long an answer may take. On this namespace's loopback it takes less than a millisecond."""

PAUSE_S = 2.5
"""Between two looks at the clock: one that stands still, and shows whole seconds, is seen."""

SLACK_NS = SECOND_NS // 10

_learned: WeakKeyDictionary[Arena, dict[str, Any]] = WeakKeyDictionary()


class Clock:
    """The server under test, and the way in which it wants to be asked."""

    def __init__(self, arena: Arena, place: Place, known: dict[str, Any]) -> None:
        self.place = place
        self.question: str = known["question"]
        self.answer: str = known["answer"]
        self.lines: int = known["lines"]
        self.closes: bool = known["end"] in ("close", "reset") or known["finish"]
        self._greeting: str = known["greeting"]
        self._finish: bool = known["finish"]
        self.unasked: bool = known["unasked"]
        self._arena = arena

    def open(self, name: str) -> list[dict[str, Any]]:
        """Return the steps that connect, and listen to a greeting where there is one."""
        steps: list[dict[str, Any]] = [{"do": "open", "as": name}]
        if self._greeting:
            steps.append({"do": "hear", "as": name, "wait_s": 1.0, "quiet_s": 0.2})
        return steps

    def ask(self, name: str, wait_s: float = WAIT_S, must: bool = True) -> list[dict[str, Any]]:
        """Return the steps that ask and listen."""
        steps: list[dict[str, Any]] = []
        if not self.unasked:
            steps.append({"do": "send", "as": name, "data": self.question})
        steps += [{"do": "finish", "as": name}] if self._finish else []
        return [*steps, self.hear(name, wait_s=wait_s, must=must)]

    def hear(self, name: str, answers: int = 1, **more: Any) -> dict[str, Any]:
        """Return the step that listens for so many answers."""
        return {"do": "hear", "as": name, "lines": answers * self.lines, **more}

    def talk(self, judge: Judge, steps: list[dict[str, Any]]) -> Events:
        """Carry out steps; return what happened, without greetings."""
        events = self._arena.ask("clock_client", self.place.order | {"steps": steps})
        show(judge, events)
        if not self._greeting:
            return events
        opened: set[str] = set()
        kept = []
        for event in events:
            if event["event"] == "heard" and event["as"] in opened:
                opened.remove(event["as"])
                continue
            if event["event"] == "opened":
                opened.add(event["as"])
            kept.append(event)
        return kept


def clock(arena: Arena, judge: Judge) -> Clock:
    """Return the server, when it answers at all; otherwise the check ends here."""
    place = reached(arena, judge, ("udp",) if arena.program.protocol == "udp" else ("tcp", "udp"))
    if arena not in _learned:
        _learned[arena] = learned(arena, place)
    known = _learned[arena]
    judge.step(f"the server listens at {place}")
    if known["event"] == "learned":
        judge.step(
            "it tells the time to whoever connects, without being asked"
            if known["unasked"]
            else f"it is asked with {quoted(known['question'])}"
        )
        return Clock(arena, place, known)
    show(judge, known["events"])
    told = [text for text in (known["greeting"], *known["said"]) if text]
    if judge.finding.check != f"{PROGRAM}.right-time":
        judge.not_shown("it never told a time, so there is nothing to look at here")
    own = ", and as its own client asks" if "clock-client" in arena.submitted else ""
    judge.step(
        f"asked {quoted('what time is it?')} with and without a line end, in other words{own}"
    )
    judge.fail(
        expected="it answers with the current time",
        observed=(
            f"no time can be read in its answer {quoted(told[0])}"
            if told
            else f"it never answered; {ending(arena)}"
        ),
        hint="read the question with recv, then sendall((time.ctime() + '\\n').encode()); if it is"
        ' asked in words of your own, say so in lab.toml: question = "..."',
    )
    raise AssertionError


def stream(arena: Arena, judge: Judge) -> Clock:
    """Return the server when it speaks TCP; over UDP the check has nothing to look at."""
    found = clock(arena, judge)
    if found.place.protocol == "udp":
        judge.not_shown("the clock speaks UDP: there are no connections and no pieces to look at")
    return found


def still_serves(arena: Arena, judge: Judge, found: Clock, after: str) -> None:
    """Fail unless a new client is answered."""
    events = found.talk(judge, [*found.open("new"), *found.ask("new")])
    judge.step("then a new client asked")
    if not any(e["data"] for e in heard(events, "new")):
        judge.fail(
            expected="one client, whatever it does, never ends the service for the others",
            observed=f"after {after} a new client got no answer; {ending(arena)}",
            hint="catch OSError around recv and sendall of one client, and close that client only",
        )


def test_speaks_tcp(arena: Arena, judge: Judge) -> None:
    found = clock(arena, judge)
    if found.place.protocol == "udp":
        judge.fail(
            expected="the clock is asked over TCP: connect, then as many questions as one likes",
            observed=f"it listens at {found.place}, and nowhere over TCP; it was judged as it is,"
            " with datagrams",
            hint="socket(AF_INET, SOCK_STREAM), bind, listen, accept; a thread for each client",
        )


def test_right_time(arena: Arena, judge: Judge) -> None:
    found = clock(arena, judge)
    steps = [*found.open("first"), *found.ask("first", must=False)]
    steps += [{"do": "pause", "s": PAUSE_S}]
    steps += [] if found.closes else found.ask("first", must=False)
    steps += [*found.open("second"), *found.ask("second", must=False)]
    events = found.talk(judge, steps)
    judge.step(f"asked, and asked again {PAUSE_S:g} s later, there and over a second connection")
    asked = [e for e in events if e["event"] == ("opened" if found.unasked else "sent")]
    answers = [e for e in events if e["event"] == "heard" and e["data"]]
    errors = []
    for question, answer in zip(asked, answers, strict=False):
        reading = time_in(answer["data"].encode("latin-1"), answer["wall_ns"])
        if reading is None:
            judge.fail(
                expected="each answer is the current time",
                observed=f"no time can be read in {quoted(answer['data'])}",
            )
            raise AssertionError
        if reading.resolution_ns > SECOND_NS:
            judge.not_shown(
                f"the answer {quoted(answer['data'])} has no seconds: within the few that we watch,"
                " it cannot be told from a clock that stands still",
                hint="answer with the seconds, too",
            )
        errors.append(error_s(reading, question["wall_ns"], answer["wall_ns"]))
        judge.measured(**{f"error_{len(errors)}_s": round(errors[-1], 6)})
        if errors[-1]:
            _wrong(judge, errors, asked[len(errors) - 1], answers[: len(errors)])
    if not errors:
        judge.fail(expected="it answers with the current time", observed="no answer came")


def error_s(reading: Reading, asked_ns: int, heard_ns: int) -> float:
    """Return by how much a time is wrong that was told between two instants; 0: it is right.

    The last digit may be cut or rounded, and the instant is anywhere in between.
    """
    early = reading.ahead_ns(asked_ns) + reading.resolution_ns + SLACK_NS
    late = reading.ahead_ns(heard_ns) - reading.resolution_ns - SLACK_NS
    if early < 0:
        return reading.ahead_ns(asked_ns) / SECOND_NS
    return reading.ahead_ns(heard_ns) / SECOND_NS if late > 0 else 0.0


def _wrong(judge: Judge, errors: list[float], asked: dict[str, Any], answers: Events) -> None:
    error, said = errors[-1], answers[-1]["data"]
    right = datetime.fromtimestamp(asked["wall_ns"] / SECOND_NS, UTC)
    way = "ahead" if error > 0 else "behind"
    observed = (
        f"asked at {right:%Y-%m-%d %H:%M:%S} UTC, it said {quoted(said)}: {abs(error):.3f} s {way}"
    )
    hint, mistake = "read the clock when the question has come, for each question", ""
    if len(errors) > 1 and said == answers[0]["data"]:
        observed += f"; it had said the same {PAUSE_S:g} s before"
        hint = "the clock is read once and kept; read it inside the loop, for each question"
        mistake = "the clock is read once"
    elif abs(error) > 1700 and abs(error - 1800 * round(error / 1800)) < 2:
        hint = (
            "this is off by whole hours, as a time zone is: local time here is UTC; send the local"
            " time, or name the zone in the answer"
        )
        mistake = "time zone"
    judge.fail(
        expected="the answer is the time at which it was asked",
        observed=observed,
        hint=hint,
        mistake=mistake,
    )


def test_many_questions_per_connection(arena: Arena, judge: Judge) -> None:
    found = clock(arena, judge)
    steps = found.open("client")
    for _ in range(QUESTIONS):
        steps += found.ask("client")
    events = found.talk(judge, steps)
    told = [e for e in heard(events, "client") if e["data"]]
    judge.step(f"asked {QUESTIONS} times over one connection, each time after the answer")
    judge.measured(questions=QUESTIONS, answers=len(told))
    if len(told) < QUESTIONS:
        ends = [e["end"] for e in heard(events, "client")]
        closed = (
            ends and ends[-1] in ("close", "reset") or any(e["event"] == "broken" for e in events)
        )
        then = "then the server closed the connection" if closed else "then there was silence"
        judge.fail(
            expected="every question is answered, until the client closes the connection",
            observed=f"{len(told)} of {QUESTIONS} questions were answered, {then}",
            hint="a loop around recv and sendall, until recv gives b'' (the client has closed)",
        )


def test_second_client_while_the_first_is_idle(arena: Arena, judge: Judge) -> None:
    found = clock(arena, judge)
    events = found.talk(judge, [*found.open("first"), *found.open("second"), *found.ask("second")])
    judge.step("a first client connected and said nothing")
    judge.step(f"a second client connected, asked, and waited {WAIT_S:g} s")
    if not any(e["data"] for e in heard(events, "second")):
        judge.fail(
            expected="the second client is answered at once, whatever the first one does",
            observed=f"the second client got no answer within {WAIT_S:g} s; {ending(arena)}",
            hint="recv waits for the one client: give each client a thread of its own, so that"
            " accept can be called again at once",
        )


def test_last_clients_first(arena: Arena, judge: Judge) -> None:
    found = clock(arena, judge)
    names = [f"client {n}" for n in range(1, CLIENTS + 1)]
    steps = [step for name in names for step in found.open(name)]
    for name in reversed(names):
        # The one that came last may need all the time; a server that waits for it has lost then.
        steps += found.ask(name, wait_s=WAIT_S if name == names[-1] else 0.7, must=False)
    events = found.talk(judge, steps)
    served = [name for name in names if any(e["data"] for e in heard(events, name))]
    judge.step(f"{CLIENTS} clients connected and said nothing")
    judge.step("they asked one after the other, the one that had come last first")
    judge.measured(clients=CLIENTS, served=len(served))
    if len(served) < CLIENTS:
        missing = [name for name in names if name not in served]
        judge.fail(
            expected=f"each of {CLIENTS} clients is answered when it asks, in any order",
            observed=f"no answer came to {', '.join(missing)}"
            f" ({len(served)} of {CLIENTS} were served); {ending(arena)}",
            hint="one thread for each client, not a fixed number of them: clients that say nothing"
            " keep theirs for as long as they like",
        )


def test_question_in_pieces(arena: Arena, judge: Judge) -> None:
    found = stream(arena, judge)
    if found.unasked:
        judge.not_shown("it is not asked, so there is no question to cut")
    cuts = sorted({len(found.question) * n // 3 for n in range(4)})
    pieces = [found.question[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
    if len(pieces) < 2:
        judge.not_shown(f"its question {quoted(found.question)} is too short to be cut")
    steps = found.open("client")
    for piece in pieces:
        steps += [{"do": "send", "as": "client", "data": piece}]
        steps += [found.hear("client", wait_s=0.3 if piece is not pieces[-1] else WAIT_S)]
    events = found.talk(judge, steps)
    told = heard(events, "client")
    judge.step(f"sent the question in pieces, 0.3 s apart: {', '.join(map(quoted, pieces))}")
    hint = (
        "TCP is a stream: recv gives what is there, half a question or two. Keep what came, and"
        " answer when the question's end (the '?' or the line end) is there"
    )
    early = [e for e in told[:-1] if e["data"]]
    if early:
        judge.fail(
            expected="one answer, after the last piece",
            observed=f"it answered {quoted(early[0]['data'])} before the question was complete: it"
            " takes whatever one recv gives for a question",
            hint=hint,
        )
    if len(told) < len(pieces) or not told[-1]["data"]:
        judge.fail(
            expected="one answer, after the last piece",
            observed=f"no answer came; {ending(arena)}",
            hint=hint,
        )
    if time_in(told[-1]["data"].encode("latin-1"), told[-1]["wall_ns"]) is None:
        judge.fail(
            expected="one answer with the time, after the last piece",
            observed=f"it answered {quoted(told[-1]['data'])}",
            hint=hint,
        )


def test_two_questions_in_one_segment(arena: Arena, judge: Judge) -> None:
    found = stream(arena, judge)
    if found.closes or found.unasked:
        judge.not_shown("it answers once per connection, so a second question has no place")
    events = found.talk(
        judge,
        [
            *found.open("client"),
            {"do": "send", "as": "client", "data": 2 * found.question},
            found.hear("client", answers=2, wait_s=WAIT_S, quiet_s=0.6),
        ],
    )
    said = "".join(e["data"] for e in heard(events, "client"))
    count = said.count("\n") // found.lines if found.lines else round(len(said) / len(found.answer))
    judge.step(f"sent two questions in one segment: {quoted(2 * found.question)}")
    judge.measured(answers=count)
    still_serves(arena, judge, found, "two questions in one segment")
    if count != 2:
        judge.fail(
            expected="two questions, two answers",
            observed=f"{count} answer{'s' * (count != 1)} came: {quoted(said)}",
            hint="what comes after the first question's end in the same recv is the next question:"
            " keep it, and look again before the next recv",
        )


def test_client_that_dies(arena: Arena, judge: Judge) -> None:
    found = stream(arena, judge)
    half = found.question[: len(found.question) // 2]
    steps = [*found.open("bystander"), *found.ask("bystander")]
    for n in range(5):
        names = [f"{way} {n + 1}" for way in ("resets", "half", "leaves", "scans")]
        for name, said in zip(names, (found.question, half, found.question, ""), strict=True):
            steps += [{"do": "open", "as": name}]
            steps += [{"do": "send", "as": name, "data": said}] if said else []
            steps += [
                {"do": "close" if name.startswith(("leaves", "scans")) else "reset", "as": name}
            ]
    steps += [{"do": "pause", "s": 0.2}]
    steps += [] if found.closes else found.ask("bystander")
    events = found.talk(judge, steps)
    judge.step("a first client asked and stayed")
    judge.step(
        "20 others came and died: by a reset after the question, by a reset in the middle of it,"
        " by closing without waiting for the answer, by closing at once"
    )
    told = [e for e in heard(events, "bystander") if e["data"]]
    if not found.closes:
        judge.step("the first client asked again")
    if len(told) < (1 if found.closes else 2):
        judge.fail(
            expected="the client that stayed is answered as before",
            observed=f"it got no answer any more; {ending(arena)}",
            hint="recv and sendall raise ConnectionResetError or BrokenPipeError when a client has"
            " died: catch OSError, and close that client only",
        )
    still_serves(arena, judge, found, "20 clients that died")


def test_lets_go_of_clients_that_left(arena: Arena, judge: Judge) -> None:
    found = stream(arena, judge)
    names = [f"client {n}" for n in range(1, 11)]
    steps = []
    for name in names:
        steps += [*found.open(name), *found.ask(name, must=False), {"do": "finish", "as": name}]
    steps += [*found.open("last"), *found.ask("last", must=False)]
    steps += [
        {"do": "hear", "as": name, "until": "close", "wait_s": 2.0 if name == names[0] else 0.1}
        for name in names
    ]
    events = found.talk(judge, steps)
    judge.step(f"{len(names)} clients asked, heard the answer, and ended their side")
    judge.step(
        "then watched, while an eleventh client was served, whether the server ends its side"
    )
    gone = [
        name
        for name in names
        if heard(events, name)[-1:] and heard(events, name)[-1]["end"] in ("close", "reset")
    ]
    judge.measured(clients=len(names), closed=len(gone))
    if not gone:
        judge.fail(
            expected="when a client has left, the server closes that connection",
            observed=f"after 2 s none of {len(names)} connections was closed: each costs a"
            " descriptor and perhaps a thread for ever",
            hint="recv gives b'' when the client has closed: leave the loop, close the socket",
        )
