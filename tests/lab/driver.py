"""Drives a lab from outside: ``python3 -m lab`` starts and stops it, the Docker SDK does more."""

import contextlib
import functools
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import docker
import docker.errors
import pytest

from lab.settings import image
from tests.requirements_gate import missing

ROOT = Path(__file__).resolve().parents[2]
PROBE = (ROOT / "tests/lab/probe.py").read_text(encoding="utf-8")
PACE_S = 0.005 if os.environ.get("LAB_EMULATED") else 0.001
"""Between two datagrams: slower than the server, so that no queue of its machine is ever full."""

DEFAULT_NETWORK = {"udp": "loss 10%", "clock": "loss 1%", "http": "loss 1%"}
T = TypeVar("T")


@functools.cache
def engine() -> Any:
    """Return a client of the engine; without one the test is skipped, or fails by LAB_REQUIRE."""
    try:
        client = docker.from_env(timeout=300)  # an emulated processor under load
        client.ping()
    except docker.errors.DockerException as error:
        missing("docker", f"no engine answers ({error}); make doctor")
    return client


def eventually(look: Callable[[], T | None], what: str, deadline_s: float = 20.0) -> T:
    """Return the first result of ``look`` that is not None or False; fail after ``deadline_s``."""
    end = time.monotonic() + deadline_s
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > end:
            pytest.fail(f"not within {deadline_s} s: {what}")
        time.sleep(0.1)


def printed(container: Any, argv: list[str]) -> str:
    """Return what a program in a container prints, which is something.

    As ``lab.compose.printed``: of one that ends at once the engine may lose all of it.
    """

    def look() -> str:
        done = container.exec_run(argv, stderr=False)
        assert done.exit_code == 0, done
        return str(done.output.decode())

    return eventually(lambda: look() or None, f"{argv} prints something")


@dataclass
class Exchange:
    """What a probe sent and what came back; times in nanoseconds of the probe's monotonic clock."""

    sent_ns: list[int]
    answers: list[tuple[int, int]]

    @property
    def answered(self) -> int:
        """How many of the datagrams were answered at least once."""
        return len({number for number, _ in self.answers})

    @property
    def rtt_s(self) -> list[float]:
        """The round trip of each answered datagram (its first answer), in seconds, as sent."""
        first: dict[int, int] = {}
        for number, arrival_ns in self.answers:
            first.setdefault(number, arrival_ns)
        return [(first[number] - self.sent_ns[number]) / 1e9 for number in sorted(first)]


