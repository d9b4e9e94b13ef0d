"""Where did it go? A UDP run, and for each missing answer the reason: ``make where``.

Three accounts of the same datagrams are joined, by (run, request, attempt):

=====================  ============================================================================
the client's           each attempt: answered, late, or not; and, from the server's account, whether
                       the server has received it, dropped it, answered it (docs/udp.md)
the server's own log   the same from its own mouth, past the network: it settles what the account,
                       which travels through the bad network, could not
the network's          what the sidecar's counters grew by, each way: lost at random, and refused by
                       a full queue; the kernel's counters in both namespaces: corrupted datagrams
                       (bad checksum), and a receiver's full buffer
=====================  ============================================================================

What the two ends know is exact for every single datagram: dropped on purpose, lost on the way to
the server, lost on the way from it, answered too late. *Why* a way lost it, the counters tell:
where a way had one cause alone, each of its losses is attributed to it, else only their numbers.

Beside it stands what probability predicts, from the settings in effect: drops of what the server
received, losses of what was sent each way. A count outside the band that chance keeps to but once
in 10,000 runs is said to be so.
"""

import json
import re
import secrets
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from lab import compose, receipts, sidecars
from lab.calibration import chain_of, long_run_loss
from lab.chance import share_band
from lab.conditions import server_settings
from lab.errors import LabError
from lab.receipts import counters_growth
from lab.settings import ROOT
from services.netem.impairment import Impairment, parse
from services.options import probability
from services.udp.drop import DROP_PROBABILITY

DEFAULT_ARGUMENTS = ("--paced", "--count", "1000", "--interval", "4ms")
FORMAT = 1
ERROR = 1e-4
SMALL_RUN = 40
"""So many attempts, and each missing answer gets a line."""


class Cause(StrEnum):
    """What became of a datagram, or of its answer."""

    ANSWERED = "answered"
    LATE = "timeout too short: the answer came after it"
    DROPPED = "dropped by the server on purpose"
    TO_SERVER = "lost to the server"
    FROM_SERVER = "lost from the server"
    REFUSED = "refused: nothing listens there"
    UNSENT = "not sent by this machine"
    UNKNOWN = "unknown"


OUTCOMES = {
    "answered": Cause.ANSWERED,
    "answered late": Cause.LATE,
    "dropped by the server": Cause.DROPPED,
    "lost on the way there": Cause.TO_SERVER,
    "lost on the way back": Cause.FROM_SERVER,
    "refused": Cause.REFUSED,
    "not sent": Cause.UNSENT,
    "unknown": Cause.UNKNOWN,
}
"""The client's words, and ours."""


class Why(StrEnum):
    """Why a way lost a datagram."""

    NETWORK = "by the network, at random"
    QUEUE = "netem's queue was full"
    CORRUPTED = "corrupted on the way, refused by its checksum"
    BUFFER = "the receiver's buffer was full"
    UNEXPLAINED = "nothing in the lab counted it"


@dataclass(frozen=True)
class Way:
    """The network's account of one direction: what grew during the run.

    ``words`` are what was asked for; ``checksum_errors`` and ``buffer_errors`` are of the namespace
    at its end.
    """

    words: str = "off"
    mechanism: str = "none"
    dropped: int = 0
    overflowed: int = 0
    checksum_errors: int = 0
    buffer_errors: int = 0

    @property
    def impairment(self) -> Impairment | None:
        """What the words mean."""
        return None if self.words == "off" else parse(self.words.split())

    def reasons(self, lost: int) -> dict[Why, int]:
        """Return how many of the ``lost`` datagrams went for which reason; the sum is ``lost``.

        The counters count everybody's packets, so none is taken for more than there are.
        """
        found: dict[Why, int] = {}
        left = lost
        for why, count in (
            (Why.QUEUE, self.overflowed),
            (Why.CORRUPTED, self.checksum_errors),
            (Why.BUFFER, self.buffer_errors),
            (Why.NETWORK, self.dropped - self.overflowed),
        ):
            if (taken := min(left, max(0, count))) > 0:
                found[why] = taken
                left -= taken
        if left:
            found[Why.UNEXPLAINED] = left
        return found


@dataclass(frozen=True)
class Expected:
    """A count of the run beside what probability predicts; the band holds but for ``ERROR``."""

    what: str
    count: int
    of: int
    probability: float | None
    low: int = 0
    high: int = 0

    @property
    def as_predicted(self) -> bool | None:
        """Whether the count is in its band; None where nothing is predicted."""
        if self.probability is None or not self.of:
            return None
        return self.low <= self.count <= self.high


