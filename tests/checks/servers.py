"""What the checks of the TCP servers have in common: reaching them, and showing what was said."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import pytest

from grading.arena import STARTS_WITHIN_S, Arena
from grading.verdict import FAILED, Judge

UDP_BEFORE_TCP_S = 1.0
"""How long a program that has a UDP socket may take to listen on TCP, too."""

Events = list[dict[str, Any]]


@dataclass(frozen=True)
class Place:
    """Where a server listens."""

    protocol: str
    host: str
    port: int

    @property
    def order(self) -> dict[str, Any]:
        """Return what our clients need to know of it."""
        return {"host": self.host, "port": self.port, "protocol": self.protocol}

    def __str__(self) -> str:
        return f"{self.host}, {self.protocol.upper()} port {self.port}"


@pytest.fixture(autouse=True)
def new_program_after_a_failure(arena: Arena | None, judge: Judge) -> Iterator[None]:
    """Start the program anew for the next check when this one may have broken it."""
    yield
    if arena is not None and judge.finding.verdict == FAILED:
        arena.end()


def listening(
    arena: Arena, protocols: Sequence[str] = ("tcp",), patience_s: float | None = None
) -> Place | None:
    """Start the program if need be; return where it listens, or None in the end."""
    if patience_s is None:
        patience_s = STARTS_WITHIN_S.get(arena.program.image, 8.0)
    if arena.run is None or not arena.run.alive:
        arena.start()
    assert arena.run is not None
    begin = time.monotonic()
    while True:
        alive, now = arena.run.alive, time.monotonic()
        for protocol in protocols:
            found = arena.listener(protocol)
            if found is None or (protocol != protocols[0] and now < begin + UDP_BEFORE_TCP_S):
                continue
            return Place(protocol, *found)
        if not alive or now > begin + patience_s:
            return None
        time.sleep(0.05)


_silent: WeakSet[Arena] = WeakSet()
"""Programs that did not listen once, and will not be waited for so long again."""


def reached(arena: Arena, judge: Judge, protocols: Sequence[str] = ("tcp",)) -> Place:
    """Return where the server listens, after starting it if need be; without it the check fails."""
    place = listening(arena, protocols, 2.0 if arena in _silent else None)
    if place is None:
        _silent.add(arena)
        judge.step("started the server and waited for it to listen")
        judge.fail(
            expected=f"it listens on TCP port {arena.program.port}",
            observed=f"no port is open; {ending(arena)}",
            hint="bind((host, port)), listen(), then accept() in a loop",
        )
    assert place is not None
    return place


def heard(events: Events, name: str) -> list[dict[str, Any]]:
    """Return what was heard on one connection."""
    return [e for e in events if e["event"] == "heard" and e.get("as") == name]


def show(judge: Judge, events: Events) -> None:
    """Keep what was said as the check's evidence."""
    for event in events:
        shown = _shown(event)
        if shown is not None:
            judge.finding.ladder.append(
                {
                    "t_ns": event.get("first_ns") or event["t_ns"],
                    "from": "program" if event["event"] == "heard" else "peer",
                    "what": f"{event['as']}: {shown}",
                    "bytes": event.get("size", 0),
                    "lost": False,
                }
            )


def _shown(event: Mapping[str, Any]) -> str | None:
    match event["event"]:
        case "opened":
            return "connects"
        case "refused":
            return f"cannot connect: {event['reason']}"
        case "broken":
            return f"cannot send: {event['reason']}"
        case "sent":
            return quoted(event["data"])
        case "heard" if event["end"] == "nothing":
            return "(silence)"
        case "heard":
            ends = {"close": ", then closes", "reset": ", then resets the connection"}
            return quoted(event["data"]) + ends.get(event["end"], "")
    return None


def quoted(data: str, limit: int = 80) -> str:
    """Return bytes (as latin-1) as text in quotes, shortened."""
    return in_quotes(data.encode("latin-1").decode("utf-8", errors="replace"), limit)


def in_quotes(text: str, limit: int = 80) -> str:
    """Return text in quotes, shortened."""
    return repr(text if len(text) <= limit else text[:limit] + "...")


def ending(arena: Arena) -> str:
    """Return whether the program still runs, in words that end a sentence."""
    return "it was never started" if arena.run is None else arena.run.ending()
