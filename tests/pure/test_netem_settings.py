"""The file that keeps a run-time setting, and the lock beside it."""

import threading
from pathlib import Path

import pytest

from services.netem import NetemError
from services.netem import settings as settings_module
from services.netem.settings import Kept, Settings, Since


def test_a_setting_is_kept_and_forgotten(tmp_path: Path) -> None:
    settings = Settings(str(tmp_path), "udp")
    assert settings.read() == Kept()
    kept = Kept({"to_server": "loss 30%", "from_server": "off"}, "satellite")
    settings.write(kept)
    assert Settings(str(tmp_path), "udp").read() == kept
    settings.write(Kept())
    settings.write(Kept())
    assert settings.read() == Kept()


def test_a_file_of_the_first_format_is_still_read(tmp_path: Path) -> None:
    (tmp_path / "udp.json").write_text('{"format": 1, "from_server": "loss 30%"}')
    assert Settings(str(tmp_path), "udp").read() == Kept({"from_server": "loss 30%"})


def test_services_do_not_meet(tmp_path: Path) -> None:
    Settings(str(tmp_path), "udp").write(Kept({"from_server": "loss 30%"}))
    assert Settings(str(tmp_path), "clock").read() == Kept()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", "\udcff", '{"format": 3}'])
def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path, content: str) -> None:
    (tmp_path / "udp.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(NetemError, match=r"udp\.json cannot be read .* make reset"):
        Settings(str(tmp_path), "udp").read()


def test_since_when_is_kept_and_never_in_the_way(tmp_path: Path) -> None:
    settings = Settings(str(tmp_path), "udp")
    assert settings.since() == {}
    since = {"to_server": Since("2026-01-01T00:00:00.000Z", 5)}
    settings.write_since(since)
    assert settings.since() == since
    assert settings.read() == Kept()
    (tmp_path / "udp.since.json").write_text('{"to_server": {}}')
    assert settings.since() == {}


def test_a_volume_that_is_not_mounted_is_named(tmp_path: Path) -> None:
    settings = Settings(str(tmp_path / "nowhere"), "udp")
    with pytest.raises(NetemError, match=r"udp\.lock: No such file .* volume"), settings.lock():
        pass
    with pytest.raises(NetemError, match="No such file"):
        settings.write(Kept({"from_server": "loss 1%"}))


def test_the_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    entered = threading.Event()

    def enter() -> None:
        with Settings(str(tmp_path), "udp").lock():
            entered.set()

    second = threading.Thread(target=enter, name="second")
    with Settings(str(tmp_path), "udp").lock():
        second.start()
        assert not entered.wait(0.1)
    assert entered.wait(5)
    second.join()


def test_a_lock_that_is_never_given_back_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_module, "LOCK_DEADLINE_S", 0.05)
    settings = Settings(str(tmp_path), "udp")
    with (
        settings.lock(),
        pytest.raises(NetemError, match="held by another process"),
        settings.lock(),
    ):
        pass
