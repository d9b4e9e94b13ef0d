"""Several processes that serve the same port: each has an interpreter, and so a core, of its own.

::

    supervise --- fork --+--> worker 1: serves its listening socket
                         +--> worker 2: serves its listening socket

All of them listen on the one port (SO_REUSEPORT), and the kernel gives each new connection to one,
by a hash of its addresses (socket(7)). The supervisor keeps the sockets open: while a worker that
died is started again, its clients wait. It has no threads, which makes forking safe.
"""

import os
import signal
import sys
import time
from collections.abc import Callable

from services.events import Events
from services.lifetime import TICK_S, Lifetime

RESTART_PAUSE_S = 0.2
"""Between the death of a worker and its next start."""

STOP_S = 1.8
"""For the workers to end after SIGTERM; then they are killed."""


class WorkerLifetime(Lifetime):
    """A lifetime that is over, too, when the supervisor has died."""

    def __init__(self, supervisor: int) -> None:
        super().__init__()
        self._supervisor = supervisor

    def over(self) -> bool:
        """Return True once the worker should stop."""
        if os.getppid() != self._supervisor:
            self.end("the supervisor is gone")
        return super().over()


Work = Callable[[int, Lifetime], None]


def supervise(count: int, work: Work, lifetime: Lifetime, events: Events) -> None:
    """Run ``work(number, lifetime)`` in ``count`` processes until the lifetime is over."""
    workers = {_fork(number, work): number for number in range(1, count + 1)}
    while not lifetime.over():
        time.sleep(TICK_S)
        for process, number in list(workers.items()):
            if (status := _ended(process)) is not None:
                events("worker-died", worker=number, status=status)
                time.sleep(RESTART_PAUSE_S)
                del workers[process]
                workers[_fork(number, work)] = number
    _stop(list(workers))


def _fork(number: int, work: Work) -> int:
    supervisor = os.getpid()
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        if sys.platform == "linux":
            # A thread that wakes up does not interrupt one that runs. With more processes than
            # cores to spare (the clients are on this machine too) that saves a sixth of the time.
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        work(number, WorkerLifetime(supervisor).end_on_signals())
        status = 0
    finally:
        os._exit(status)  # it must not return into what the supervisor was doing


def _ended(process: int) -> int | None:
    """Return the exit status of a worker (negative: the signal that ended it), None if it runs."""
    pid, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def _stop(processes: list[int]) -> None:
    for process in processes:
        os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while processes and time.monotonic() < deadline:
        time.sleep(0.01)
        processes = [process for process in processes if _ended(process) is None]
    for process in processes:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
