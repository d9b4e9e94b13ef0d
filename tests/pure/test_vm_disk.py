"""When the emulated machine's disk is built anew, and from which packages."""

import json
import shutil
from pathlib import Path

import pytest

from lab.apt_sources import Source
from lab.errors import LabError
from lab.system import System
from lab.vm import disk, host
from lab.vm.host import packages_of_programs, qemu_version

MIRROR = Source(("http://mirror.example/debian",), ("trixie",), ("main",))


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "vm"
    (folder / "guest").mkdir(parents=True)
    shutil.copy(disk.HERE / "make-disk.sh", folder)
    (folder / "guest" / "unit").write_text("[Unit]\n")
    return folder


def test_the_same_recipe_is_the_same_disk(here: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "another checkout"
    shutil.copytree(here, elsewhere)
    assert disk.recipe_hash(["a", "b"], here) == disk.recipe_hash(["a", "b"], elsewhere)


def test_each_part_of_a_recipe_counts(here: Path) -> None:
    seen = {disk.recipe_hash(["a", "b"], here), disk.recipe_hash(["a", "c"], here)}
    seen.add(disk.recipe_hash(["ab"], here))
    (here / "guest" / "unit").write_text("[Unit]\n\n")
    seen.add(disk.recipe_hash(["a", "b"], here))
    (here / "guest" / "unit").chmod(0o755)
    seen.add(disk.recipe_hash(["a", "b"], here))
    (here / "guest" / "unit").rename(here / "guest" / "other")
    seen.add(disk.recipe_hash(["a", "b"], here))
    assert len(seen) == 6


def test_a_fresh_machine_has_git_make_and_python_and_no_engine() -> None:
    assert {"git", "make", "python3"} <= set(disk.PACKAGES["bare"])
    assert not [name for name in disk.PACKAGES["bare"] if "docker" in name or "pytest" in name]


@pytest.mark.parametrize("flavour", sorted(disk.PACKAGES))
def test_the_root_file_system_has_the_flavours_packages(flavour: str) -> None:
    argv = disk.mmdebstrap_command(flavour, [MIRROR], "", Path("/l"), Path("/t"))
    assert argv[0] == "mmdebstrap"
    assert f"--include={','.join(disk.PACKAGES[flavour])}" in argv
    assert argv[-2:] == ["/t", "/l"]


def test_what_is_copied_over_a_flavour_needs_no_package_that_it_lacks() -> None:
    """A runtime that is not there, in the engine's configuration, and it starts no container."""
    found = 0
    for flavour, packages in disk.PACKAGES.items():
        for configuration in (f / "etc/docker/daemon.json" for f in disk.guest_files(flavour)):
            if configuration.exists():
                runtimes = json.loads(configuration.read_text())["runtimes"].values()
                assert {Path(runtime["path"]).name for runtime in runtimes} <= set(packages)
                found += 1
    assert found
    names = {folder.name for folder in (disk.HERE / "guest").iterdir()}
    assert names <= {"all", *disk.PACKAGES}, "each folder belongs to a flavour"


def test_the_hosts_proxy_is_the_machines_too() -> None:
    config = 'Acquire::http::Proxy "http://proxy.example:3128";\n'
    argv = disk.mmdebstrap_command("bare", [MIRROR], config, Path("/l"), Path("/t"))
    assert '--aptopt=Acquire::http::Proxy "http://proxy.example:3128"' in argv


def test_whom_the_host_was_told_to_trust_the_machine_trusts_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "HOSTS_CERTIFICATES", tmp_path)
    assert not hooks("bare")
    authority = tmp_path / "network.crt"
    authority.touch()
    upload, update = hooks("bare")
    assert upload == f"--customize-hook=upload {authority} {authority}"
    assert update.endswith("update-ca-certificates")
    assert all("ca-certificates" in packages for packages in disk.PACKAGES.values())


def hooks(flavour: str) -> list[str]:
    argv = disk.mmdebstrap_command(flavour, [MIRROR], "", Path("/l"), Path("/t"))
    return [word for word in argv if word.startswith("--customize-hook=")]


def test_the_end_of_a_console_is_readable(tmp_path: Path) -> None:
    console = tmp_path / "console.log"
    console.write_bytes(b"one\r\n\x1b[0;32m  OK  \x1b[0m two\r\n\r\n\x1bM\x1b[?7hthree\xff\r\n")
    assert disk.tail(console, lines=2) == "      OK   two\n    three\ufffd"


def test_a_console_that_was_never_written_is_empty(tmp_path: Path) -> None:
    assert disk.tail(tmp_path / "console.log") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\n", (10, 0, 2)),
        ("QEMU emulator version 7.2.17 (Debian 1:7.2+dfsg-7)\n", (7, 2, 17)),
        ("QEMU emulator version 8.2.2\n", (8, 2, 2)),
        ("", ()),
    ],
)
def test_qemus_version_is_read(text: str, expected: tuple[int, ...]) -> None:
    assert qemu_version(text) == expected


def system(distribution: str, version: tuple[int, ...], root: bool) -> System:
    return System(
        distribution=distribution, version=version, name=distribution, kernel="6.1", root=root,
        terminal=False, sudo=not root, service_manager="none", may_install=True,
    )  # fmt: skip


def test_debian_12_takes_all_of_qemu_from_backports() -> None:
    needed = packages_of_programs(system("debian", (12,), root=True))["qemu-system-x86_64"]
    assert "qemu-system-common/bookworm-backports" in needed
    assert all(name.endswith("/bookworm-backports") for name in needed)


@pytest.mark.parametrize(("distribution", "version"), [("debian", (13,)), ("ubuntu", (24, 4))])
def test_newer_systems_take_their_own_qemu(distribution: str, version: tuple[int, ...]) -> None:
    needed = packages_of_programs(system(distribution, version, root=True))
    assert needed["qemu-system-x86_64"] == ("qemu-system-x86",)


def test_an_ordinary_user_needs_newuidmap_as_well() -> None:
    assert "newuidmap" in packages_of_programs(system("debian", (13,), root=False))
    assert "newuidmap" not in packages_of_programs(system("debian", (13,), root=True))


def test_a_system_that_keeps_user_namespaces_for_root_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unshare = tmp_path / "unshare"
    unshare.write_text("#!/bin/sh\necho 'unshare: Operation not permitted' >&2\nexit 1\n")
    unshare.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"(?s)unshare: Operation not permitted.*apparmor_restrict"):
        host.try_namespace()
