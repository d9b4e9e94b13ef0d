"""What the server remembers of each run: how often it answered and dropped each datagram.

A run is known by its client's address and port and by its identifier: who has the one cannot ask
about, nor add to, the other's. One byte a datagram, in pages of 1,024, so that a forged number
costs one page and no more. When there are too many pages, the run that has been silent longest is
forgotten as a whole. Whoever asks is told since when nothing has been forgotten, so that "I do not
know" is never mistaken for "it did not come". Pure; the clock comes in as an argument.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from services.udp.protocol import ACCOUNT_LIMIT, NEVER_RECEIVED

PAGE = 1024
PAGES = 8192
"""8 MiB, and 4 more for the keeping: a million datagrams of one run, or thousands of short runs."""

_TO_CODES = bytes((value & 63) + NEVER_RECEIVED for value in range(256))


class _Run:
    def __init__(self, complete_since_ns: int) -> None:
        self.complete_since_ns = complete_since_ns
        self.pages: dict[int, bytearray] = {}


class Accounts:
    """The accounts of all runs; make it when the server can receive. ``clock_ns`` never steps."""

    def __init__(self, clock_ns: Callable[[], int], pages: int = PAGES) -> None:
        self._clock_ns = clock_ns
        self._forgot_ns = clock_ns()
        self._pages_left = pages
        self._runs: OrderedDict[Hashable, _Run] = OrderedDict()

    def note(self, run: Hashable, number: int, end: int) -> None:
        """Note that a datagram came to this end: ``ANSWERED``, ``DROPPED`` or ``UNANSWERED``."""
        if number > ACCOUNT_LIMIT:
            return
        try:
            page = self._runs[run].pages[number // PAGE]
        except KeyError:
            page = self._new_page(run, number // PAGE)
        value = page[number % PAGE]
        if value >> end & 3 < 3:
            page[number % PAGE] = value + (1 << end)

    def codes(self, run: Hashable, first: int, last: int) -> bytes:
        """Return a code for each of the datagrams ``first`` to ``last``, up to the limit."""
        known = self._runs.get(run)
        pages = known.pages if known else {}
        nothing = bytes(PAGE)
        last = min(last, ACCOUNT_LIMIT)
        indices = range(first // PAGE, last // PAGE + 1)
        values = b"".join(bytes(pages.get(index, nothing)) for index in indices)
        begin = first // PAGE * PAGE
        return values[first - begin : last + 1 - begin].translate(_TO_CODES)

    def complete_s(self, run: Hashable) -> float:
        """Return for how long nothing that came of this run can have been forgotten."""
        known = self._runs.get(run)
        since_ns = known.complete_since_ns if known else self._forgot_ns
        return (self._clock_ns() - since_ns) / 1e9

    def _new_page(self, run: Hashable, index: int) -> bytearray:
        while not self._pages_left:
            _, forgotten = self._runs.popitem(last=False)
            self._pages_left += len(forgotten.pages)
            self._forgot_ns = self._clock_ns()
        if run not in self._runs:
            self._runs[run] = _Run(self._forgot_ns)
        self._runs.move_to_end(run)
        self._pages_left -= 1
        page = self._runs[run].pages[index] = bytearray(PAGE)
        return page
