"""The clock in its container: two clients at once, and an error that is known beforehand."""

import socket

import pytest

from tests.lab.driver import Lab


def ask(connection: socket.socket) -> str:
    connection.sendall(b"what time is it?\n")
    with connection.makefile("rb", buffering=0) as lines:
        return lines.readline().decode().strip()


def connect(lab: Lab) -> socket.socket:
    return socket.create_connection(("127.0.0.1", lab.port("clock")), timeout=30)


def test_a_second_client_is_served_while_the_first_is_idle(lab: Lab) -> None:
    with connect(lab) as first, connect(lab) as second:
        assert "T" in ask(second)
        assert "T" in ask(second)
        assert "T" in ask(first)


@pytest.mark.any_kernel
def test_the_client_finds_the_servers_injected_offset_within_its_bound(lab: Lab) -> None:
    document = lab.client_json("clock", "--count", "5", "--interval", "0.05")
    summary = document["summary"]
    assert summary["answered"] == 5
    assert abs(summary["offset_ns"] - 2_500_000_000) <= summary["bound_ns"]
    assert summary["bound_ns"] < 1_000_000_000
