"""What the lab's commands say on a machine without Docker, to a user without root's folders."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.settings import ROOT
from lab.system import find_program

OF_ROOT = ":/usr/local/sbin:/usr/sbin:/sbin"


def run(command: str, folder: Path, path: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a command of the lab that finds the programs of ``path`` and a few in ``folder``."""
    for name in ("sh", "true", "unshare"):
        if not (folder / name).exists() and (program := shutil.which(name)):
            (folder / name).symlink_to(program)
    environment = {
        "PATH": f"{folder}{path}",
        "LAB_ENV_FILE": str(folder / "settings"),
        "LAB_NO_INSTALL": "1",
        "SERVICE": "udp",
    }
    argv = [sys.executable, "-m", "lab", command]
    return subprocess.run(
        argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("command", ["netem", "where", "logs", "shell", "reset", "capture"])
def test_a_command_that_needs_docker_says_what_is_missing_and_the_way_out(
    command: str, tmp_path: Path
) -> None:
    ended = run(command, tmp_path)
    assert ended.returncode == 1
    assert "there is no docker command" in ended.stderr
    assert "way out: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(find_program("tc") is None, reason="no tc: the doctor cannot try the kernel")
def test_the_doctor_finds_the_programs_that_only_root_has_in_its_path(tmp_path: Path) -> None:
    lines = run("doctor", tmp_path, OF_ROOT).stdout.splitlines()
    (found,) = [line for line in lines if " netem " in line]
    assert found in run("doctor", tmp_path).stdout.splitlines()
