"""The request viewer: everything is seen, and nothing of it does anything."""

import html
import re

from hypothesis import given
from hypothesis import strategies as st

from services.http.protocol import MAX_BODY_BYTES, MAX_KEPT_BODY_BYTES, Request, RequestReader
from services.http.viewer import MAX_SHOWN_PARAMETERS, viewer_page, wire_as_html

GET = b"GET /request?a=1%203&b=%3Cscript%3E&c HTTP/1.1\r\nHost: lab\r\nX:\t<b>&\"'\xff\r\n\r\n"


def request(stream: bytes) -> Request:
    reader = RequestReader()
    reader.feed(stream)
    got = reader.next_request()
    assert got is not None
    return got


def bytes_shown(shown: str) -> bytes:
    """Read the bytes back from what is shown."""
    named = {"CR": b"\r", "LF": b"\n", "TAB": b"\t"}
    raw = b""
    for mark, text in re.findall(r"<i>(.*?)</i>|([^<]+)", shown.replace("\n", "")):
        if mark:
            raw += named.get(mark) or bytes.fromhex(mark.removeprefix("\\x"))
        else:
            raw += html.unescape(text).encode("ascii")
    return raw


@given(raw=st.binary(max_size=200))
def test_every_byte_is_shown_and_can_be_read_back(raw: bytes) -> None:
    shown = wire_as_html(raw)
    assert shown.isascii()
    assert set(re.findall(r"<[^>]*>", shown)) <= {"<i>", "</i>"}
    assert bytes_shown(shown) == raw


def test_page_shows_what_arrived_and_how_it_was_read() -> None:
    page = viewer_page(request(b"\r\n" + GET))
    wire = page.partition('<pre class="wire" tabindex="0">')[2].partition("</pre>")[0]
    assert bytes_shown(wire) == b"\r\n" + GET
    for row in (
        '<th scope="row">Method</th><td>GET</td>',
        '<th scope="row">Version</th><td>HTTP/1.1</td>',
        '<th scope="row">host</th><td>lab</td>',
        '<th scope="row">x</th><td>&lt;b&gt;&amp;&quot;&#x27;\xff</td>',
        '<th scope="row">a</th><td>1 3</td>',
        '<th scope="row">b</th><td>&lt;script&gt;</td>',
        '<th scope="row">c</th><td><i>empty</i></td>',
    ):
        assert row in page


def test_a_form_in_the_body_is_shown_as_it_came_in_chunks_and_put_together() -> None:
    head = (
        b"POST /request HTTP/1.1\r\nHost: lab\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: Application/X-WWW-Form-Urlencoded; charset=utf-8\r\n\r\n"
    )
    page = viewer_page(request(head + b"5\r\nwords\r\n7\r\n=%E2%80\r\n3\r\n%AE\r\n0\r\n\r\n"))
    assert "\n7<i>CR</i><i>LF</i>\n" in page
    assert "<td>\\u202e</td>" in page, "a character that turns the text around is shown by number"
    assert "words=%E2%80%AE</pre>" in page


def test_no_request_brings_markup_of_its_own_onto_the_page() -> None:
    plain = viewer_page(request(b"GET /request HTTP/1.1\r\nHost: lab\r\n\r\n"))
    hostile = b"<script>alert(1)</script>\"'><img src=x onerror=y>&lt;${wire}$wire"
    body = b"x=" + hostile
    page = viewer_page(
        request(
            b"POST /request?%s HTTP/1.1\r\nHost: lab\r\nX: %s\r\nContent-Length: %d\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\n%s"
            % (b"".join(b"%%%02x" % byte for byte in hostile), hostile, len(body), body)
        )
    )
    allowed = set(re.findall(r"<[^>]*>", plain)) | {"<td>", '<pre tabindex="0">', "<i>"}
    assert set(re.findall(r"<[^>]*>", page)) <= allowed


def test_what_is_long_is_cut_and_said_to_be() -> None:
    head = b"POST /request HTTP/1.1\r\nHost: lab\r\nContent-Length: %d\r\n\r\n"
    note = f"first {MAX_KEPT_BODY_BYTES} bytes"
    for size, cut in ((MAX_KEPT_BODY_BYTES - 1, False), (MAX_BODY_BYTES, True)):
        page = viewer_page(request(head % size + b"x" * size))
        assert (note in page) is cut
    many = "&".join("p" for _ in range(MAX_SHOWN_PARAMETERS + 1)).encode()
    assert "... and 1 more." in viewer_page(
        request(b"GET /request?" + many + b" HTTP/1.1\r\nHost: lab\r\n\r\n")
    )
