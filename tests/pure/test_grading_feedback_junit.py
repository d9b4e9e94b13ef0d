import re
import xml.etree.ElementTree as ET

import pytest

from grading.feedback.junit import junit_xml
from grading.feedback.report import read
from tests.pure.grading_documents import Document, bad, good, hostile


def parsed(document: Document) -> ET.Element:
    return ET.fromstring(junit_xml(read(document)))


def test_each_verdict_has_its_kind() -> None:
    root = parsed(bad())
    counts = {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "12", "failures": "3", "errors": "1", "skipped": "2"}
    assert len(root.findall(".//failure")) == 3
    assert len(root.findall(".//error")) == 1
    reasons = [skipped.get("message") for skipped in root.findall(".//skipped")]
    assert reasons == ["not submitted", "not shown: None of 9 requests made your server fail."]


def test_the_suites_add_up_to_the_whole() -> None:
    root = parsed(bad())
    for name in ("tests", "failures", "errors", "skipped"):
        assert sum(int(suite.get(name, "")) for suite in root) == int(root.get(name, ""))
    assert [suite.get("name") for suite in root][0] == "UDP server"


def test_a_failure_replays_the_steps() -> None:
    failures = [failure.text or "" for failure in parsed(bad()).findall(".//failure")]
    (grows,) = [text for text in failures if "multiply it" in text]
    assert "  3. let no answer through for the first three datagrams" in grows
    assert "1.001 s  program ──X" in grows


@pytest.mark.parametrize("document", [good(), hostile()], ids=["good", "hostile"])
def test_every_character_is_one_that_xml_allows(document: Document) -> None:
    text = junit_xml(read(document)).decode()
    assert re.search("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text) is None
    ET.fromstring(text)
