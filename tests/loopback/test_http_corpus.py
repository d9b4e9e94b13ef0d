"""A witness: gunicorn's corpus of requests, each to be read as it says or refused.

``make test`` fetches gunicorn's source package once (``requirements/corpus.lock``) into ``.lab/``.
Nothing of it is run or installed: the streams are text with escapes, and what is expected of each
is read from its Python file as a literal. A stream of HTTP/1.1 without Host, which the corpus
leaves out where a case is about something else, gets one. Each deviation is listed with its reason;
one that is listed and no longer deviates fails the test as well.
"""

import ast
import contextlib
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.http.protocol import ProtocolError, Request, RequestReader
from tests.loopback.conftest import ROOT
from tests.requirements_gate import missing

LOCK = ROOT / "requirements" / "corpus.lock"
FOLDER = ROOT / ".lab" / "corpus"
FETCH_TIMEOUT_S = 120

_LIMIT = "RFC 9110, 5.4: the limits are the server's own, and ours are not gunicorn's"
_SETTING = "none of the RFC's: how gunicorn behaves with a setting that is not its default"
_CODING = "RFC 9112, 6.1: a transfer coding that the server does not know is 501"
_UNDERSCORE = "RFC 9110, 5.1: a name with _ is another name; nothing here maps it to one with -"
_PROXY = "none of the RFC's: the PROXY protocol of HAProxy, which is not spoken here"

DEVIATIONS = {
    # Taken here, refused there.
    "invalid/003c": "RFC 9110, 9.1: a method is a token of any length, - and lower case included",
    "invalid/006": _LIMIT,
    "invalid/007": _LIMIT,
    "invalid/008": _LIMIT,
    "invalid/010": _SETTING,
    "invalid/011": _SETTING,
    "invalid/012": _SETTING,
    "invalid/017": _LIMIT,
    "invalid/019": "none of the RFC's: X-Forwarded-Proto means nothing here",
    "invalid/040": _UNDERSCORE,
    "invalid/041": "RFC 9110, 5.3: only who uses Content-Type minds that it is there twice",
    "invalid/chunked_07": _UNDERSCORE,
    "invalid/limit_header_default_01": _LIMIT,
    "invalid/rfc9112_leading_crlf_02": "RFC 9112, 2.2: at least one empty line is ignored",
    # Refused here, taken there.
    "valid/005": "RFC 9112, 3.2: a target has no fragment",
    "valid/014": "RFC 3986, 2: a quotation mark must be percent-encoded",
    "valid/025": _CODING,
    "valid/025_line": _CODING,
    "valid/028": _SETTING + "; RFC 9112, 5.1: no white space before the colon",
    "valid/029": _CODING,
    "valid/030": _CODING,
    "valid/099": "RFC 9112, 8: the body is shorter than its Content-Length, so it is incomplete",
    "valid/compat_obs_fold": _SETTING + "; RFC 9112, 5.2: obs-fold is 400",
    "valid/compat_obs_fold_huge": _SETTING + "; RFC 9112, 5.2: obs-fold is 400",
    "valid/pp_01": _PROXY,
    "valid/pp_02": _PROXY,
    "valid/pp_04": _PROXY,
    "valid/pp_05": _PROXY,
    "valid/rfc9112_smuggle_gzip_chunked_01": _CODING,
    "valid/rfc9112_smuggle_te_identity_chunked_01": _CODING,
    "valid/rfc9112_target_absolute_https_01": "RFC 9110, 7.4: https on a connection without TLS",
    "valid/rfc9112_target_absolute_userinfo_01": "RFC 9110, 4.2.4: user information is an error",
    # Read as something else.
    "valid/031compat": _SETTING + "; RFC 9110, 9.1: methods are case-sensitive",
    "valid/040": _UNDERSCORE,
}

HOST = (b"HOST", b"added")

Expected = list[dict[str, Any]]


@pytest.fixture(scope="module")
def corpus() -> dict[str, bytes]:
    """The files under tests/requests/ in gunicorn's source package, by name."""
    name, _, version = LOCK.read_text().split("\n")[1].split()[0].partition("==")
    archive = FOLDER / f"{name}-{version}.tar.gz"
    if not archive.exists():
        _fetch(archive)
    files: dict[str, bytes] = {}
    with tarfile.open(archive) as members:
        for member in members:
            path = member.name.partition("/tests/requests/")[2]
            if path and member.isfile() and (content := members.extractfile(member)) is not None:
                files[path] = content.read()
    return files


