"""Findings and the document: points for what passed, texts from the rubric, evidence bounded."""

import json
from typing import Any

import pytest

from grading import verdict
from grading.rubric import Entry, Rubric
from grading.verdict import Finding, Judge, Reached, document

ENTRY = Entry(3, "Title", "What is right.", "A hint.", "class of mistake")
RUBRIC = Rubric({"udp-server.confirms": ENTRY})


def made(*findings: Finding, not_kept: dict[str, str] | None = None) -> dict[str, Any]:
    written = document(
        "durand",
        time="2026-03-02T10:14:07+00:00",
        kernel="6.12",
        images={},
        duration_s=61.23,
        exercises={},
        findings=findings,
        not_kept=not_kept or {},
        rubric=RUBRIC,
    )
    again: dict[str, Any] = json.loads(json.dumps(written))
    return again


def ended(act: str, **texts: str) -> Finding:
    judge = Judge("udp-server.confirms", "udp-server")
    judge.step("sent hello")
    with pytest.raises(Reached) as reached:
        getattr(judge, act)(**texts)
    return reached.value.finding


def test_a_check_that_says_nothing_has_passed_and_has_all_points() -> None:
    document_ = made(Judge("udp-server.confirms", "udp-server").finding)
    (finding,) = document_["findings"]
    assert (finding["verdict"], finding["points"], finding["of"]) == ("passed", 3, 3)
    assert (finding["hint"], finding["mistake"]) == ("", "")
    assert finding["expected"] == "What is right."
    assert document_["score"] == {"points": 3, "of": 3}


def test_a_failure_has_no_points_and_the_rubrics_texts_where_it_gives_none() -> None:
    (finding,) = made(ended("fail", observed="Nothing came."))["findings"]
    assert (finding["verdict"], finding["points"]) == ("failed", 0)
    assert finding["steps"] == ["sent hello"]
    assert (finding["expected"], finding["hint"]) == ("What is right.", "A hint.")
    assert finding["mistake"] == "class of mistake"


def test_a_failure_may_know_its_mistake_better() -> None:
    texts = {"observed": "o", "expected": "e", "hint": "h", "mistake": "wrong unit"}
    (finding,) = made(ended("fail", **texts))["findings"]
    assert {key: finding[key] for key in texts} == texts


@pytest.mark.parametrize(("act", "name"), [("not_shown", "not shown"), ("invalid", "invalid")])
def test_what_is_neither_has_no_points_and_is_no_mistake(act: str, name: str) -> None:
    (finding,) = made(ended(act, observed="o"))["findings"]
    assert (finding["verdict"], finding["points"], finding["mistake"]) == (name, 0, "")


def test_a_finding_replays_its_steps() -> None:
    text = str(ended("fail", observed="Nothing came."))
    assert text.index("1. sent hello") < text.index("observed: Nothing came.")


def test_the_packets_of_a_check_can_be_found_in_the_capture() -> None:
    finding = Finding("udp-server.confirms", "udp-server")
    finding.packets, finding.frames = "packets/udp-server.pcapng", (1700000000.25, 1700000001.5)
    (kept,) = made(finding, not_kept={"udp-server": "5 packets came too fast."})["findings"]
    assert kept["evidence"]["packets"] == {
        "file": "packets/udp-server.pcapng",
        "filter": "frame.time_epoch >= 1700000000.250 && frame.time_epoch <= 1700000001.500",
        "not_kept": "5 packets came too fast.",
    }


def test_evidence_is_bounded() -> None:
    finding = Finding("udp-server.confirms", "udp-server")
    finding.output = "x" * 10**6
    finding.ladder = [{"t_ns": n} for n in range(10_000)]
    (kept,) = made(finding)["findings"]
    assert len(kept["evidence"]["output"]) == verdict.MAX_EVIDENCE_CHARACTERS
    assert len(kept["evidence"]["ladder"]) == 400
