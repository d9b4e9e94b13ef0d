import sys
from dataclasses import replace

import pytest

from lab.errors import LabError
from lab.say import painted
from lab.system import (
    NOT_FOUND,
    TIMED_OUT,
    output_of,
    parse_os_release,
    service_manager,
    version_numbers,
)
from tests.pure.lab_systems import DEBIAN_12, FEDORA, MACOS, UBUNTU


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("26.1.5+dfsg1", (26, 1, 5)),
        ("2.26.1-4", (2, 26, 1)),
        ("v2.40.3-desktop.1", (2, 40, 3)),
        ("24.04", (24, 4)),
        ("25", (25,)),
        ("", ()),
        ("dev", ()),
    ],
)
def test_a_version_is_read_up_to_what_is_no_number(text: str, numbers: tuple[int, ...]) -> None:
    assert version_numbers(text) == numbers


def test_os_release_is_read_with_and_without_quotation_marks() -> None:
    text = (
        "# a comment\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n\nVERSION_ID='12'"
    )
    assert parse_os_release(text) == {
        "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)",
        "ID": "debian",
        "VERSION_ID": "12",
    }


@pytest.mark.parametrize(
    ("systemd_runs", "first_process", "has_script", "expected"),
    [
        (True, "systemd", True, "systemd"),
        (False, "init", True, "sysv"),
        (False, "init", False, "none"),
        (False, "bash", True, "none"),
    ],
)
def test_the_service_manager_is_the_one_that_runs_not_the_one_that_is_installed(
    systemd_runs: bool, first_process: str, has_script: bool, expected: str
) -> None:
    assert service_manager(systemd_runs, first_process, has_script) == expected


def test_the_packages_of_old_releases_and_other_systems_are_not_known() -> None:
    assert DEBIAN_12.is_debian
    assert UBUNTU.is_debian
    assert replace(DEBIAN_12, version=()).is_debian  # testing has no number yet
    assert not replace(DEBIAN_12, version=(11,)).is_debian
    assert not replace(UBUNTU, version=(22, 4)).is_debian
    assert not FEDORA.is_debian
    assert not MACOS.is_debian


def test_a_command_gives_its_status_and_output_whatever_happens() -> None:
    done = output_of([sys.executable, "-c", "import sys; print('a'); sys.exit('b')"])
    assert (done.status, done.out, done.complaint) == (1, "a\n", "b")
    assert output_of(["/no/such/program"]).status == NOT_FOUND
    slow = output_of([sys.executable, "-c", "import time; time.sleep(60)"], timeout_s=0.05)
    assert slow.status == TIMED_OUT


def test_an_error_names_the_step_the_cause_and_the_way_out() -> None:
    error = LabError("starting the engine", "no space left", "make room")
    assert str(error) == "starting the engine: no space left\nway out: make room"


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert painted("x", "\033[1m", terminal=True) == "\033[1mx\033[0m"
    assert painted("x", "\033[1m", terminal=False) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert painted("x", "\033[1m", terminal=True) == "x"
