"""The files of a folder as pages, found by request path.

::

    /           pages/index.html
    /style.css  pages/style.css
    /sub/       pages/sub/index.html

A path names a file only if each of its parts is a plain name: none is empty, begins with a dot
(``..``, hidden files) or has a backslash or a control character. It has been decoded exactly once
by then, so ``%252e%252e`` is a name with percent signs, and no such file is there. What a symbolic
link leads to counts, and must lie in the folder too. Devices, pipes and folders are no pages.

Small files are kept in memory, and looked at again at most every ``RECHECK_S`` seconds: an edited
page is served at once, and the server need not ask the disk for every request. Large ones are
opened for each request and never read into memory as a whole.

Left out: listings of folders, redirects from ``/sub`` to ``/sub/``, compressed variants.
"""

import errno
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.http.conditions import Validators
from services.http.protocol import FileBody, Response, imf_fixdate

MAX_KEPT_FILE_BYTES = 65536
"""Larger files are not kept in memory."""

MAX_KEPT_FILES = 128
"""Together at most 8 MiB."""

RECHECK_S = 0.05
"""For how long a file in memory is taken to be what is on the disk."""

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".htm": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".xml": "application/xml",
    ".pdf": "application/pdf",
    ".zip": "application/zip",
    ".gz": "application/gzip",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
}
"""Media type by the ending of the name, in any case (IANA's registry); a charset where text is."""

OTHER_CONTENT_TYPE = "application/octet-stream"

# What "there is no such page" looks like to open(): ENOTDIR for /index.html/x, ELOOP for a ring of
# links, EACCES for a file that the server may not read, ENXIO for a socket.
_ABSENT = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.EACCES,
    errno.ENAMETOOLONG,
    errno.ENXIO,
}

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A file as it is served: the answers 200 and 304, and what conditions are compared with."""

    ok: Response
    not_modified: Response
    validators: Validators


@dataclass(slots=True)
class _Kept:
    page: Page
    file: str
    identity: tuple[int, ...]
    good_until: float


class Folder:
    """The pages in ``root``; ``fields`` go with each. ``clock`` is monotonic, both give seconds."""

    def __init__(
        self,
        root: Path,
        fields: Fields = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = os.path.realpath(root)
        self._fields = fields
        self._clock = clock
        self._wall_clock = wall_clock
        self._kept: dict[str, _Kept] = {}

    def find(self, path: str) -> Page | None:
        """Return the page at a decoded request path, None if there is none.

        Raises OSError only for what is the system's trouble (no descriptors, no memory, a disk).
        """
        kept = self._kept.get(path)
        if kept is not None:
            now = self._clock()
            if now < kept.good_until:
                return kept.page
            if _identity_of(kept.file) == kept.identity:
                kept.good_until = now + RECHECK_S
                return kept.page
            self._kept.pop(path, None)
        return self._look(path)

    def _look(self, path: str) -> Page | None:
        name = _relative_name(path)
        if name is None:
            return None
        link = os.path.join(self._root, name)
        try:
            file = os.path.realpath(link)
            if not file.startswith(self._root + os.sep):
                return None  # a symbolic link leads out
            with open(file, "rb", opener=_without_waiting) as content:
                status = os.fstat(content.fileno())
                if not stat.S_ISREG(status.st_mode):
                    return None
                if status.st_size > MAX_KEPT_FILE_BYTES:
                    return self._page(name, status, FileBody(file, status.st_size))
                page = self._page(name, status, content.read(MAX_KEPT_FILE_BYTES))
        except ValueError:  # a name that the file system's encoding does not have
            return None
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        if len(self._kept) >= MAX_KEPT_FILES:
            self._kept.clear()
        self._kept[path] = _Kept(page, link, _identity(status), self._clock() + RECHECK_S)
        return page

    def _page(self, name: str, status: os.stat_result, body: bytes | FileBody) -> Page:
        # A date of the future must not go out as Last-Modified (RFC 9110, section 8.8.2.1).
        modified_s = min(int(status.st_mtime), int(self._wall_clock()))
        entity_tag = f'"{status.st_mtime_ns:x}-{len(body):x}"'
        fields = (
            ("ETag", entity_tag),
            ("Last-Modified", imf_fixdate(modified_s)),
            # A copy may be kept, but must be asked about: so an edited page shows at once.
            ("Cache-Control", "no-cache"),
            *self._fields,
        )
        suffix = os.path.splitext(name)[1].lower()
        content_type = CONTENT_TYPES.get(suffix, OTHER_CONTENT_TYPE)
        return Page(
            Response(200, (("Content-Type", content_type), *fields), body),
            Response(304, fields),
            Validators(entity_tag, modified_s),
        )


def _relative_name(path: str) -> str | None:
    """Return the file name, relative to the folder, of a decoded path; None if it can be none."""
    if path.endswith("/"):
        path += "index.html"
    parts = path.split("/")[1:]
    for part in parts:
        if not part or part.startswith(".") or "\\" in part or not part.isprintable():
            return None
    return os.path.join(*parts) if parts else None


def _without_waiting(file: str, flags: int) -> int:
    """Open for ``open``: a pipe that nobody writes to must not keep us; a link is no file here."""
    return os.open(file, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _identity_of(file: str) -> tuple[int, ...] | None:
    try:
        return _identity(os.stat(file))
    except OSError:
        return None
