from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lab.apt_sources import (
    Source,
    acquire_options,
    configured,
    for_release,
    offers,
    parse_deb822,
    parse_lines,
    proxies,
)

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

DEB822 = f"""\
# Debian 12
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: {KEYRING}

Types: deb
# the security archive
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: {KEYRING}

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main

Types: deb
Enabled: no
URIs: http://other.example/debian
Suites: trixie
Components: main
"""

ONE_LINE = f"""\
# deb http://off.example/debian bookworm main
deb [arch=amd64,arm64 signed-by={KEYRING}] http://mirror.example/debian bookworm main # comment
deb http://mirror.example/debian-security bookworm-security main contrib
deb-src http://mirror.example/debian bookworm main
deb http://flat.example/repository ./
"""


def test_deb822_gives_the_enabled_binary_entries_with_their_options() -> None:
    assert parse_deb822(DEB822) == [
        Source(
            ("http://mirror.example/debian",),
            ("bookworm", "bookworm-updates", "bookworm-backports"),
            ("main", "contrib"),
            {"Signed-By": KEYRING},
        ),
        Source(
            ("http://mirror.example/debian-security",),
            ("bookworm-security",),
            ("main",),
            {"Signed-By": KEYRING},
        ),
    ]


def test_the_one_line_form_gives_the_same() -> None:
    assert parse_lines(ONE_LINE) == [
        Source(
            ("http://mirror.example/debian",),
            ("bookworm",),
            ("main",),
            {"Architectures": "amd64 arm64", "Signed-By": KEYRING},
        ),
        Source(
            ("http://mirror.example/debian-security",), ("bookworm-security",), ("main", "contrib")
        ),
        Source(("http://flat.example/repository",), ("./",), ()),
    ]


def test_a_key_within_the_entry_keeps_its_lines() -> None:
    key = (
        "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n -----END PGP PUBLIC KEY BLOCK-----"
    )
    fields = "Types: deb\nURIs: http://m.example/debian\nSuites: stable\nComponents: main\n"
    text = f"{fields}Signed-By:{key}\n"
    (source,) = parse_deb822(text)
    assert source.options["Signed-By"] == key
    assert parse_deb822(source.stanza()) == [source]


def test_another_release_comes_from_the_same_mirrors_with_the_same_keys() -> None:
    assert for_release(parse_deb822(DEB822), "trixie") == [
        Source(("http://mirror.example/debian",), ("trixie",), ("main",), {"Signed-By": KEYRING}),
        Source(
            ("http://mirror.example/debian",),
            ("trixie-updates",),
            ("main",),
            {"Signed-By": KEYRING},
        ),
        Source(
            ("http://mirror.example/debian-security",),
            ("trixie-security",),
            ("main",),
            {"Signed-By": KEYRING},
        ),
    ]


def test_an_entry_of_the_release_itself_wins() -> None:
    own = Source(("http://own.example/debian",), ("trixie",), ("main",))
    assert for_release([*parse_deb822(DEB822), own], "trixie")[0] == own


def test_without_a_debian_mirror_there_is_nothing_to_take() -> None:
    ubuntu = parse_lines("deb http://u.example/ubuntu noble main universe\n")
    security = parse_lines("deb http://mirror.example/debian-security bookworm-security main\n")
    assert for_release(ubuntu, "trixie") == []
    assert for_release(security, "trixie") == []


def test_a_release_is_offered_under_its_codename_or_its_alias() -> None:
    named = [Source(("u",), ("trixie",), ("main",))]
    alias = [Source(("u",), ("stable",), ("main",))]
    assert offers(named, "trixie", "stable")
    assert offers(alias, "trixie", "stable")
    assert not offers(parse_deb822(DEB822), "trixie", "stable")


def test_all_files_of_the_folder_are_read(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example/debian bookworm main\n")
    (tmp_path / "sources.list.d" / "b.list").write_text(
        "deb http://b.example/debian bookworm main\n"
    )
    (tmp_path / "sources.list.d" / "c.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "d.sources.disabled").write_text(DEB822)
    uris = [source.uris[0].split("/")[2] for source in configured(tmp_path)]
    assert uris == ["a.example", "b.example", "mirror.example", "mirror.example"]
    assert configured(tmp_path / "nowhere") == []


def test_what_the_machine_says_about_dates_and_proxies_is_carried_over() -> None:
    dump = (
        'Acquire "";\nAcquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\n'
        'Acquire::http::Proxy "http://proxy.example:3128";\nAcquire::https::Proxy "DIRECT";\n'
    )
    assert acquire_options(dump) == [
        'Acquire::Check-Valid-Until "false";',
        'Acquire::Check-Date "false";',
    ]
    assert proxies(dump) == {"http_proxy": "http://proxy.example:3128"}


@given(st.text(alphabet="deb URIs:Types\n\t [=]#/.,"))
def test_no_file_is_too_strange_to_read(text: str) -> None:
    for source in parse_lines(text) + parse_deb822(text):
        assert source.stanza().startswith("Types: deb\n")
