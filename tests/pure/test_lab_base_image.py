from pathlib import Path

import pytest

from lab.apt_sources import Source
from lab.base_image import command, mirrors

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DEBIAN = Source(("http://m.example/debian",), ("trixie",), ("main",), {"Signed-By": KEYRING})


def arguments(sources: list[Source], configuration: str = "") -> list[str]:
    return command(sources, configuration, Path("/tmp/x/mirrors.sources"), Path("/tmp/x/base.tar"))


def test_the_root_file_system_is_the_slim_images() -> None:
    argv = arguments([DEBIAN])
    assert argv[:2] == ["mmdebstrap", "--variant=minbase"]
    assert argv[-3:] == ["trixie", "/tmp/x/base.tar", "/tmp/x/mirrors.sources"]
    assert "--dpkgopt=path-exclude=/usr/share/locale/*" in argv
    # dpkg lets the last match win, so copyright files stay only when named after the folder
    exclude = argv.index("--dpkgopt=path-exclude=/usr/share/doc/*")
    assert exclude < argv.index("--dpkgopt=path-include=/usr/share/doc/*/copyright")


def test_the_machines_word_on_dates_holds_in_the_image_too() -> None:
    argv = arguments([DEBIAN], 'Acquire::Check-Date "false";\nAcquire::Retries "3";\n')
    assert '--aptopt=Acquire::Check-Date "false";' in argv
    assert not any("Retries" in argument for argument in argv)


def test_a_mirror_with_a_key_of_its_own_takes_the_key_along() -> None:
    own = Source(
        ("http://m.example/debian",), ("trixie",), ("main",), {"Signed-By": "/etc/k/own.gpg"}
    )
    assert "--setup-hook=upload /etc/k/own.gpg /etc/k/own.gpg" in arguments([own])
    assert not any("setup-hook" in argument for argument in arguments([DEBIAN]))


def test_a_mirror_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_DEBIAN_MIRROR", "http://m.example/debian")
    assert mirrors("building") == [DEBIAN]
