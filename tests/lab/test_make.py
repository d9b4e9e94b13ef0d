"""``make up`` and ``make down`` as commands: what they print, keep and leave."""

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import uuid
from pathlib import Path

import pytest

from lab import lock
from lab.base_image import local
from lab.errors import LabError
from lab.settings import PORTS, image
from tests.lab.driver import ROOT, Lab, engine, eventually


@pytest.mark.any_kernel
def test_make_up_shows_address_and_impairment_of_each_server(lab: Lab) -> None:
    shown = lab.make("up").stdout
    assert f"localhost:{lab.port('udp')}/udp" in shown
    assert f"localhost:{lab.port('clock')}/tcp" in shown
    assert f"http://localhost:{lab.port('http')}" in shown
    assert "loss 10%" in shown
    assert "docker compose run --rm udp-client" in shown


@pytest.mark.any_kernel
def test_a_second_make_up_changes_nothing(lab: Lab) -> None:
    before = {c.id: c.attrs["State"]["StartedAt"] for c in lab.containers()}
    lab.make("up")
    assert {c.id: c.attrs["State"]["StartedAt"] for c in lab.containers()} == before


@pytest.mark.any_kernel
def test_two_that_start_or_stop_the_same_lab_take_turns(lab: Lab) -> None:
    refusal = LabError("testing", "somebody holds this lab", "")
    with lock.held(f"lifecycle-{lab.project}", refusal):
        second = lab.start("up", {}, stderr=subprocess.PIPE)
        assert second.stderr is not None
        assert b"waiting for another make up" in second.stderr.readline()
        assert second.poll() is None
    assert second.wait(timeout=300) == 0
    second.stderr.close()


def test_make_doctor_says_of_the_kernel_what_the_sidecars_do(lab: Lab) -> None:
    said = lab.make("doctor", check=False).stdout
    (netem,) = (line for line in said.splitlines() if line.split()[1] == "netem")
    assert netem.startswith("ok") == (lab.direction("udp")["mechanism"] == "netem"), netem


@pytest.mark.any_kernel
def test_make_doctor_says_when_no_container_can_be_started(tmp_path: Path) -> None:
    """It asks the kernel in the sidecar's image: here in one that has nothing in it."""
    tag = f"test-{uuid.uuid4().hex[:8]}"
    empty = tmp_path / "empty.tar"
    tarfile.open(empty, "w").close()
    engine().api.import_image(str(empty), repository="progres-lab-netem", tag=tag)
    try:
        lab = Lab(engine(), tmp_path / "settings.env", {})
        doctor = lab.make("doctor", settings={"LAB_TAG": tag}, check=False)
    finally:
        engine().images.remove(f"progres-lab-netem:{tag}")
    assert doctor.returncode == 1
    (line,) = (line for line in doctor.stdout.splitlines() if line.split()[1] == "containers")
    assert line.startswith("failed")
    assert '"sh"' in line, "the engine's own words"
    assert "netem" not in doctor.stdout.replace("progres-lab-netem", "").split("containers")[0]


@pytest.mark.any_kernel
def test_settings_given_to_make_up_last_until_make_down_and_nothing_is_left(tmp_path: Path) -> None:
    with Lab.started(engine(), tmp_path, {"UDP_DROP_SCHEDULE": "1"}) as second:
        kept = second.environment_file.read_text()
        assert "UDP_DROP_SCHEDULE='1'" in kept
        ids = {c.id for c in second.containers()}
        document = second.client_json("udp", "--count", "2")  # no variable set any more
        assert {c.id for c in second.containers()} == ids
        assert document["statistics"]["retries"] >= 1
        # Half of it is gone, as after a crash of the engine.
        second.container("clock").remove(force=True)
        second.container("http-net").kill()
        second.make("down")
        assert not second.environment_file.exists()
        label = {"label": f"com.docker.compose.project={second.project}"}
        assert not second.engine.containers.list(all=True, filters=label, ignore_removed=True)
        assert not second.engine.networks.list(filters=label)
        assert not second.engine.volumes.list(filters=label)
        again = second.make("down")
        assert again.returncode == 0


