"""grade-class with real processes, and a pretended grader: no containers."""

import csv
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.judge.class_room import BAD, GOOD, INVALID, ClassRoom
from tests.lab.driver import ROOT, eventually

HANGS = 'echo $$ > "$NOTES/pid"; trap "" INT TERM; while :; do sleep 1; done\n'
STOPPABLE = (
    'trap "touch $NOTES/asked; exit 130" INT; : > "$NOTES/running"; while :; do sleep 0.1; done\n'  # noqa: E501
)


@pytest.fixture
def room(tmp_path: Path) -> ClassRoom:
    return ClassRoom(tmp_path)


def table(room: ClassRoom) -> dict[str, dict[str, str]]:
    with (room.place / "class.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_each_subfolder_is_judged_and_the_tables_are_sorted_by_name(room: ClassRoom) -> None:
    for name, grader in (("zoe", GOOD), ("Adam", BAD), ("émile", BAD), ("--help", GOOD)):
        room.submission(name, grader)
    (room.folder / "notes.txt").write_text("no submission")
    (room.folder / ".git").mkdir()
    status, out, err = room.run()
    assert status == 0, err
    assert list(table(room)) == ["'--help", "Adam", "émile", "zoe"]
    assert table(room)["Adam"]["points"] == "18"
    assert "4 of 4 submissions judged" in out
    assert "2  fixed timeout" in out
    assert "[4/4]" in err
    page = (room.place / "class.html").read_text()
    for row in ("Adam", "zoe"):
        folder = room.row(row)["folder"]
        assert f"./{folder}/feedback.html" in page
        assert (room.place / folder / "feedback.html").exists()
        assert (room.place / folder / "junit.xml").exists()


def test_one_bad_folder_never_stops_the_rest(room: ClassRoom) -> None:
    room.submission("crashes", "echo 'docker: gone' >&2; kill -SEGV $$\n")
    room.submission("garbage", "echo '{' > verdicts.json; exit 0\n")
    room.submission("good")
    room.submission("hangs", HANGS)
    room.submission("leaves-nothing", "exit 0\n")
    room.submission("refused", "echo 'no program is recognised'; exit 2\n")
    (room.folder / "link").symlink_to(room.folder / "good")
    (room.folder / "packed.zip").write_bytes(b"PK")
    huge = room.submission("huge")
    with (huge / "core").open("wb") as file:
        file.truncate(1 << 40)
    started = time.monotonic()
    status, _, err = room.run(jobs=4, limit_s=2)
    assert time.monotonic() - started < 60
    assert status == 1
    why = {name: row["not judged because"] for name, row in table(room).items()}
    assert why == {
        "crashes": "the grader was ended by SIGSEGV: docker: gone",
        "garbage": "the grader's verdicts cannot be read: not JSON: Expecting property name "
        "enclosed in double quotes: line 2 column 1 (char 2)",
        "good": "",
        "hangs": "the grader did not end within 2 s",
        "huge": "cannot be read: more than 512 MiB",
        "leaves-nothing": "the grader left no verdicts",
        "link": "a symbolic link: links are not followed, put the folder itself here",
        "packed.zip": "an archive, not a folder: unpack it",
        "refused": "no program is recognised",
    }, err
    assert gone(int((room.notes / "pid").read_text()))
    assert "link" not in room.calls()


def test_finished_verdicts_are_kept_until_the_folder_changes(room: ClassRoom) -> None:
    room.submission("anna")
    room.submission("bert", BAD)
    room.submission("carl", "exit 2\n")
    assert room.run()[0] == 1
    (room.folder / "bert" / "client.py").write_text("print()")
    room.submission("carl", GOOD)
    assert room.run()[0] == 0
    assert sorted(room.calls()) == ["anna", "bert", "bert", "carl", "carl"]
    assert room.run()[0] == 0
    assert len(room.calls()) == 5


def test_what_was_invalid_is_judged_again(room: ClassRoom) -> None:
    room.submission("bert", INVALID)
    room.run()
    room.run()
    assert room.calls() == ["bert", "bert"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_keeps_what_is_done_and_the_next_run_goes_on(
    room: ClassRoom, number: signal.Signals
) -> None:
    room.submission("anna")
    room.submission("bert", STOPPABLE)
    room.submission("carl")
    process = room.start(jobs=1)
    eventually((room.notes / "running").exists, "the grader of bert runs")
    status, out, err = room.stop(process, number)
    assert status == 128 + number
    assert "run the same command again to go on" in err
    assert (room.notes / "asked").exists()
    assert (room.notes / "cleaned").read_text() == "cleaned"
    assert "1 of 3 submissions judged" in out
    assert table(room)["carl"]["not judged because"].startswith("not judged yet")
    room.submission("bert")
    assert room.run(jobs=1)[0] == 0
    assert room.calls() == ["anna", "bert", "bert", "carl"]


def test_a_run_that_was_killed_leaves_nothing_that_counts_as_done(room: ClassRoom) -> None:
    room.submission("anna", STOPPABLE)
    process = room.start()
    eventually((room.notes / "running").exists, "the grader runs")
    room.stop(process, signal.SIGKILL)
    eventually((room.notes / "asked").exists, "the grader is told to end")
    room.submission("anna")
    status, out, _ = room.run()
    assert status == 0
    assert "1 of 1 submission judged" in out


def test_two_runs_over_one_class_do_not_mix(room: ClassRoom) -> None:
    room.submission("anna", STOPPABLE)
    process = room.start()
    eventually((room.notes / "running").exists, "the grader runs")
    status, _, err = room.run()
    assert status == 1
    assert "another run judges this class" in err
    room.stop(process, signal.SIGINT)


def test_a_folder_without_submissions_is_refused(room: ClassRoom) -> None:
    assert "refused" in room.run()[2]
    room.folder.rmdir()
    assert "No such file or directory" in room.run()[2]


def test_memory_does_not_grow_with_the_class(tmp_path: Path) -> None:
    """Ten times the class takes at most 4 MiB more; its verdicts alone are 300 times 90 kB."""
    peaks = []
    for size in (30, 300):
        (tmp_path / str(size)).mkdir()
        room = ClassRoom(tmp_path / str(size))
        document = room.notes / "bad.json"
        document.write_text(document.read_text() + " " * 1_000)
        for number in range(size):
            room.submission(f"student-{number:03}", BAD)
        status, out, _ = room.run()
        assert status == 0
        assert f"{size} of {size} submissions judged" in out
        peaks.append(int((room.notes / "peak_kib").read_text()))
    assert peaks[1] - peaks[0] < 4 * 1024, peaks


def test_the_command_says_what_it_lacks() -> None:
    done = subprocess.run(
        [str(ROOT / ".venv/bin/python"), "-m", "grading", "grade-class", "/nowhere"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip() == "/nowhere: No such file or directory (a folder of submissions)"
