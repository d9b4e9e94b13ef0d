import re
from pathlib import Path

import pytest

from lab.settings import ROOT
from lab.venv import stamp

LOCKS = sorted((ROOT / "requirements").glob("*.lock"))


def test_a_new_lock_or_another_python_is_installed_again() -> None:
    assert stamp(b"a==1\n", (3, 11)) == stamp(b"a==1\n", (3, 11))
    assert stamp(b"a==1\n", (3, 11)) != stamp(b"a==2\n", (3, 11))
    assert stamp(b"a==1\n", (3, 11)) != stamp(b"a==1\n", (3, 13))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_names_exact_versions_with_hashes_and_no_index(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index-url" not in text
    requirements = re.split(r"\n(?=[a-z])", "\n" + text)[1:]
    assert requirements
    for requirement in requirements:
        assert re.match(r"[a-z0-9-]+==\S+", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_holds_what_its_group_asks_for(lock: Path) -> None:
    asked = set(
        re.findall(r"^[a-z][a-z0-9-]*", lock.with_suffix(".in").read_text(encoding="utf-8"), re.M)
    )
    assert asked <= set(re.findall(r"^([a-z0-9-]+)==", lock.read_text(encoding="utf-8"), re.M))


def test_a_package_has_one_version_in_all_groups() -> None:
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(), re.M):
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
