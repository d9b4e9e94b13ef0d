"""Machines for the tests of the set-up, described as ``lab.system.detect`` would."""

from dataclasses import replace

from lab.system import System

DEBIAN_12 = System(
    distribution="debian",
    version=(12,),
    name="Debian GNU/Linux 12 (bookworm)",
    kernel="6.1.0-40-amd64",
    root=True,
    terminal=False,
    sudo=False,
    service_manager="none",
    may_install=True,
)
DEBIAN_13 = replace(DEBIAN_12, version=(13,), name="Debian GNU/Linux 13 (trixie)")
UBUNTU = replace(DEBIAN_12, distribution="ubuntu", version=(24, 4), name="Ubuntu 24.04.3 LTS")
FEDORA = replace(DEBIAN_12, distribution="fedora", version=(42,), name="Fedora Linux 42")
MACOS = replace(DEBIAN_12, distribution="macos", version=(), name="macos", root=False)
LAPTOP = replace(DEBIAN_13, root=False, sudo=True, terminal=True, service_manager="systemd")
