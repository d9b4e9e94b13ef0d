"""A TCP server which tells the time, one thread per client."""

import argparse
import datetime
import logging
import socketserver


class ClockHandler(socketserver.StreamRequestHandler):
    """One question per line, one ISO 8601 answer per line."""

    def handle(self) -> None:
        logging.info("client %s connected", self.client_address)
        try:
            for line in self.rfile:
                if line.strip():
                    now = datetime.datetime.now(datetime.timezone.utc)
                    self.wfile.write(now.isoformat().encode() + b"\n")
        except ConnectionError as error:
            logging.info("client %s went away: %s", self.client_address, error)


class ClockServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=5006)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    with ClockServer(("", args.port), ClockHandler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
