"""The lock between processes: one holds it, and its file is gone when nobody does."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import lock
from lab.errors import LabError
from lab.settings import ROOT

REFUSAL = LabError("trying", "another does", "wait")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lock, "FOLDER", tmp_path / "locks")
    return tmp_path / "locks"


def test_a_second_one_is_refused_and_the_first_leaves_nothing(here: Path) -> None:
    with lock.held("mine", REFUSAL):
        with pytest.raises(LabError, match="another does"), lock.held("mine", REFUSAL):
            pytest.fail("two at once")
        with lock.held("other", REFUSAL):
            assert len(list(here.iterdir())) == 2
        assert (here / "mine.lock").exists(), "the refused one took nothing away"
    assert list(here.iterdir()) == []


def test_an_error_inside_leaves_nothing_either(here: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock.held("mine", REFUSAL):
        raise ZeroDivisionError
    assert list(here.iterdir()) == []


def test_what_a_killed_process_held_can_be_had(here: Path) -> None:
    program = (
        "import signal, sys; from pathlib import Path; from lab import lock\n"
        "lock.FOLDER = Path(sys.argv[1])\n"
        "with lock.held('mine', None): print('held', flush=True); signal.pause()"
    )
    argv = [sys.executable, "-c", program, str(here)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LabError), lock.held("mine", REFUSAL):
            pytest.fail("two at once")
        holder.send_signal(signal.SIGKILL)
    with lock.held("mine", REFUSAL):
        pass
    assert list(here.iterdir()) == []


def test_one_that_waits_says_so_and_goes_on_when_the_other_has_ended(
    here: Path,
) -> None:
    program = (
        "import sys; from pathlib import Path; from lab import lock\n"
        "lock.FOLDER = Path(sys.argv[1])\n"
        "with lock.held('mine', 'another is at work'): print('held', flush=True)"
    )
    argv = [sys.executable, "-c", program, str(here)]
    with lock.held("mine", REFUSAL):
        waiting = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert waiting.stdout is not None
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == "lab: another is at work\n"
        assert waiting.poll() is None
    with waiting:
        assert waiting.stdout.read() == "held\n"
    assert list(here.iterdir()) == []


def test_a_file_that_was_removed_and_made_anew_is_not_the_same_lock(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the one who held it ends just after it was opened here."""
    real, seen = lock._is_at, list[str]()

    def after_it_was_replaced(descriptor: int, path: "os.PathLike[str]") -> bool:
        if not seen:
            os.unlink(path)
            Path(path).write_text("")
        seen.append(os.fspath(path))
        return real(descriptor, path)

    monkeypatch.setattr(lock, "_is_at", after_it_was_replaced)
    with lock.held("mine", REFUSAL):
        assert len(seen) == 2
        with pytest.raises(LabError), lock.held("mine", REFUSAL):
            pytest.fail("two at once")
