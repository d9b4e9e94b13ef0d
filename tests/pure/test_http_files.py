"""Which request path is which file, on a real folder."""

import os
import socket
from pathlib import Path

import pytest

from services.http.files import CONTENT_TYPES, MAX_KEPT_FILE_BYTES, RECHECK_S, Folder, Page
from services.http.protocol import FileBody, imf_fixdate


class Clock:
    """Gives the time it is set to."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pages"
    (folder / "sub").mkdir(parents=True)
    (folder / "index.html").write_text("start")
    (folder / "sub" / "index.html").write_text("sub")
    (folder / "sub" / "Ünlü ü.txt").write_text("name")
    (folder / ".hidden").write_text("hidden")
    (folder / "%2e.txt").write_text("percent")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "pages2").mkdir()
    (tmp_path / "pages2" / "secret.txt").write_text("secret")
    return folder


def content(page: Page | None) -> bytes | None:
    if page is None:
        return None
    assert isinstance(page.ok.body, bytes)
    return page.ok.body


def test_paths_name_files_and_folders_their_index(root: Path) -> None:
    folder = Folder(root)
    for path, expected in {
        "/": b"start",
        "/index.html": b"start",
        "/sub/": b"sub",
        "/sub/index.html": b"sub",
        "/sub/Ünlü ü.txt": b"name",
        "/%2e.txt": b"percent",  # decoded already: a second decoding would miss it
    }.items():
        assert content(folder.find(path)) == expected


@pytest.mark.parametrize(
    "path",
    [
        "",
        "*",
        "index.html",
        "//index.html",
        "/sub",
        "/sub//index.html",
        "/index.html/",
        "/index.html/x",
        "/none/",
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/sub/../index.html",
        "/..",
        "/.",
        "/./index.html",
        "/.hidden",
        "/../pages2/secret.txt",
        "/..\\secret.txt",
        "/sub\\index.html",
        "/index.html\x00",
        "/index.html\n",
        "/\udcff",
        "/" + "x" * 300,
        "/" + "x/" * 5000,
    ],
)
def test_what_names_no_file_in_the_folder_is_not_found(root: Path, path: str) -> None:
    assert Folder(root).find(path) is None


def test_links_are_followed_inside_the_folder_and_never_out(root: Path) -> None:
    for name, target in {
        "inside.txt": root / "sub" / "index.html",
        "outside.txt": root.parent / "secret.txt",
        "relative.txt": Path("../secret.txt"),
        "neighbour": root.parent / "pages2",  # its path begins like the folder's
        "up": Path(".."),
        "ring": Path("ring"),
        "dangling": Path("nowhere"),
    }.items():
        (root / name).symlink_to(target)
    folder = Folder(root)
    assert content(folder.find("/inside.txt")) == b"sub"
    for path in ("/outside.txt", "/relative.txt", "/neighbour/secret.txt", "/up/secret.txt"):
        assert folder.find(path) is None, path
    for path in ("/up/pages/index.html", "/ring", "/dangling", "/ring/"):
        found = folder.find(path)
        assert found is None or content(found) == b"start", path


def test_a_page_replaced_by_a_link_out_of_the_folder_is_gone(root: Path) -> None:
    clock = Clock(0)
    folder = Folder(root, clock=clock)
    page = root / "page.txt"
    page.write_text("page")
    assert content(folder.find("/page.txt")) == b"page"
    page.unlink()
    page.symlink_to(root.parent / "secret.txt")
    clock.now_s += 2 * RECHECK_S
    assert folder.find("/page.txt") is None


def test_what_is_no_regular_file_is_not_found_and_nobody_waits_for_it(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
        folder = Folder(root)
        for path in ("/pipe", "/socket", "/sub"):
            assert folder.find(path) is None, path


@pytest.mark.parametrize("suffix", CONTENT_TYPES)
def test_type_follows_the_ending_in_any_case(root: Path, suffix: str) -> None:
    for name in (f"page{suffix}", f"page.old{suffix.upper()}"):
        (root / name).write_text("x")
        page = Folder(root).find(f"/{name}")
        assert page is not None
        assert ("Content-Type", CONTENT_TYPES[suffix]) in page.ok.fields


@pytest.mark.parametrize("name", ["page", "page.", "page.unknown", "html"])
def test_a_file_of_unknown_type_is_bytes(root: Path, name: str) -> None:
    (root / name).write_text("x")
    page = Folder(root).find(f"/{name}")
    assert page is not None
    assert ("Content-Type", "application/octet-stream") in page.ok.fields


def test_an_edited_page_is_served_as_it_is_now_with_other_validators(root: Path) -> None:
    clock = Clock(0)
    folder = Folder(root, clock=clock)
    file = root / "index.html"
    before = folder.find("/")
    assert before is not None
    assert folder.find("/") is before, "looked at again too soon"
    clock.now_s += 2 * RECHECK_S
    assert folder.find("/") is before, "it has not changed"
    old = file.stat()
    file.write_text("later")
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns + 1))  # same size, the next nanosecond
    clock.now_s += 2 * RECHECK_S
    after = folder.find("/")
    assert after is not None
    assert content(after) == b"later"
    assert after.validators.entity_tag != before.validators.entity_tag
    file.unlink()
    clock.now_s += 2 * RECHECK_S
    assert folder.find("/") is None


def test_last_modified_is_the_files_but_never_in_the_future(root: Path) -> None:
    file = root / "index.html"
    for modified_s, shown_s in ((1000, 1000), (5000, 2000)):
        os.utime(file, (modified_s, modified_s))
        page = Folder(root, wall_clock=Clock(2000)).find("/")
        assert page is not None
        assert ("Last-Modified", imf_fixdate(shown_s)) in page.ok.fields
        assert page.validators.modified_s == shown_s


def test_a_large_file_is_named_and_not_read(root: Path) -> None:
    file = root / "large.bin"
    for size, large in ((MAX_KEPT_FILE_BYTES, False), (MAX_KEPT_FILE_BYTES + 1, True), (2**40, 1)):
        with file.open("wb") as stream:
            stream.truncate(size)  # sparse
        page = Folder(root).find("/large.bin")
        assert page is not None
        assert (page.ok.body == FileBody(os.path.realpath(file), size)) is bool(large)
        assert len(page.ok.body) == size


def test_descriptors_are_not_left_open(root: Path) -> None:
    (root / "large.bin").write_bytes(b"x" * (MAX_KEPT_FILE_BYTES + 1))
    folder = Folder(root)
    before = len(os.listdir("/proc/self/fd"))
    for path in ("/", "/large.bin", "/sub", "/nowhere", "/sub/") * 20:
        folder.find(path)
    assert len(os.listdir("/proc/self/fd")) == before
