"""Fixtures of the layers with containers: a lab of its own, under a project name of its own."""

import os
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


def pytest_make_parametrize_id(val: object) -> str | None:
    """Show of a long text its beginning and its length: a report is to be read by people."""
    if isinstance(val, str | bytes) and len(val) > 60:
        return f"{val[:30]!r}... of {len(val)}"
    return None


LONGEST_FIRST = (
    "test_experiment", "lab of scenarios", "test_readme", "lab", "lab of changes", "test_make",
    "test_crash", "test_page",
)  # fmt: skip
"""The order in which processes are to take the groups, so that none is left with the longest."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what belongs together where tests run side by side (``--dist loadgroup``).

    Tests that need a lab share a few, so that several work at a time; a module's containers are
    for its own tests; each test of the netem layer has a namespace of its own.
    """
    for item in items:
        if (group := _group(item)) is not None:
            item.add_marker(pytest.mark.xdist_group(group))
    order = {group: place for place, group in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(_group(item) or "", len(order)))


def _group(item: pytest.Item) -> str | None:
    module, layer = item.path.stem, item.path.parent.name
    if "lab" not in getattr(item, "fixturenames", ()):
        return None if layer == "netem" else module
    if layer == "netem" or module == "test_scenario_in_the_lab":
        return "lab of scenarios"
    if module in ("test_network_change", "test_make") and not os.environ.get("LAB_EMULATED"):
        return "lab of changes"  # an emulated processor takes more than a minute to start one
    return "lab"


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse versions of pytest and xdist that do not agree on how a test shows its group."""
    grouped = [item for item in session.items if item.get_closest_marker("xdist_group")]
    if session.config.getoption("loadgroup", False):
        shown = all("@" in item.nodeid for item in grouped)
        assert shown, "xdist does not see the groups; install what requirements/core.lock says"


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