@dataclass(frozen=True)
class Explained:
    """The joined account of a run."""

    run: str
    server: str
    attempts: Sequence[tuple[int, int, Cause, str]]
    """Request, attempt, what became of it, and why, as far as it is known of this very one."""
    reasons: Mapping[str, Mapping[Why, int]]
    """Direction: reason: how many."""
    expected: Sequence[Expected]
    ways: Mapping[str, Way]
    settled_by_log: int
    disagreements: Sequence[str] = ()

    @property
    def counts(self) -> Counter[Cause]:
        """How many datagrams each cause has."""
        return Counter(cause for _, _, cause, _ in self.attempts)


LogFacts = Mapping[tuple[int, int], Mapping[str, int]]
"""(request, attempt): how often the server's log says received, dropped, answered, ..."""

_LOGGED = re.compile(
    r"\b(received|dropped|answered|unanswered|ignored)\b"
    r".*\bping\"?[=:] ?\"?([0-9a-f]{8})/(\d+)\.(\d+)"
)


def log_facts(lines: Iterable[str], run: str) -> LogFacts:
    """Return what the server's log says of the datagrams of a run, human or JSON lines."""
    facts: dict[tuple[int, int], Counter[str]] = {}
    for line in lines:
        if (match := _LOGGED.search(line)) and match[2] == run:
            facts.setdefault((int(match[3]), int(match[4])), Counter())[match[1]] += 1
    return facts


def explained(
    document: Mapping[str, Any],
    log: LogFacts | None,
    ways: Mapping[str, Way],
    drop: float | None,
) -> Explained:
    """Join the accounts of a run. ``drop`` is the server's probability, None for a schedule.

    ``document`` is what ``udp-client --json`` printed; ``log`` None if the server writes none.
    """
    run = str(document["run"])
    causes: list[tuple[int, int, Cause]] = []
    settled = 0
    disagreements: list[str] = []
    for request in document["requests"]:
        for attempt in request["attempts"]:
            key = (int(request["request"]), int(attempt["attempt"]))
            cause = OUTCOMES[attempt["outcome"]]
            if cause is Cause.UNKNOWN and log is not None:
                cause = _by_log(log.get(key, {}))
                settled += 1
            elif log is not None and (said := _contradiction(cause, log.get(key, {}))):
                disagreements.append(f"request {key[0]}, attempt {key[1]}: {said}")
            causes.append((*key, cause))
    counts = Counter(cause for _, _, cause in causes)
    lost = {"to_server": counts[Cause.TO_SERVER], "from_server": counts[Cause.FROM_SERVER]}
    reasons = {direction: ways[direction].reasons(count) for direction, count in lost.items()}
    direction_of = {Cause.TO_SERVER: "to_server", Cause.FROM_SERVER: "from_server"}
    attempts = [
        (request, attempt, cause, _why(reasons.get(direction_of.get(cause, ""), {})))
        for request, attempt, cause in causes
    ]
    return Explained(
        run=run,
        server=str(document["server"]),
        attempts=attempts,
        reasons=reasons,
        expected=_expected(counts, reasons, ways, drop),
        ways=ways,
        settled_by_log=settled,
        disagreements=disagreements,
    )


def _by_log(said: Mapping[str, int]) -> Cause:
    """Return what became of a datagram without an answer by what the server's log says."""
    if said.get("answered"):
        return Cause.FROM_SERVER
    if said.get("dropped"):
        return Cause.DROPPED
    # The log tells of everything that the server has received; so it has not received this.
    return Cause.UNKNOWN if said.get("received") else Cause.TO_SERVER


def _contradiction(cause: Cause, said: Mapping[str, int]) -> str:
    """Return where client and server tell different stories of one datagram, or ""."""
    heard, answered = bool(said.get("received")), bool(said.get("answered"))
    if cause in (Cause.ANSWERED, Cause.LATE, Cause.FROM_SERVER) and not answered:
        return f"{cause}, but the server's log does not say that it answered"
    if cause is Cause.DROPPED and not said.get("dropped"):
        return f"{cause}, but the server's log does not say so"
    if cause is Cause.TO_SERVER and heard:
        return f"{cause}, but the server's log says received"
    return ""


def _why(reasons: Mapping[Why, int]) -> str:
    """Return the reason of each single loss: certain where there is but one, else one of these."""
    return " or ".join(reasons)


