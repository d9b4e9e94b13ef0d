"""The run-time setting of one service's network: a small file that outlives every restart.

``/settings/udp.json``: ``{"format": 1, "from_server": "loss 30%"}``. No file, or no such key: the
setting of the environment holds. Beside it lies ``udp.lock``, so that the sidecar's own loop and a
``set`` from outside never change the network at the same time.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from services.netem import NetemError

DIRECTION = "from_server"
LOCK_DEADLINE_S = 10.0


class Settings:
    """The file of ``service`` in ``folder``."""

    def __init__(self, folder: str, service: str) -> None:
        self._path = Path(folder, f"{service}.json")
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

    def read(self) -> str | None:
        """Return the words set at run time; None if the environment's setting holds."""
        try:
            words = json.loads(self._path.read_text(encoding="utf-8"))[DIRECTION]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise NetemError(
                f"{self._path} cannot be read ({error}); make netem NETEM=default"
            ) from error
        return str(words)

    def write(self, words: str | None) -> None:
        """Keep ``words``, or forget them (None). Raises NetemError when the volume is not writable.

        A crash leaves the old file or the new one, never half of one.
        """
        try:
            if words is None:
                self._path.unlink(missing_ok=True)
                return
            new = self._path.with_suffix(".new")
            with open(new, "w", encoding="utf-8") as file:
                json.dump({"format": 1, DIRECTION: words}, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError as error:  # ENOSPC, EROFS
            raise NetemError(f"{self._path}: {error.strerror}") from error
