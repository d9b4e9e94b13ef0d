"""The HTTP server in its container, through the published port and through http-client."""

import http.client
import socket

import pytest

from tests.lab.driver import Lab


def get(lab: Lab, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", lab.port("http"), timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.any_kernel
def test_the_page_says_that_the_web_server_is_working(lab: Lab) -> None:
    status, body = get(lab, "/")
    assert status == 200
    assert "The web server is working." in body


@pytest.mark.any_kernel
def test_another_path_is_not_found(lab: Lab) -> None:
    assert get(lab, "/no-such-page")[0] == 404


@pytest.mark.any_kernel
def test_an_error_while_handling_gives_500_and_the_server_lives(lab: Lab) -> None:
    status, body = get(lab, "/fail")
    assert status == 500
    assert "Traceback" not in body
    assert get(lab, "/")[0] == 200


@pytest.mark.any_kernel
def test_each_connection_has_a_thread_of_its_own(lab: Lab) -> None:
    address = ("127.0.0.1", lab.port("http"))
    idle = [socket.create_connection(address, timeout=30) for _ in range(5)]
    try:
        for connection in idle:
            connection.sendall(b"GET / HTTP/1.1\r\n")  # and never ends its head
        assert get(lab, "/")[0] == 200
    finally:
        for connection in idle:
            connection.close()


@pytest.mark.any_kernel
def test_http_client_shows_status_fields_body_and_timing(lab: Lab) -> None:
    shown = lab.client("http")
    assert shown.returncode == 0, shown
    assert "200" in shown.stdout
    assert "The web server is working." in shown.stdout
    assert "first byte" in shown.stdout