@dataclass
class Lab:
    """A lab under a project name of its own, with its own environment file and free ports."""

    engine: Any
    environment_file: Path
    settings: dict[str, str]
    changed: set[str] = field(default_factory=set)
    project: str = field(default_factory=lambda: f"progres-lab-test-{uuid.uuid4().hex[:8]}")

    @classmethod
    @contextlib.contextmanager
    def started(cls, client: Any, folder: Path, settings: dict[str, str]) -> Iterator["Lab"]:
        """Start a lab with ``settings``, and take it down whatever happens."""
        free_ports = {"UDP_PORT": "0", "CLOCK_PORT": "0", "HTTP_PORT": "0"}
        lab = cls(client, folder / "settings.env", free_ports | settings)
        try:
            lab.make("up", settings=lab.settings)
            yield lab
        finally:
            lab.make("down")

    def make(
        self, command: str, *, settings: dict[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run ``python3 -m lab COMMAND`` as the Makefile does, with these settings given to it."""
        return self._run([sys.executable, "-m", "lab", command], settings or {}, check)

    def start(
        self, command: str, settings: dict[str, str], stderr: int = subprocess.DEVNULL
    ) -> "subprocess.Popen[bytes]":
        """Start ``python3 -m lab COMMAND`` in a process group of its own, to be interrupted."""
        return subprocess.Popen(
            [sys.executable, "-m", "lab", command],
            cwd=ROOT,
            env=self._environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a plain ``docker compose`` as a user would after ``make up``."""
        argv = ["docker", "compose", "--project-name", self.project]
        if self.environment_file.exists():
            argv += ["--env-file", str(self.environment_file)]
        return self._run([*argv, *arguments], {}, check)

    def client(self, exercise: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a client as a user does: ``docker compose run --rm udp-client ...``."""
        name = f"{exercise}-client"
        return self.compose("run", "--rm", "--no-TTY", name, *arguments, check=False)

    def client_json(self, exercise: str, *arguments: str) -> dict[str, Any]:
        """Run a client with ``--json`` and return its document."""
        finished = self.client(exercise, "--json", *arguments)
        try:
            document: dict[str, Any] = json.loads(finished.stdout)
        except ValueError:
            pytest.fail(f"{exercise}-client printed no JSON: {finished}")
        return document

    def make_netem(
        self, exercise: str, words: str, direction: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run ``make netem`` and return it, whatever its status."""
        settings = {"SERVICE": exercise, "NETEM": words, "DIRECTION": direction}
        return self.make("netem", settings=settings, check=False)

    def netem(self, exercise: str, words: str, direction: str = "from_server") -> dict[str, Any]:
        """Change the network as ``make netem`` does, but without Compose, and return the receipt.

        Starting ``docker compose`` is what takes most of the time on an emulated processor.
        """
        self.changed.add(exercise)
        receipt = self._ask_sidecar(exercise, "set", "--direction", direction, words, "--json")
        assert receipt["verdict"] == "in effect", receipt
        return receipt

    def restore_network(self) -> None:
        """Bring back the default wherever a test may have changed the network."""
        for exercise in self.changed:
            self._ask_sidecar(exercise, "reset", "--json")
        self.changed = set()

    def receipt(self, exercise: str) -> dict[str, Any]:
        """Return what the sidecar reads back from the kernel now."""
        return self._ask_sidecar(exercise, "show", "--json")

    def direction(self, exercise: str, name: str = "from_server") -> dict[str, Any]:
        """Return one direction of that receipt."""
        found: dict[str, Any] = self.receipt(exercise)["directions"][name]
        return found

    def _ask_sidecar(self, exercise: str, *arguments: str) -> dict[str, Any]:
        argv = ["python3", "-m", "services.netem", *arguments]
        answered = self.container(f"{exercise}-netem").exec_run(argv)
        assert answered.exit_code == 0, answered.output.decode()
        receipt: dict[str, Any] = json.loads(answered.output)
        return receipt

    def settled(self, exercise: str, deadline_s: float = 60) -> dict[str, Any]:
        """Wait until server and sidecar are well after a restart, and return the receipt."""

        def look() -> dict[str, Any] | None:
            if not (self.healthy(exercise) and self.healthy(f"{exercise}-netem")):
                return None
            try:
                receipt = self.receipt(exercise)
            except (AssertionError, docker.errors.APIError):  # it is just leaving a dead namespace
                return None
            return receipt if receipt["verdict"] == "in effect" else None

        return eventually(look, f"{exercise} and its sidecar are well again", deadline_s)

    def containers(self) -> list[Any]:
        """Return all containers of this lab, stopped ones too."""
        label = f"com.docker.compose.project={self.project}"
        found: list[Any] = self.engine.containers.list(
            all=True, filters={"label": label}, ignore_removed=True
        )
        return found

    def container(self, service: str) -> Any:
        """Return the container of a Compose service."""
        label = [
            f"com.docker.compose.project={self.project}",
            f"com.docker.compose.service={service}",
            "com.docker.compose.oneoff=False",
        ]
        found = self.engine.containers.list(all=True, filters={"label": label}, ignore_removed=True)
        assert len(found) == 1, f"{len(found)} containers of {service}"
        return found[0]

    def healthy(self, service: str) -> bool:
        """Return whether the container runs and its health check passes."""
        state = self.container(service).attrs["State"]
        return bool(state["Running"]) and state["Health"]["Status"] == "healthy"

    def port(self, exercise: str) -> int:
        """Return the port of localhost at which a server is published."""
        ports = self.container(f"{exercise}-net").attrs["NetworkSettings"]["Ports"]
        (published,) = (bindings for bindings in ports.values() if bindings)
        assert published[0]["HostIp"] == "127.0.0.1"
        return int(published[0]["HostPort"])

    def kill_process(self, service: str) -> None:
        """Kill -9 what runs in the container (``docker kill`` would disable the restart policy)."""
        with contextlib.suppress(docker.errors.APIError):  # 409: it is just restarting
            self.container(service).exec_run(["sh", "-c", "kill -9 -1"])

    @functools.cached_property
    def prober(self) -> Any:
        """A container on the lab's network to send probes from; goes with the lab."""
        return self.engine.containers.run(
            image("progres-lab"),
            ["sleep", "infinity"],
            name=f"{self.project}-prober",
            detach=True,
            init=True,
            network=f"{self.project}_lab",
            labels={"com.docker.compose.project": self.project},
        )

    @functools.cached_property
    def faithful_port(self) -> int:
        """The port of a second UDP server, in the namespace of the first, that drops nothing.

        Nor does it log: on an emulated processor the engine would be busiest with the lines.
        """
        port = 4321
        server = self.engine.containers.run(
            image("progres-lab"),
            ["python3", "-m", "services.udp", "--drop", "0", "--port", str(port), "--log", "off"],
            name=f"{self.project}-faithful",
            detach=True,
            init=True,
            network_mode=f"container:{self.container('udp-net').id}",
            labels={"com.docker.compose.project": self.project},
        )
        check = ["python3", "-m", "services.udp", "--check", "--port", str(port)]
        eventually(
            lambda: server.exec_run(check).exit_code == 0, "the server that drops nothing listens"
        )
        return port

    def exchange(
        self, count: int, *, port: int = 1234, interval_s: float = PACE_S, linger_s: float = 0.3
    ) -> Exchange:
        """Send ``count`` numbered datagrams to a UDP server, container to container.

        It ends when ``linger_s`` seconds have passed without an answer.
        """
        arguments = ["udp", str(port), str(count), str(interval_s), str(linger_s)]
        finished = self.prober.exec_run(["python3", "-c", PROBE, *arguments])
        assert finished.exit_code == 0, finished.output.decode()
        document = json.loads(finished.output)
        return Exchange(document["sent_ns"], [(n, at) for n, at in document["answers"]])

    def logs(self, tail: int = 12) -> dict[str, str]:
        """Return the end of every container's log."""
        return {
            container.name: container.logs(tail=tail).decode(errors="replace")
            for container in self.containers()
        }

    def _run(
        self, argv: list[str], settings: dict[str, str], check: bool
    ) -> subprocess.CompletedProcess[str]:
        finished = subprocess.run(
            argv,
            cwd=ROOT,
            env=self._environment(settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,  # an emulated processor under load
        )
        if check and finished.returncode != 0:
            pytest.fail(
                f"{argv} ended with {finished.returncode}\n{finished.stdout}{finished.stderr}"
            )
        return finished

    def _environment(self, settings: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not _is_setting(name)}
        own = {"COMPOSE_PROJECT_NAME": self.project, "LAB_ENV_FILE": str(self.environment_file)}
        return kept | own | settings


def _is_setting(name: str) -> bool:
    """Return whether a variable of this process would change the lab under test."""
    from lab.settings import SETTINGS

    return (name in SETTINGS and name != "LAB_TAG") or name in (
        "SERVICE",
        "NETEM",
        "DIRECTION",
        "NAME",
        "CALIBRATE",
        "LAB_RESULTS",
        "MAKEFLAGS",
        "MAKELEVEL",
    )
