"""Which of the two questions a server is asked, and what comes of it.

The first question is the exact one. A server that does not know it says so (``error: ...``), says
something that is no time, closes the connection, or says nothing at all; it is then asked plainly,
and if it answers that, plainly from then on. Silence costs ``PROBE_S`` at most, once. A server that
answers the exact question with one time, because it answers everything so, is understood too.
"""

from dataclasses import dataclass
from datetime import tzinfo

from clients.clock.answers import UnreadableAnswer, read_answer
from clients.clock.conversation import Answer, Conversation, NoAnswer, Unreachable
from clients.clock.estimate import WIDE_DRIFT_PPM, Sample
from services.clock.protocol import EXACT_QUESTION, QUESTION

PROBE_S = 2.0
"""How long the answer to the first exact question may take. Three retransmissions take 1.4 s."""


@dataclass(frozen=True)
class Failure:
    """A question without a time: its ``status`` (one or two words) and what happened."""

    number: int
    status: str
    message: str


Outcome = Sample | Failure


class Asker:
    """Asks over ``conversation``; times that name no zone are in ``zone``.

    ``plain``: never ask the exact question. ``bare``: plain, and without a line end. ``fallback``
    says why a server is asked plainly that was asked exactly before, else it is empty.
    ``unreachable`` is True when no connection could be made for the last question.
    """

    def __init__(
        self,
        conversation: Conversation,
        zone: tzinfo,
        timeout_s: float,
        *,
        plain: bool = False,
        bare: bool = False,
    ) -> None:
        self.question = "plain" if plain or bare else "undecided"
        self.fallback = ""
        self.unreachable = False
        self._conversation = conversation
        self._zone = zone
        self._probe_s = min(timeout_s, PROBE_S)
        self._plain_question = QUESTION if bare else QUESTION + b"\n"

    def ask(self, number: int) -> Outcome:
        """Ask question ``number`` and return what came of it."""
        if self.question == "exact":
            return self._attempt(number, EXACT_QUESTION + b"\n")
        if self.question == "plain":
            return self._attempt(number, self._plain_question)
        outcome = self._attempt(number, EXACT_QUESTION + b"\n", self._probe_s)
        if isinstance(outcome, Sample) and outcome.server.received_before_ns is not None:
            self.question = "exact"
        elif isinstance(outcome, Sample):
            self.question = "plain"
            self.fallback = "it answers the exact question with one time"
        elif not self.unreachable:
            said = outcome.message
            outcome = self._attempt(number, self._plain_question)
            if isinstance(outcome, Sample):
                self.question = "plain"
                self.fallback = f"to the exact question: {said}"
        return outcome

    def _attempt(self, number: int, question: bytes, timeout_s: float | None = None) -> Outcome:
        self.unreachable = False
        try:
            answer = self._conversation.ask(question, timeout_s)
            return self._sample(number, answer)
        except UnreadableAnswer as error:
            return Failure(number, "unreadable", str(error))
        except NoAnswer as error:
            self.unreachable = isinstance(error, Unreachable)
            return Failure(number, error.status, str(error))

    def _sample(self, number: int, answer: Answer) -> Sample:
        """Return the sample. Raises UnreadableAnswer when the times cannot be."""
        server = read_answer(answer.text, cut_off=answer.ended_by != "line end", zone=self._zone)
        sample = Sample(
            number,
            answer.sent_ns,
            answer.received_ns,
            answer.wall_ahead_ns,
            server,
            answer.stamped_by,
            answer.retransmissions,
        )
        if (server.residence_ns or 0) > sample.rtt_ns * (1 + WIDE_DRIFT_PPM / 1e6) + 1:
            raise UnreadableAnswer(
                "the server says that it had the question for longer than the round trip took: "
                f"{server.residence_ns} ns of {sample.rtt_ns} ns (was its clock set meanwhile?)"
            )
        return sample
