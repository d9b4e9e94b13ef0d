"""The UDP exercise as a student's first version does it: confirm, drop nothing, log nothing.

``python3 -m benchmarks._udp_peer asyncio|socketserver PORT``: a program of its own. asyncio takes
256 KiB for each datagram, and how long that takes depends on what the process has freed before.
"""

import asyncio
import socketserver
import sys
from typing import Any

from services.udp.protocol import confirm


def _asyncio_server(port: int) -> None:
    class Confirming(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self._transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self._transport.sendto(confirm(data), addr)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(Confirming, local_addr=("127.0.0.1", port))
        await asyncio.Event().wait()

    asyncio.run(run())


def _socketserver(port: int) -> None:
    class Confirming(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data, sock = self.request
            sock.sendto(confirm(data), self.client_address)

    with socketserver.ThreadingUDPServer(("127.0.0.1", port), Confirming) as server:
        server.serve_forever()


if __name__ == "__main__":
    {"asyncio": _asyncio_server, "socketserver": _socketserver}[sys.argv[1]](int(sys.argv[2]))
