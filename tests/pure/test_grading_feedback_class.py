import csv
import io

import pytest

from grading.feedback.csv_table import cell, class_csv
from grading.feedback.report import read
from grading.feedback.tally import Row, by_name, not_judged, row_from, row_of, tally
from tests.pure.grading_documents import bad, good, hostile


def table(rows: list[Row]) -> list[dict[str, str]]:
    text = "".join(class_csv(rows, tally(rows)))
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


def rows() -> list[Row]:
    return [
        row_of(read(bad("martin")), "martin", "submissions/martin/0"),
        row_of(read(good("noel")), "noel", "submissions/noel/0"),
        not_judged("olga", "the grader did not end within 300 s"),
    ]


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "=cmd|'/c calc'!A1"],  # noqa: RUF001
)
def test_what_a_spreadsheet_would_compute_is_text(text: str) -> None:
    assert cell(text).startswith("'")


@pytest.mark.parametrize("text", ["martin", "18", "2.5", "", "a=b", "d'Arc", "2026-03-02"])
def test_other_cells_stay_as_they_are(text: str) -> None:
    assert cell(text) == text


def test_the_table_has_points_states_verdicts_and_mistakes() -> None:
    martin, noel, olga = table(rows())
    assert (martin["name"], martin["points"], martin["of"]) == ("martin", "18", "40")
    assert martin["udp-client points"] == "4"
    assert martin["clock-server state"] == "wrong kind: a clock over UDP instead of TCP"
    assert martin["udp-client.timeout-grows"] == "failed"
    assert martin["mistakes"] == ("fixed timeout; RTT from the first send; one client at a time")
    assert (noel["points"], noel["mistakes"]) == ("40", "")
    assert (olga["points"], olga["not judged because"]) == (
        "",
        "the grader did not end within 300 s",
    )


def test_no_cell_of_a_hostile_submission_is_a_formula_or_a_control_character() -> None:
    document = hostile()
    row = row_of(read(document), document["submission"], "submissions/x/0")
    (found,) = table([row])
    for value in found.values():
        assert not value.startswith(("=", "+", "-", "@", "\t", "\r"))
        assert value.isprintable()
    assert found["name"].startswith("'=cmd")


def test_a_row_survives_the_disk() -> None:
    for row in rows():
        assert row_from(row.as_json()) == row


def test_mistakes_are_counted_by_submission_and_the_most_frequent_comes_first() -> None:
    twice = bad("paul")
    for finding in twice["findings"]:
        if finding["verdict"] == "failed":
            finding["mistake"] = "fixed timeout"
    counts = tally([*rows(), row_of(read(twice), "paul", "")])
    assert counts.to_explain()[0] == ("fixed timeout", 2)
    assert (counts.submissions, counts.judged) == (4, 3)
    assert counts.mean == pytest.approx((18 * 2 + 40) / 3)


def test_a_failed_check_without_a_class_counts_under_its_title() -> None:
    document = bad()
    for finding in document["findings"]:
        finding["mistake"] = ""
    counts = tally([row_of(read(document), "martin", "")])
    assert ("The timeout grows with each retry", 1) in counts.to_explain()


def test_names_are_sorted_as_people_look_them_up() -> None:
    names = ["Zoé", "emile", "Émile B", "Eve", "adam"]
    assert sorted(names, key=by_name) == ["adam", "emile", "Émile B", "Eve", "Zoé"]