def _expected(
    counts: Mapping[Cause, int],
    reasons: Mapping[str, Mapping[Why, int]],
    ways: Mapping[str, Way],
    drop: float | None,
) -> list[Expected]:
    answered = counts[Cause.ANSWERED] + counts[Cause.LATE]
    back = answered + counts[Cause.FROM_SERVER]
    received = back + counts[Cause.DROPPED]
    sent = received + counts[Cause.TO_SERVER]
    found = [_binomial("the program: drops on purpose", counts[Cause.DROPPED], received, drop)]
    for direction, of in (("to_server", sent), ("from_server", back)):
        what = f"the network: {receipts.WAYS[direction]}"
        way = ways[direction]
        by_queue = reasons[direction].get(Why.QUEUE, 0) + reasons[direction].get(Why.BUFFER, 0)
        lost = sum(reasons[direction].values()) - by_queue
        impairment = way.impairment
        chain = impairment and chain_of(impairment)
        if chain and of:
            low, high = chain.count_bounds(of, ERROR)
            found.append(Expected(what, lost, of, chain.loss, int(low), int(high) + 1))
        else:
            found.append(_binomial(what, lost, of, long_run_loss(impairment)))
    return found


def _binomial(what: str, count: int, of: int, chance: float | None) -> Expected:
    if chance is None:
        return Expected(what, count, of, None)
    low, high = share_band(of, chance, ERROR)
    return Expected(what, count, of, chance, low, high)


# For people ---------------------------------------------------------------------------------------


def told(found: Explained) -> str:
    """Return the account in a page."""
    counts, total = found.counts, len(found.attempts)
    lines = [f"{total} datagrams to {found.server}, run {found.run}"]
    lines += [
        f"  {receipts.WAYS[direction]:<12} {way.words}"
        + (f" ({way.mechanism})" if way.mechanism != "none" else "")
        for direction, way in found.ways.items()
    ]
    lines += ["", f"{'what became of them':<52}{'datagrams':>9}{'share':>9}"]
    for cause in Cause:
        if not counts[cause] and cause in (Cause.REFUSED, Cause.UNSENT, Cause.UNKNOWN):
            continue
        lines.append(_row(str(cause), counts[cause], total))
        direction = {Cause.TO_SERVER: "to_server", Cause.FROM_SERVER: "from_server"}.get(cause)
        for why, count in found.reasons.get(direction or "", {}).items():
            lines.append(_row(f"    {why}", count, total))
    lines += ["", f"{'the two kinds of loss':<32}{'lost':>6}{'of':>7}{'share':>9}{'predicted':>11}"]
    for one in found.expected:
        share = f"{100 * one.count / one.of:.1f} %" if one.of else "-"
        predicted, verdict = "-", ""
        if one.probability is not None:
            predicted = f"{100 * one.probability:.3g} %"
        if one.as_predicted is not None:
            verdict = "  as predicted" if one.as_predicted else "  NOT as predicted:"
            verdict += "" if one.as_predicted else f" {one.low} to {one.high} would be chance"
        lines.append(f"{one.what:<32}{one.count:>6}{one.of:>7}{share:>9}{predicted:>11}{verdict}")
    lines += ["", *_remarks(found)]
    if total <= SMALL_RUN:
        lines += [
            f"request {request}, attempt {attempt}: {cause}" + (f", {why}" if why else "")
            for request, attempt, cause, why in found.attempts
            if cause is not Cause.ANSWERED
        ]
    return "\n".join(lines)


def _row(text: str, count: int, total: int) -> str:
    return f"{text:<52}{count:>9}{f'{100 * count / total:.1f} %' if total else '-':>9}"


def _remarks(found: Explained) -> list[str]:
    lines = []
    for direction, way in found.ways.items():
        if way.mechanism != "none":
            lines.append(
                f"{receipts.WAYS[direction]}: the network's own counters say {way.dropped} lost"
                + (f", {way.overflowed} of them to a full queue" if way.overflowed else "")
                + ", whoever sent them (the client's questions for the account among them)"
            )
    if found.settled_by_log:
        lines.append(
            f"{found.settled_by_log} that the client could not know of are by the server's log"
        )
    if found.disagreements:
        lines.append(f"the accounts disagree on {len(found.disagreements)}:")
        lines += [f"  {text}" for text in found.disagreements[:10]]
    return lines


def as_document(found: Explained) -> dict[str, Any]:
    """Return it for ``where.json``."""
    return {
        "format": FORMAT,
        "run": found.run,
        "server": found.server,
        "counts": {str(cause): found.counts[cause] for cause in Cause},
        "reasons": {
            direction: {str(why): count for why, count in reasons.items()}
            for direction, reasons in found.reasons.items()
        },
        "expected": [asdict(one) | {"as_predicted": one.as_predicted} for one in found.expected],
        "ways": {direction: asdict(way) for direction, way in found.ways.items()},
        "settled_by_log": found.settled_by_log,
        "disagreements": list(found.disagreements),
        "attempts": [
            {"request": request, "attempt": attempt, "cause": str(cause), "why": why or None}
            for request, attempt, cause, why in found.attempts
        ],
    }


# On the lab ---------------------------------------------------------------------------------------


