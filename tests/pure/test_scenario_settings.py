"""What a scenario tells the servers, in the environment file, beside what make up was given."""

from pathlib import Path

import pytest

from lab import settings
from lab.settings import SETTINGS


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "lab.env"
    monkeypatch.setenv("LAB_ENV_FILE", str(path))
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    return path


def test_a_scenario_wins_over_make_up_until_the_next_one(env_file: Path) -> None:
    settings.record({"UDP_DROP": "0.3", "UDP_LOG": "json"})
    settings.tell({"UDP_DROP": "0.9"})
    assert settings.effective("UDP_DROP") == "0.9"
    assert settings.effective("UDP_LOG") == "json"
    assert settings.told_by_scenario() == {"UDP_DROP": "0.9"}
    settings.tell({"CLOCK_OFFSET": "1s"})
    assert settings.effective("UDP_DROP") == "0.3"
    assert settings.told_by_scenario() == {"CLOCK_OFFSET": "1s"}
    settings.tell({})
    assert settings.told_by_scenario() == {}
    assert settings.effective("UDP_DROP") == "0.3"


def test_the_newest_word_counts_also_where_it_is_make_ups(env_file: Path) -> None:
    settings.tell({"UDP_DROP": "0.9", "UDP_SEED": "4"})
    assert settings.record({"UDP_DROP": "0.3"}) == {"UDP_DROP": "0.3"}
    assert settings.effective("UDP_DROP") == "0.3"
    assert settings.told_by_scenario() == {"UDP_SEED": "4"}


def test_an_empty_setting_takes_one_away_that_make_up_gave(env_file: Path) -> None:
    settings.record({"UDP_DROP_SCHEDULE": "1,2"})
    settings.tell({"UDP_DROP_SCHEDULE": ""})
    assert settings.effective("UDP_DROP_SCHEDULE", "none") == "none"


def test_make_down_forgets_both_and_keeps_the_users_lines(env_file: Path) -> None:
    env_file.write_text("MINE=1\n")
    settings.tell({"UDP_DROP": "0.9"})
    settings.record({"UDP_LOG": "json"})
    settings.forget()
    assert env_file.read_text() == "MINE=1\n"


def test_to_tell_the_same_again_writes_nothing(env_file: Path) -> None:
    settings.tell({})
    assert not env_file.exists()
    settings.tell({"UDP_DROP": "0.9"})
    before = env_file.stat().st_mtime_ns
    settings.tell({"UDP_DROP": "0.9"})
    assert env_file.stat().st_mtime_ns == before
