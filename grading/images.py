"""The images that submissions run in: a fixed list, made here from the distribution's packages.

Standard library only: ``make up UDP_DIR=path`` needs them, too.
"""

import hashlib
import threading

from lab import compose
from lab.base_image import ensure_base_image
from lab.say import say
from lab.settings import ROOT, image

PACKAGES = {
    "c": "gcc libc6-dev make",
    "java": "default-jdk-headless make",
    "go": "golang-go make",
    "peer": "curl iproute2 nftables",
}
"""Image: what it has beside Python and coreutils. ``peer`` is our own side of an arena."""

_lock = threading.Lock()
_known: dict[str, str] = {}


def ensure_image(name: str) -> str:
    """Return the image's reference; it is built on first need. Raises LabError."""
    with _lock:
        if name not in _known:
            _known[name] = image("progres-lab") if name == "python" else _built(name)
        return _known[name]


def peer_image() -> str:
    """Return the image that our own side of an arena runs in: Python, curl, tc and nft."""
    return ensure_image("peer")


def _built(name: str) -> str:
    recipe = (ROOT / "grading" / "Dockerfile").read_text(encoding="utf-8") + PACKAGES[name]
    reference = f"progres-lab-grading-{name}:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if compose.captured(["docker", "image", "inspect", reference]).returncode == 0:
        return reference
    arguments = [f"BASE_IMAGE={ensure_base_image()}", f"PACKAGES={PACKAGES[name]}"]
    say(f"building the image for {name}, a minute or two, once")
    argv = ["docker", "build", "--tag", reference]
    argv += [word for argument in arguments for word in ("--build-arg", argument)]
    compose.build(f"building the image for {name}", [*argv, str(ROOT / "grading")])
    return reference
