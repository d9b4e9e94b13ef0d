"""What a visitor sees, in a real browser."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import pytest

from tests.loopback.conftest import StartServer

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

SENTENCE = "The web server is working."

# Relative luminance and contrast ratio as WCAG 2.2 defines them, for each text on the page against
# the page's background, or its own if it has one.
CONTRASTS = """() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const luminance = rgb => rgb.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const background = element => {
    for (; element; element = element.parentElement) {
      const rgb = parse(getComputedStyle(element).backgroundColor);
      if (rgb.length === 3 || rgb[3] > 0) return rgb;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll(
      "h1, h2, h3, p, a, code, pre, i, th, td, label, input, button")].map(element => {
    const pair = [luminance(parse(getComputedStyle(element).color)),
                  luminance(background(element))].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
  });
}"""


@pytest.fixture
def page(browser: "BrowserContext") -> Iterator["Page"]:
    """A new tab; whatever it complains about on its console fails the test."""
    tab = browser.new_page()
    complaints: list[str] = []
    tab.on(
        "console",
        lambda message: complaints.append(message.text) if message.type != "log" else None,
    )
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    yield tab
    tab.close()
    assert complaints == []


def test_browser_reads_the_sentence(page: "Page", page_url: str) -> None:
    response = page.goto(page_url)
    assert response is not None
    assert response.status == 200
    assert page.title() == "progres-lab: the web server is working"
    assert page.get_by_role("heading", level=1).inner_text() == SENTENCE
    for command in ("udp-client", "clock-client", "http-client"):
        assert page.get_by_text(f"docker compose run --rm {command}", exact=True).is_visible()


@pytest.mark.parametrize("path", ["", "request?words=%3Cb%3E"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1920])
def test_page_is_readable_in_light_and_dark_on_phone_and_projector(
    page: "Page", page_url: str, path: str, scheme: Literal["light", "dark"], width: int
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(page_url + path)
    widest, visible = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert widest <= visible, "the page scrolls sideways"
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    darkness = sum(map(int, background.removeprefix("rgb(").removesuffix(")").split(", ")))
    assert (darkness < 3 * 64) is (scheme == "dark"), (
        f"{scheme}, but the background is {background}"
    )
    assert min(page.evaluate(CONTRASTS)) >= 4.5, "a text has too little contrast (WCAG 1.4.3)"


@pytest.mark.parametrize("path", ["", "request"])
def test_page_has_a_language_landmarks_and_named_sections(
    page: "Page", page_url: str, path: str
) -> None:
    page.goto(page_url + path)
    assert page.locator("html").get_attribute("lang") == "en"
    for landmark in ("banner", "main", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1
    sections = page.get_by_role("region")
    assert sections.count() == page.locator("section").count() == page.locator("h2").count()


def test_links_can_be_reached_by_keyboard_and_lead_to_the_failing_page_and_back(
    browser: "BrowserContext", page_url: str
) -> None:
    # A tab without the fixture's watch: Chromium reports a 500 on its console, which is the point.
    page = browser.new_page()
    try:
        page.goto(page_url)
        failing = page.get_by_role("link", name="a mistake in it on purpose")
        for _ in range(10):
            page.keyboard.press("Tab")
            if failing.evaluate("link => link === document.activeElement"):
                break
        with page.expect_response(lambda response: response.url.endswith("/fail")) as answered:
            page.keyboard.press("Enter")
        assert answered.value.status == 500
        page.get_by_role("heading", name="500 Internal Server Error").wait_for()
        page.get_by_role("link", name="Back to the start page").click()
        page.get_by_role("heading", name=SENTENCE).wait_for()
        page.go_back()
        page.get_by_role("heading", name="500 Internal Server Error").wait_for()
        page.go_back()
        page.reload()
        page.get_by_role("heading", name=SENTENCE).wait_for()
    finally:
        page.close()


def test_request_viewer_shows_what_the_browser_sent_and_sends_forms_both_ways(
    page: "Page", page_url: str
) -> None:
    page.goto(page_url)
    page.get_by_role("link", name="See your request byte by byte").press("Enter")
    wire = page.locator("pre.wire")
    assert "GET /request HTTP/1.1CRLF" in wire.inner_text()
    assert f"Referer: {page_url}CRLF" in wire.inner_text()
    words = "<i>LF</i> Grüße & \\x00"
    for label, button in (("In the target", "GET"), ("In the body", "POST")):
        page.get_by_label(label).fill(words)
        page.get_by_role("button", name=button).press("Enter")
        page.get_by_text(f"{button} /request").first.wait_for()
        assert page.get_by_role("row", name=f"words {words}", exact=True).is_visible()
        in_head, _, in_body = wire.inner_text().partition("\nCRLF")
        assert ("words=%3Ci%3ELF" in in_body) is (button == "POST")
        assert ("?words=%3Ci%3ELF" in in_head.splitlines()[0]) is (button == "GET")


def test_reload_asks_whether_the_page_has_changed_and_is_told_that_it_has_not(
    page: "Page", start_server: StartServer
) -> None:
    server = start_server("services.http")
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.reload()
    for target in ("/", "/style.css"):
        server.wait_for("request", target=target, status=304)
    assert page.get_by_role("heading", level=1).inner_text() == SENTENCE


def test_two_tabs_are_served_at_once(browser: "BrowserContext", page_url: str) -> None:
    tabs = [browser.new_page(), browser.new_page()]
    for tab in tabs:
        tab.goto(page_url)
    for tab in tabs:
        assert tab.get_by_role("heading", level=1).inner_text() == SENTENCE
        tab.close()
