"""The images that submissions run in: a fixed list, made here from the distribution's packages."""

import threading
from typing import Any

import docker.errors

from grading import GradingError
from lab.base_image import ensure_base_image
from lab.settings import ROOT, image

PACKAGES = {
    "c": "gcc libc6-dev make",
    "java": "default-jdk-headless make",
    "go": "golang-go make",
}
"""Image: what it has beside Python and coreutils."""

_lock = threading.Lock()
_known: dict[str, str] = {}


def ensure_image(engine: Any, name: str) -> str:
    """Return the image's reference; it is built on first need. Raises GradingError."""
    with _lock:
        if name not in _known:
            _known[name] = image("progres-lab") if name == "python" else _built(engine, name)
        return _known[name]


def peer_image() -> str:
    """Return the image that our own side of an arena runs in: Python, tc and nft."""
    return image("progres-lab-netem")


def _built(engine: Any, name: str) -> str:
    reference = f"progres-lab-grading-{name}:trixie"
    try:
        engine.images.get(reference)
        return reference
    except docker.errors.ImageNotFound:
        pass
    arguments = {"BASE_IMAGE": ensure_base_image(), "PACKAGES": PACKAGES[name]}
    try:
        engine.images.build(path=str(ROOT / "grading"), tag=reference, buildargs=arguments, rm=True)
    except docker.errors.BuildError as error:
        said = "".join(entry.get("stream", "") for entry in error.build_log)[-2000:]
        raise GradingError(f"the image for {name} cannot be built: {error}\n{said}") from None
    return reference
