import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from lab.engine import (
    Condition,
    Finding,
    Part,
    classify,
    how_to_install,
    how_to_start,
    is_absent,
    is_local,
    package_names,
    process_runs,
    verdict,
)
from lab.system import NOT_FOUND, Output, System
from tests.pure.lab_systems import DEBIAN_12, DEBIAN_13, FEDORA, LAPTOP, MACOS, UBUNTU

ALL: tuple[Part, ...] = ("engine", "client", "compose", "buildx")
GOOD = Finding("answers", version="26.1.5+dfsg1", compose="2.26.1-4", buildx="0.13.1+ds1")
CLIENT_ONLY = json.dumps({"Client": {"Version": "28.2.2"}, "Server": None})


@pytest.mark.parametrize(
    ("answer", "condition"),
    [
        (Output(0, json.dumps({"Client": {}, "Server": {"Version": "26.1.5"}}), ""), "answers"),
        (Output(NOT_FOUND, "", "docker: No such file or directory"), "no client"),
        (
            Output(1, CLIENT_ONLY, "Cannot connect to the Docker daemon at "
                   "unix:///var/run/docker.sock. Is the docker daemon running?"),
            "not running",
        ),
        (
            Output(1, CLIENT_ONLY, "failed to connect to the docker API at "
                   "unix:///var/run/docker.sock; check if the path is correct"),
            "not running",
        ),
        (
            Output(1, CLIENT_ONLY, "permission denied while trying to connect to the Docker daemon "
                   "socket at unix:///var/run/docker.sock: connect: permission denied"),
            "no permission",
        ),
        (Output(0, "", "Emulate Docker CLI using podman."), "podman"),
        (Output(1, "gibberish", "error during connect: no route to host"), "broken"),
        (Output(0, "[]", ""), "broken"),
    ],
)  # fmt: skip
def test_what_the_client_says_tells_the_engines_condition(answer: Output, condition: str) -> None:
    assert classify(answer).condition == condition


def test_an_engine_that_is_new_enough_is_used_as_it_is() -> None:
    assert (
        classify(Output(0, json.dumps({"Server": {"Version": "25.0.0"}}), "")).version == "25.0.0"
    )
    assert verdict(GOOD, DEBIAN_13) is None
    assert verdict(replace(GOOD, version="25.0.0", compose="v5.0.1"), MACOS) is None


@pytest.mark.parametrize(
    ("finding", "cause"),
    [
        (
            replace(GOOD, version="24.0.9"),
            "Docker Engine 24.0.9 is too old, the lab needs 25 or newer",
        ),
        (replace(GOOD, compose="2.25.0"), "docker compose 2.25.0 is too old, the lab needs 2.26"),
        (replace(GOOD, compose=""), "there is no 'docker compose'"),
        (replace(GOOD, buildx=""), "there is no 'docker buildx'"),
        (Finding("no client"), "there is no docker command"),
        (Finding("no permission", "denied"), "may not use the engine"),
        (Finding("podman"), "Podman"),
        (Finding("broken", "no route to host"), "no route to host"),
    ],
)
@pytest.mark.parametrize("system", [DEBIAN_12, DEBIAN_13, UBUNTU, FEDORA, MACOS, LAPTOP])
def test_what_the_lab_cannot_use_is_named_with_a_remedy(
    finding: Finding, cause: str, system: System
) -> None:
    problem = verdict(finding, system)
    assert problem is not None
    assert cause in problem.cause
    assert problem.remedy


def test_an_engine_that_is_too_old_is_the_users_to_upgrade() -> None:
    problem = verdict(replace(GOOD, version="20.10.24"), UBUNTU)
    assert problem is not None
    assert "the lab does not replace an engine" in problem.remedy
    assert "apt-get install" in problem.remedy


def test_each_system_gets_its_own_packages() -> None:
    assert package_names(DEBIAN_12, ALL, docker_ce=False) == [
        "docker.io/trixie", "containerd/trixie", "iptables", "ca-certificates",
        "docker-cli/trixie", "docker-compose/trixie", "docker-buildx/trixie",
    ]  # fmt: skip
    assert package_names(DEBIAN_13, ALL, docker_ce=False) == [
        "docker.io", "iptables", "ca-certificates",
        "docker-cli", "docker-compose", "docker-buildx",
    ]  # fmt: skip
    assert package_names(UBUNTU, ALL, docker_ce=False) == [
        "docker.io", "iptables", "ca-certificates", "docker-compose-v2", "docker-buildx",
    ]  # fmt: skip


def test_only_the_missing_parts_are_installed() -> None:
    assert package_names(DEBIAN_12, ("compose",), docker_ce=False) == ["docker-compose/trixie"]
    assert package_names(UBUNTU, ("buildx",), docker_ce=True) == ["docker-buildx-plugin"]


def test_other_systems_are_told_what_to_install() -> None:
    assert "Docker Desktop" in how_to_install(MACOS)
    assert "dnf install" in how_to_install(FEDORA)
    assert "docs.docker.com" in how_to_install(replace(FEDORA, distribution="gentoo"))
    assert "docs.docker.com" in how_to_install(replace(DEBIAN_12, version=(11,)))


@pytest.mark.parametrize(
    ("system", "host", "remedy"),
    [
        (LAPTOP, "unix:///var/run/docker.sock", "sudo systemctl start docker"),
        (replace(DEBIAN_12, service_manager="sysv"), "", "service docker start"),
        (DEBIAN_12, "", "dockerd"),
        (LAPTOP, "unix:///run/user/1000/docker.sock", "systemctl --user start docker"),
        (LAPTOP, "unix:///home/me/.docker/desktop/docker.sock", "start Docker Desktop"),
        (MACOS, "unix:///var/run/docker.sock", "start Docker Desktop"),
        (LAPTOP, "tcp://engine.example:2376", "unset DOCKER_HOST"),
        (LAPTOP, "ssh://me@engine.example", "unset DOCKER_HOST"),
    ],
)
def test_an_engine_that_does_not_run_is_started_where_it_lives(
    system: System, host: str, remedy: str
) -> None:
    assert remedy in how_to_start(system, host)


def test_only_this_machines_own_engine_is_the_labs_to_start() -> None:
    assert is_local("")
    assert is_local("unix:///var/run/docker.sock")
    assert not is_local("unix:///run/user/1000/docker.sock")
    assert not is_local("tcp://127.0.0.1:2375")


SOCKET = "unix:///var/run/docker.sock"


@pytest.mark.parametrize(
    ("condition", "system", "dockerd", "host", "absent"),
    [
        ("no client", DEBIAN_13, False, "", True),
        ("not running", LAPTOP, False, SOCKET, True),  # a client alone, without an engine
        ("not running", LAPTOP, True, SOCKET, False),  # stopped: its containers are still there
        ("no client", DEBIAN_13, True, "", False),
        ("not running", LAPTOP, False, "unix:///run/user/1000/docker.sock", False),
        ("not running", LAPTOP, False, "ssh://me@engine.example", False),
        ("not running", MACOS, False, SOCKET, False),  # Docker Desktop, not started
        ("answers", LAPTOP, False, SOCKET, False),
        ("no permission", LAPTOP, False, SOCKET, False),
    ],
)
def test_only_a_machine_without_an_engine_has_nothing_to_take_down(
    condition: Condition, system: System, dockerd: bool, host: str, absent: bool
) -> None:
    assert is_absent(Finding(condition), system, dockerd, host) is absent


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc on this system")
def test_a_zombie_does_not_count_as_running() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert process_runs(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, but not reaped
        assert not process_runs(process.pid)
    assert not process_runs(process.pid)
