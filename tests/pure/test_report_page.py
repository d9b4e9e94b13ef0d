"""The report's page: whole in itself, honest about what is missing, and safe from its own data."""

import functools
import re
from collections.abc import Sequence
from typing import Any

from lab.experiments.plan import Experiment, parse_text
from lab.report import analysed, drawing
from lab.report.drawing import DARK, LIGHT, Point, against, inline
from lab.report.model import Claim, Figure, Prediction, Table, judged
from lab.report.page import Drawn, as_csv, page, sentence
from lab.report.theory import Band, count_band
from tests.pure.experiment_records import http_document, record

HOSTILE = "<script>alert(1)</script>"
FACTS = {"began": "2026-01-01T00:00:00+00:00", "kernel": HOSTILE, "processors": 2}


def experiment(title: str = "Title") -> Experiment:
    text = f"""
        title = "{title}"
        question = "Q & A {HOSTILE}"
        exercise = "http"
        [axes]
        loss = [10, 20]
        [network]
        from_server = "loss {{loss}}%"
    """
    return parse_text(text, "mine")


def cell(number: int = 1, **changes: Any) -> dict[str, Any]:
    loss = 10 * number
    made = record(
        http_document(300, number, lost=loss / 100),
        cell=number,
        parameters={"loss": loss},
        from_server={"loss": loss / 100},
    )
    return made | changes


def figure(name: str = "plot") -> Figure:
    def draw(canvas: Any) -> None:
        band = Band(1, 2, 3, 0.01)
        axes = canvas.subplots()
        against(axes, [Point("a", x, y, band, band) for x, y in ((0, 2), (1, 9), (2, 1))])

    table = Table(("cell", "value (ms)"), [["a, b", 1.5], [HOSTILE, None]])
    return Figure(name, f"Title {HOSTILE}", "Caption", 'Said "so"', table, draw)


@functools.cache
def drawn(name: str = "plot") -> str:
    """Return the plot as SVG; drawing takes a third of a second."""
    return drawing.drawn(figure(name))[0]


def made(
    records: Sequence[dict[str, Any]] = (), claims: Sequence[Claim] = (), title: str = "Title"
) -> str:
    plots = [Drawn(figure(), drawn(), b"")]
    return page(experiment(title), FACTS, records or [cell(1), cell(2)], claims, [], plots)


def claim(measured: float) -> Claim:
    band = count_band(100, 0.5, 1e-3)
    return judged([Prediction("loss 10", "a count", "", measured, lambda alarm: band)])[0]


def test_a_page_needs_no_other_file_and_no_network() -> None:
    text = made()
    assert not re.search(r"<(link|img|iframe|script[^>]* src)", text)
    assert not re.search(r'(?:href|src)="(?!#|data:text/csv;base64,)', text)
    assert "url(http" not in text


def test_what_comes_from_files_and_programs_is_text() -> None:
    text = made([cell(1, because=[HOSTILE], status="failed"), cell(2)], title=HOSTILE)
    assert HOSTILE not in text
    assert text.count("<script>") == 1  # our own


def test_a_value_outside_its_band_is_said_to_be_so() -> None:
    good, bad = made(claims=[claim(50)]), made(claims=[claim(50), claim(90)])
    assert "All 1 measured values are where they were predicted." in good
    assert "no, outside" not in good
    assert "1 of 2 measured values is outside the predicted band." in bad
    assert '<td class="text no">no, outside</td>' in bad
    assert 'class="verdict alarm"' in bad


def test_the_rate_of_false_alarms_is_stated() -> None:
    text = made(claims=[claim(50), claim(51)])
    assert "in all but 1 of 2,000 runs" in text
    assert "in all but 1 of 1,000 reports" in text


def test_nothing_predicted_is_nothing_claimed() -> None:
    assert sentence([]) == "Nothing was predicted here, so nothing is claimed."


def test_cells_that_are_not_there_are_named_with_the_reason() -> None:
    refused = cell(1, status="refused", because=["no sch_netem. Install it"], receipt=None, runs=[])
    text = made([refused])
    assert "1 of 2 cells could not be measured on this kernel (loss 10): no sch_netem." in text
    assert "1 of 2 cells are missing" in text
    assert "make experiment NAME=mine" in text


def test_no_claim_rests_on_a_cell_without_a_valid_receipt() -> None:
    lying = cell(1, status="invalid", because=["the rule was gone"])
    valid = analysed(experiment(), [lying, cell(2)])
    assert {p.cell for p in valid.predictions} == {"loss 20"}
    text = made([lying, cell(2)])
    assert "without a valid receipt" in text
    assert "the rule was gone" in text


def test_with_no_valid_cell_at_all_there_is_still_a_report() -> None:
    analysis = analysed(experiment(), [cell(1, status="failed"), cell(2, status="refused")])
    assert not analysis.predictions
    assert not analysis.figures


def test_tables_are_tables_to_a_screen_reader_too() -> None:
    text = made(claims=[claim(50)])
    for table in re.findall(r"<table>.*?</table>", text, re.DOTALL):
        assert "<caption>" in table
        assert '<th scope="col"' in table
        assert '<th scope="row"' in table
    assert '<html lang="en">' in text
    assert 'role="img" aria-label="Said &quot;so&quot;"' in text


def test_a_table_is_csv_with_the_raw_values() -> None:
    assert as_csv(figure().table) == f'cell,value (ms)\r\n"a, b",1.5\r\n{HOSTILE},\r\n'


def test_plots_follow_the_theme_of_the_page() -> None:
    inlined = inline(drawn(), "")
    assert "var(--ink)" in inlined
    assert not any(code in inlined for code in LIGHT.values())
    assert LIGHT.keys() == DARK.keys()
    text = made()
    for name in LIGHT:
        assert f"--{name}: {LIGHT[name]}" in text
        assert f"--{name}: {DARK[name]}" in text


def test_the_same_data_give_the_same_plot_and_two_plots_share_no_name() -> None:
    first, other = drawn(), drawn("other")
    again, picture = drawing.drawn(figure())
    assert first == again
    assert picture.startswith(b"\x89PNG")

    def references(plot: str) -> set[str]:
        return set(re.findall(r'(?:href="#|url\(#)([^")]+)', plot))

    assert references(first)
    assert not references(first) & references(other)


def test_colours_are_legible_on_their_paper() -> None:
    for theme in (LIGHT, DARK):
        paper = _luminance(theme["paper"])
        for name, code in theme.items():
            if name in ("paper", "grid"):
                continue
            low, high = sorted((paper, _luminance(code)))
            assert (high + 0.05) / (low + 0.05) >= 4.5, name


def _luminance(code: str) -> float:
    """Return the relative luminance of WCAG 2.2."""
    parts = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
