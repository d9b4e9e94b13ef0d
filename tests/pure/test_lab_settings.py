import re
from pathlib import Path

import pytest

from lab import settings
from lab.errors import LabError
from lab.settings import PORTS, ROOT, SETTINGS


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "lab.env"
    monkeypatch.setenv("LAB_ENV_FILE", str(path))
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    return path


def test_what_make_up_is_given_is_kept_and_make_down_forgets_it(env_file: Path) -> None:
    assert settings.record({"UDP_DROP": "0.3", "HOME": "/root"}) == {"UDP_DROP": "0.3"}
    assert settings.effective("UDP_DROP") == "0.3"
    settings.forget()
    assert not env_file.exists()


def test_only_what_is_new_is_reported(env_file: Path) -> None:
    settings.record({"UDP_DROP": "0.3"})
    assert settings.record({"UDP_DROP": "0.3"}) == {}
    assert settings.record({"UDP_DROP": "0.4"}) == {"UDP_DROP": "0.4"}
    assert settings.record({"LAB_UDP_NETEM": "loss 3%"}) == {"LAB_UDP_NETEM": "loss 3%"}
    assert settings.effective("UDP_DROP") == "0.4"


def test_lines_of_the_user_stay_and_the_block_wins_over_them(env_file: Path) -> None:
    mine = "# mine\nUDP_DROP=0.9\nOTHER='x y'\n"
    env_file.write_text(mine)
    settings.record({"UDP_DROP": "0.3"})
    assert settings.effective("UDP_DROP") == "0.3"
    assert env_file.read_text().startswith(mine)
    settings.forget()
    assert env_file.read_text() == mine


def test_the_environment_wins_over_the_file(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file.write_text("UDP_PORT=1111\n")
    assert settings.host_port("udp") == 1111
    monkeypatch.setenv("UDP_PORT", "2222")
    assert settings.host_port("udp") == 2222


def test_a_port_that_is_none_names_the_variable(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOCK_PORT", "noon")
    with pytest.raises(LabError, match="CLOCK_PORT"):
        settings.host_port("clock")


@pytest.mark.parametrize("value", ["it's", "two\nlines"])
def test_a_value_that_the_file_cannot_hold_is_refused_and_nothing_is_written(
    env_file: Path, value: str
) -> None:
    with pytest.raises(LabError, match="LAB_UDP_NETEM"):
        settings.record({"LAB_UDP_NETEM": value})
    assert not env_file.exists()


def test_a_block_whose_end_was_cut_off_is_still_removed(env_file: Path) -> None:
    settings.record({"UDP_DROP": "0.3"})
    env_file.write_text(env_file.read_text().replace("# <<<\n", ""))
    settings.forget()
    assert not env_file.exists()


def test_the_settings_are_exactly_the_variables_that_compose_takes() -> None:
    text = (ROOT / "compose.yaml").read_text()
    interpolated = set(re.findall(r"\$\{(\w+)", text)) - {"BASE_IMAGE", "SOURCE_HASH"}
    lists = re.findall(r"environment: \[(.*)\]", text)
    passed = {name for names in lists for name in names.split(", ")}
    assert interpolated | passed == set(SETTINGS)


def test_ports_are_the_same_in_the_services_compose_and_the_readme() -> None:
    from services.clock.protocol import PORT as CLOCK_PORT
    from services.http.protocol import PORT as HTTP_PORT
    from services.udp.protocol import PORT as UDP_PORT

    served = {"udp": UDP_PORT, "clock": CLOCK_PORT, "http": HTTP_PORT}
    assert served == {exercise: port for exercise, (_, port) in PORTS.items()}
    compose, readme = (ROOT / "compose.yaml").read_text(), (ROOT / "README.md").read_text()
    for exercise, (protocol, port) in PORTS.items():
        variable = f"{exercise.upper()}_PORT"
        assert f'"127.0.0.1:${{{variable}:-{port}}}:{port}/{protocol}"' in compose
        assert f"{port}/{protocol}" in readme


def test_default_networks_are_the_same_in_compose_and_the_readme() -> None:
    compose, readme = (ROOT / "compose.yaml").read_text(), (ROOT / "README.md").read_text()
    defaults = re.findall(r"\$\{LAB_(\w+)_NETEM:-(.*?)\}", compose)
    assert dict(defaults) == {"UDP": "loss 10%", "CLOCK": "loss 1%", "HTTP": "loss 1%"}
    for name, words in defaults:
        assert re.search(rf"LAB_{name}_NETEM.*`{words}`", readme)


def test_every_setting_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [name for name in SETTINGS if f"`{name}`" not in readme] == []
