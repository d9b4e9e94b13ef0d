"""The rubric: one entry a check, and an error that names the key."""

import re
from pathlib import Path

import pytest

from grading import GradingError, rubric

CHECKS = Path(__file__).resolve().parents[1] / "checks"


def checks() -> set[str]:
    found = set()
    for path in CHECKS.glob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        program = re.search(r'^PROGRAM = "([a-z-]+)"', text, re.MULTILINE)
        assert program is not None, path
        names = re.findall(r"^def test_(\w+)", text, re.MULTILINE)
        found |= {f"{program[1]}.{name.replace('_', '-')}" for name in names}
    return found


def test_every_check_has_its_entry_and_every_entry_its_check() -> None:
    assert set(rubric.load().entries) == checks()


def test_every_entry_says_what_a_correct_program_does_and_gives_a_hint() -> None:
    for check, entry in rubric.load().entries.items():
        assert entry.title, check
        assert entry.expected, check
        assert entry.hint, check
        assert entry.mistake, check


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('["a.b"]\npoints = 1\ntitle = "t"', "lacks expected"),
        ('["a.b"]\npoints = "1"\ntitle = "t"\nexpected = "e"', "wrong type"),
        ('["a.b"]\npoints = true\ntitle = "t"\nexpected = "e"', "wrong type"),
        ('["a.b"]\npoints = -1\ntitle = "t"\nexpected = "e"', "less than 0"),
        ('["a.b"]\npoint = 1\ntitle = "t"\nexpected = "e"', "unknown"),
        ("a = 1", "must be a table"),
        ("[", "rubric.toml"),
    ],
)
def test_a_mistake_in_the_rubric_is_said_with_its_place(
    text: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "rubric.toml"
    path.write_text(text)
    with pytest.raises(GradingError, match=says):
        rubric.load(path)


def test_a_rubric_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(GradingError, match="rubric"):
        rubric.load(tmp_path / "rubric.toml")
