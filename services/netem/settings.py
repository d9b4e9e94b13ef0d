"""The run-time settings of one service's network: small files that outlive every restart.

``/settings/udp.json``: ``{"format": 2, "name": "satellite", "from_server": "loss 30%"}``. What is
set at run time, by direction; ``name`` is the scenario's, or empty. No file, or no such key: the
setting of the environment holds. (Format 1 knew ``from_server`` alone, and is still read.)

``udp.since.json``: since when each direction has been as it is, and what the kernel's counter of
refused packets showed then. ``udp.lock``: so that the sidecar's own loop and a ``set`` from outside
never change the network at the same time.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.netem import NetemError
from services.netem.readback import DIRECTIONS

FORMAT = 2
LOCK_DEADLINE_S = 10.0


@dataclass(frozen=True)
class Kept:
    """What was set at run time: words by direction, and the name of the scenario, if it was one."""

    words: Mapping[str, str] = field(default_factory=dict)
    name: str = ""


@dataclass(frozen=True)
class Since:
    """When a direction was last put into effect, and the kernel's counter at that moment."""

    time: str = ""
    refused_packets: int = 0


class Settings:
    """The files of ``service`` in ``folder``."""

    def __init__(self, folder: str, service: str) -> None:
        self._path = Path(folder, f"{service}.json")
        self._since_path = Path(folder, f"{service}.since.json")
        self._lock_path = Path(folder, f"{service}.lock")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock between processes. Raises NetemError when it is held for 10 s."""
        try:
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:  # ENOENT, EROFS: the volume is not mounted
            raise NetemError(
                f"{self._lock_path}: {error.strerror} (mount a volume there)"
            ) from error
        try:
            deadline = time.monotonic() + LOCK_DEADLINE_S
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:  # EWOULDBLOCK: another process changes the network now
                    if time.monotonic() > deadline:
                        raise NetemError(f"{self._lock_path} is held by another process") from None
                    time.sleep(0.02)
            yield
        finally:
            os.close(descriptor)  # releases the lock

    def read(self) -> Kept:
        """Return what was set at run time; nothing if the environment's setting holds."""
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            if document["format"] not in (1, FORMAT):
                raise ValueError(f"format {document['format']} is not known here")
            words = {name: str(document[name]) for name in DIRECTIONS if name in document}
            return Kept(words, str(document.get("name", "")))
        except FileNotFoundError:
            return Kept()
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise NetemError(f"{self._path} cannot be read ({error}); make reset") from error

    def write(self, kept: Kept) -> None:
        """Keep the settings, or forget them all. Raises NetemError where that cannot be written.

        A crash leaves the old file or the new one, never half of one.
        """
        try:
            if kept.words:
                self._replace(self._path, {"format": FORMAT, "name": kept.name, **kept.words})
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:  # ENOSPC, EROFS
            raise NetemError(f"{self._path}: {error.strerror}") from error

    def since(self) -> dict[str, Since]:
        """Return since when each direction has been as it is; a direction may be missing."""
        try:
            document = json.loads(self._since_path.read_text(encoding="utf-8"))
            return {
                name: Since(str(document[name]["time"]), int(document[name]["refused_packets"]))
                for name in DIRECTIONS
                if name in document
            }
        except (OSError, ValueError, LookupError, TypeError):  # not there yet, or damaged
            return {}

    def write_since(self, since: Mapping[str, Since]) -> None:
        """Keep it. Raises NetemError where that cannot be written."""
        document = {
            name: {"time": at.time, "refused_packets": at.refused_packets}
            for name, at in since.items()
        }
        try:
            self._replace(self._since_path, document)
        except OSError as error:  # ENOSPC, EROFS
            raise NetemError(f"{self._since_path}: {error.strerror}") from error

    def _replace(self, path: Path, document: Mapping[str, Any]) -> None:
        new = path.with_suffix(".new")
        with open(new, "w", encoding="utf-8") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
