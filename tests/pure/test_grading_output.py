"""What a program prints is taken to its end, however much it is."""

import socket
import threading

from grading.manifest import Program
from grading.sandbox import MAX_OUTPUT_BYTES, Run, close_socket

ENDLESS = 8 * MAX_OUTPUT_BYTES


class Engine:
    """A container as the engine shows it: ``kill`` answers when all output has been taken."""

    id = "c"

    def __init__(self) -> None:
        self._ours, self._programs = socket.socketpair()
        self.killed = threading.Event()
        self.taken = threading.Event()

    def attach_socket(self, params: object) -> socket.socket:
        return self._ours

    def start(self) -> None:
        threading.Thread(target=self._print, daemon=True).start()

    def kill(self) -> None:
        self.killed.set()
        self.taken.wait()

    def _print(self) -> None:
        with self._programs:
            self._programs.sendall(bytes(ENDLESS))
        self.taken.set()


def test_who_prints_without_end_is_killed_while_the_rest_is_still_read() -> None:
    engine = Engine()
    run = Run(engine, Program("udp-server", "yes", 1234))
    assert run.ended.wait(20), "reading waited for the engine, and the engine for the reading"
    assert engine.killed.wait(20)
    assert run.output.overflowed
    assert run.output.size <= MAX_OUTPUT_BYTES
    close_socket(engine.attach_socket({}))
