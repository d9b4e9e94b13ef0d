"""Verdicts documents as the grader writes them: of a good, a bad and a hostile submission."""

import copy
from typing import Any

Document = dict[str, Any]

CHECKS = [
    ("udp-server.confirms", 2, "Each datagram is confirmed"),
    ("udp-server.drops-half", 4, "Drops half of the datagrams, at random"),
    ("udp-server.survives-empty", 2, "Survives an empty datagram"),
    ("udp-client.retries", 3, "Sends again when no answer comes"),
    ("udp-client.timeout-grows", 3, "The timeout grows with each retry"),
    ("udp-client.rtt", 4, "The RTT that it prints is the one on the wire"),
    ("clock-server.right-time", 3, "Tells the right time"),
    ("clock-server.concurrent", 4, "A second client is served while the first is idle"),
    ("clock-client.difference", 4, "The difference that it prints is the server's"),
    ("http-server.page", 3, "A browser gets the page"),
    ("http-server.error-500", 4, "An error gives 500, and the server lives"),
    ("http-server.traversal", 4, "Path traversal reveals nothing (security)"),
]
RECEIPT = {"verdict": "in effect", "directions": {"to_program": "off", "from_program": "loss 30%"}}


def finding(check: str, of: float, title: str, **changes: Any) -> Document:
    passed: Document = {
        "check": check,
        "program": check.partition(".")[0],
        "verdict": "passed",
        "points": of,
        "of": of,
        "title": title,
        "steps": [f"start your {check.partition('.')[0]}", "send 'hello' from 127.0.0.1:40001"],
        "expected": "A confirmation comes for each datagram.",
        "observed": "A confirmation came for each of 20 datagrams.",
        "hint": "",
        "mistake": "",
        "evidence": {"output": "Serveur prêt\n", "ladder": [], "receipt": {}},
        "measurements": {},
    }
    return passed | changes


def good(name: str = "durand") -> Document:
    findings = [finding(check, of, title) for check, of, title in CHECKS]
    return {
        "format": 1,
        "submission": name,
        "time": "2026-03-02T10:14:07+01:00",
        "images": {"python": "progres-lab-grading-python"},
        "kernel": "6.12.48",
        "duration_s": 61.2,
        "score": {"points": 40, "of": 40},
        "exercises": {program: "submitted" for program in _programs()},
        "findings": findings,
    }


