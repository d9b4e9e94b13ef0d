"""The page that shows a visitor the request as it arrived, and beside it how it was read. Pure.

Every byte of the request has one place on the page. A carriage return and a line feed are drawn as
CR and LF, a tab as TAB, and whatever else is not a printable ASCII character as its number
(``\\x00`` to ``\\xff``). All of it is escaped for HTML, so that whatever was sent can do nothing on
the page but be seen.
"""

import html
import string
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import parse_qsl

from services.http.protocol import MAX_KEPT_BODY_BYTES, Request

MAX_SHOWN_PARAMETERS = 100
"""Parameters of a query or a form that are listed one by one."""

FORM_CONTENT_TYPE = "application/x-www-form-urlencoded"

_TEMPLATE = string.Template((Path(__file__).parent / "viewer.html").read_text("utf-8"))

_MARKS = {0x0D: "CR", 0x0A: "LF", 0x09: "TAB"}
_SHOWN = [
    f"<i>{_MARKS[byte]}</i>"
    if byte in _MARKS
    else html.escape(chr(byte))
    if 0x20 <= byte < 0x7F
    else f"<i>\\x{byte:02x}</i>"
    for byte in range(256)
]
"""What each byte looks like on the page, safe in HTML."""

Rows = Iterable[tuple[str, str]]


def viewer_page(request: Request) -> str:
    """Return the page about ``request`` as HTML."""
    return _TEMPLATE.substitute(
        wire=wire_as_html(request.raw),
        missing=_missing(request),
        raw_bytes=len(request.raw),
        request=_table(_request_rows(request)),
        fields=_table(request.fields),
        parameters=_parameters(request),
        body=_body(request),
    )


def wire_as_html(raw: bytes) -> str:
    """Return the bytes for a ``pre`` element, a new line after each line feed."""
    lines = raw.split(b"\n")
    ended = ["".join(_SHOWN[byte] for byte in line) + _SHOWN[0x0A] for line in lines[:-1]]
    return "\n".join([*ended, "".join(_SHOWN[byte] for byte in lines[-1])])


def _request_rows(request: Request) -> Rows:
    if request.chunked:
        framing = f"chunked, {len(request.body)} bytes when put together"
    elif request.content_length:
        framing = f"{request.content_length} bytes (Content-Length)"
    else:
        framing = "none"
    return (
        ("Method", request.method),
        ("Target", request.target),
        ("Version", f"HTTP/1.{request.minor_version}"),
        ("Host", request.host),
        ("Path, decoded", request.path),
        ("Query", request.query),
        ("Body", framing),
        ("Connection afterwards", "kept open" if request.keep_alive else "closed"),
    )


def _parameters(request: Request) -> str:
    """Return a table of the parameters in the query and in a form, if there are any."""
    rows = list(_decoded(request.query.encode("latin-1")))
    content_type = (request.field("content-type") or "").partition(";")[0].strip(" \t").lower()
    if content_type == FORM_CONTENT_TYPE:
        rows += _decoded(request.body)
    if not rows:
        return "<p>None.</p>"
    more = len(rows) - MAX_SHOWN_PARAMETERS
    rest = f"<p>... and {more} more.</p>" if more > 0 else ""
    return _table(rows[:MAX_SHOWN_PARAMETERS]) + rest


def _decoded(form: bytes) -> Rows:
    text = form.decode("latin-1")
    return parse_qsl(text, keep_blank_values=True, errors="backslashreplace")


def _body(request: Request) -> str:
    if not request.body:
        return "<p>None.</p>"
    return f'<pre tabindex="0">{_escaped(request.body.decode("utf-8", "backslashreplace"))}</pre>'


def _missing(request: Request) -> str:
    """Say if only the beginning of the body is kept as it arrived."""
    _, _, body = request.raw.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if len(body) < MAX_KEPT_BODY_BYTES:
        return ""
    return f"<p>Of the body, the first {MAX_KEPT_BODY_BYTES} bytes are shown here.</p>"


def _table(rows: Rows) -> str:
    """Return a table with a heading for each row; the values are anything that was sent."""
    lines = "".join(
        f'<tr><th scope="row">{_escaped(name)}</th>'
        f"<td>{_escaped(value) or '<i>empty</i>'}</td></tr>\n"
        for name, value in rows
    )
    return f"<table>\n{lines}</table>"


def _escaped(text: str) -> str:
    """Return the text safe in HTML, with control and invisible characters as their numbers."""
    visible = (
        character
        if character.isprintable() or character == "\n"
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
    return html.escape("".join(visible))
