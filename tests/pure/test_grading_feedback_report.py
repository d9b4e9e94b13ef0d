import json
from pathlib import Path
from typing import Any

import pytest

from grading.feedback import report as reports
from grading.feedback.html import student_page
from grading.feedback.report import MAX_EVENTS, UnreadableVerdictsError, load, read
from tests.pure.grading_documents import bad, event, good, hostile


def test_a_document_is_read() -> None:
    report = read(bad())
    assert (report.submission, report.score, report.of) == ("martin", 18, 40)
    assert [f.check for f in report.of_program("udp-client")] == [
        "udp-client.timeout-grows",
        "udp-client.rtt",
        "udp-client.retries",
    ]
    assert report.points_of("udp-client") == (4, 10)


def test_what_costs_most_comes_first() -> None:
    lost = [f.of - f.points for f in read(bad()).with_verdict("failed")]
    assert lost == [4, 3, 3]


def test_the_ladder_begins_at_zero_and_is_in_order() -> None:
    document = good()
    ladder = [event(30, "peer", "ok", 2), event(10, "program", "hello", 5)]
    document["findings"][0]["evidence"]["ladder"] = ladder
    events = read(document).findings[0].ladder
    assert [(e.t_ns, e.from_program) for e in events] == [(0, True), (20_000_000, False)]


def test_a_hostile_document_is_bounded() -> None:
    report = read(hostile())
    finding = report.findings[0]
    assert len(finding.ladder) == MAX_EVENTS
    assert finding.events_left_out == 200
    assert len(finding.output) < 10 * reports.OUTPUT
    everything = repr(report)
    assert "\x1b" not in everything
    assert "\u202e" not in everything


def test_the_packets_are_a_file_of_this_grading_and_no_other() -> None:
    document = good()
    evidence = document["findings"][0]["evidence"]
    evidence["packets"] = {"file": "packets/udp-server.pcapng", "filter": "frame.number >= 1"}
    report = read(document)
    assert report.findings[0].packets == ("packets/udp-server.pcapng", "frame.number >= 1", "")
    assert report.findings[1].packets is None
    evidence["packets"]["not_kept"] = "ended early: <full>"
    assert "(ended early: &lt;full&gt;), for Wireshark" in "".join(student_page(read(document)))
    for name in ("packets/../../key.pcapng", "javascript:alert(1)", "packets/a.html", ""):
        evidence["packets"] = {"file": name}
        with pytest.raises(UnreadableVerdictsError, match="is no file of this grading"):
            read(document)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format is 2, not 1"),
        ({"score": 3}, "score: int where a table belongs"),
        ({"score": {"points": "40"}}, "points: '40' where a number belongs"),
        ({"duration_s": float("nan")}, "duration_s: not a number"),
        ({"findings": {}}, "findings"),
        ({"findings": [{"check": "a.b", "verdict": "great"}]}, "verdict 'great' is not one of"),
        ({"findings": ["x"]}, "findings: str where a table belongs"),
        ({"submission": 7}, "submission: int where text belongs"),
    ],
)
def test_what_is_not_as_agreed_is_named(change: dict[str, Any], said: str) -> None:
    document = good() | change
    if change == {"findings": {}}:
        document["findings"] = {"a": 1}
    with pytest.raises(UnreadableVerdictsError, match=said):
        read(document)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_document_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "verdicts.json").write_bytes(content)
    with pytest.raises(UnreadableVerdictsError):
        load(tmp_path / "verdicts.json")


def test_a_file_that_is_too_large_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "MAX_DOCUMENT_BYTES", 1 << 20)
    (tmp_path / "verdicts.json").write_text(json.dumps(good()) + " " * (1 << 20))
    with pytest.raises(UnreadableVerdictsError, match="larger than 1 MiB"):
        load(tmp_path / "verdicts.json")