@pytest.mark.any_kernel
@pytest.mark.parametrize("command", ["down", "clean"])
def test_on_a_machine_without_an_engine_nothing_is_to_be_taken_down_and_none_is_installed(
    command: str,
) -> None:
    """A container of the lab's image is such a machine: Debian, Python, no Docker."""
    said = engine().containers.run(
        image("progres-lab"),
        ["python3", "-m", "lab", command],
        working_dir="/project",
        volumes={str(ROOT): {"bind": "/project", "mode": "ro"}},
        user="0:0",
        network_mode="none",
        environment={"LAB_ENV_FILE": "/tmp/settings.env"},
        stderr=True,
        remove=True,
    )
    assert b"there is no lab to take down" in said
    assert b"install" not in said.replace(b"is installed here", b"")


@pytest.mark.any_kernel
def test_the_image_can_be_read_by_all_also_when_the_checkout_cannot(tmp_path: Path) -> None:
    """As one is under umask 077, which many universities set."""
    shutil.copy(ROOT / "Dockerfile", tmp_path)
    for folder in ("services", "clients"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
        for path in (tmp_path / folder, *(tmp_path / folder).rglob("*")):
            path.chmod(0o700 if path.is_dir() else 0o600)
    tag = f"progres-lab:test-{uuid.uuid4().hex[:8]}"
    arguments = ["--target", "lab", "--build-arg", f"BASE_IMAGE={local()}", "--tag", tag]
    argv = ["docker", "build", *arguments, str(tmp_path)]
    subprocess.run(argv, check=True, capture_output=True, timeout=300)
    try:
        for module in ("services.http", "clients.udp"):
            engine().containers.run(tag, ["python3", "-m", module, "--help"], remove=True)
    finally:
        engine().images.remove(tag)


@pytest.mark.any_kernel
def test_a_port_that_is_taken_names_its_holder_and_the_variable_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    engine()
    holder = subprocess.Popen(
        [sys.executable, "-m", "services.clock", "--host", "127.0.0.1", "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        port = holder.stdout.readline().rpartition("port=")[2].split()[0]
        lab = Lab(engine(), tmp_path / "settings.env", {})
        taken = {"UDP_PORT": "0", "HTTP_PORT": "0", "CLOCK_PORT": port}
        refused = lab.make("up", settings=taken, check=False)
        assert refused.returncode == 1
        assert f"{port}/tcp" in refused.stderr
        assert str(holder.pid) in refused.stderr
        assert "CLOCK_PORT=" in refused.stderr
        assert lab.containers() == []
        assert not lab.environment_file.exists()
    finally:
        holder.kill()
        holder.communicate(timeout=5)


@pytest.mark.any_kernel
def test_a_network_that_cannot_be_had_stops_make_up_with_the_reason_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    lab = Lab(engine(), tmp_path / "settings.env", {})
    settings = {name.upper() + "_PORT": "0" for name in PORTS} | {"LAB_UDP_NETEM": "loss ten"}
    refused = lab.make("up", settings=settings, check=False)
    assert refused.returncode == 1
    assert "ten" in refused.stderr
    assert "way out" in refused.stderr
    assert lab.containers() == []


@pytest.mark.any_kernel
def test_an_interrupted_make_up_can_be_taken_down(tmp_path: Path) -> None:
    lab = Lab(engine(), tmp_path / "settings.env", {})
    starting = lab.start("up", {name.upper() + "_PORT": "0" for name in PORTS})
    try:
        eventually(lambda: len(lab.containers()) >= 2, "make up has begun", 60)
        os.killpg(starting.pid, signal.SIGINT)
        assert starting.wait(60) != 0
    finally:
        lab.make("down")
    assert lab.containers() == []
