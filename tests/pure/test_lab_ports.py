import json
from pathlib import Path

import pytest

from lab.ports import container_holding, published_ports, sockets_on, suggestion

LAB = ("progres-lab", Path("/home/me/progres-lab"))

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:3039 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 17542 1
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 900 1
   2: 0100007F:04D4 0100007F:3039 01 00000000:00000000 00:00000000 00000000  1000        0 17543 1
   3: 0500A8C0:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 17544 1
"""


def listing(ports: str, project: str = "", folder: str = "") -> str:
    compose = "com.docker.compose.project"
    labels = f"a=b=c,{compose}={project},{compose}.working_dir={folder}"
    return (
        json.dumps({"Names": "box-1", "Ports": ports, "Labels": labels if project else ""}) + "\n"
    )


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("", set()),
        ("9/tcp", set()),
        ("127.0.0.1:1234->1234/udp", {("udp", 1234)}),
        ("0.0.0.0:80->80/tcp, [::]:80->80/tcp", {("tcp", 80)}),
        (
            "0.0.0.0:8000-8002->80-82/tcp, 7/udp",
            {("tcp", 8000), ("tcp", 8001), ("tcp", 8002)},
        ),
        (":::1236->1236/tcp", {("tcp", 1236)}),
    ],
)
def test_published_ports_are_read_in_dockers_words(text: str, ports: set[tuple[str, int]]) -> None:
    assert published_ports(text) == ports


def test_this_lab_another_lab_and_any_container_are_told_apart() -> None:
    ports = "127.0.0.1:1236->1236/tcp"
    own = listing(ports, "progres-lab", "/home/me/progres-lab")
    other = listing(ports, "progres-lab", "/home/you/progres-lab")
    assert container_holding(own, "tcp", 1236, LAB) == "the lab itself"
    assert container_holding(own, "udp", 1236, LAB) is None
    assert container_holding(own, "tcp", 1234, LAB) is None
    assert container_holding(other, "tcp", 1236, LAB) == (
        "container box-1 of the Compose project progres-lab in /home/you/progres-lab"
    )
    assert container_holding(listing(ports), "tcp", 1236, LAB) == "container box-1"
    assert container_holding("", "tcp", 1236, LAB) is None


def test_only_listening_sockets_on_loopback_or_everywhere_hold_a_tcp_port() -> None:
    assert sockets_on(TCP, "tcp", 12345) == {17542: 1000}
    assert sockets_on(TCP, "tcp", 22) == {900: 0}
    assert sockets_on(TCP, "tcp", 1236) == {}  # a connection, not a listener
    assert sockets_on(TCP, "tcp", 8080) == {}  # another interface's
    assert sockets_on(TCP.replace(" 0A ", " 07 "), "udp", 12345) == {17542: 1000}


@pytest.mark.parametrize(("taken", "other"), [(1234, 11234), (12345, 22345), (60000, 50000)])
def test_another_port_is_suggested(taken: int, other: int) -> None:
    assert suggestion(taken) == other
