"""A UDP server which acknowledges messages and loses half of them on purpose."""

import argparse
import logging
import random
import socket


class LossyServer:
    """Acknowledges every datagram with probability 1 - loss."""

    def __init__(self, host: str, port: int, loss: float) -> None:
        self.loss = loss
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((host, port))
        self.received = 0
        self.lost = 0

    def unlucky(self) -> bool:
        return random.uniform(0, 1) < self.loss

    def serve_forever(self) -> None:
        while True:
            data, sender = self.sock.recvfrom(4096)
            self.received += 1
            if self.unlucky():
                self.lost += 1
                logging.info("dropped %d bytes from %s", len(data), sender)
                continue
            try:
                self.sock.sendto(b"ACK " + data, sender)
            except OSError as error:
                logging.warning("cannot answer %s: %s", sender, error)
            else:
                logging.info("acknowledged %d bytes to %s", len(data), sender)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=5005)
    parser.add_argument("--loss", type=float, default=0.5)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    LossyServer(args.host, args.port, args.loss).serve_forever()


if __name__ == "__main__":
    main()
