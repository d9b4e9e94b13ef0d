"""What the web server answers: its pages, and a small page for whatever went wrong.

Pages are the files of ``pages/`` (see ``files``). Two more are made by handlers: ``/request`` shows
the request as it arrived (see ``viewer``), and ``/fail`` has a mistake on purpose, to show that a
server answers 500 and lives on.

Left out on purpose: content negotiation, ranges (RFC 9110, sections 12 and 14), query strings of
files (accepted and ignored). ``docs/http.md`` has the whole list.
"""

import errno
import html
import string
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.http.conditions import status_by_conditions
from services.http.files import CONTENT_TYPES, Folder
from services.http.protocol import METHODS, REASONS, Request, Response
from services.http.viewer import viewer_page

PAGES = Path(__file__).parent / "pages"

FAILING_PATH = "/fail"
"""Asking for this path makes a handler raise, on purpose."""

VIEWER_PATH = "/request"
"""Asking for this path shows the request itself."""

READ_METHODS = ("GET", "HEAD", "OPTIONS")
"""What a page can be asked with that only tells something (RFC 9110, section 9.2.1)."""

RETRY_AFTER_S = 5
"""When a client that was refused with 503 may try again."""

_COMMON_FIELDS = (
    ("Server", "progres-lab"),
    ("X-Content-Type-Options", "nosniff"),
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
)
_NOT_TO_KEEP = ("Cache-Control", "no-store")

_EXPLANATIONS = {
    404: "There is no page at this address.",
    405: "This page cannot be asked for with that method.",
    412: "The request was to be answered only under a condition, and the condition is not met.",
    500: "Something went wrong in the server while it made this page. It is the server's fault, "
    "not yours, and its log has the cause.",
    501: "This server does not know that method.",
    503: "The server has as many connections as it can take. Try again in a few seconds.",
}

_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}

# Read at the start, because a server that is out of descriptors must still be able to say so.
_ERROR_TEMPLATE = string.Template((Path(__file__).parent / "error.html").read_text("utf-8"))
_STYLE = (PAGES / "style.css").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class _Handler:
    """A page that is made anew for each request, and the methods it can be asked with."""

    answer: Callable[[Request], Response]
    methods: tuple[str, ...] = READ_METHODS


class Site:
    """Answers requests. ``pages`` is the folder to serve; ``wall_clock`` gives seconds since 1970.

    An answer depends on the request and on the files alone; but for ``VIEWER_PATH`` and
    ``FAILING_PATH`` the same request has the same answer as long as the files stay as they are.
    """

    def __init__(self, pages: Path = PAGES, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._folder = Folder(pages, _COMMON_FIELDS, wall_clock=wall_clock)
        self._handlers = {
            FAILING_PATH: _Handler(_fail_on_purpose),
            VIEWER_PATH: _Handler(_show_request, (*READ_METHODS, "POST")),
        }
        self._error_pages = {
            status: _error_page(status, explanation)
            for status, explanation in _EXPLANATIONS.items()
        }

    def answer(self, request: Request) -> Response:
        """Return the response to a request. Raises whatever a page's handler raises.

        HEAD is answered like GET; leaving out the body is up to whoever sends the response.
        """
        method, path = request.method, request.path
        if method not in METHODS:
            return self._error_pages[501]
        if path == "*":  # OPTIONS for the server as a whole
            return _allowed(READ_METHODS)
        if method == "CONNECT":
            return _not_allowed(READ_METHODS)
        handler = self._handlers.get(path)
        if handler is None:
            return self._answer_file(request)
        if method == "OPTIONS":
            return _allowed(handler.methods)
        if method not in handler.methods:
            return _not_allowed(handler.methods)
        return handler.answer(request)

    def error(self, status: int, explanation: str | None = None) -> Response:
        """Return the small page for ``status``, which says in plain words what was wrong."""
        if explanation is None:
            return self._error_pages[status]
        return _error_page(status, explanation)

    def _answer_file(self, request: Request) -> Response:
        try:
            page = self._folder.find(request.path)
        except OSError as error:
            if error.errno in _OUT_OF_RESOURCES:
                return self._error_pages[503]
            raise
        if page is None:
            return self._error_pages[404]
        if request.method == "OPTIONS":
            return _allowed(READ_METHODS)
        if request.method not in READ_METHODS:
            return _not_allowed(READ_METHODS)
        if request.conditional:
            status = status_by_conditions(request, page.validators, int(self._wall_clock()))
            if status == 304:
                return page.not_modified
            if status is not None:
                return self._error_pages[status]
        return page.ok


def _allowed(methods: tuple[str, ...]) -> Response:
    """Answer OPTIONS (RFC 9110, section 9.3.7)."""
    return Response(204, (("Allow", ", ".join(methods)), *_COMMON_FIELDS))


def _not_allowed(methods: tuple[str, ...]) -> Response:
    """Answer a method that the page does not have (RFC 9110, section 15.5.6)."""
    return _error_page(405, _EXPLANATIONS[405], ("Allow", ", ".join(methods)))


def _fail_on_purpose(request: Request) -> Response:
    raise RuntimeError(f"the page {FAILING_PATH} fails on purpose")


def _show_request(request: Request) -> Response:
    fields = (("Content-Type", CONTENT_TYPES[".html"]), _NOT_TO_KEEP, *_COMMON_FIELDS)
    return Response(200, fields, viewer_page(request).encode())


def _error_page(status: int, explanation: str, *fields: tuple[str, str]) -> Response:
    text = _ERROR_TEMPLATE.substitute(
        status=status,
        reason=html.escape(REASONS[status]),
        explanation=html.escape(explanation),
        style=_STYLE,
    )
    if status == 503:
        fields += (("Retry-After", str(RETRY_AFTER_S)),)
    content_type = ("Content-Type", CONTENT_TYPES[".html"])
    return Response(status, (content_type, _NOT_TO_KEEP, *_COMMON_FIELDS, *fields), text.encode())
