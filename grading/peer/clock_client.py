"""Asks a clock server under test, step by step, and tells what it hears.

Orders::

    {"host", "port", "protocol": "tcp" or "udp", "steps": [...]}       see ``talk``
        "hear" takes ``lines``: how many line ends make an answer; 0: silence does
    {"host", "port", "protocol", "op": "learn", "questions": tried before all others,
     "others": whether those are tried, too}
        finds out how the server is asked: tells {"event": "learned", "question", "greeting",
        "answer", "lines", "end", "wall_ns", "finish": it answers when we have ended our side,
        "unasked": it tells the time to whoever connects}, or {"event": "not learned", "said"}
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from grading.peer import order, tell
from grading.peer.talk import Talk
from grading.readings import time_in

QUESTIONS = (
    "what time is it?\n",
    "what time is it?",
    "what time is it?\r\n",
    "What time is it?\n",
    "What time is it ?\n",
    "what time is it\n",
    "Quelle heure est-il ?\n",
    "quelle heure est-il ?\n",
    "quelle heure est-il?\n",
    "heure\n",
    "heure",
    "HEURE\n",
    "time\n",
    "time",
    "TIME\n",
    "TIME",
    "time?\n",
    "date\n",
    "\n",
)
"""The exercise's own first; then how else people ask."""


def main() -> None:
    """Carry out the order."""
    given = order()
    talk = Talk((given["host"], given["port"]), whole, given.get("protocol", "tcp"))
    if given.get("op") == "learn":
        learn(talk, (*given["questions"], *(QUESTIONS if given["others"] else ())))
    else:
        talk.run(given["steps"])


def whole(data: bytes, step: Mapping[str, Any]) -> bool:
    """Return whether an answer of ``step["lines"]`` lines is complete."""
    lines = step.get("lines", 0)
    return bool(lines) and data.count(b"\n") >= lines and data.endswith(b"\n")


def learn(talk: Talk, questions: Sequence[str]) -> None:
    """Try each way of asking on a connection of its own, until a time is the answer."""
    said: list[str] = []
    greeting = ""
    for number, question in enumerate(questions):
        if talk.do({"do": "open", "as": "a"}) == "refused":
            break
        if number == 0:
            greeting = talk.hear("a", {"wait_s": 0.3, "quiet_s": 0.2})["data"]
        elif greeting:
            talk.hear("a", {"wait_s": 1.0, "quiet_s": 0.2})
        talk.do({"do": "send", "as": "a", "data": question})
        heard = talk.hear("a", {"wait_s": 0.5 if number else 2.0, "quiet_s": 0.35})
        if _has_time(heard["data"]):
            _tell_learned(question, greeting, heard)
            return
        said.append(heard["data"][:200])
        talk.do({"do": "close", "as": "a"})
    if _has_time(greeting):
        talk.do({"do": "open", "as": "a"})
        heard = talk.hear("a", {"wait_s": 1.0})
        _tell_learned("", "", heard if heard["data"] else {**heard, "data": greeting}, unasked=True)
        return
    # Some servers answer when the client has said all that it will say.
    if talk.do({"do": "open", "as": "a"}) == "opened":
        talk.do({"do": "send", "as": "a", "data": questions[0]})
        talk.do({"do": "finish", "as": "a"})
        heard = talk.hear("a", {"wait_s": 1.0})
        if _has_time(heard["data"]):
            _tell_learned(questions[0], greeting, heard, finish=True)
            return
    tell("not learned", said=said, greeting=greeting)


def _has_time(data: str) -> bool:
    return time_in(data.encode("latin-1"), time.time_ns()) is not None


def _tell_learned(
    question: str,
    greeting: str,
    heard: Mapping[str, Any],
    finish: bool = False,
    unasked: bool = False,
) -> None:
    answer = heard["data"]
    tell(
        "learned",
        question=question,
        greeting=greeting,
        answer=answer,
        lines=answer.count("\n") if answer.endswith("\n") else 0,
        end=heard["end"],
        finish=finish,
        unasked=unasked,
        wall_ns=heard["wall_ns"],
    )


if __name__ == "__main__":
    main()
