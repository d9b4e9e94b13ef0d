"""The sidecar that degrades a server's network, and proves that it did.

It joins the network namespace of the server's container with the one capability NET_ADMIN and
shapes what passes the interface, each direction by itself: ``from_server`` what leaves, towards the
clients, ``to_server`` what comes in. What is asked for is written in the words of ``tc netem``;
what is in effect is always read back from the kernel.

::

    words  ->  impairment.py (pure)  ->  kernel.py: tc, nft, ip  ->  the interface
                     |                                                    |
                     +---- readback.py (pure): every field compared ------+

``sidecar.py`` holds the two together: set, apply, reset, show, check, and the loop that looks when
the kernel tells of a change (``changes.py``).
"""


class NetemError(Exception):
    """What the sidecar could not do, in a sentence, and the exit status that says so."""

    exit_status = 1


class WrongWords(NetemError):
    """The words are not what ``tc netem`` takes, or not what can be checked afterwards."""

    exit_status = 2


class NotOnThisKernel(NetemError):
    """The words are right, but this kernel cannot do it."""

    exit_status = 3
