"""The three sidecars of a running lab, asked all at once through the engine.

Not through ``docker compose``, which takes as long to start as the change itself; and not through
the network that they shape.
"""

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab import compose
from lab.errors import LabError
from services.netem.impairment import parse
from services.netem.kernel import REMEDY

FORMAT = 2
"""Of the sidecar's receipts: this is the one that is understood here."""

ANSWER_WITHIN_S = 120
"""An emulated processor takes tens of seconds for three Pythons, tc and nft."""

COMMAND = ("python3", "-m", "services.netem")
NOT_ON_THIS_KERNEL = 3
WITH_WHAT_WAS_KEPT = 'cat "/settings/$NETEM_SERVICE.json" 2>/dev/null; echo; exec "$@"'


class Refused(LabError):
    """A sidecar did not do as asked; what was before is in effect.

    ``by_kernel``: the words are right, but this kernel cannot do it.
    """

    def __init__(self, step: str, cause: str, remedy: str, by_kernel: bool) -> None:
        super().__init__(step, cause, remedy)
        self.by_kernel = by_kernel


@dataclass(frozen=True)
class Kept:
    """What a sidecar was told at run time: words by direction, ``default`` where nothing was."""

    from_server: str = "default"
    to_server: str = "default"
    name: str = ""

    def order(self) -> dict[str, str]:
        """Return it in the form that the sidecar's ``apply`` takes."""
        return {"from_server": self.from_server, "to_server": self.to_server, "name": self.name}


@dataclass(frozen=True)
class Answer:
    """A sidecar's receipt, and what was kept before."""

    receipt: dict[str, Any]
    before: Kept


