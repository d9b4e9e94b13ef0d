"""The test layers, and how each runs: for ``make test``, ``test-judge``, ``test-vm``, ``bench``."""

import os
from collections.abc import Mapping, Sequence

from lab.settings import ROOT

FAST = ("tests/loopback", "tests/pure")
"""What needs only processes: first what waits for them most of the time, then what only computes,
so that the processors are never idle."""

ALL_AT_ONCE = ("-n", str((os.cpu_count() or 2) * 3 // 2), "--dist", "worksteal")
"""How those run."""

JUDGE = ("tests/checks", "tests/judge")
"""Other people's programs: the checks (here on our own), the judge, and such programs in a lab.
They run in two processes; the one with the table of programs judges two of those at a time."""

MACHINE = ("tests/lab", "tests/netem")
"""What ``make test-vm`` runs, less what is marked ``any_kernel``: its result cannot depend on the
kernel, and an emulated processor takes minutes for it."""


def side_by_side(processes: int) -> tuple[str, ...]:
    """Return pytest's words for layers with containers; tests/conftest.py has the groups."""
    return ("-n", str(processes), "--dist", "loadgroup")


MIB_PER_PROCESS = 384
"""A process of those and its lab, with room: six of them were seen to take 1,500 MiB in all."""


def as_many_as_fit(processors: int, available_mib: int) -> tuple[str, ...]:
    """Return pytest's words for all layers with containers, on a machine with so much memory.

    Containers are waited for half of the time: there may be more processes than processors, and as
    many as there are long groups. These begin in the order that tests/conftest.py gives them.
    """
    room = available_mib // MIB_PER_PROCESS if available_mib else 6
    return (*side_by_side(max(1, min(6, 3 * processors, room))), "--no-loadscope-reorder")


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the tests.

    They start hundreds of programs, and each would compile its modules again where the environment
    forbids bytecode: whoever wants none beside the sources has it in ``.lab/``.
    """
    kept = dict(given)
    if kept.pop("PYTHONDONTWRITEBYTECODE", ""):
        kept.setdefault("PYTHONPYCACHEPREFIX", str(ROOT / ".lab" / "bytecode"))
    return kept


def without(layers: Sequence[str]) -> list[str]:
    """Return pytest's words that leave layers out."""
    return [f"--ignore={layer}" for layer in layers]


def names_paths(pytest_arguments: Sequence[str]) -> bool:
    """Return whether the arguments say themselves where the tests are."""
    return any(argument.startswith("tests/") for argument in pytest_arguments)
