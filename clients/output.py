"""Standard output whose reader may leave, as in ``clock-client | head -1``."""

import os
import sys
from collections.abc import Callable


def status_of(run: Callable[[], int]) -> int:
    """Return what ``run()`` returns, or 1 if the reader of its output left before the end.

    For TCP clients: the default action of SIGPIPE would also end them when a server hangs up.
    """
    try:
        status = run()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 1
    return status
