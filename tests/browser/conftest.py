"""Layer 4: Chromium, headless, as a visitor of the web server."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.loopback.conftest import StartServer, start_server
from tests.requirements_gate import missing

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Playwright

__all__ = ["start_server"]

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")

CHROMIUM_ARGUMENTS = (
    "--no-sandbox",  # it refuses to run as root with one; it sees only the lab's own page
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser; skips where there is none."""
    path = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if path is None:
        missing("browser", "Chromium is not installed (Debian: apt-get install chromium)")
    return path


@pytest.fixture(scope="session")
def playwright_driver() -> Iterator["Playwright"]:
    """Playwright; skips where it is not installed."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("browser", "Playwright is not in the .venv (make test puts it there)")
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def browser(
    playwright_driver: "Playwright", chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["BrowserContext"]:
    """A browser with a profile of its own, new for this run."""
    profile: Path = tmp_path_factory.mktemp("chromium")
    with playwright_driver.chromium.launch_persistent_context(
        profile, executable_path=chromium, headless=True, args=list(CHROMIUM_ARGUMENTS)
    ) as context:
        context.set_default_timeout(60_000)  # emulated processors took over 15 s
        yield context


@pytest.fixture
def page_url(start_server: StartServer) -> str:
    """Where the page of a server is that was started for the test."""
    return f"http://127.0.0.1:{start_server('services.http').port}/"
