"""The host side of the lab: ``python3 -m lab COMMAND``, called by the Makefile.

Each command imports what it needs: all of it would add a tenth of a second to a change of the
network, and seconds on an emulated processor.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from lab.errors import LabError, files_have_a_way_out
from lab.interrupts import number_of, sigterm_as_interrupt
from lab.settings import ROOT

SHELL_SCRIPTS = (
    ".ci/run",
    "lab/vm/make-disk.sh",
    "lab/vm/guest/all/usr/local/sbin/progres-lab-guest",
)


def main(arguments: list[str]) -> int:
    """Run one command and return the exit status; an error says step, cause and way out."""
    commands: dict[str, Callable[[list[str]], int]] = {
        "up": _up,
        "down": _down,
        "clean": _clean,
        "netem": _netem,
        "reset": _reset,
        "scenario": _scenario,
        "where": _where,
        "capture": _capture,
        "ladder": _ladder,
        "logs": _logs,
        "shell": _shell,
        "test": _test,
        "test-judge": _test_judge,
        "grade": _grade,
        "grade-class": _grade_class,
        "bench": _bench,
        "experiment": _experiment,
        "report": _report,
        "lint": _lint,
        "doctor": _doctor,
    }
    if not arguments or arguments[0] not in commands:
        print(f"usage: python3 -m lab {'|'.join(commands)}", file=sys.stderr)
        return 2
    try:
        with files_have_a_way_out(), sigterm_as_interrupt():
            return commands[arguments[0]](arguments[1:])
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        return 128 + number_of(interrupt)


def _up(_: list[str]) -> int:
    from lab import lifecycle

    with _alone():
        lifecycle.up()
    return 0


def _down(_: list[str]) -> int:
    _take_down()
    return 0


def _clean(_: list[str]) -> int:
    from lab import lifecycle

    if _take_down():
        lifecycle.remove_images()
    lifecycle.remove_caches()
    return 0


def _take_down() -> bool:
    """Take the lab down; return whether this machine has an engine. Raises LabError."""
    from lab import engine, lifecycle, settings
    from lab.experiments import site
    from lab.say import say
    from lab.system import detect, find_program

    here = find_program("dockerd") is not None
    if engine.is_absent(engine.find(), detect(), here, engine.endpoint()):
        say("no Docker engine is installed here, so there is no lab to take down")
        settings.forget()
        return False
    engine.ensure_engine(install=False)
    with _alone():
        lifecycle.down()
    site.remove_leftovers()
    return True


def _alone() -> AbstractContextManager[None]:
    """Return what waits until no other ``make up`` or ``make down`` of this lab is at work.

    Two that start and remove the same containers would take them from each other.
    """
    from lab import compose, lock

    busy = "waiting for another make up or make down of this lab to end"
    return lock.held(f"lifecycle-{compose.project_name()}", busy)


def _netem(_: list[str]) -> int:
    from lab import impairment

    return impairment.netem()


def _reset(_: list[str]) -> int:
    from lab import impairment
    from lab.engine import ensure_engine

    ensure_engine(install=False)
    impairment.reset()
    return 0


def _scenario(_: list[str]) -> int:
    from lab import conditions

    return conditions.scenario_command()


def _where(arguments: list[str]) -> int:
    from lab import where

    return where.where_command(arguments)


def _capture(_: list[str]) -> int:
    from lab import capture
    from lab.engine import ensure_engine

    ensure_engine(install=False)
    return capture.capture_command()


def _ladder(_: list[str]) -> int:
    from lab import ladder

    return ladder.ladder_command()


def _logs(_: list[str]) -> int:
    from lab import compose

    service = os.environ.get("SERVICE", "")
    return compose.run("logs", "--follow", "--tail", "100", *service.split()).returncode


def _shell(_: list[str]) -> int:
    from lab import compose

    service = os.environ.get("SERVICE", "")
    if not service:
        raise LabError("opening a shell", "SERVICE is not given", "make shell SERVICE=udp")
    terminal = [] if sys.stdin.isatty() else ["--no-TTY"]
    return compose.run("exec", *terminal, service, "sh").returncode


def _prepare() -> None:
    """Have an engine that runs, and the images of what stands in this tree."""
    from lab import lifecycle
    from lab.engine import ensure_engine

    ensure_engine()
    lifecycle.build()


def _test(arguments: list[str]) -> int:
    from lab import layers
    from lab.system import available_mib
    from lab.venv import ensure_programs, ensure_venv

    os.environ.setdefault("LAB_TAG", "test")  # a lab that runs keeps its images
    _prepare()
    python = ensure_venv(("core", "browser", "report"))
    ensure_programs()
    if layers.names_paths(arguments):
        return _pytest(python, arguments)
    if arguments:
        return _pytest(python, [*layers.without(layers.JUDGE), *arguments])
    fast = _pytest(python, [*layers.ALL_AT_ONCE, *layers.FAST])
    rest = layers.without((*layers.FAST, *layers.JUDGE))
    here = layers.as_many_as_fit(os.cpu_count() or 2, available_mib())
    return max(fast, _pytest(python, [*here, *rest]))


def _test_judge(arguments: list[str]) -> int:
    from lab import layers
    from lab.venv import ensure_venv

    os.environ.setdefault("LAB_TAG", "test")  # as above
    _prepare()
    folders = () if layers.names_paths(arguments) else layers.JUDGE
    return _pytest(ensure_venv(), [*layers.side_by_side(2), *folders, *arguments])


def _pytest(python: Path, arguments: Sequence[str]) -> int:
    from lab import layers

    argv = [str(python), "-m", "pytest", *arguments]
    environment = layers.environment(os.environ)
    return subprocess.run(argv, cwd=ROOT, env=environment, check=False).returncode


def _grade(arguments: list[str]) -> int:
    if not arguments:
        raise LabError("judging a submission", "no folder is named", "make grade SUBMISSION=path")
    return _grading("grade", arguments)


def _grade_class(arguments: list[str]) -> int:
    if not arguments:
        raise LabError("judging a class", "no folder is named", "make grade-class DIR=path")
    return _grading("grade-class", arguments)


def _grading(command: str, arguments: list[str]) -> int:
    from lab.venv import ensure_venv

    _prepare()
    python = str(ensure_venv())
    # In this process's place: subprocess.run would kill it a moment after Ctrl-C, while it still
    # takes its containers away.
    os.chdir(ROOT)
    os.execv(python, [python, "-m", "grading", command, *arguments])


def _bench(arguments: list[str]) -> int:
    from lab.venv import ensure_venv

    _prepare()
    python = ensure_venv()
    return subprocess.run(
        [str(python), "-m", "benchmarks", *arguments], cwd=ROOT, check=False
    ).returncode


def _experiment(arguments: list[str]) -> int:
    return _in_venv("lab.experiment", arguments)


def _report(arguments: list[str]) -> int:
    return _in_venv("lab.report", arguments)


def _in_venv(module: str, arguments: list[str]) -> int:
    """Become that program: Ctrl-C and SIGTERM are then its own."""
    from lab.venv import ensure_venv

    name = os.environ.get("NAME", "")
    python = str(ensure_venv(("report",)))
    os.chdir(ROOT)
    os.execv(python, [python, "-m", module, *(arguments or name.split())])


def _lint(_: list[str]) -> int:
    from lab.venv import ensure_venv

    binaries = ensure_venv(("core", "browser", "report", "quality")).parent
    checks = [
        ["ruff", "format", "--check", "."],
        ["ruff", "check", "."],
        ["mypy"],
        ["hadolint", "Dockerfile", "grading/Dockerfile"],
        ["shellcheck", *SHELL_SCRIPTS],
    ]
    failed = [
        check[0]
        for check in checks
        if subprocess.run([str(binaries / check[0]), *check[1:]], cwd=ROOT, check=False).returncode
    ]
    if failed:
        print(f"lint: {', '.join(failed)} found something, see above", file=sys.stderr)
    return 1 if failed else 0


def _doctor(_: list[str]) -> int:
    from lab import doctor

    return doctor.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
