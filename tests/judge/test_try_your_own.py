"""``make up UDP_DIR=path``: a student's server in place of ours."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import docker.errors
import pytest

from tests.lab.driver import DEFAULT_NETWORK, ROOT, Lab, engine, eventually, printed

SUBMISSIONS = ROOT / "tests/submissions"
OURS = {"UDP_DIR": str(SUBMISSIONS / "correct-classes"),
        "CLOCK_DIR": str(SUBMISSIONS / "correct-procedural"),
        "HTTP_DIR": str(SUBMISSIONS / "correct-textbook")}  # fmt: skip


@pytest.fixture(scope="module")
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.started(engine(), tmp_path_factory.mktemp("own"), OURS) as running:
        yield running


def test_our_clients_are_pointed_at_the_students_servers(own_lab: Lab) -> None:
    document = own_lab.client_json("udp", "--count", "3", "--timeout", "50ms")
    assert document["statistics"]["answered"] == 3
    assert b"acknowledged" in own_lab.container("udp").logs()
    clock = own_lab.client("clock", "--count", "2")
    assert clock.returncode == 0, clock
    assert b"Nouveau client" in own_lab.container("clock").logs()
    page = own_lab.client("http")
    assert "It’s “up” ✓" in page.stdout


def test_they_are_under_the_same_impairment_and_published(own_lab: Lab) -> None:
    for exercise, words in DEFAULT_NETWORK.items():
        receipt = own_lab.receipt(exercise)
        assert receipt["verdict"] == "in effect"
        assert receipt["directions"]["from_server"]["asked"] == words
        assert own_lab.port(exercise) > 0


def test_they_are_confined_as_in_grading_and_have_no_way_out(own_lab: Lab) -> None:
    for exercise in ("udp", "clock", "http"):
        container = own_lab.container(exercise)
        host = container.attrs["HostConfig"]
        assert container.attrs["Config"]["User"] == "65534:65534"
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert host["ReadonlyRootfs"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert (host["Memory"], host["PidsLimit"], host["NanoCpus"]) == (256 << 20, 128, 10**9)
        (mount,) = container.attrs["Mounts"]
        assert mount["Destination"] == "/submission"
        assert not mount["RW"]
        routes = printed(container, ["cat", "/proc/net/route"]).splitlines()[1:]
        assert routes
        assert not [route for route in routes if route.split()[1] == "00000000"]


def test_after_an_edit_a_program_is_restarted_at_once_also_without_so_reuseaddr(
    own_lab: Lab,
) -> None:
    for _ in range(2):
        page = own_lab.client("http")  # its server closes first: that is what keeps a port taken
        assert "The web server is working." in page.stdout
        own_lab.compose("restart", "http")
        eventually(lambda: own_lab.healthy("http"), "it serves again")


def test_make_up_alone_goes_back_to_ours(own_lab: Lab) -> None:
    own_lab.make("up")
    document = own_lab.client_json("udp", "--count", "1", "--timeout", "50ms")
    assert document["statistics"]["answered"] == 1
    assert b"acknowledged" not in own_lab.container("udp").logs()
    assert "The web server is working." in own_lab.client("http").stdout
    assert "DIR" not in own_lab.environment_file.read_text()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("print('x' * 3); raise SystemExit('no such colour')", "no such colour"),
        (
            "import socket\ns = socket.create_server(('127.0.0.1', 1236))\ns.accept()",
            "listens on localhost only",
        ),
    ],
    ids=["ends at once", "localhost only"],
)
def test_a_program_that_cannot_serve_says_why_and_the_lab_stays_as_it_was(
    own_lab: Lab, tmp_path: Path, source: str, said: str
) -> None:
    own_lab.make("up")
    tmp_path.chmod(0o755)
    (tmp_path / "server.py").write_text(source)
    (tmp_path / "lab.toml").write_text('[clock-server]\ncommand = "python3 server.py"\n')
    kept = own_lab.environment_file.read_text()
    refused = own_lab.make("up", settings={"CLOCK_DIR": str(tmp_path)}, check=False)
    assert refused.returncode == 1
    assert said in refused.stderr
    assert own_lab.environment_file.read_text() == kept
    assert own_lab.client("clock", "--count", "1").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_while_it_waits_for_a_program_make_up_goes_back_to_ours(
    own_lab: Lab, tmp_path: Path, number: signal.Signals
) -> None:
    own_lab.make("up")
    tmp_path.chmod(0o755)
    (tmp_path / "server.py").write_text("print('I think', flush=True)\nimport time; time.sleep(99)")
    (tmp_path / "lab.toml").write_text('[clock-server]\ncommand = "python3 server.py"\n')
    starting = own_lab.start("up", {"CLOCK_DIR": str(tmp_path)})
    eventually(lambda: b"I think" in _log(own_lab), "the program runs", 60)
    os.killpg(starting.pid, number)
    assert starting.wait(60) != 0
    if number != signal.SIGKILL:
        assert str(tmp_path) not in own_lab.environment_file.read_text()
    own_lab.make("up")
    assert str(tmp_path) not in own_lab.environment_file.read_text()
    assert own_lab.client("clock", "--count", "1").returncode == 0


def _log(lab: Lab) -> bytes:
    try:
        return bytes(lab.container("clock").logs())
    except (AssertionError, docker.errors.APIError):  # it is just being replaced
        return b""
