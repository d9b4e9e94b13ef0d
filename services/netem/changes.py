"""When something about this namespace's network changes, told by the kernel: netlink(7).

A process that asked ``tc`` and ``nft`` every second would cost an emulated processor, or a laptop
with three sidecars, more than all the servers together.
"""

import select
import socket
from types import TracebackType

RTMGRP_LINK, RTMGRP_TC = 1, 8  # rtnetlink(7): interfaces; qdiscs and filters
NETLINK_NETFILTER = 12
NFNLGRP_NFTABLES = 7  # linux/netfilter/nfnetlink.h


class Changes:
    """Hears of every change of interfaces, qdiscs, filters and nftables rules from now on."""

    def __init__(self) -> None:
        self._sockets = [
            _listening(socket.NETLINK_ROUTE, RTMGRP_LINK | RTMGRP_TC),
            _listening(NETLINK_NETFILTER, 1 << (NFNLGRP_NFTABLES - 1)),
        ]

    def __enter__(self) -> "Changes":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for each in self._sockets:
            if each is not None:
                each.close()

    def wait(self, timeout_s: float) -> bool:
        """Wait for changes at most ``timeout_s`` seconds; return whether there were any."""
        hearing = [each for each in self._sockets if each is not None]
        told, _, _ = select.select(hearing, [], [], timeout_s)
        for each in told:
            try:
                while each.recv(65536):
                    pass
            except BlockingIOError:  # EAGAIN: that was all
                pass
            except OSError:  # ENOBUFS: more changes than the socket could hold
                pass
        return bool(told)


def _listening(protocol: int, groups: int) -> socket.socket | None:
    try:
        found = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    except OSError:  # EPROTONOSUPPORT: a kernel without nf_tables has nothing to tell either
        return None
    found.setblocking(False)
    found.bind((0, groups))
    return found
