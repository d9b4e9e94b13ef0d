"""What the web server answers: its pages, and a small page for whatever went wrong.

Pages are the files of ``pages/``, read once at the start and found by their exact path, so no
request can name a file outside that folder. ``/`` is ``index.html``. ``/fail`` has a mistake in
its handler on purpose, to show that a server answers 500 and lives on.

Left out on purpose: content negotiation, ranges, conditional requests (RFC 9110, sections 12 to
14), query strings (accepted and ignored).
"""

import html
import string
from collections.abc import Callable
from pathlib import Path

from services.http.protocol import METHODS, REASONS, Request, Response

PAGES = Path(__file__).parent / "pages"

FAILING_PATH = "/fail"
"""Asking for this path makes a handler raise, on purpose."""

ALLOWED = ("GET", "HEAD", "OPTIONS")
"""What every page of this site can be asked with (RFC 9110, section 10.2.1)."""

RETRY_AFTER_S = 5
"""When a client that was refused with 503 may try again."""

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}

_COMMON_FIELDS = (
    ("Server", "progres-lab"),
    ("X-Content-Type-Options", "nosniff"),
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src data:",
    ),
)

_EXPLANATIONS = {
    404: "There is no page at this address.",
    405: "This page cannot be asked for with that method.",
    500: "Something went wrong in the server while it made this page. It is the server's fault, "
    "not yours, and its log has the cause.",
    501: "This server does not know that method.",
    503: "The server has as many connections as it can take. Try again in a few seconds.",
}

# Read at the start, because a server that is out of descriptors must still be able to say so.
_ERROR_TEMPLATE = string.Template((Path(__file__).parent / "error.html").read_text("utf-8"))
_STYLE = (PAGES / "style.css").read_text("utf-8")

Handler = Callable[[Request], Response]


class Site:
    """Answers requests. ``pages`` is the folder to serve; every file in it is read now."""

    def __init__(self, pages: Path = PAGES) -> None:
        self._handlers: dict[str, Handler] = {FAILING_PATH: _fail_on_purpose}
        for file in sorted(pages.rglob("*")):
            if file.is_file() and not file.is_symlink():
                self._add("/" + file.relative_to(pages).as_posix(), file)
        self._handlers["/"] = self._handlers["/index.html"]
        self._error_pages = {
            status: _error_page(status, explanation)
            for status, explanation in _EXPLANATIONS.items()
        }

    def answer(self, request: Request) -> Response:
        """Return the response to a request. Raises whatever a page's handler raises.

        HEAD is answered like GET; leaving out the body is up to whoever sends the response.
        """
        if request.method not in METHODS:
            return self._error_pages[501]
        if request.path == "*":
            return _OPTIONS_RESPONSE
        handler = self._handlers.get(request.path)
        if handler is None and request.method != "CONNECT":
            return self._error_pages[404]
        if request.method == "OPTIONS":
            return _OPTIONS_RESPONSE
        if handler is None or request.method not in ALLOWED:
            return self._error_pages[405]
        return handler(request)

    def error(self, status: int, explanation: str | None = None) -> Response:
        """Return the small page for ``status``, which says in plain words what was wrong."""
        if explanation is None:
            return self._error_pages[status]
        return _error_page(status, explanation)

    def _add(self, path: str, file: Path) -> None:
        kind = CONTENT_TYPES.get(file.suffix, "application/octet-stream")
        response = Response(200, (("Content-Type", kind), *_COMMON_FIELDS), file.read_bytes())
        self._handlers[path] = lambda request: response


_OPTIONS_RESPONSE = Response(204, (("Allow", ", ".join(ALLOWED)), *_COMMON_FIELDS))


def _fail_on_purpose(request: Request) -> Response:
    raise RuntimeError(f"the page {FAILING_PATH} fails on purpose")


def _error_page(status: int, explanation: str) -> Response:
    text = _ERROR_TEMPLATE.substitute(
        status=status,
        reason=html.escape(REASONS[status]),
        explanation=html.escape(explanation),
        style=_STYLE,
    )
    fields = [("Content-Type", CONTENT_TYPES[".html"]), *_COMMON_FIELDS]
    if status == 405:
        fields.append(("Allow", ", ".join(ALLOWED)))
    if status == 503:
        fields.append(("Retry-After", str(RETRY_AFTER_S)))
    return Response(status, tuple(fields), text.encode())
