"""Judges anybody's implementation of the three exercises: docs/grading.md.

::

    folder -> manifest.py    what the submission says of itself (lab.toml)
              recognition.py or else what can be recognised
           -> sandbox.py     its files copied into a container without network, built there
           -> arena.py       one program in a namespace of its own, and our peer on the other end
           -> tests/checks   the checks, pytest tests that talk to the arena and to ``judge``
           -> verdict.py     findings, a document that grading/feedback shows

The arena's namespace has no interface but ``lo``. Every address that a program was written for is
added there, so a server that listens on localhost alone and a client with an address written into
it both meet our peer. The peer (``grading/peer``) runs in a container of its own in that namespace;
it alone has NET_ADMIN, to lose packets, and NET_RAW, to capture them.
"""

PORTS = {
    "udp-server": 1234,
    "udp-client": 1234,
    "clock-server": 1236,
    "clock-client": 1236,
    "http-server": 12345,
}
"""What a submission may have, and the exercise's own port of each."""

PROGRAMS = tuple(PORTS)

FORGETTING_CLOSED = {"net.ipv4.tcp_max_tw_buckets": "0"}
"""Of a program's network namespace: a port is free again at once, whoever closed first. A server
without SO_REUSEADDR that is started anew must not fail for the connections of the one before."""


class GradingError(Exception):
    """What the grader could not do, in a sentence that names the way out."""
