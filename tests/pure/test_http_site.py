"""What the site answers, without a socket."""

from pathlib import Path

import pytest

from services.http.protocol import Request, RequestReader
from services.http.site import FAILING_PATH, RETRY_AFTER_S, Site


def ask(site: Site, line: str) -> tuple[int, dict[str, str], str]:
    reader = RequestReader()
    reader.feed(f"{line} HTTP/1.1\r\nHost: lab\r\n\r\n".encode())
    request = reader.next_request()
    assert isinstance(request, Request)
    response = site.answer(request)
    return response.status, dict(response.fields), response.body.decode()


@pytest.mark.parametrize("path", ["/", "/?query", "/index.html", "http://lab"])
def test_start_page_says_that_the_server_works(path: str) -> None:
    status, fields, body = ask(Site(), f"GET {path}")
    assert (status, fields["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "The web server is working." in body
    for mentioned in (FAILING_PATH, "udp-client", "clock-client", "http-client"):
        assert mentioned in body


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /nowhere", 404),
        ("POST /nowhere", 404),
        ("OPTIONS /nowhere", 404),
        ("GET /../index.html", 404),
        ("GET /%2e%2e/site.py", 404),
        ("GET //index.html", 404),
        ("GET /index.html/", 404),
        ("GET /..%5csite.py", 404),
        ("GET /index.html%00", 404),
        ("POST /", 405),
        ("PUT /", 405),
        ("DELETE /", 405),
        ("PATCH /", 405),
        ("TRACE /", 405),
        ("CONNECT lab:80", 405),
        ("BREW /", 501),
        ("get /", 501),  # methods are case-sensitive (RFC 9110, section 9.1)
    ],
)
def test_what_is_not_served_gets_its_status_and_a_page_in_plain_words(
    line: str, status: int
) -> None:
    got, fields, body = ask(Site(), line)
    assert got == status
    assert fields["Content-Type"] == "text/html; charset=utf-8"
    assert f"{status} " in body
    assert fields.get("Allow") == ("GET, HEAD, OPTIONS" if status == 405 else None)


@pytest.mark.parametrize("line", ["OPTIONS *", "OPTIONS /"])
def test_options_tells_the_methods(line: str) -> None:
    status, fields, body = ask(Site(), line)
    assert (status, fields["Allow"], body) == (204, "GET, HEAD, OPTIONS", "")


def test_page_that_fails_on_purpose_raises() -> None:
    with pytest.raises(RuntimeError, match="on purpose"):
        ask(Site(), f"GET {FAILING_PATH}")


def test_error_page_escapes_its_text_and_503_says_when_to_come_again() -> None:
    response = Site().error(503, "<b>&")
    assert b"&lt;b&gt;&amp;" in response.body
    assert dict(response.fields)["Retry-After"] == str(RETRY_AFTER_S)


def test_only_real_files_of_the_folder_are_pages(tmp_path: Path) -> None:
    outside = tmp_path / "secret.txt"
    outside.write_text("secret")
    pages = tmp_path / "pages"
    (pages / "sub").mkdir(parents=True)
    (pages / "index.html").write_text("start")
    (pages / "sub" / "data.bin").write_bytes(b"\x00")
    (pages / "link.txt").symlink_to(outside)
    site = Site(pages)
    assert ask(site, "GET /sub/data.bin")[:2][1]["Content-Type"] == "application/octet-stream"
    assert ask(site, "GET /link.txt")[0] == 404
    assert ask(site, "GET /../secret.txt")[0] == 404
