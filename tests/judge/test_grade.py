"""``grade`` as a teacher uses it: the evidence that it keeps, and what goes wrong around it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from grading import PROGRAMS, rubric
from grading.sandbox import LABEL
from lab import pcapng
from lab.settings import image
from tests.judge.teacher import grade
from tests.lab.driver import ROOT, engine
from tests.requirements_gate import missing

MINIMAL = ROOT / "tests" / "submissions" / "correct-minimal"


def test_the_packets_of_each_check_are_kept_as_evidence(tmp_path: Path) -> None:
    """Also of those that share a run: it was when the first of them needed it."""
    engine()
    done = grade(MINIMAL, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    findings = json.loads((tmp_path / "verdicts.json").read_text())["findings"]
    assert {finding["program"] for finding in findings} == {*PROGRAMS}
    page = (tmp_path / "feedback.html").read_text()
    for finding in findings:
        packets = finding["evidence"]["packets"]
        assert f'href="./{packets["file"]}"' in page
        assert packets["not_kept"] == ""
        content = (tmp_path / packets["file"]).read_bytes()
        assert pcapng.parse(content).missed == 0
    if shutil.which("tshark") is None:
        missing("tshark", "the filter is tried by tshark")
    counts = {
        finding["check"]: len(_filtered(tmp_path, finding["evidence"]["packets"]))
        for finding in findings
    }
    assert min(counts.values()) >= 2, counts
    assert counts["udp-server.drops-half"] >= 1400, counts
    # Four were lost on purpose, and each of ten requests has a datagram and an answer.
    assert counts["udp-client.retries"] >= 24, counts


@pytest.mark.parametrize(("command", "variable"), [("grade", "SUBMISSION"), ("grade-class", "DIR")])
def test_a_folders_name_is_a_name_whatever_make_and_the_shell_would_make_of_it(
    command: str, variable: str, tmp_path: Path
) -> None:
    engine()
    run = f"touch {tmp_path}/ran"
    folder = f"{tmp_path}/l'\u00e9t\u00e9 a  b; {run}; `{run}` $$HOME $({run}) $(shell {run})"
    argv = ["make", command, f"{variable}={folder}"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert folder in done.stderr
    assert not (tmp_path / "ran").exists()


def test_evidence_that_is_not_whole_says_so(tmp_path: Path) -> None:
    """A client that sends more than is kept of anybody."""
    engine()
    folder, results = tmp_path / "floods", tmp_path / "results"
    folder.mkdir()
    (folder / "lab.toml").write_text(
        '[udp-client]\ncommand = "python3 c.py"\naddress = "127.0.0.1"\nport = 1234\n'
        "requests = 10\n"
    )
    (folder / "c.py").write_text(
        "import socket\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for _ in range(2000):\n"
        '    s.sendto(bytes(50_000), ("127.0.0.1", 1234))\n'
    )
    grade(folder, results, "--check", "test_udp_client and retries")
    findings = json.loads((results / "verdicts.json").read_text())["findings"]
    (packets,) = (f["evidence"]["packets"] for f in findings if f["program"] == "udp-client")
    missed = pcapng.parse((results / packets["file"]).read_bytes()).missed
    # How much fits before depends on the machine; one of the two it is.
    assert ("the file is full" if not missed else f"{missed} missed") in packets["not_kept"]
    assert packets["not_kept"] in (results / "feedback.html").read_text()


def _filtered(place: Path, packets: dict[str, str]) -> list[str]:
    argv = ["tshark", "-r", os.fspath(place / packets["file"]), "-Y", packets["filter"]]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()


def test_an_engine_that_is_not_there_is_said_with_the_way_out(tmp_path: Path) -> None:
    done = grade(MINIMAL, tmp_path, DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert done.returncode == 3
    assert "make doctor" in done.stderr
    assert "Traceback" not in done.stderr


def own_image(folder: Path, recipe: str) -> Path:
    folder.mkdir()
    (folder / "server.py").write_text((MINIMAL / "us.py").read_text())
    (folder / "Dockerfile").write_text(recipe)
    (folder / "lab.toml").write_text(
        '[udp-server]\nimage = "Dockerfile"\ncommand = "python3 /app/server.py"\n'
    )
    return folder


def test_a_dockerfile_of_its_own_is_built_on_trust_alone(tmp_path: Path) -> None:
    recipe = f"FROM {image('progres-lab')}\nCOPY server.py /app/\n"
    folder = own_image(tmp_path / "own", recipe)
    refused = grade(folder, tmp_path / "results")
    assert refused.returncode == 2
    assert "TRUST=1" in refused.stderr
    assert not (tmp_path / "results").exists()
    words = ["--trust-dockerfile", "--check", "test_udp_server and confirms"]
    done = grade(folder, tmp_path / "results", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not engine().images.list(filters={"label": LABEL})


def test_a_dockerfile_that_does_not_build_is_the_submissions_fault(tmp_path: Path) -> None:
    recipe = f"FROM {image('progres-lab')}\nCOPY nothing-of-that-name /app/\n"
    folder = own_image(tmp_path / "own", recipe)
    words = ["--trust-dockerfile", "--check", "test_udp_server and confirms"]
    done = grade(folder, tmp_path / "results", *words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the Dockerfile does not build" in done.stdout
    assert "nothing-of-that-name" in done.stdout


def test_what_keeps_a_check_from_beginning_is_a_finding_too(tmp_path: Path) -> None:
    """The engine goes away between the beginning of a grading and its checks."""
    verdicts = tmp_path / "verdicts.json"
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "grading.plugin", "-p", "no:cacheprovider"]
    argv += ["tests/checks", f"--submission={MINIMAL}", f"--verdicts={verdicts}"]
    environment = os.environ | {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, timeout=120, check=False)
    findings = json.loads(verdicts.read_text())["findings"]
    assert {finding["check"] for finding in findings} == set(rubric.load().entries)
    assert {finding["verdict"] for finding in findings} == {"invalid"}
