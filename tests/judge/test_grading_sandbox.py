"""Hostile programs: each comes to an end, and nothing outside of its containers has changed.

The programs are those of ``tests/submissions/hostile-*``: each is a correct server where what it
tried was refused, or none at all.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grading import GradingError, manifest
from grading.arena import Arena, losing_receipt, losing_rules
from grading.sandbox import (
    LABEL,
    MAX_OUTPUT_BYTES,
    BuildFailed,
    Submission,
    remove_abandoned,
    submitted,
)
from lab.settings import ROOT
from tests.lab.driver import engine, eventually

FOLDERS = ROOT / "tests" / "submissions"
BOUND_S = 20.0


@contextlib.contextmanager
def opened(name: str) -> Iterator[tuple[Submission, Arena]]:
    """Open an arena for the UDP server of a folder in tests/submissions."""
    folder = FOLDERS / name
    with submitted(engine(), folder) as submission:
        arena = Arena(submission, manifest.load(folder).programs["udp-server"])
        try:
            yield submission, arena
        finally:
            arena.close()


def confirms(arena: Arena) -> bool:
    """Return whether the server confirms anything."""
    where = arena.serving("udp")
    if where is None:
        return False
    order = {"op": "try", "host": where[0], "port": where[1], "tries": 40, "wait_s": 0.1}
    told = arena.ask("udp_client", order | {"datagrams": ["hello"]})
    return any(event.get("answer") is not None for event in told)


def host_is_unharmed() -> None:
    """Fail unless this machine starts a process and the engine a container, in good time."""
    begin = time.monotonic()
    assert subprocess.run(["true"], check=False).returncode == 0
    assert engine().ping()
    assert time.monotonic() - begin < BOUND_S


@pytest.mark.parametrize(
    "name",
    [
        "hostile-deletes-files",
        "hostile-fills-the-disk",
        "hostile-reaches-outside",
        "hostile-reads-the-answers",
        "hostile-build-looks-around",
    ],
)
def test_what_it_tries_is_refused_and_it_serves_as_any_other(name: str) -> None:
    # Each of these confirms nothing once one of its attempts has succeeded.
    with opened(name) as (_, arena):
        assert confirms(arena), arena.run and arena.run.output.text
    host_is_unharmed()


def test_a_fork_bomb_stays_within_its_number_of_processes_and_is_ended() -> None:
    with opened("hostile-fork-bomb") as (_, arena):
        run = arena.start()
        container = engine().containers.get(run.container_id)

        def is_full() -> bool:
            return int(container.stats(stream=False)["pids_stats"].get("current", 0)) >= 100

        eventually(is_full, "the bomb has as many processes as it may")
        assert container.attrs["HostConfig"]["PidsLimit"] == 128
        host_is_unharmed()
        begin = time.monotonic()
        run.stop()
        assert time.monotonic() - begin < BOUND_S
        assert run.ended.is_set()


def test_endless_output_is_cut_and_ends_the_program() -> None:
    with opened("hostile-endless-output") as (_, arena):
        run = arena.start()
        assert run.ended.wait(BOUND_S)
        assert run.output.overflowed
        assert run.output.size <= MAX_OUTPUT_BYTES
        assert "printed more than 1 MiB" in run.ending()


def test_a_memory_hog_is_ended_by_its_own_limit() -> None:
    with opened("hostile-memory-hog") as (_, arena):
        run = arena.start()
        assert run.ended.wait(BOUND_S)
        assert "memory" in run.ending()
    host_is_unharmed()


def test_a_program_that_ignores_every_signal_is_ended_with_all_its_processes() -> None:
    with opened("hostile-ignores-sigterm") as (_, arena):
        assert confirms(arena)
        assert arena.run is not None
        begin = time.monotonic()
        arena.run.stop()
        assert time.monotonic() - begin < BOUND_S
        assert arena.listener("udp") is None


def test_a_link_out_of_the_folder_leads_nowhere() -> None:
    with opened("hostile-symlink") as (_, arena):
        run = arena.start("cat passwd racine/etc/hostname serveur_udp.py")
        assert run.ended.wait(BOUND_S)
        said = run.output.text
    # /etc/passwd is the container's own; the host's program beside the folder is not there.
    assert "serveur_udp.py: No such file" in said
    assert Path("/etc/hostname").read_text().strip() not in said.replace("\n", " ").split()


@pytest.mark.parametrize("seconds", [3.0])
def test_a_build_without_end_is_ended(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grading.sandbox.BUILD_TIMEOUT_S", seconds)
    begin = time.monotonic()
    with opened("hostile-build") as (_, arena), pytest.raises(BuildFailed, match="make serveur"):
        arena.start()
    assert time.monotonic() - begin < BOUND_S + seconds
    host_is_unharmed()


def test_a_program_is_confined_as_the_documentation_says() -> None:
    looks = (
        "id -u; grep -h -e CapEff -e CapBnd -e NoNewPrivs /proc/self/status;"
        " touch /submission/x /x; ls /proc | grep -c '^[0-9]'; ls /sys/class/net;"
        " ls -d /lab /var/run/docker.sock /judge; cat /proc/self/mountinfo"
    )
    with opened("broken-udp-server-drops-nothing") as (_, arena):
        run = arena.start(f"sh -c {shlex.quote(looks)}")
        assert run.ended.wait(BOUND_S)
        said = run.output.text
    lines = said.splitlines()
    assert lines[0] == "65534"
    assert "CapEff:\t0000000000000000" in said
    assert "CapBnd:\t0000000000000000" in said
    assert "NoNewPrivs:\t1" in said
    assert said.count("Read-only file system") == 2
    assert "lo" in lines
    assert "No such file or directory" in next(line for line in lines if "docker.sock" in line)
    assert str(ROOT) not in said


def test_losses_by_port_and_direction_are_proven_by_the_kernel() -> None:
    with opened("broken-udp-server-drops-nothing") as (_, arena):
        where = arena.serving("udp")
        assert where is not None
        order = {"op": "turns", "host": where[0], "port": where[1], "count": 200, "wait_s": 0.02}
        with arena.losing("udp", where[1], {"to_server": 0.3, "from_server": 0.3}) as receipt:
            (told,) = [e for e in arena.ask("udp_client", order) if e["event"] == "answers"]
        there, back = receipt["directions"]["to_server"], receipt["directions"]["from_server"]
        assert receipt["verdict"] == "in effect"
        assert there["packets"] == 200
        assert back["packets"] == 200 - there["lost"]
        assert sum(row[0] for row in told["pattern"]) == back["packets"] - back["lost"]
        # It is gone afterwards.
        (told,) = [e for e in arena.ask("udp_client", order) if e["event"] == "answers"]
        assert sum(row[0] for row in told["pattern"]) == 200


def test_losses_that_somebody_takes_away_make_the_run_invalid() -> None:
    with opened("broken-udp-server-drops-nothing") as (_, arena):

        def run_while_it_is_taken_away() -> None:
            with arena.losing("udp", 1234, {"to_server": 0.1, "from_server": 0.1}):
                arena.execute("nft", "flush", "ruleset")

        with pytest.raises(GradingError, match="not as asked"):
            run_while_it_is_taken_away()


KILLED = """
import sys, time
from pathlib import Path
import docker
from grading import manifest
from grading.arena import Arena
from grading.sandbox import submitted
folder = Path(sys.argv[1])
with submitted(docker.from_env(), folder) as submission:
    arena = Arena(submission, manifest.load(folder).programs["udp-server"])
    arena.start()
    print(submission.run_id, flush=True)
    time.sleep(600)
