"""Who holds a port of this machine: a container, or a process by its name and number.

Linux tells through ``/proc/net/{tcp,udp}`` (which socket has the port) and ``/proc/PID/fd`` (who
has the socket open); a line there, cut short::

    sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
    0: 0100007F:3039 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 17542

Addresses and ports are hexadecimal, an address in the byte order of the machine. Elsewhere the
port is tried, and the holder stays nameless.
"""

import errno
import json
import os
import re
import socket
from collections.abc import Iterable
from pathlib import Path

from lab.compose import project_name
from lab.settings import ROOT
from lab.system import output_of

_TCP_LISTEN = "0A"
_LOOPBACK_OR_ANY = (
    "00000000", "0100007F", "7F000001",
    "0" * 32,  # an IPv6 wildcard takes the IPv4 port as well
)  # fmt: skip


def holder(protocol: str, port: int) -> str | None:
    """Return who holds a port (``udp`` or ``tcp``) on 127.0.0.1, in words, or None if it is free.

    The lab of this folder is called ``the lab itself``.
    """
    form = "{{json .}}"
    listed = output_of(["docker", "ps", "--no-trunc", "--format", form], timeout_s=10)
    if listed.status == 0:
        name = container_holding(listed.out, protocol, port, (project_name(), ROOT))
        if name is not None:
            return name
    for family in ("", "6"):
        try:
            table = Path(f"/proc/net/{protocol}{family}").read_text(encoding="ascii")
        except OSError:
            continue
        if sockets := sockets_on(table, protocol, port):
            return _process_with(sockets)
    return _when_tried(protocol, port)


def suggestion(port: int) -> int:
    """Return another port to try in place of one that is taken."""
    return port + 10000 if port + 10000 <= 65535 else port - 10000


def container_holding(listing: str, protocol: str, port: int, lab: tuple[str, Path]) -> str | None:
    """Return whose container publishes a port, from ``docker ps --format '{{json .}}'``.

    ``lab`` is this lab's Compose project and folder.
    """
    for line in listing.splitlines():
        container = json.loads(line)
        if (protocol, port) not in published_ports(container["Ports"]):
            continue
        labels = dict(pair.partition("=")[::2] for pair in container["Labels"].split(","))
        project = labels.get("com.docker.compose.project", "")
        folder = labels.get("com.docker.compose.project.working_dir", "")
        if (project, Path(folder)) == lab:
            return "the lab itself"
        whose = f" of the Compose project {project} in {folder}" if project else ""
        return f"container {container['Names']}{whose}"
    return None


def published_ports(text: str) -> set[tuple[str, int]]:
    """Return protocol and host port of each port in docker's words.

    ``127.0.0.1:1234->1234/udp, 0.0.0.0:8000-8001->80-81/tcp, 9/tcp`` is 1234, 8000 and 8001.
    """
    found = set()
    for first, last, protocol in re.findall(r":(\d+)(?:-(\d+))?->[\d-]+/(\w+)", text):
        found |= {(protocol, port) for port in range(int(first), int(last or first) + 1)}
    return found


def sockets_on(table: str, protocol: str, port: int) -> dict[int, int]:
    """Return inode and user number of each socket that keeps others off a port of 127.0.0.1.

    ``table`` is the text of ``/proc/net/tcp`` or its likes.
    """
    found = {}
    for line in table.splitlines()[1:]:
        fields = line.split()
        address, _, number = fields[1].partition(":")
        if int(number, 16) != port or address not in _LOOPBACK_OR_ANY:
            continue
        if protocol == "udp" or fields[3] == _TCP_LISTEN:
            found[int(fields[9])] = int(fields[7])
    return found


def _process_with(sockets: dict[int, int]) -> str:
    wanted = {f"socket:[{inode}]" for inode in sockets}
    for process in Path("/proc").glob("[0-9]*"):
        if wanted & set(_links(process / "fd")):
            try:
                name = (process / "comm").read_text(encoding="utf-8").strip()
            except OSError:  # it has just ended
                continue
            return f"{name} (process {process.name})"
    users = ", ".join(str(user) for user in sorted(set(sockets.values())))
    return f"a process of user number {users} (to see which: sudo ss --listening --processes)"


def _links(folder: Path) -> Iterable[str]:
    try:
        names = os.listdir(folder)
    except OSError:  # EACCES: another user's; ENOENT: it has just ended
        return
    for name in names:
        try:
            yield os.readlink(folder / name)
        except OSError:  # closed in the meantime
            continue


def _when_tried(protocol: str, port: int) -> str | None:
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as probe:
        if protocol == "tcp":  # connections in TIME_WAIT do not count
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            # EACCES is a port below 1024, which the engine may well use
            return "another program" if error.errno == errno.EADDRINUSE else None
    return None
