"""What is carried into the emulated machine: the working tree as it stands, in whole sectors."""

import subprocess
import tarfile
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.vm.freight import SECTOR_BYTES, pack_project, pad_to_sector, project_files


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    root.mkdir()
    files = {".gitignore": "cache/\n", "kept": "old\n", "gone": "", "sub/a b\u00e9": "", "tool": ""}
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    (root / "tool").chmod(0o755)
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    subprocess.run(["git", "-C", str(root), "add", "--all"], check=True)
    (root / "kept").write_text("changed\n")
    (root / "gone").unlink()
    (root / "new").write_text("")
    (root / "cache").mkdir()
    (root / "cache" / "ignored").write_text("")
    return root


def test_new_files_come_along_and_deleted_and_ignored_ones_do_not(checkout: Path) -> None:
    assert project_files(checkout) == [".gitignore", "kept", "new", "sub/a b\u00e9", "tool"]


def test_the_archive_has_contents_and_modes_of_the_working_tree(
    checkout: Path, tmp_path: Path
) -> None:
    target = tmp_path / "project.tar"
    pack_project(target, checkout)
    assert target.stat().st_size % SECTOR_BYTES == 0
    with tarfile.open(target) as archive:
        kept = archive.extractfile("kept")
        assert kept is not None
        assert kept.read() == b"changed\n"
        assert archive.getmember("tool").mode & 0o111


def test_a_folder_that_is_no_checkout_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(LabError, match="must be a git checkout"):
        project_files(tmp_path)


@pytest.mark.parametrize(("size", "padded"), [(0, 0), (1, 512), (512, 512), (513, 1024)])
def test_a_disk_is_whole_sectors(tmp_path: Path, size: int, padded: int) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"x" * size)
    pad_to_sector(path)
    assert path.read_bytes() == b"x" * size + bytes(padded - size)