def running() -> dict[str, str]:
    """Return Compose service: container, of those of this lab that run.

    Compose writes the name of a service into the images that it builds, so whatever is started from
    one seems to be that service; its own containers also say that they are no "one-off" ones.
    """
    form = '{{.Label "com.docker.compose.service"}} {{.ID}}'
    project = f"label={compose.PROJECT_LABEL}={compose.project_name()}"
    own = "label=com.docker.compose.oneoff=False"
    listed = compose.captured(
        ["docker", "ps", "--no-trunc", "--filter", project, "--filter", own, "--format", form]
    )
    if listed.returncode != 0:
        cause = listed.stderr.strip() or "docker ps failed"
        raise LabError("looking for the lab", cause, "make doctor")
    pairs = (line.split() for line in listed.stdout.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


class Ready:
    """Sidecars that are started and wait for their orders, so that a change comes on the moment.

    Starting takes most of the time that a change takes.
    """

    def __init__(self, exercises: Iterable[str]) -> None:
        found = containers(tuple(exercises))
        argv = ["sh", "-c", WITH_WHAT_WAS_KEPT, "sh", *COMMAND, "apply", "--json"]
        self._waiting = {e: _started(container, argv) for e, container in found.items()}

    def apply(self, orders: Mapping[str, Mapping[str, str]]) -> dict[str, Answer]:
        """Change the networks of several servers at the same time; return exercise: answer.

        Each sidecar does all that it is told or nothing. If one refuses, or at Ctrl-C, those that
        have changed already are put back. Those that ask the most of the kernel come first, so
        that a kernel that cannot do it refuses before anything has changed. Raises Refused.
        """
        answers: dict[str, Answer] = {}
        try:
            for need in sorted({_need(order) for order in orders.values()}, reverse=True):
                now = {e: order for e, order in orders.items() if _need(order) == need}
                self._apply(now, answers)
        except BaseException:
            if answers:
                before = {exercise: answer.before.order() for exercise, answer in answers.items()}
                Ready(before)._apply(before, {})
            raise
        finally:
            self.dismiss()
        return answers

    def dismiss(self) -> None:
        """Let those go that have been told nothing: without orders they change nothing."""
        for process in self._waiting.values():
            _tell(process, "")
            _finished(process)
        self._waiting = {}

    def _apply(self, orders: Mapping[str, Mapping[str, str]], answers: dict[str, Answer]) -> None:
        """Change these at the same time, and add to ``answers`` whatever has changed."""
        told = {}
        for exercise, order in orders.items():
            told[exercise] = self._waiting.pop(exercise)
            _tell(told[exercise], json.dumps(order))
        refusals: dict[str, tuple[int, str]] = {}
        interrupted: KeyboardInterrupt | None = None
        for exercise, process in told.items():
            try:
                out, complaint = _finished(process)
            except KeyboardInterrupt as signalled:  # first see what has changed
                interrupted = signalled
                out, complaint = _finished(process)
            kept, _, receipt = out.rstrip("\n").rpartition("\n")
            if process.returncode in (0, 1) and receipt.startswith("{"):
                answers[exercise] = Answer(_receipt(exercise, receipt), _kept(kept))
            else:
                refusals[exercise] = (process.returncode, complaint)
        if interrupted is not None:
            raise interrupted
        if refusals:
            raise _refusal(refusals)


def apply(orders: Mapping[str, Mapping[str, str]]) -> dict[str, Answer]:
    """Start sidecars and have them do this at once: ``Ready.apply``."""
    return Ready(orders).apply(orders)


def _need(order: Mapping[str, str]) -> int:
    """Return how much of the kernel it takes: 0 loss alone, 1 netem, 2 netem on what comes in."""
    return max(
        (
            need
            for direction, need in (("from_server", 1), ("to_server", 2))
            if (words := order.get(direction, "off")) not in ("off", "default")
            and not parse(words.split()).is_loss_alone
        ),
        default=0,
    )


def show(exercises: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return exercise: receipt of what is in effect now. Raises LabError."""
    argv = [*COMMAND, "show", "--json"]
    asked = containers(tuple(exercises)).items()
    started = {exercise: _started(container, argv) for exercise, container in asked}
    receipts = {}
    for exercise, process in started.items():
        _tell(process, "")
        out, complaint = _finished(process)
        if not out.startswith("{"):
            raise LabError(
                "reading the network back",
                f"the sidecar of {exercise} does not answer: {complaint}",
                f"make logs SERVICE={exercise}-netem; make up",
            )
        receipts[exercise] = _receipt(exercise, out)
    return receipts


def containers(exercises: Sequence[str]) -> dict[str, str]:
    """Return exercise: container of its sidecar. Raises LabError when one does not run."""
    found = running()
    missing = [exercise for exercise in exercises if f"{exercise}-netem" not in found]
    if missing:
        raise LabError(
            "changing the network",
            f"no sidecar runs for {', '.join(missing)}: the lab is not up",
            "make up",
        )
    return {exercise: found[f"{exercise}-netem"] for exercise in exercises}


def _started(container: str, argv: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["docker", "exec", "--interactive", container, *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us: a change is finished, and then taken back
    )


def _tell(process: "subprocess.Popen[str]", text: str) -> None:
    """Write the standard input of a process, all of it."""
    assert process.stdin is not None
    try:
        with process.stdin as stdin:
            stdin.write(text)
    except BrokenPipeError:  # it has ended already; its status says why
        pass
    process.stdin = None  # so that nobody closes it again


def _finished(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """Return standard output, and the last line of standard error."""
    try:
        out, err = process.communicate(timeout=ANSWER_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "", f"no answer within {ANSWER_WITHIN_S} s"
    lines = err.strip().splitlines()
    return out, lines[-1] if lines else f"exit status {process.returncode}"


def _receipt(exercise: str, text: str) -> dict[str, Any]:
    receipt: dict[str, Any] = json.loads(text)
    if receipt.get("format") != FORMAT:
        raise LabError(
            "reading the network back",
            f"the sidecar of {exercise} is of another version (receipt format"
            f" {receipt.get('format')}, not {FORMAT})",
            "make up",
        )
    return receipt


def _kept(text: str) -> Kept:
    """Return what the sidecar's file said before; nothing where it cannot be read."""
    try:
        document = json.loads(text or "{}")
        return Kept(
            str(document.get("from_server", "default")),
            str(document.get("to_server", "default")),
            str(document.get("name", "")),
        )
    except (ValueError, AttributeError):  # damaged: the sidecar goes by its environment then
        return Kept()


def _refusal(refusals: Mapping[str, tuple[int, str]]) -> Refused:
    """Return the refusals as one error: those by the kernel are all alike, so one will do."""
    by_kernel = [e for e, (status, _) in refusals.items() if status == NOT_ON_THIS_KERNEL]
    causes = []
    for exercise, (_, complaint) in refusals.items():
        who = exercise
        if exercise in by_kernel:
            if exercise != by_kernel[0]:
                continue
            who = ", ".join(by_kernel)
            complaint = complaint.replace(REMEDY, "").strip()
        said = complaint.removeprefix(f"{exercise}-netem: ").removeprefix("the old setting stays: ")
        causes.append(f"{who}: {said}")
    remedy = REMEDY if by_kernel else "correct that; nothing has changed"
    return Refused("changing the network", "\n".join(causes), remedy, bool(by_kernel))
