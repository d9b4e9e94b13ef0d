"""A small web server on sockets, a thread per connection."""

import argparse
import logging
import pathlib
import socket
import threading

PAGES = pathlib.Path(__file__).resolve().parent / "www"
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
           500: "Internal Server Error"}


class HttpError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(REASONS[status])
        self.status = status


class Connection(threading.Thread):
    def __init__(self, sock: socket.socket, address: tuple[str, int]) -> None:
        super().__init__(name=f"http-{address[1]}", daemon=True)
        self.sock = sock
        self.sock.settimeout(60)

    def run(self) -> None:
        with self.sock:
            try:
                head = self.read_head()
                if head is None:
                    return
                try:
                    status, body = 200, self.handle(head)
                except HttpError as error:
                    status, body = error.status, f"<h1>{error}</h1>".encode()
                except Exception:
                    logging.exception("while handling a request")
                    status, body = 500, b"<h1>Internal Server Error</h1>"
                self.answer(status, body, head.startswith(b"HEAD "))
            except OSError as error:
                logging.info("connection lost: %s", error)

    def read_head(self) -> bytes | None:
        received = bytearray()
        while b"\r\n\r\n" not in received:
            chunk = self.sock.recv(4096)
            if not chunk or len(received) > 65536:
                return bytes(received) or None
            received += chunk
        return bytes(received)

    def handle(self, head: bytes) -> bytes:
        try:
            method, target, version = head.split(b"\r\n")[0].decode("ascii").split(" ")
        except ValueError:
            raise HttpError(400) from None
        if not version.startswith("HTTP/"):
            raise HttpError(400)
        if method not in ("GET", "HEAD"):
            raise HttpError(405)
        if target == "/crash":
            return str(1 / 0).encode()
        path = (PAGES / target.split("?")[0].lstrip("/")).resolve()
        if path == PAGES:
            path = PAGES / "index.html"
        if not path.is_relative_to(PAGES) or not path.is_file():
            raise HttpError(404)
        return path.read_bytes()

    def answer(self, status: int, body: bytes, head_only: bool) -> None:
        fields = [
            f"HTTP/1.1 {status} {REASONS[status]}",
            "Content-Type: text/html; charset=utf-8",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        self.sock.sendall("\r\n".join(fields).encode() + b"\r\n\r\n" + (b"" if head_only else body))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    with socket.create_server(("", args.port), backlog=128) as listener:
        logging.info("http://localhost:%d/", args.port)
        while True:
            Connection(*listener.accept()).start()


if __name__ == "__main__":
    main()
