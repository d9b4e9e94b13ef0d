"""What the site answers, without a socket."""

from pathlib import Path

import pytest

from services.http.protocol import REASONS, Request, RequestReader
from services.http.site import FAILING_PATH, RETRY_AFTER_S, VIEWER_PATH, Site


def request(line: str, *fields: str) -> Request:
    reader = RequestReader()
    reader.feed("\r\n".join([f"{line} HTTP/1.1", "Host: lab", *fields, "", ""]).encode())
    got = reader.next_request()
    assert got is not None
    return got


def ask(site: Site, line: str, *fields: str) -> tuple[int, dict[str, str], str]:
    response = site.answer(request(line, *fields))
    assert isinstance(response.body, bytes)
    return response.status, dict(response.fields), response.body.decode()


@pytest.mark.parametrize("path", ["/", "/?query", "/index.html", "http://lab"])
def test_start_page_says_that_the_server_works(path: str) -> None:
    status, fields, body = ask(Site(), f"GET {path}")
    assert (status, fields["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "The web server is working." in body
    for mentioned in (FAILING_PATH, VIEWER_PATH, "udp-client", "clock-client", "http-client"):
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
        ("GET /index.html%0a", 404),
        ("GET /%ff", 404),
        ("GET /.", 404),
        ("GET /pages/../index.html", 404),
        ("GET /./index.html", 404),
        ("GET /%252e%252e/site.py", 404),
        ("GET /%2e%2e%2fsite.py", 404),
        ("GET /" + "x" * 5000, 404),
        ("GET /style.css/", 404),
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


@pytest.mark.parametrize(
    ("line", "methods"),
    [
        ("OPTIONS *", "GET, HEAD, OPTIONS"),
        ("OPTIONS /", "GET, HEAD, OPTIONS"),
        (f"OPTIONS {FAILING_PATH}", "GET, HEAD, OPTIONS"),
        (f"OPTIONS {VIEWER_PATH}", "GET, HEAD, OPTIONS, POST"),
    ],
)
def test_options_tells_the_methods(line: str, methods: str) -> None:
    status, fields, body = ask(Site(), line)
    assert (status, fields["Allow"], body) == (204, methods, "")


def test_405_tells_the_methods_of_that_page() -> None:
    status, fields, _ = ask(Site(), f"DELETE {VIEWER_PATH}")
    assert (status, fields["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")


def test_page_that_fails_on_purpose_raises() -> None:
    with pytest.raises(RuntimeError, match="on purpose"):
        ask(Site(), f"GET {FAILING_PATH}")


@pytest.mark.parametrize("status", [status for status in REASONS if status >= 400])
def test_every_error_has_a_page_in_plain_words(status: int) -> None:
    response = Site().error(status, "<b>&")
    assert isinstance(response.body, bytes)
    assert f"<h1>{status} {REASONS[status]}</h1>".encode() in response.body
    assert b"&lt;b&gt;&amp;" in response.body
    assert dict(response.fields)["Cache-Control"] == "no-store"
    assert dict(response.fields).get("Retry-After") == (
        str(RETRY_AFTER_S) if status == 503 else None
    )


def test_page_is_not_sent_again_while_it_is_the_same_and_its_copy_is_asked_about() -> None:
    site = Site()
    status, fields, _ = ask(site, "GET /style.css")
    assert status == 200
    for method in ("GET", "HEAD"):
        for field in (
            f"If-None-Match: {fields['ETag']}",
            f"If-Modified-Since: {fields['Last-Modified']}",
        ):
            status, again, body = ask(site, f"{method} /style.css", field)
            assert (status, body) == (304, "")
            for name in ("ETag", "Last-Modified", "Cache-Control"):
                assert again[name] == fields[name]  # RFC 9110, section 15.4.5
    status, _, body = ask(site, "GET /style.css", 'If-Match: "another"')
    assert (status, "412 Precondition Failed" in body) == (412, True)


def test_conditions_count_only_for_what_would_be_answered_with_200() -> None:
    site = Site()
    assert ask(site, "GET /nowhere", "If-None-Match: *")[0] == 404
    assert ask(site, "POST /", "If-Match: *")[0] == 405
    assert ask(site, "OPTIONS /", "If-None-Match: *")[0] == 204
    assert ask(site, f"GET {VIEWER_PATH}", "If-None-Match: *")[0] == 200


def test_being_out_of_descriptors_is_503_and_not_404(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    (tmp_path / "a.txt").write_text("a")
    site = Site(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        status = ask(site, "GET /a.txt")[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert status == 503
    assert ask(site, "GET /a.txt")[0] == 200
