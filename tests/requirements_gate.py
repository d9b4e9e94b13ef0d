"""What a test needs from the machine, and whether its absence is a skip or a failure.

``LAB_REQUIRE=docker,browser,netem`` names what must be there: then a missing one fails the test.
"""

import os
from typing import NoReturn

import pytest

REQUIREMENTS = ("docker", "browser", "netem", "root", "pypi", "load-tools", "tshark")


def missing(requirement: str, reason: str) -> NoReturn:
    """Skip the test, saying what is missing and why; fail it when LAB_REQUIRE names that."""
    if requirement not in REQUIREMENTS:
        raise ValueError(f"unknown requirement {requirement!r}: one of {REQUIREMENTS}")
    if is_required(requirement):
        pytest.fail(f"LAB_REQUIRE={requirement}, but {reason}")
    pytest.skip(f"no {requirement}: {reason}")


def is_required(requirement: str) -> bool:
    """Return whether LAB_REQUIRE names it."""
    required = {name.strip() for name in os.environ.get("LAB_REQUIRE", "").split(",")} - {""}
    if unknown := required - set(REQUIREMENTS):
        pytest.fail(f"LAB_REQUIRE names {sorted(unknown)}; known are {', '.join(REQUIREMENTS)}")
    return requirement in required
