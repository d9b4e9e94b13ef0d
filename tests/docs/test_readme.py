"""Every command that the README shows is run as it stands, in a lab of the test's own."""

import re
import shlex
from pathlib import Path

import pytest

from tests.lab.driver import ROOT, Lab, engine

README = (ROOT / "README.md").read_text(encoding="utf-8")
_SHOWN = re.findall(r"^\$ (.+)\n((?:(?!\$ |```).*\n)*)", README, re.MULTILINE)
COMMANDS = [command for command, _ in _SHOWN]
OUTPUT = {command: output.splitlines() for command, output in _SHOWN if output}
RUN_BY_CI = {"make test", "make test-judge", "make test-vm", "make lint"}
"""Each is a line of .ci/run; a test that ran them would run itself."""


def test_ci_runs_what_is_not_run_here() -> None:
    gate = (ROOT / ".ci/run").read_text()
    assert RUN_BY_CI & set(COMMANDS) <= {command for command in RUN_BY_CI if command in gate}


def same_but_for_the_figures(line: str) -> str:
    """Return a line of output with its figures, addresses, units and spaces made alike."""
    line = re.sub(r"\b(netem|nftables)\b", "netem", line)
    line = re.sub(r"\b(behind|ahead of)\b", "ahead of", line)
    line = re.sub(r"\brun [0-9a-f]{8}\b", "run #", line)
    line = re.sub(r"[-+]?\d[\d.:TZ-]*( (us|ms|s)\b)?", "#", line)
    return re.sub(r"\s+", " ", line).strip()


def test_figures_do_not_count_and_words_do() -> None:
    here = same_but_for_the_figures("request 2: answered in 0.114 ms (attempt 2)")
    assert here == same_but_for_the_figures("request 10: answered in  1.2 us (attempt 1)")
    assert here != same_but_for_the_figures("request 2: confirmed in 0.114 ms (attempt 2)")


def test_every_target_and_module_named_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)\b", README)) - {"and", "a"}
    assert named <= targets
    for module in re.findall(r"python3 -m ([a-z.]+)", README):
        assert (ROOT / module.replace(".", "/")).is_dir(), module


def test_the_commands_of_the_readme_work_in_their_order(tmp_path: Path) -> None:
    free_ports = {"UDP_PORT": "0", "CLOCK_PORT": "0", "HTTP_PORT": "0"}
    lab = Lab(engine(), tmp_path / "settings.env", free_ports)
    commands = [command for command in COMMANDS if command not in RUN_BY_CI]
    # After "make down" the README goes on in a lab that is up again.
    commands = [c for c in commands if c != "make down"] + ["make down"]
    assert commands[0] == "make up"
    try:
        for command in commands:
            printed = {same_but_for_the_figures(line) for line in _run(lab, shlex.split(command))}
            for line in OUTPUT.get(command, []):
                # Which causes of loss there were in a run is a matter of chance, and so is whether
                # two datagrams in a row were answered: 1 run in 30 has one such pair or none.
                if line != "..." and not re.match(r"  (dropped|lost) |RTT variation", line):
                    assert same_but_for_the_figures(line) in printed, f"{command}: {line}"
    finally:
        lab.make("down")
    assert lab.containers() == []


def _run(lab: Lab, words: list[str]) -> list[str]:
    match words:
        case ["make", target, *assignments]:
            settings = dict(assignment.split("=", 1) for assignment in assignments)
            if target == "up":
                settings = lab.settings | settings
            return lab.make(target, settings=settings).stdout.splitlines()
        case ["docker", "compose", *arguments]:
            if arguments[:2] == ["run", "--rm"]:
                arguments.insert(2, "--no-TTY")
            finished = lab.compose(*arguments, check=False)
            # One run of udp-client in 2,000 gives up on a request, and its status says so.
            allowed = (0, 1) if "udp-client" in arguments else (0,)
            assert finished.returncode in allowed, finished
            assert finished.stdout.strip(), finished
            return finished.stdout.splitlines()
        case _:
            pytest.fail(f"the README shows a command of another kind: {words}")
