import io

import pytest

from grading.feedback.report import read
from grading.feedback.tally import row_of, tally
from grading.feedback.terminal import console, print_class, print_report
from tests.pure.grading_documents import Document, bad, good, hostile

COLOURS = {"TERM": "xterm-256color"}


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def on(stream: io.StringIO, document: Document, environment: dict[str, str]) -> str:
    print_report(read(document), console(stream, environment), "results/x/feedback.html")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("stream", "environment"),
    [
        (io.StringIO(), COLOURS),
        (Screen(), COLOURS | {"NO_COLOR": "1"}),
        (Screen(), {"TERM": "dumb"}),
    ],
)
def test_no_escape_where_no_colour_is_wanted(
    stream: io.StringIO, environment: dict[str, str]
) -> None:
    text = on(stream, hostile(), environment)
    assert all(c.isprintable() or c == "\n" for c in text)


def test_on_a_terminal_the_only_escapes_are_our_colours() -> None:
    text = on(Screen(), hostile(), COLOURS)
    assert "\x1b[" in text
    for sequence in text.split("\x1b")[1:]:
        assert sequence.startswith("[")
        assert sequence.lstrip("[0123456789;")[0] == "m"


def test_a_failure_is_told_in_full_and_a_passed_check_is_a_sign() -> None:
    text = on(io.StringIO(), bad(), {})
    for part in (
        "martin  18 of 40 points",
        "UDP client    4 / 10  ✗✗✓",
        "✗ failed  UDP client: The timeout grows with each retry",
        "3. let no answer through for the first three datagrams",
        "this one: It sent again after 1.001 s, 1.001 s and 1.002 s: always the same wait.",
        "hint: Keep the timeout in a variable",
        "1.001 s  program ──X       'hello' (5 bytes) lost",
        "| Pas de réponse, nouvel essai",
        "the whole of it: results/x/feedback.html",
    ):
        assert part in text
    assert "Each datagram is confirmed" not in text


def test_a_good_submission_is_said_in_ten_lines() -> None:
    assert on(io.StringIO(), good(), {}).count("\n") <= 10


def test_square_brackets_of_a_program_are_no_markup() -> None:
    document = bad()
    document["findings"][5]["observed"] = "[bold red]RTT[/] = [1, 2]"
    assert "[bold red]RTT[/] = [1, 2]" in on(io.StringIO(), document, {})


def test_the_class_is_summed_up_with_what_to_explain_again() -> None:
    counts = tally([row_of(read(bad()), "martin", ""), row_of(read(good()), "noel", "")])
    stream = io.StringIO()
    print_class(counts, console(stream, {}), "results/c/class.html")
    text = stream.getvalue()
    assert "2 of 2 submissions judged" in text
    assert "1  fixed timeout" in text
    assert "29.0 of 40 points on average" in text
