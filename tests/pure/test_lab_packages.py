from dataclasses import replace

import pytest

from lab.apt_sources import Source
from lab.errors import LabError
from lab.packages import decision, extra_source, install, shown_commands
from tests.pure.lab_systems import DEBIAN_12, LAPTOP

BOOKWORM = Source(("http://m.example/debian",), ("bookworm",), ("main",), {"Signed-By": "/key.gpg"})


@pytest.mark.parametrize(
    ("root", "sudo", "terminal", "may_install", "expected"),
    [
        (True, False, False, True, "go on"),
        (True, False, True, True, "ask"),
        (False, True, True, True, "ask"),
        (False, True, False, True, "stop"),
        (False, False, True, True, "stop"),
        (True, True, True, False, "stop"),
        (True, True, False, False, "stop"),
    ],
)
def test_installing_is_asked_for_announced_or_refused(
    root: bool, sudo: bool, terminal: bool, may_install: bool, expected: str
) -> None:
    system = replace(DEBIAN_12, root=root, sudo=sudo, terminal=terminal, may_install=may_install)
    assert decision(system) == expected


@pytest.mark.parametrize(
    ("system", "cause"),
    [
        (replace(DEBIAN_12, may_install=False), "LAB_NO_INSTALL is set"),
        (replace(LAPTOP, terminal=False), "without a terminal only root may install"),
        (replace(LAPTOP, sudo=False), "neither root nor sudo"),
    ],
)
def test_a_refusal_says_why_and_gives_the_commands(system: object, cause: str) -> None:
    with pytest.raises(LabError, match=cause) as caught:
        install("installing a browser", system, ["chromium"])  # type: ignore[arg-type]
    assert "apt-get install --yes --no-install-recommends chromium" in caught.value.remedy


def test_the_extra_release_has_a_priority_that_upgrades_nothing() -> None:
    pin, sources = extra_source([BOOKWORM], "trixie")
    # n=trixie alone would leave trixie-updates and trixie-security at 500
    assert pin.content == "Package: *\nPin: release n=trixie*\nPin-Priority: 100\n"
    assert sources.path == "/etc/apt/sources.list.d/progres-lab-trixie.sources"
    assert "URIs: http://m.example/debian\nSuites: trixie\nComponents: main\n" in sources.content
    assert "Signed-By: /key.gpg\n" in sources.content


def test_backports_come_from_the_same_mirror() -> None:
    pin, sources = extra_source([BOOKWORM], "bookworm-backports")
    assert "n=bookworm-backports*" in pin.content
    assert sources.content.count("Suites:") == 1
    assert "URIs: http://m.example/debian\nSuites: bookworm-backports\n" in sources.content


def test_a_release_that_is_configured_already_is_not_added_again() -> None:
    assert extra_source([BOOKWORM, replace(BOOKWORM, suites=("trixie",))], "trixie") == []


def test_the_commands_can_be_pasted_by_a_user_with_and_without_sudo() -> None:
    files = extra_source([BOOKWORM], "trixie")
    pasted = shown_commands(LAPTOP, files, ["docker.io/trixie"]).splitlines()
    assert pasted[0] == "sudo tee /etc/apt/preferences.d/progres-lab-trixie <<'END'"
    assert pasted.count("END") == 2
    assert pasted[-1] == "sudo apt-get install --yes --no-install-recommends docker.io/trixie"
    assert shown_commands(DEBIAN_12, [], ["git"]).splitlines()[0] == "apt-get update"
    assert shown_commands(replace(LAPTOP, sudo=False), [], ["git"]).startswith("su -")
