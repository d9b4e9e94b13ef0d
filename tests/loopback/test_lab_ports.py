import os
import socket

import pytest

from lab.ports import holder


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_the_process_that_holds_a_port_is_named(protocol: str, address: str) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as held:
        held.bind((address, 0))
        if protocol == "tcp":
            held.listen()
        port = held.getsockname()[1]
        assert f"(process {os.getpid()})" in (holder(protocol, port) or "free")
    assert holder(protocol, port) is None