def where_command(arguments: Sequence[str]) -> int:
    """Make a run, explain it, keep it in ``results/where``; return 0, or 130 if it was cut short.

    ``arguments`` are those of udp-client; without any, a thousand datagrams without retries.
    Raises LabError.
    """
    folder = receipts.new_folder("where")
    document, found = explain_a_run(arguments or DEFAULT_ARGUMENTS)
    (folder / "client.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    (folder / "where.json").write_text(json.dumps(as_document(found), indent=1), encoding="utf-8")
    print(told(found))
    shown = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    print(f"kept in {shown}")
    return 130 if document["interrupted"] else 0


def explain_a_run(arguments: Sequence[str]) -> tuple[dict[str, Any], Explained]:
    """Make a run with these arguments of udp-client; return its document and the account.

    Raises LabError.
    """
    before, counted_before = sidecars.show(("udp",))["udp"], _server_counters()
    begun = before["time"]
    document, counted_by_client = _client_run(arguments)
    after, counted_after = sidecars.show(("udp",))["udp"], _server_counters()
    at_ends = {
        "to_server": {n: counted_after[n] - counted_before.get(n, 0) for n in counted_after},
        "from_server": counted_by_client,
    }
    ways = {
        direction: _way(
            before["directions"][direction], after["directions"][direction], at_ends[direction]
        )
        for direction in ("to_server", "from_server")
    }
    return document, explained(document, _server_log(document["run"], begun), ways, _drop())


def _way(before: Mapping[str, Any], after: Mapping[str, Any], at_end: Mapping[str, int]) -> Way:
    growth = counters_growth(before["counters"], after["counters"]) or {}
    return Way(
        words=after["asked"],
        mechanism=after["mechanism"],
        dropped=growth.get("dropped_packets", 0),
        overflowed=growth.get("overflowed_packets", 0),
        checksum_errors=at_end.get("Udp InCsumErrors", 0) + at_end.get("Ip InHdrErrors", 0),
        buffer_errors=at_end.get("Udp RcvbufErrors", 0),
    )


def _drop() -> float | None:
    """Return the server's probability of dropping; None where a schedule rules."""
    told_server = server_settings()
    if told_server.get("UDP_DROP_SCHEDULE"):
        return None
    return probability(told_server.get("UDP_DROP", str(DROP_PROBABILITY)))


_COUNT_TOO = """\
python3 -m clients.udp --json "$@" & client=$!
trap 'kill -INT $client' INT TERM
wait $client; wait $client
cat /proc/net/snmp"""
"""A signal makes the first ``wait`` end; the client then prints what there is so far."""


def _client_run(arguments: Sequence[str]) -> tuple[dict[str, Any], dict[str, int]]:
    """Run udp-client; return its document and its namespace's counters, which began with it."""
    name = f"{compose.project_name()}-where-{secrets.token_hex(3)}"
    argv = compose.command(
        "run", "--rm", "--no-TTY", "--no-deps", "--name", name, "--entrypoint", "sh", "udp-client",
        "-c", _COUNT_TOO, "sh", *arguments,
    )  # fmt: skip
    process = subprocess.Popen(
        argv,
        env=compose.environment_without_settings(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # at Ctrl-C Compose would throw the run away
    )
    try:
        out, err = process.communicate()
    except KeyboardInterrupt:
        compose.captured(["docker", "kill", "--signal", "INT", name])
        out, err = process.communicate()
    end = out.find("\n}\n")
    if not out.startswith("{") or end < 0:
        lines = (err or out).strip().splitlines()
        raise LabError(
            "running udp-client",
            lines[-1] if lines else f"exit status {process.returncode}",
            'its options: docker compose run --rm udp-client --help; make where ARGS="--count 20"',
        )
    document: dict[str, Any] = json.loads(out[: end + 2])
    return document, snmp_counters(out[end + 3 :])


def snmp_counters(text: str) -> dict[str, int]:
    """Return the counters of ``/proc/net/snmp`` as ``Udp InCsumErrors``: a number."""
    found = {}
    lines = [line.split() for line in text.splitlines() if line.strip()]
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        protocol = names[0].rstrip(":")
        for name, value in zip(names[1:], values[1:], strict=False):
            found[f"{protocol} {name}"] = int(value)
    return found


def _server_counters() -> dict[str, int]:
    container = sidecars.running()["udp-netem"]
    return snmp_counters(compose.printed(container, "cat", "/proc/net/snmp"))


def _server_log(run: str, since: str) -> LogFacts | None:
    """Return what the server's log says; None where it writes none, or is not the same any more."""
    container = sidecars.running().get("udp")
    if container is None or server_settings().get("UDP_LOG") == "off":
        return None
    read = compose.captured(["docker", "logs", "--since", since, container])
    return log_facts(read.stdout.splitlines(), run)
