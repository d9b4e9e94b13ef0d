"""``python3 -m lab.vm``: run something in an emulated Debian 13 machine with its stock kernel."""

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lab import layers
from lab.errors import LabError, files_have_a_way_out
from lab.vm import machine
from lab.vm.disk import CACHE, ensure_disk
from lab.vm.freight import pack_images, pack_project
from lab.vm.host import ensure_tools

TEST_COMMAND = (
    "LAB_REQUIRE=docker,netem,root LAB_NO_INSTALL=1 LAB_EMULATED=1 "
    "python3 -m pytest -p no:cacheprovider --override-ini=filterwarnings=default"
)
EXAMPLES = """
examples:
  python3 -m lab.vm test
  python3 -m lab.vm test -- tests/netem -k jitter
  python3 -m lab.vm run -- tc qdisc add dev lo root netem delay 10ms seed 5
  python3 -m lab.vm run --image progres-lab -- 'docker run --rm progres-lab python3 -V'
  python3 -m lab.vm run --bare -- 'make up && make test'

The exit status is the command's; 1 when the machine could not run it, 124 when it took too long.
LAB_VM_ACCEL=tcg or kvm chooses how QEMU runs the processor (kvm where it works, else tcg).
"""


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    # What follows "--" belongs to the machine's command, whatever it looks like.
    arguments = list(arguments)
    rest: list[str] = []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, rest = arguments[:at], arguments[at + 1 :]
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "run" and not rest:
        parser.error("run: a command is needed: run [--bare] -- COMMAND")
    try:
        with files_have_a_way_out():
            if options.command == "test":
                return _test(rest, options.timeout)
            if options.command == "shell":
                return _boot(None, options.bare, options.image, 0)
            return _boot(shell_line(rest), options.bare, options.image, options.timeout)
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def shell_line(words: Sequence[str]) -> str:
    """Return one line for ``sh``: a single word is one already, several are quoted."""
    return words[0] if len(words) == 1 else shlex.join(words)


def pytest_line(pytest_arguments: Sequence[str], colour: bool) -> str:
    """Return the line that runs the tests in the machine: all of them unless paths are given."""
    words = ["--color=yes"] if colour else []
    folders: Sequence[str] = ()
    if not layers.names_paths(pytest_arguments):
        folders = layers.MACHINE
        words += ["-m", "not any_kernel", *layers.side_by_side(machine.CPUS)]
    return f"{TEST_COMMAND} {shlex.join([*words, *folders, *pytest_arguments])}"


def _test(pytest_arguments: Sequence[str], timeout_s: float) -> int:
    from lab import lifecycle, settings
    from lab.engine import ensure_engine

    ensure_tools()
    ensure_engine()
    lifecycle.build()
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    images = [settings.image(name) for name in lifecycle.IMAGES]
    tag = f"LAB_TAG={shlex.quote(settings.effective('LAB_TAG', 'latest'))}"
    line = f"{tag} {pytest_line(pytest_arguments, colour)}"
    return _boot(line, False, images, timeout_s)


def _boot(command: str | None, bare: bool, images: Sequence[str], timeout_s: float) -> int:
    ensure_tools()
    disk = ensure_disk("bare" if bare else "lab")
    archive = pack_images(images, CACHE) if images else None
    with tempfile.TemporaryDirectory(prefix="progres-lab-vm-") as folder:
        project = Path(folder) / "project.tar"
        pack_project(project)
        order = machine.Order(command, project, archive, timeout_s)
        if command is None:
            return machine.interact(disk, order)
        return machine.run(disk, order, machine.to_stdout)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m lab.vm",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    test = commands.add_parser(
        "test", help="run the lab and netem tests; pytest arguments after --"
    )
    run = commands.add_parser("run", help="run a command, given after --")
    shell = commands.add_parser("shell", help="a root shell on the machine's console")
    for command in (test, run):
        command.add_argument(
            "--timeout",
            type=float,
            default=3000,
            metavar="SECONDS",
            help="the whole run's limit, boot included (default 3000)",
        )
    for command in (run, shell):
        command.add_argument(
            "--bare",
            action="store_true",
            help="a fresh machine: git, make, python3 and apt, no more",
        )
        command.add_argument(
            "--image",
            action="append",
            default=[],
            metavar="NAME",
            help="a local container image to carry in (may be given again)",
        )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