def bad(name: str = "martin") -> Document:
    """A client that retries at a fixed interval and a clock that serves one client at a time."""
    document = good(name)
    document["exercises"]["clock-client"] = "not submitted"
    document["exercises"]["clock-server"] = "wrong kind: a clock over UDP instead of TCP"
    _change(document, "clock-client.difference", verdict="not submitted", points=0, observed="")
    _change(
        document,
        "udp-client.timeout-grows",
        verdict="failed",
        points=0,
        steps=[
            "start your client: python3 client.py",
            "type '1' at its prompt",
            "let no answer through for the first three datagrams",
            "answer the fourth",
        ],
        expected="Each wait for an answer is longer than the one before: a network that is slow "
        "is not helped by asking it faster.",
        observed="It sent again after 1.001 s, 1.001 s and 1.002 s: always the same wait.",
        hint="Keep the timeout in a variable, and multiply it after each attempt that got no "
        "answer: timeout = timeout * 1.5, then sock.settimeout(timeout).",
        mistake="fixed timeout",
        evidence={
            "output": "Combien de requêtes ? 1\nEnvoi de 'hello'\nPas de réponse, nouvel essai\n"
            "Pas de réponse, nouvel essai\nPas de réponse, nouvel essai\nRéponse reçue : ok "
            "(0.8 ms)\n",
            "ladder": [
                event(0, "program", "'hello'", 5, lost=True),
                event(1001, "program", "'hello'", 5, lost=True),
                event(2002, "program", "'hello'", 5, lost=True),
                event(3004, "program", "'hello'", 5),
                event(3004.8, "peer", "'ok'", 2),
            ],
            "receipt": RECEIPT,
        },
        measurements={"waits_s": [1.001, 1.001, 1.002], "growth": 1.0009},
    )
    _change(
        document,
        "udp-client.rtt",
        verdict="failed",
        points=1,
        steps=["answer the first attempt of request 1 after 20 ms", "lose request 2 twice"],
        expected="The time from sending an attempt to its answer: about 20 ms.",
        observed="For request 2 it printed 2020.4 ms, which holds two waits of 1 s for datagrams "
        "that were lost.",
        hint="Take the start time inside the loop, right before each sendto().",
        mistake="RTT from the first send",
        evidence={
            "output": "RTT = 20.3 ms\nRTT = 2020.4 ms\n",
            "ladder": [
                event(0, "program", "'2 hello'", 7),
                event(0.2, "peer", "'2 ok'", 4, lost=True),
                event(1000.6, "program", "'2 hello'", 7),
                event(1000.9, "peer", "'2 ok'", 4, lost=True),
                event(2001.2, "program", "'2 hello'", 7),
                event(2021.4, "peer", "'2 ok'", 4),
            ],
            "receipt": RECEIPT,
        },
        measurements={"printed_ms": 2020.4, "wire_ms": 20.2},
    )
    _change(
        document,
        "clock-server.concurrent",
        verdict="failed",
        points=0,
        steps=["open a connection and ask nothing", "open a second one and ask for the time"],
        expected="The second client is answered at once.",
        observed="No answer within 3 s; it came 4 ms after the first client had left.",
        hint="accept() in a loop, and give each connection to a thread of its own.",
        mistake="one client at a time",
    )
    _change(document, "http-server.error-500", verdict="not shown", points=0, observed="None of 9 "
            "requests made your server fail.", hint="Name a path that raises as trigger in "
            "lab.toml.")  # fmt: skip
    _change(document, "udp-server.drops-half", verdict="invalid", points=0, observed="The "
            "receipt says that nothing was lost where 30 % was asked.")  # fmt: skip
    document["score"]["points"] = 40 - 4 - 3 - 3 - 4 - 4 - 4
    return document


ATTACK = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31m<script>alert(1)</script>\r\n"
    "</pre></article><img src=x onerror=alert(1)>\x00\x08\x9b31m \u202eexe.fdp\u202c\u2028"
    "\ud800\udcff\ufffe]]>&amp; <style>*{display:none}</style>"
)


def hostile() -> Document:
    """Every string is an attack on the page, the terminal, the table or the XML."""
    document = bad("=cmd|'/c calc'!A1 <b>\x1b[31mrouge</b>\u202etxt.sdrawkcab")
    document["exercises"]["http-server\"><script>alert('k')</script>"] = f"wrong kind: {ATTACK}"
    document["kernel"] = ATTACK
    document["images"] = {ATTACK: ATTACK}
    for number, item in enumerate(document["findings"]):
        item["title"] += f" {ATTACK}" if number % 2 else ""
        item["steps"] = [*item["steps"], ATTACK]
        for key in ("expected", "observed", "hint"):
            item[key] += ATTACK
        item["mistake"] = item["mistake"] and '=HYPERLINK("http://x")\t<b>' + item["mistake"]
        item["measurements"] = {ATTACK: ATTACK, "nested": {"a": [ATTACK]}}
        item["evidence"] = {
            "output": ATTACK * 3 + "A" * (0 if number else 100_000) + "\n" * 300 + "end" + ATTACK,
            "ladder": [event(n * 7, "program", ATTACK, n) for n in range(3 if number else 600)],
            "receipt": {"deep": ATTACK},
        }
    return document


def event(ms: float, sender: str, what: str, size: int, lost: bool = False) -> Document:
    t_ns = 5_000_000_000 + int(ms * 1e6)
    return {"t_ns": t_ns, "from": sender, "what": what, "bytes": size, "lost": lost}


def _programs() -> list[str]:
    return list(dict.fromkeys(check.partition(".")[0] for check, _, _ in CHECKS))


def _change(document: Document, check: str, **changes: Any) -> None:
    for item in document["findings"]:
        if item["check"] == check:
            item |= copy.deepcopy(changes)