def _fetch(archive: Path) -> None:
    """Download the locked source package. Its build system tells pip its name; that is all."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    options = ["--no-deps", "--no-binary", "gunicorn", "--dest", str(archive.parent)]
    try:
        done = subprocess.run(
            [*pip, *options, "--retries", "0", "--require-hashes", "--requirement", str(LOCK)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        missing("pypi", f"no package index answered within {FETCH_TIMEOUT_S} s")
    if not archive.exists():
        missing("pypi", f"{archive.name} cannot be fetched: {done.stderr.strip()[-300:]}")


def stream_of(text: bytes) -> bytes:
    """Return the bytes that a ``.http`` file stands for."""
    escapes = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0"}
    return re.sub(
        rb"\\(?:x([0-9A-Fa-f]{2})|([rnt0]))",
        lambda match: bytes.fromhex(match[1].decode()) if match[1] else escapes[match[2]],
        text.replace(b"\n", b""),
    )


def with_host(stream: bytes) -> bytes:
    """Return the stream with a Host field in each HTTP/1.1 head that has none."""

    def complete(match: re.Match[bytes]) -> bytes:
        if re.search(rb"(?im)^host", match[2]):
            return match[0]
        if re.search(rb"(?i)content-length: *[1-9]", stream[: match.start()]):
            return match[0]  # it may be the body of the request before
        return match[1] + b": ".join(HOST) + b"\r\n" + match[2]

    return re.sub(rb"(?m)^([^\r\n]+ HTTP/1\.1\r\n)((?:[^\r\n]+\r\n)*)(?=\r\n)", complete, stream)


def expected_of(text: bytes) -> Expected | None:
    """Return the requests that a ``.py`` file describes, None if it names an error."""
    values: dict[str, Any] = {}

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            return {ast.literal_eval(key): value(item) for key, item in pairs if key}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            return value(node.func.value)  # "...".replace(...), of a case that is refused
        if isinstance(node, ast.Call):  # uri("/path") stands for the target itself
            return value(node.args[0]) if node.args else None
        if isinstance(node, ast.Name):
            return values.get(node.id)
        if isinstance(node, ast.List):
            return [value(item) for item in node.elts]
        if isinstance(node, ast.Tuple):
            return tuple(value(item) for item in node.elts)
        return ast.literal_eval(node)

    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            with contextlib.suppress(ValueError):  # what is no literal
                values[statement.targets[0].id] = value(statement.value)
    request = values.get("request")
    return [request] if isinstance(request, dict) else request


def read(pieces: list[bytes]) -> tuple[list[Request], str]:
    """Return what the core makes of a stream that then ends: requests, and a fault or ""."""
    reader = RequestReader()
    requests: list[Request] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (request := reader.next_request()) is not None:
                requests.append(request)
        reader.end_of_stream()
    except ProtocolError as error:
        return requests, str(error)
    return requests, ""


def difference(expected: Expected | None, requests: list[Request], fault: str) -> str:
    """Say how the outcome differs from what the corpus expects, "" if it does not."""
    if expected is None:
        return "" if fault else f"taken, as {requests}"
    if fault:
        return f"refused: {fault}"
    if len(requests) != len(expected):
        return f"{len(requests)} requests instead of {len(expected)}"
    for request, wanted in zip(requests, expected, strict=True):
        fields = [
            (name.upper(), value)
            for name, value in request.fields
            if (name.upper().encode(), value.encode("latin-1")) != HOST
        ]
        got = (request.method, request.target, (1, request.minor_version), fields, request.body)
        names = ("method", "uri", "version", "headers", "body")
        for name, ours in zip(names, got, strict=True):
            if (ours or None) != (wanted[name] or None):  # an empty body is "" there at times
                return f"{name}: {ours!r} instead of {wanted[name]!r}"
    return ""


def cases(corpus: dict[str, bytes]) -> Iterator[tuple[str, bytes, Expected | None]]:
    for path in sorted(corpus):
        name, dot, ending = path.rpartition(".")
        if ending == "http":
            yield name, with_host(stream_of(corpus[path])), expected_of(corpus[f"{name}.py"])


def test_each_request_is_read_as_gunicorn_says_or_the_deviation_is_listed(
    corpus: dict[str, bytes],
) -> None:
    differences: dict[str, str] = {}
    number = 0
    for name, stream, expected in cases(corpus):
        number += 1
        assert (expected is None) is name.startswith("invalid/"), name
        requests, fault = read([stream])
        assert read([stream[i : i + 1] for i in range(len(stream))]) == (requests, fault), name
        if found := difference(expected, requests, fault):
            differences[name] = found
    assert number > 100
    unlisted = {name: text for name, text in differences.items() if name not in DEVIATIONS}
    assert not unlisted, "\n".join(f"{name}: {text}" for name, text in unlisted.items())
    assert not DEVIATIONS.keys() - differences.keys(), "listed, but no longer a deviation"
