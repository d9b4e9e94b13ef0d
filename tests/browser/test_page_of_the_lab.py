"""The page as a visitor on the host gets it: the published port, and a network that loses."""

from typing import TYPE_CHECKING

from tests.lab.driver import Lab

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext


def test_a_browser_on_the_host_reads_the_sentence(browser: "BrowserContext", lab: Lab) -> None:
    page = browser.new_page()
    try:
        page.goto(f"http://localhost:{lab.port('http')}")
        assert page.get_by_text("The web server is working.").first.is_visible()
    finally:
        page.close()
