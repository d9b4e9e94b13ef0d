import base64
import hashlib
import html
import re
from html.parser import HTMLParser

import pytest

from grading.feedback import ladder
from grading.feedback.class_page import class_page
from grading.feedback.html import anchor, student_page
from grading.feedback.markup import STYLE, element
from grading.feedback.report import Event, read
from grading.feedback.tally import Row, row_of, tally
from tests.pure.grading_documents import Document, bad, good, hostile


class Page(HTMLParser):
    """What a browser makes of a page: elements and attributes; the end tags must fit."""

    VOID = ("meta", "br", "hr", "col")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self._data: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self._data.append(data)

    @property
    def text(self) -> str:
        return "".join(self._data)

    def count(self, tag: str, cls: str = "") -> int:
        return sum(t == tag and cls in (a.get("class") or "").split(" ") + [""] for t, a in
                   self.elements)  # fmt: skip


def student(document: Document) -> Page:
    return Page("".join(student_page(read(document))))


def class_of(documents: list[Document]) -> str:
    rows = [row_of(read(d), str(d["submission"]), f"submissions/{d['submission']}/0") for d in
            documents]  # fmt: skip
    return "".join(class_page("PROGRES 2026", "", lambda: iter(rows), tally(rows)))


@pytest.mark.parametrize("document", [good(), bad(), hostile()], ids=["good", "bad", "hostile"])
def test_a_page_needs_nothing_from_elsewhere_and_runs_nothing(document: Document) -> None:
    for page in (student(document), Page(class_of([document]))):
        tags = {tag for tag, _ in page.elements}
        assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
        for _, attributes in page.elements:
            assert "style" not in attributes
            assert not [name for name in attributes if name.startswith("on")]
            assert (attributes.get("href") or "#").startswith(("#", "./submissions/"))
            assert not set(attributes) & {"src", "srcset", "xlink:href"}
        assert page.count("style") == 1


def test_the_policy_allows_the_one_style_sheet_alone() -> None:
    page = "".join(student_page(read(good())))
    policy = html.unescape(re.findall(r'content="(default-src[^"]*)"', page)[0])
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}';" in policy
    assert page.index("Content-Security-Policy") < page.index("<title>")
    assert "@import" not in STYLE
    assert "url(" not in STYLE


def test_a_failed_check_tells_what_we_did_what_is_right_what_was_and_one_hint() -> None:
    page = student(bad())
    for text in (
        "let no answer through for the first three datagrams",
        "Each wait for an answer is longer than the one before",
        "It sent again after 1.001 s, 1.001 s and 1.002 s",
        "Keep the timeout in a variable",
        "Pas de réponse, nouvel essai",
        "mistake: fixed timeout",
    ):
        assert text in page.text
    assert page.count("article", "failed") == 3
    assert page.count("svg", "ladder") == 2


def test_passed_checks_are_folded() -> None:
    page = student(bad())
    assert not [1 for tag, attributes in page.elements if tag == "details" and "open" in attributes]
    assert page.count("details", "passed-list") == 4


def test_a_link_leads_to_something_on_the_page() -> None:
    page = student(bad())
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert len(links) >= 7
    assert {str(link).removeprefix("#") for link in links} <= ids


def test_an_attack_stays_text() -> None:
    page = student(hostile())
    assert "<script>alert(1)</script>" in page.text
    assert r"\x1b]0;owned\x07" in page.text
    assert "\x1b" not in page.text


def test_children_and_attributes_are_escaped() -> None:
    assert element("p", "<b>", title="\"'>") == '<p title="&quot;&#x27;&gt;">&lt;b&gt;</p>'
    assert anchor('a"><b é') == "check-a___b__"


def ladder_of(*ms: int) -> tuple[Event, ...]:
    return tuple(Event(n * 1_000_000, True, "hello", 5, lost=n == 0) for n in ms)


def test_a_ladder_in_words() -> None:
    events = (*ladder_of(0, 1004), Event(1_004_800_000, False, "ok", 2, False))
    assert ladder.lines(events) == [
        "   0 ms  program ──X       hello (5 bytes) lost",
        "1.004 s  program ──> peer  hello (5 bytes)",
        "1.005 s  program <── peer  ok (2 bytes)",
    ]


def test_waits_are_drawn_to_scale() -> None:
    page = Page(ladder.diagram(ladder_of(0, 500, 1500, 3500)))
    arrows = [a for t, a in page.elements if t == "line" and "arrow" in (a["class"] or "")]
    heights = [int(a["y1"] or 0) for a in arrows]
    waits = [b - a for a, b in zip(heights, heights[1:], strict=False)]
    assert waits == sorted(waits)
    assert waits[2] == 2 * waits[1]


def test_a_ladder_says_what_it_leaves_out() -> None:
    page = Page(ladder.diagram(ladder_of(*range(60)), left_out=7))
    assert "43 later events not drawn" in page.text
    assert page.count("line", "arrow") == ladder.MAX_DRAWN


def test_silence_is_no_packet() -> None:
    silence = Event(3_000_000_000, True, "second: (silence)", 0, False)
    (line,) = ladder.lines([silence])
    assert line == "3.000 s                    second: (silence)"
    page = Page(ladder.diagram([silence]))
    assert page.count("line", "arrow") == 0
    assert page.count("polygon") == 0


def test_the_class_sees_what_to_explain_again_and_who() -> None:
    documents = [good("adam"), bad("berthe"), bad("chloe")]
    page = Page(class_of(documents))
    head, _, table = page.text.partition("Submissions")
    assert head.index("fixed timeout") < head.index("The checks")
    assert "2 of 3" in head
    assert table.index("adam") < table.index("berthe") < table.index("chloe")


def test_a_submission_that_was_not_judged_stands_in_the_table_with_its_reason() -> None:
    rows = [Row("zoe", reason="cannot be read: <b>Permission denied")]
    page = Page("".join(class_page("x", "", lambda: iter(rows), tally(rows))))
    assert "cannot be read: <b>Permission denied" in page.text
    assert "1 submission, 1 of them not judged" in page.text
