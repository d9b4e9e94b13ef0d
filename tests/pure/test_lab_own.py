import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from grading import PROGRAMS
from grading.manifest import Program
from lab import own, settings
from lab.errors import LabError
from lab.settings import EXERCISES, OWN_FOLDERS, ROOT, SETTINGS, image

UDP = '[udp-server]\ncommand = "python3 serveur.py"\nport = 5005\n'


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "lab.env"
    monkeypatch.setenv("LAB_ENV_FILE", str(path))
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "own-test")
    monkeypatch.setattr(own, "OVERRIDES", tmp_path / "own")
    monkeypatch.setattr("grading.images._known", {})  # what other tests of this process found
    for name in (*SETTINGS, *OWN_FOLDERS.values()):
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    path.mkdir(mode=0o755)
    (path / "lab.toml").write_text(UDP)
    return path


def services(*servers: own.OwnServer) -> dict[str, Any]:
    """Return the second Compose file's services; Compose's tags, which JSON has not, taken out."""
    lines = own.override(servers, dict.fromkeys(EXERCISES, "an-image")).splitlines()
    assert lines[1] == "services:"
    found = {}
    for line in lines[2:]:
        name, content = line.strip().split(": ", 1)
        content = content.replace(" build: !reset null,", "").replace("!override ", "")
        found[name] = json.loads(re.sub(r"(?<=[{,]) ?(ports|environment):", r'"\1":', content))
    return found


def test_a_program_takes_the_place_of_one_server_until_a_make_up_without_it(
    env_file: Path, folder: Path
) -> None:
    servers = own.recognised({"UDP_DIR": str(folder)})
    assert [(s.exercise, s.program.port) for s in servers] == [("udp", 5005)]
    assert own.take(servers) is True
    ours, second = settings.compose_files()
    assert ours == str(ROOT / "compose.yaml")
    assert Path(second).read_text() == own.override(servers, {"udp": image("progres-lab")})
    assert own.take(servers) is False
    assert own.take([]) is True
    own.forget_old()
    assert settings.compose_files() == [ours]
    assert not Path(second).exists()
    assert not env_file.exists()


def test_make_down_forgets_the_programs_too(env_file: Path, folder: Path) -> None:
    settings.record({"UDP_DROP": "0.3"})
    own.take(own.recognised({"UDP_DIR": str(folder)}))
    settings.forget()
    assert not env_file.exists()


def test_a_folder_in_the_users_own_lines_stays(env_file: Path, folder: Path) -> None:
    env_file.write_text(f"UDP_DIR={folder}\n")
    assert len(own.recognised({})) == 1
    own.take(own.recognised({}))
    assert len(own.recognised({})) == 1
    own.take([])
    assert env_file.read_text() == f"UDP_DIR={folder}\n"


def test_the_cache_deleted_under_a_running_lab_leaves_a_lab_to_take_down(
    env_file: Path, folder: Path
) -> None:
    own.take(own.recognised({"UDP_DIR": str(folder)}))
    Path(settings.compose_files()[1]).unlink()
    assert settings.compose_files() == [str(ROOT / "compose.yaml")]


@pytest.mark.parametrize(
    ("toml", "cause", "way_out"),
    [
        ('[http-server]\ncommand = "x"\n', "has no udp-server; there is http-server", "lab.toml"),
        ("[udp-server]\nport = 1\n", "no command", "docs/grading.md"),
        ("[udp-server\n", "not TOML", "docs/grading.md"),
    ],
)
def test_a_folder_without_such_a_program_is_a_clear_error(
    env_file: Path, folder: Path, toml: str, cause: str, way_out: str
) -> None:
    (folder / "lab.toml").write_text(toml)
    with pytest.raises(LabError) as raised:
        own.recognised({"UDP_DIR": str(folder)})
    assert cause in raised.value.cause
    assert way_out in raised.value.remedy


def test_no_folder_and_one_that_a_container_cannot_read_are_clear_errors(
    env_file: Path, folder: Path
) -> None:
    with pytest.raises(LabError, match="there is no such folder"):
        own.recognised({"HTTP_DIR": str(folder / "nothing")})
    folder.chmod(0o700)
    with pytest.raises(LabError, match="closed to other users"):
        own.recognised({"UDP_DIR": str(folder)})