"""


def left_of(run_id: str) -> list[Any]:
    label = {"label": f"{LABEL}={run_id}"}
    found: list[Any] = engine().containers.list(all=True, filters=label, ignore_removed=True)
    return found + list(engine().volumes.list(filters=label))


def test_what_a_killed_grading_left_is_removed_and_what_runs_is_not() -> None:
    folder = FOLDERS / "hostile-ignores-sigterm"
    argv = [sys.executable, "-c", KILLED, str(folder)]
    with (
        opened("broken-udp-server-drops-nothing") as (kept, arena),
        subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as killed,
    ):
        assert killed.stdout is not None
        run_id = killed.stdout.readline().strip()
        arena.start()
        assert left_of(run_id)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(10)
        remove_abandoned(engine())
        assert not left_of(run_id)
        assert left_of(kept.run_id)


def test_losing_rules_and_receipt_agree_on_every_share() -> None:
    asked = {"protocol": "tcp", "port": 80, "to_server": "loss 1.0%", "from_server": "loss 0.0%"}
    rules = losing_rules("tcp", 80, {"to_server": 0.01})
    assert "tcp dport 80 numgen random mod 1000 < 10 counter drop" in rules
    assert "tcp sport 80 numgen" not in rules
    receipt = losing_receipt(asked, [])
    assert receipt["verdict"] == "not in effect"
    assert len(receipt["because"]) == 2
