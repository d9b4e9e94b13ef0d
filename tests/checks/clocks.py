"""How a submission's clock programs talk: learnt from the programs themselves."""

import time
from dataclasses import asdict
from typing import Any

from grading.arena import Arena
from grading.manifest import Program
from grading.readings import Form
from tests.checks.servers import Place, listening

STARTS_S = 20.0
"""How long a program may take to come to its first question, on a machine that is busy."""

FORMS = (
    "{weekday_en3} {month_en3} {day:2} {hour:02}:{minute:02}:{second:02} {year}\n",
    "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{fraction6}\n",
    "{epoch_s}.{fraction6}\n",
    "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction6}\n",
    "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction9}Z\n",
    "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}\n",
    "{hour:02}:{minute:02}:{second:02}\n",
    "{epoch_s}\n",
    "{epoch_ms}\n",
    "{epoch_us}\n",
    "{day:02}/{month:02}/{year} {hour:02}:{minute:02}:{second:02}\n",
    "{epoch_ns}\n",
)
"""How people's clock servers answer: tried in turn where the submission's own cannot be asked."""


def learned(arena: Arena, place: Place) -> dict[str, Any]:
    """Return how the server that runs at ``place`` is asked: the last event of the peer's "learn".

    ``events`` of it are all. A server that knows none of the usual questions is asked as the
    submission's own client asks.
    """
    own = arena.program.question.encode().decode("latin-1")  # as our peers tell bytes
    known = _learned(arena, place, [own] if own else [])
    client = arena.submitted.get("clock-client")
    if known["event"] == "learned" or client is None:
        return known
    arena.end()  # its port is the client's, too
    question = first_question(arena, client)
    again = listening(arena, (place.protocol,))
    if again is None or not question:
        return known
    # Our server takes a question to end with its "?" or its line end.
    asked = [question, f"{question}\n", f"{question}\r\n"]
    found = _learned(arena, again, asked, others=False)
    return found if found["event"] == "learned" else known


def _learned(
    arena: Arena, place: Place, questions: list[str], *, others: bool = True
) -> dict[str, Any]:
    order = {"op": "learn", "questions": questions, "others": others}
    events = arena.ask("clock_client", place.order | order)
    return {**events[-1], "events": events}


def first_question(arena: Arena, client: Program) -> str:
    """Return what the client asks our clock server first; empty: nothing."""
    order = {"port": client.port, "form": asdict(Form(FORMS[0])), "offset_s": 0.0}
    with arena.playing(client), arena.peer("clock_server", order) as service:
        service.wait_for("ready", STARTS_S)
        run = arena.start()
        end = time.monotonic() + STARTS_S
        asked: list[dict[str, Any]] = []
        while not asked and time.monotonic() < end:
            ended = not run.alive  # before the look: what it asked before its end is there then
            asked = [event for event in service.events if event["event"] == "asked"]
            if ended:
                break
            time.sleep(0.05)
        arena.end()
    return str(asked[0]["data"]) if asked else ""
