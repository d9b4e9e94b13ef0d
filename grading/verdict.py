"""Findings: what a check found out about a program, and the document that keeps them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

PASSED, FAILED, NOT_SHOWN = "passed", "failed", "not shown"
INVALID, NOT_SUBMITTED = "invalid", "not submitted"
VERDICTS = (PASSED, FAILED, NOT_SHOWN, INVALID, NOT_SUBMITTED)

FORMAT = 1
MAX_EVIDENCE_CHARACTERS = 20_000


class Reached(Exception):
    """A verdict other than passed was reached; ends the check."""

    def __init__(self, finding: "Finding") -> None:
        super().__init__(str(finding))
        self.finding = finding


@dataclass
class Finding:
    """One check of one program.

    ``steps``: what we did, in order. ``expected``: what a correct program does. ``observed``: what
    this one did. ``mistake``: its class, where it is known better than by the
    check. ``ladder``: packets, each ``{"t_ns", "from": "program" or "peer", "what", "bytes",
    "lost"}``. ``packets``: the capture beside the verdicts; ``frames``: from when to when in it, in
    seconds since 1970; ``not_kept``: what is missing in it, and why.
    """

    check: str
    program: str
    verdict: str = PASSED
    steps: list[str] = field(default_factory=list)
    expected: str = ""
    observed: str = ""
    hint: str = ""
    mistake: str = ""
    output: str = ""
    ladder: list[dict[str, Any]] = field(default_factory=list)
    receipt: dict[str, Any] = field(default_factory=dict)
    packets: str = ""
    frames: tuple[float, float] = (0.0, 0.0)
    not_kept: str = ""
    measurements: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"{self.check}: {self.verdict}",
            *(f"  {n}. {s}" for n, s in _numbered(self.steps)),
        ]
        for name, text in (("expected", self.expected), ("observed", self.observed)):
            lines += [f"  {name}: {text}"] if text else []
        lines += [f"  hint: {self.hint}"] if self.hint else []
        if self.output:
            lines += ["  its output ends:", *(f"    {line}" for line in _end(self.output))]
        return "\n".join(lines)


def _numbered(steps: Sequence[str]) -> list[tuple[int, str]]:
    return list(enumerate(steps, 1))


def _end(output: str) -> list[str]:
    return output.splitlines()[-12:]


class Judge:
    """What a check talks to: it notes steps, and ends the check with a verdict.

    A check that says nothing has passed.
    """

    def __init__(self, check: str, program: str) -> None:
        self.finding = Finding(check, program)

    def step(self, text: str) -> None:
        """Note what was done, in a sentence."""
        self.finding.steps.append(text)

    def measured(self, **figures: Any) -> None:
        """Keep figures that the verdict rests on; units stand in their names."""
        self.finding.measurements.update(figures)

    def rests_on(self, frames: tuple[float, float], packets: Path | None, not_kept: str) -> None:
        """Note which packets the verdict rests on; those of several runs in one file add up.

        ``packets``: the capture's file, in its folder beside the verdicts; None: none is kept.
        """
        finding = self.finding
        if packets is None:
            return
        name = f"{packets.parent.name}/{packets.name}"
        if finding.packets == name:
            begun, ended = finding.frames
            frames = (min(begun, frames[0]), max(ended, frames[1]))
        finding.packets, finding.frames, finding.not_kept = name, frames, not_kept

    def fail(
        self, *, expected: str = "", observed: str, hint: str = "", mistake: str = ""
    ) -> NoReturn:
        """End the check: the program does not do what it should. Raises Reached.

        What is not given is the rubric's; ``mistake`` is a more precise class than that.
        """
        self.finding.mistake = mistake
        self._reach(FAILED, expected, observed, hint)

    def not_shown(self, observed: str, *, hint: str = "") -> NoReturn:
        """End the check: it could not be seen either way. Raises Reached."""
        self._reach(NOT_SHOWN, "", observed, hint)

    def invalid(self, observed: str) -> NoReturn:
        """End the check: we could not measure properly; run again. Raises Reached."""
        self._reach(INVALID, "", observed, "")

    def _reach(self, verdict: str, expected: str, observed: str, hint: str) -> NoReturn:
        finding = self.finding
        finding.verdict, finding.expected = verdict, expected
        finding.observed, finding.hint = observed, hint
        raise Reached(finding)


def _packets(finding: Finding, not_kept: str) -> dict[str, str] | None:
    """Return the file of packets, Wireshark's filter for this check's, and what is missing."""
    if not finding.packets:
        return None
    begun, ended = finding.frames
    return {
        "file": finding.packets,
        "filter": f"frame.time_epoch >= {begun:.3f} && frame.time_epoch <= {ended:.3f}",
        "not_kept": finding.not_kept or not_kept,
    }


def document(
    submission: str,
    *,
    time: str,
    kernel: str,
    images: dict[str, str],
    duration_s: float,
    exercises: dict[str, str],
    findings: Sequence[Finding],
    not_kept: Mapping[str, str],
    rubric: Any,
) -> dict[str, Any]:
    """Return the verdicts document, format 1, of one submission; see docs/grading.md.

    ``not_kept`` says by program what the capture of all its checks has not kept, if anything: that
    is known after the last of them.
    """
    entries = []
    for finding in findings:
        entry = rubric.entry(finding.check)
        entries.append(
            {
                "check": finding.check,
                "program": finding.program,
                "verdict": finding.verdict,
                "points": entry.points if finding.verdict == PASSED else 0,
                "of": entry.points,
                "title": entry.title,
                "steps": finding.steps,
                "expected": finding.expected or entry.expected,
                "observed": finding.observed,
                "hint": finding.hint or (entry.hint if finding.verdict == FAILED else ""),
                "mistake": (finding.mistake or entry.mistake) if finding.verdict == FAILED else "",
                "evidence": {
                    "output": finding.output[-MAX_EVIDENCE_CHARACTERS:],
                    "ladder": finding.ladder[:400],
                    "receipt": finding.receipt,
                    "packets": _packets(finding, not_kept.get(finding.program, "")),
                },
                "measurements": finding.measurements,
            }
        )
    return {
        "format": FORMAT,
        "submission": submission,
        "time": time,
        "images": images,
        "kernel": kernel,
        "duration_s": round(duration_s, 1),
        "score": {
            "points": sum(entry["points"] for entry in entries),
            "of": sum(entry["of"] for entry in entries),
        },
        "exercises": exercises,
        "findings": entries,
    }