def test_a_clock_over_udp_is_not_asked_over_tcp(env_file: Path, folder: Path) -> None:
    (folder / "lab.toml").write_text('[clock-server]\ncommand = "x"\nprotocol = "udp"\n')
    with pytest.raises(LabError, match="speaks UDP"):
        own.recognised({"CLOCK_DIR": str(folder)})


def test_each_exercise_has_a_variable_and_a_program() -> None:
    assert tuple(OWN_FOLDERS) == EXERCISES
    assert {f"{exercise}-server" for exercise in EXERCISES} <= set(PROGRAMS)


def test_the_sandbox_in_the_second_compose_file() -> None:
    program = Program("udp-server", "python3 s.py $HOME", 5005)
    found = services(own.OwnServer("udp", Path("/home/me/it's $mine"), program))
    server = found["udp"]
    (mount,) = server["volumes"]
    assert mount["source"] == "/home/me/it's $$mine"
    assert mount["read_only"] is True
    assert mount["target"] == server["working_dir"]
    assert server["command"] == ["sh", "-c", "exec sh -c 'python3 s.py $$HOME'"]
    assert server["restart"] == "no"
    assert (server["mem_limit"], server["cpus"]) == ("256m", 1)
    assert found["udp-net"]["ports"] == ["127.0.0.1:${UDP_PORT:-1234}:5005/udp"]
    # Started anew, a server without SO_REUSEADDR does not find its port taken.
    assert found["udp-net"]["sysctls"] == {"net.ipv4.tcp_max_tw_buckets": "0"}
    assert found["udp-client"]["environment"] == {"UDP_PORT": "5005"}
    assert "ip route del default" in found["udp-netem"]["entrypoint"][2]
    assert not {"privileged", "cap_add", "user", "network_mode"} & set(server)


def test_a_program_is_built_in_the_same_sandbox_in_a_copy_of_its_folder() -> None:
    program = Program("http-server", "./server", 80, image="c", build="make  # all")
    server = services(own.OwnServer("http", Path("/mine"), program))["http"]
    (mount,) = server["volumes"]
    assert mount["read_only"] is True
    assert mount["target"] != server["working_dir"]
    assert any(
        place.startswith(f"{server['working_dir']}:") and ",exec" in place
        for place in server["tmpfs"]
    )
    assert server["command"][2].endswith("{ make  # all\n} && exec sh -c ./server")
    assert server["healthcheck"]["start_period"] == "200s"


def test_lines_are_typed_as_they_stand() -> None:
    program = Program("udp-server", "cat", 1, stdin=("it's", "a b $HOME"))
    printed = subprocess.run(["sh", "-c", own.shell_command(program)], capture_output=True)
    assert printed.stdout.decode() == "it's\na b $HOME\n"


@pytest.mark.parametrize(
    ("line", "listens"),
    [
        ("   0: 00000000:138D 00000000:0000 07 00000000:00000000", True),
        (" 12: 0530A8C0:138D 00000000:0000 07 00000000:00000000", True),  # 192.168.48.5
        ("   0: 0100007F:138D 00000000:0000 07 00000000:00000000", False),  # 127.0.0.1
        ("   0: 0101007F:138D 00000000:0000 07 00000000:00000000", False),  # 127.0.1.1
        ("   0: 00000000:138E 00000000:0000 07 00000000:00000000", False),  # another port
        ("   0: 00000000:138D 0530A8C0:9999 01 00000000:00000000", False),  # connected
        (f"   0: {'0' * 32}:138D {'0' * 32}:0000 07 00000000:00000000", True),  # ::
        (f"   0: {'0' * 16}FFFF00000100007F:138D {'0' * 32}:0000 07 00000000", False),
        (f"   0: {'0' * 24}01000000:138D {'0' * 32}:0000 07 00000000:00000000", False),  # ::1
    ],
)
def test_a_socket_that_others_can_reach(line: str, listens: bool) -> None:
    assert bool(re.search(own.listening_pattern("udp", 5005), line)) is listens
