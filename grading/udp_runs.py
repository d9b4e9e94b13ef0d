"""Runs of a UDP client under test against our server: each in an arena of its own, side by side.

=========  =========================================================================================
plain      every request is answered, each after a delay of its own
losses     some datagrams are lost, answers come after shares of the client's own timeout
silence    nothing is ever answered
strangers  an answer comes twice, another one late
exam       the network of ``scenarios/exam.toml``, with a receipt
=========  =========================================================================================

The confirmation is an echo; where the client does not take it, it is worded as the submission's own
server words it, which is asked with the client's own datagram.
"""

import threading
import time
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from grading import GradingError
from grading.arena import Arena
from grading.conversation import datagrams, waits_longer_and_longer
from grading.manifest import Program
from grading.sandbox import Submission
from grading.statistics import TRIES
from grading.wording import ECHO, learned
from lab.settings import ROOT

Step = dict[str, Any]

PLAIN_MS = (40, 60, 25, 80, 35, 70, 50, 20, 65, 45)
SHARES = (0.2, 0.4, 0.1, 0.3, 0.15, 0.35, 0.05, 0.25, 0.45, 0.5)
LOST = {0: 1, 2: 2, 5: 1}
"""Of each ten requests: which loses how many of its first datagrams."""

FIRST_DATAGRAM_S = 15.0
LONGEST_S = 32.0
SILENCE_S = 12.0
QUIET_S = 1.2
"""How long nothing happens until a client is taken to be done that has made all its requests."""
HUNG_S = 16.0
"""How long nothing comes until a client waits for ever: some wait 10 s for each answer."""
UNCOUNTED_S = 6.0
"""The same for one that was not said how many requests it makes, while all is answered."""
EXAMPLES = 4
"""So many of a client's own messages show how its server words a confirmation."""
EXAM_TRIES = 8
"""By chance nothing is lost of ten requests in one run of eight: it is run again then."""
EXAM_REQUESTS = 3
"""Fewer requests than that lose nothing too often to be judged so."""


@dataclass(frozen=True)
class Watched:
    """What a client did in one run. ``ended``: by itself; ``crashed``: as broken programs do."""

    events: list[Mapping[str, Any]] = field(default_factory=list)
    output: str = ""
    ended: bool = False
    crashed: bool = False
    hung: bool = False
    ending: str = ""
    receipt: dict[str, Any] = field(default_factory=dict)
    packets: Path | None = None
    """The capture, if it is kept; ``frames``: from when to when the run was, in seconds since 1970;
    ``not_kept``: what is missing in it, and why."""
    frames: tuple[float, float] = (0.0, 0.0)
    not_kept: str = ""
    cut: bool = False
    """We ended it, as our confirmations did not seem to be taken: it is not what is judged."""

    @property
    def sent(self) -> list[Mapping[str, Any]]:
        """Its datagrams, as far as they came to us."""
        return datagrams(self.events)


