"""lab.toml: what is right, what is refused and how, and what is recognised without one."""

import os
import shutil
from pathlib import Path

import pytest

from grading import GradingError, manifest

SUBMISSIONS = Path(__file__).resolve().parents[1] / "submissions"


def test_only_the_command_is_required() -> None:
    (program,) = manifest.parse('[udp-server]\ncommand = "python3 s.py"').programs.values()
    assert (program.name, program.port, program.image) == ("udp-server", 1234, "python")
    assert (program.stdin, program.requests, program.protocol) == ((), None, "")


def test_programs_come_in_the_order_of_the_exercises() -> None:
    text = '[http-server]\ncommand = "h"\n[udp-client]\ncommand = "c"\n'
    assert list(manifest.parse(text).programs) == ["udp-client", "http-server"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[udp-server", "not TOML"),
        ('[udp-serveur]\ncommand = "x"', "udp-serveur"),
        ('udp-server = "x"', "must be a table"),
        ("[udp-server]\nport = 1234", "no command"),
        ('[udp-server]\ncommand = " "', "no command"),
        ('[udp-server]\ncommand = "x"\nport = "1234"', "whole number"),
        ('[udp-server]\ncommand = "x"\nport = true', "whole number"),
        ('[udp-server]\ncommand = "x"\nport = 0', "from 1 to 65535"),
        ('[udp-server]\ncommand = "x"\nimage = "rust"', "python, c, java, go"),
        ('[udp-client]\ncommand = "x"\nrequests = 0', "from 1 to 1000"),
        ('[udp-client]\ncommand = "x"\nstdin = "10"', "list of lines"),
        ('[udp-client]\ncommand = "x"\nstdin = [10]', "list of lines"),
        ('[udp-client]\ncommand = "x"\naddress = "; reboot"', "address or a host name"),
        ('[clock-server]\ncommand = "x"\nprotocol = "sctp"', '"tcp" or "udp"'),
        ('[udp-server]\ncommand = "x"\nports = 1', "unknown; known are"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, says: str) -> None:
    with pytest.raises(GradingError, match=r"^here/lab\.toml: ") as told:
        manifest.parse(text, "here/lab.toml")
    assert says in str(told.value)


def test_a_link_is_not_read_as_the_manifest(tmp_path: Path) -> None:
    secret = tmp_path / "secret.toml"
    secret.write_text('[udp-server]\ncommand = "taken from elsewhere"')
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "lab.toml").symlink_to(secret)
    with pytest.raises(GradingError, match="no program in it was recognised"):
        manifest.load(folder)


def test_a_link_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(SUBMISSIONS / "correct-minimal")
    with pytest.raises(GradingError, match="symbolic link"):
        manifest.load(tmp_path / "link")


def test_a_pipe_in_the_folder_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lab.toml")
    os.mkfifo(tmp_path / "serveur.py")
    with pytest.raises(GradingError, match="recognised"):
        manifest.load(tmp_path)


def test_every_submission_of_the_corpus_has_a_manifest_that_is_right() -> None:
    folders = [path.parent for path in SUBMISSIONS.glob("*/lab.toml")]
    assert len(folders) > 60
    for folder in folders:
        assert manifest.load(folder).programs


@pytest.mark.parametrize(
    "name",
    [
        "correct-procedural",
        "correct-asyncio",
        "correct-minimal",
        "correct-c",
        "correct-go",
        "correct-java",
        "correct-classes",
    ],
)
def test_the_draft_recognises_programs_by_content_and_name(name: str, tmp_path: Path) -> None:
    real = manifest.load(SUBMISSIONS / name)
    folder = tmp_path / "handed-in"
    shutil.copytree(SUBMISSIONS / name, folder, symlinks=True)
    (folder / "lab.toml").unlink()
    drafted = manifest.load(folder)
    assert drafted.drafted
    assert list(drafted.programs) == list(real.programs)
    for program in drafted.programs.values():
        wanted = real.programs[program.name]
        assert (program.image, program.port) == (wanted.image, wanted.port)
        if program.image == "python" and "-m" not in wanted.command:
            assert program.command.split()[:2] == wanted.command.split()[:2]
