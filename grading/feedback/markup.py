"""HTML that is built, not pasted: whatever is not Markup is escaped. And the shell of each page.

A page is one file: no script, no font, no picture from elsewhere. Its Content-Security-Policy
allows the one style sheet below, by its hash, and nothing else; so even a hole in the escaping
could run nothing and call nobody. Style attributes would need a wider policy: pages use classes.
"""

import base64
import hashlib
import html
from collections.abc import Iterator
from pathlib import Path

STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
_VOID = ("meta", "br", "hr", "col")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: str) -> Markup:
    """Return text as HTML shows it."""
    return value if isinstance(value, Markup) else Markup(html.escape(value, quote=True))


def opening(name: str, /, **attributes: str | bool) -> Markup:
    """Return a start tag; ``cls`` is class, ``aria_label`` is aria-label, True has no value."""
    parts = [name]
    for key, value in attributes.items():
        attribute = "class" if key == "cls" else key.replace("_", "-")
        if value is True:
            parts.append(attribute)
        elif value is not False and value != "":
            parts.append(f'{attribute}="{text(value)}"')
    return Markup(f"<{' '.join(parts)}>")


def element(name: str, /, *children: str, **attributes: str | bool) -> Markup:
    """Return an element; children that are plain text are escaped."""
    start = opening(name, **attributes)
    if name in _VOID:
        return start
    return Markup(f"{start}{''.join(text(child) for child in children)}</{name}>")


def join(*parts: str) -> Markup:
    """Return pieces one after the other."""
    return Markup("".join(text(part) for part in parts))


def paragraphs(value: str, **attributes: str | bool) -> Markup:
    """Return text that may have several lines; its line ends stay."""
    return element("p", value, **({"cls": "lines"} | attributes))


def policy() -> str:
    """Return the page's Content-Security-Policy (CSP level 3, section 8.3: hashes)."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    sources = f"default-src 'none'; style-src 'sha256-{digest}'"
    return f"{sources}; base-uri 'none'; form-action 'none'"


def page(title: str, body: Iterator[Markup]) -> Iterator[str]:
    """Yield a whole page piece by piece, so that a page about a large class needs no memory."""
    yield "<!doctype html>\n"
    yield opening("html", lang="en")
    yield element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy()),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        Markup(f"<style>{STYLE}</style>"),
    )
    yield opening("body")
    yield from body
    yield "</body></html>\n"
