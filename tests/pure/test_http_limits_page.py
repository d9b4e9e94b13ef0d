"""docs/http.md tells the numbers and the statuses that the code has."""

import re
from pathlib import Path

from services.http import protocol

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text("utf-8")


def test_limits_page_has_each_limit_with_its_value() -> None:
    rows = dict(re.findall(r"^\| `(MAX_\w+)` \| (\d+) \|", PAGE, re.MULTILINE))
    assert len(rows) >= 7
    assert {name: str(getattr(protocol, name)) for name in rows} == rows


def test_limits_page_has_each_status_that_is_sent() -> None:
    table = PAGE.partition("## The statuses")[2].partition("## ")[0]
    first_cells = "".join(re.findall(r"^\| (\d[^|]*)", table, re.MULTILINE))
    assert {int(status) for status in re.findall(r"\d+", first_cells)} == protocol.REASONS.keys()
