"""The page of the HTTP benchmark as a WSGI application, for the servers that run one."""

from collections.abc import Callable, Iterable

PAGE = b"0123456789" * 10


def application(
    environ: dict[str, object], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    """Answer every request with the page of 100 bytes."""
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))])
    return [PAGE]
