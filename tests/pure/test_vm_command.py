"""What ``python3 -m lab.vm`` makes of its arguments."""

import shlex

import pytest

from lab.layers import MACHINE
from lab.vm.__main__ import main, pytest_line, shell_line


def test_one_word_is_a_line_for_the_shell_and_several_are_one_command() -> None:
    assert shell_line(["make up && make test"]) == "make up && make test"
    assert shlex.split(shell_line(["echo", "a b", "$HOME"])) == ["echo", "a b", "$HOME"]


def test_all_folders_are_tested_unless_paths_are_given() -> None:
    assert pytest_line([], colour=False).endswith(" ".join(MACHINE))
    some = pytest_line(["tests/netem", "-k", "jitter or loss"], colour=False)
    assert some.endswith(" tests/netem -k 'jitter or loss'")
    assert "tests/lab" not in some


def test_in_the_machine_a_missing_engine_or_netem_is_a_failure() -> None:
    assert "LAB_REQUIRE=docker,netem" in pytest_line([], colour=False)


def test_colour_only_where_it_is_wanted() -> None:
    assert "--color=yes" in pytest_line([], colour=True)
    assert "--color=yes" not in pytest_line([], colour=False)


@pytest.mark.parametrize("arguments", [[], ["run"], ["run", "--"], ["test", "--bare"], ["reboot"]])
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python3 -m lab.vm" in capsys.readouterr().err
