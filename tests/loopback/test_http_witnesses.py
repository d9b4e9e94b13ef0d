"""The web server judged by programs that are not ours: curl, Python's clients, load tools.

Chromium judges it in ``tests/browser``, gunicorn's corpus in ``test_http_corpus.py``. The load
tools speak HTTP/1.1 here, a few hundred requests each: what counts is that they find no fault.
"""

import email.utils
import http.client
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import h11
import httpx
import pytest

from lab.venv import PROGRAMS
from tests.loopback.conftest import Server, servers
from tests.requirements_gate import missing

SENTENCE = b"The web server is working."
LARGE = bytes(range(256)) * 4096
"""1 MiB: sent from the file, not from memory."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pages = tmp_path_factory.mktemp("pages")
    (pages / "index.html").write_bytes(b"<title>t</title>" + SENTENCE)
    (pages / "large.bin").write_bytes(LARGE)
    with servers() as start:
        server = start("services.http", "--pages", str(pages))
        yield server
        assert server.stop() == 0


def url(server: Server, path: str = "/") -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def run(program: str, *arguments: str, content: bytes = b"") -> bytes:
    """Run a witness to its end and return what it says; skip where it is not installed."""
    if shutil.which(program) is None:
        name = PROGRAMS[program]
        missing("load-tools", f"{program} is not installed (Debian: apt-get install {name})")
    done = subprocess.run(
        [program, *arguments], input=content, capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0, (done.args, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout + done.stderr


def curl(*arguments: str, content: bytes = b"") -> bytes:
    return run("curl", "--silent", "--show-error", "--max-time", "10", *arguments, content=content)


def test_curl_fetches_pages_over_one_connection(server: Server) -> None:
    said = curl(
        *("--write-out", "\n%{http_version} %{http_code} %{num_connects} %{size_download}\n"),
        *(url(server), url(server, "/nowhere"), url(server, "/large.bin"), "--output", "-"),
        *("--output", "/dev/null", "--output", "/dev/null"),
    )
    figures = re.findall(rb"\n1\.1 (\d+) (\d) (\d+)(?=\n)", said)
    assert [(status, connects) for status, connects, _ in figures] == [
        (b"200", b"1"),
        (b"404", b"0"),
        (b"200", b"0"),
    ]
    assert int(figures[2][2]) == len(LARGE)
    assert SENTENCE in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--head", "/"), (200, 0)),
        (("--http1.0", "/"), (200, 1)),
        (("--request", "OPTIONS", "/"), (204, 0)),
        (("--request", "OPTIONS", "--request-target", "*", "/"), (204, 0)),
        (("--request", "DELETE", "/"), (405, 1)),
        (("--request", "BREW", "/"), (501, 1)),
        (("--path-as-is", "/../../etc/passwd"), (404, 1)),
        (("--path-as-is", "/%2e%2e/%2e%2e/etc/passwd"), (404, 1)),
        (("--header", "Host:", "/"), (400, 1)),
        (("--header", "Host: a b", "/"), (400, 1)),
        (("--header", "Content-Length: x", "/"), (400, 1)),
        (("--header", "Expect: more", "/"), (417, 1)),
        (("--header", "A: " + "x" * 40_000, "/"), (431, 1)),
        (("/" + "x" * 9000,), (414, 1)),
        (("--data-binary", "@-", "/"), (405, 1)),
        (("--data-binary", "@-", "--header", "Transfer-Encoding: chunked", "/"), (405, 1)),
        (("--data-binary", "@-", "--header", "Expect: 100-continue", "/"), (405, 1)),
        (("--data", "words=sent", "/request"), (200, 1)),
        (("/fail",), (500, 1)),
    ],
)
def test_curl_gets_the_status_of_each_request_and_no_trouble(
    server: Server, arguments: tuple[str, ...], expected: tuple[int, int]
) -> None:
    *options, path = arguments
    said = curl(
        *options,
        *("--output", "/dev/null", "--write-out", "%{http_code} %{size_download}"),
        url(server, path),
        content=b"x" * 5000 if "@-" in options else b"",
    )
    status, size = map(int, said.split())
    assert (status, size > 0) == (expected[0], bool(expected[1]))


def test_curl_through_a_proxy_variable_sends_whole_urls(server: Server) -> None:
    assert SENTENCE in curl("--proxy", url(server), "http://lab.example/?query")


def test_curl_keeps_a_copy_by_entity_tag_and_by_date(server: Server, tmp_path: Path) -> None:
    tag, code = str(tmp_path / "etag"), ("--write-out", "%{http_code}", "--output", "/dev/null")
    for path in ("/", "/large.bin"):
        assert curl("--etag-save", tag, *code, url(server, path)) == b"200"
        assert curl("--etag-compare", tag, *code, url(server, path)) == b"304"
        now = email.utils.formatdate(usegmt=True)
        assert curl("--time-cond", now, *code, url(server, path)) == b"304"
        assert curl("--time-cond", "1990-01-01", *code, url(server, path)) == b"200"


def test_http_client_reads_a_large_file_and_goes_on_over_the_same_connection(
    server: Server,
) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    with closing(client):
        for method in ("GET", "HEAD", "GET"):
            client.request(method, "/large.bin")
            answer = client.getresponse()
            assert (answer.status, answer.headers["Content-Type"]) == (
                200,
                "application/octet-stream",
            )
            assert int(answer.headers["Content-Length"]) == len(LARGE)
            assert answer.read() == (b"" if method == "HEAD" else LARGE)
        client.request("POST", "/request", iter([b"in ", b"chunks"]), encode_chunked=True)
        assert b"in chunks</pre>" in client.getresponse().read()


def test_httpx_finds_the_pages_their_types_and_the_methods(server: Server) -> None:
    with httpx.Client(base_url=url(server), timeout=10) as client:
        for _ in range(3):
            page = client.get("/")
            assert (page.status_code, page.http_version) == (200, "HTTP/1.1")
            assert page.headers["Content-Type"] == "text/html; charset=utf-8"
            assert SENTENCE.decode() in page.text
        copy = client.get("/", headers={"If-None-Match": page.headers["ETag"]})
        assert (copy.status_code, copy.content) == (304, b"")
        assert client.options("/").headers["Allow"] == "GET, HEAD, OPTIONS"
        viewed = client.post("/request", data={"words": "Grüße"})
        assert "<td>Grüße</td>" in viewed.text
        assert viewed.headers["Cache-Control"] == "no-store"
        assert client.get("/large.bin").content == LARGE


def events_of(stream: bytes, methods: list[str]) -> Iterator[h11.Event]:
    """Read answers with h11, as strict a reader as there is."""
    for method in methods:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target="/", headers=[("Host", "lab")]))
        client.send(h11.EndOfMessage())
        client.receive_data(stream)
        while (event := client.next_event()) is not h11.PAUSED:
            assert isinstance(event, h11.Event), f"{event} after {method}"
            yield event
            if isinstance(event, h11.EndOfMessage):
                break
        stream = client.trailing_data[0]
    assert stream == b"", "there is more than the answers"


def test_h11_reads_every_answer_of_a_pipeline(server: Server) -> None:
    asked = [
        *(("GET", "/"), ("HEAD", "/large.bin"), ("OPTIONS", "*"), ("GET", "/nowhere")),
        *(("HEAD", "/fail"), ("DELETE", "/request"), ("GET", "/large.bin"), ("BREW", "/")),
    ]
    stream = b"".join(f"{m} {path} HTTP/1.1\r\nHost: lab\r\n\r\n".encode() for m, path in asked)
    stream += b"GET / HTTP/1.1\r\nHost: lab\r\nIf-None-Match: *\r\nConnection: close\r\n\r\n"
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as client:
        client.connect()
        assert client.sock is not None
        client.sock.sendall(stream)
        got = b"".join(iter(lambda: client.sock.recv(65536), b""))
    events = list(events_of(got, [*(method for method, _ in asked), "GET"]))
    statuses = [event.status_code for event in events if isinstance(event, h11.Response)]
    assert statuses == [200, 200, 204, 404, 500, 405, 200, 501, 304]
    assert LARGE in b"".join(bytes(e.data) for e in events if isinstance(e, h11.Data))


def test_wrk_counts_no_errors(server: Server) -> None:
    said = run("wrk", "-t1", "-c8", "-d1s", url(server))
    assert b"Non-2xx" not in said
    assert b"Socket errors" not in said
    assert int(re.findall(rb"(\d+) requests in", said)[0]) > 0


@pytest.mark.parametrize("options", [(), ("-k",), ("-k", "-i")])
def test_ab_counts_no_failures(server: Server, options: tuple[str, ...]) -> None:
    said = run("ab", "-q", "-n", "200", "-c", "8", *options, url(server))
    assert b"Complete requests:      200\n" in said
    assert b"Failed requests:        0\n" in said
    assert b"Non-2xx" not in said
    if "-k" in options:
        assert b"Keep-Alive requests:    200\n" in said


def test_h2load_in_http_1_1_counts_200_of_200_also_when_it_pipelines(server: Server) -> None:
    for streams in ("1", "8"):
        said = run("h2load", "--h1", "-n", "200", "-c", "4", "-m", streams, url(server))
        assert b"200 succeeded, 0 failed, 0 errored, 0 timeout" in said
        assert b"status codes: 200 2xx, 0 3xx, 0 4xx, 0 5xx" in said