class Runs:
    """All runs of one client; the first that is asked for makes them."""

    def __init__(
        self,
        submission: Submission,
        program: Program,
        server: Program | None,
        packets_folder: Path | None = None,
    ) -> None:
        self._submission = submission
        self._packets_folder = packets_folder
        self.program = program
        self._server = server
        self._wording: Mapping[str, str] = ECHO
        self._plain: Watched | None = None
        self._futures: dict[str, Future[Watched]] = {}
        self._pool = ThreadPoolExecutor(5, thread_name_prefix="client-run")
        self._over = threading.Event()

    def close(self) -> None:
        """End what still runs."""
        self._over.set()
        self._pool.shutdown()

    @property
    def wording(self) -> Mapping[str, str]:
        """How our server words its confirmations."""
        return self._wording

    @property
    def plain(self) -> Watched:
        """The run in which every request is answered; it is also the first."""
        if self._plain is None:
            self._submission.volume_for(self.program)  # built once, before all
            plan, told = [{"hold_ms": ms} for ms in PLAIN_MS * 10], self.program.requests
            first = self._plain = self._watch("plain", plan, {"hold_ms": 30}, LONGEST_S, told)
            if self._is_not_taken(first):
                self._wording = self._learned() or ECHO
            if first.cut or self._wording != ECHO:
                self._plain = self._watch("plain", plan, {"hold_ms": 30}, LONGEST_S, told)
        return self._plain

    @property
    def requests(self) -> int:
        """How many requests the client makes, as it did when all were answered."""
        return len({event["request"] for event in self.plain.sent})

    def of(self, name: str) -> Watched:
        """Return the run losses, silence, strangers or exam; all of them begin with the first."""
        count = self.requests
        if not self._futures:
            losses: list[Step] = []
            for number in range(max(count, 10)):
                step: Step = {"hold_share": SHARES[number % 10]}
                losses.append(step | {"lose": LOST.get(number % 10, 0)})
            strangers: list[Step] = [
                {"lose": 1},
                {"twice": True},
                {"hold_share": 0.5},
                {"lose": 1, "late_ms": 5},
                {"hold_share": 0.5},
            ]

            def begun(name: str, plan: list[Step], rest: Step, longest_s: float) -> Future[Watched]:
                return self._pool.submit(self._watch, name, plan, rest, longest_s, count)

            self._futures = {
                "losses": begun("losses", losses, {"hold_share": 0.3}, LONGEST_S),
                "strangers": begun("strangers", strangers, {"hold_ms": 5}, LONGEST_S),
                "silence": begun("silence", [], {"lose": None}, SILENCE_S),
                "exam": self._pool.submit(self._exam, count),
            }
        return self._futures[name].result()

    def _exam(self, count: int) -> Watched:
        """Run under the exam's losses, again where by chance nothing was lost."""
        document = tomllib.loads((ROOT / "scenarios" / "exam.toml").read_text(encoding="utf-8"))
        losses = {way: _loss(document["udp"][way]) for way in ("to_server", "from_server")}
        for _ in range(EXAM_TRIES if count >= EXAM_REQUESTS else 1):
            watched = self._watch("exam", [], {"hold_ms": 5}, LONGEST_S, count, losses)
            if lost_of(watched.receipt) or not watched.sent:
                break
        return watched

    def _is_not_taken(self, watched: Watched) -> bool:
        """Return whether the client went on asking although it was answered, or seems to have."""
        told, messages = self.program.requests, [event["data"] for event in watched.sent]
        if not watched.ended or waits_longer_and_longer(watched.events):
            return True
        if told is not None:
            return len(messages) > told
        return any(a == b for a, b in zip(messages, messages[1:], strict=False))

    def _is_refused(self, events: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether it is clear in the first run that our confirmations are not taken."""
        if self._plain is not None:
            return False
        told = self.program.requests
        too_many = told is not None and len(datagrams(events)) > told + 2
        return too_many or waits_longer_and_longer(events)

    def _learned(self) -> dict[str, str] | None:
        """Return how the submission's own server words its confirmations."""
        if self._server is None or self._plain is None or not self._plain.sent:
            return None
        messages = list(dict.fromkeys(event["data"] for event in self._plain.sent))[:EXAMPLES]
        arena = Arena(self._submission, self._server)
        try:
            where = arena.serving("udp")
            if where is None:
                return None
            order = {"op": "try", "host": where[0], "port": where[1], "tries": TRIES}
            told = arena.ask("udp_client", order | {"wait_s": 0.1, "datagrams": messages})
        except GradingError:
            return None
        finally:
            arena.close()
        answers = [event["answer"] for event in told if event["event"] == "tried"]
        pairs = [(m, a) for m, a in zip(messages, answers, strict=False) if a is not None]
        return learned(pairs) if pairs else None

    def _watch(
        self,
        name: str,
        plan: Sequence[Step],
        rest: Step,
        longest_s: float,
        count: int | None,
        losses: Mapping[str, float] | None = None,
    ) -> Watched:
        """Run the client once against our server; after ``count`` requests it is done."""
        folder = self._packets_folder
        packets = folder / f"{self.program.name}-{name}.pcapng" if folder else None
        begun_s = time.time()
        arena = Arena(self._submission, self.program, packets)
        try:
            order = {"port": self.program.port, "plan": list(plan), "rest": rest}
            with arena.peer("udp_server", order | {"wording": self._wording}) as service:
                service.wait_for("ready")
                if losses is None:
                    watched = self._watched(arena, service.events, longest_s, count)
                else:
                    with arena.losing("udp", self.program.port, losses) as receipt:
                        watched = self._watched(arena, service.events, longest_s, count)
                    watched = replace(watched, receipt=receipt)
        finally:
            arena.close()
        return replace(
            watched, packets=packets, frames=(begun_s, time.time()), not_kept=arena.not_kept
        )

    def _watched(
        self, arena: Arena, events: list[dict[str, Any]], longest_s: float, count: int | None
    ) -> Watched:
        run = arena.start()
        begin = time.monotonic()
        last, seen, longest_gap_s, first = begin, 0, 0.0, 0.0
        hung = cut = False
        while not run.ended.wait(0.05) and not self._over.is_set():
            now = time.monotonic()
            if len(events) > seen:
                if first:
                    longest_gap_s = max(longest_gap_s, now - last)
                seen, last = len(events), now
                first = first or (now if datagrams(events) else 0.0)
            quiet_s = now - last
            if not first:
                if quiet_s > FIRST_DATAGRAM_S:  # the first of all may have been lost
                    hung = True
                    break
                continue
            cut = self._is_refused(events)
            if cut or now - first > longest_s:
                break
            if _is_done(events, count) and quiet_s > QUIET_S:
                break
            patience_s = UNCOUNTED_S if count is None else HUNG_S
            if quiet_s > max(patience_s, 3 * longest_gap_s):
                hung = True
                break
        ended = run.ended.is_set()
        if not ended:
            run.type_in(("",))  # some wait for Enter at their end
            ended = run.ended.wait(1.0)
        status = run.exit_status if ended else None
        output, ending = run.output.text, run.ending()
        words = ("Traceback (most recent call last)", 'Exception in thread "', "panic: ")
        crashed = (
            ended
            and bool(status)
            and ((status or 0) > 128 or any(word in output for word in words))
        )
        run.stop()
        kept: list[Mapping[str, Any]] = list(events)
        return Watched(kept, output, ended, crashed, hung and not ended, ending, cut=cut)


def _is_done(events: Sequence[Mapping[str, Any]], count: int | None) -> bool:
    """Return whether the last of ``count`` requests has its answer; unknown counts as not."""
    answered = {event["request"] for event in events if event["event"] == "answer"}
    return count is not None and len(answered) >= count


def lost_of(receipt: Mapping[str, Any]) -> int:
    """Return how many packets a receipt says were lost, both ways."""
    return sum(part.get("lost", 0) for part in receipt.get("directions", {}).values())


def _loss(words: str) -> float:
    """Return the share of ``loss 10%``; a scenario that does more is not for judging."""
    kind, share = words.split()
    if kind != "loss" or not share.endswith("%"):
        raise GradingError(
            f"scenarios/exam.toml: {words!r}: only loss alone is the same everywhere"
        )
    return float(share[:-1]) / 100
