"""Fixtures of the layers with containers: a lab of its own, under a project name of its own."""

import signal
from collections.abc import Generator, Iterator
from typing import Any

import hypothesis
import pytest

from tests.lab.driver import Lab, engine

# Programs to be judged are no tests, and one of them holds a link to the root folder.
collect_ignore = ["submissions"]

# The same examples in every run, and no time limit on one: a loaded machine is no failed test.
hypothesis.settings.register_profile("lab", deadline=None, derandomize=True)
hypothesis.settings.load_profile("lab")


def pytest_configure() -> None:
    """Let programs under test be interrupted also where this runs in a shell's background.

    A shell without job control has such programs ignore Ctrl-C, and they hand that down.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Say what belongs together where tests run side by side (``--dist loadgroup``).

    One lab for all tests that need one, but another for those of scenarios and of netem, so that
    two work at a time; a module's containers for its own tests.
    """
    if "lab" in getattr(item, "fixturenames", ()):
        other = item.path.stem == "test_scenario_in_the_lab" or item.path.parent.name == "netem"
        item.add_marker(pytest.mark.xdist_group("other lab" if other else "lab"))
    elif item.path.parent.name != "netem":  # each of those has a namespace of its own
        item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running lab: the default network, a server's clock that is 2.5 s ahead, free ports."""
    with Lab.started(engine(), tmp_path_factory.mktemp("lab"), {"CLOCK_OFFSET": "2.5s"}) as running:
        yield running


@pytest.fixture
def network(lab: Lab) -> Iterator[Lab]:
    """The lab, for a test that changes the network; every server has its default again after it."""
    yield lab
    lab.restore_network()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with each failure what the lab's containers said last."""
    report = yield
    running: Any = getattr(item, "funcargs", {}).get("lab")
    if report.failed and isinstance(running, Lab):
        report.sections += [(f"log of {name}", text) for name, text in running.logs().items()]
    return report
