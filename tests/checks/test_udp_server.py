"""UDP server: confirms each datagram, and drops half of them at random."""

from typing import Any

from grading.arena import Arena
from grading.statistics import FALSE_ALARMS, LAGS, TRIES, band, dependence, rule_of
from grading.verdict import Judge

PROGRAM = "udp-server"
SOCKETS, ROUNDS = 50, 20
COUNT = SOCKETS * ROUNDS
LARGEST = 65_507  # RFC 768 over IPv4: 65,535 less both headers


def target(arena: Arena, judge: Judge) -> dict[str, Any]:
    """Start the server where it does not run, and return where it listens."""
    where = arena.serving("udp")
    assert arena.run is not None
    if where is None:
        judge.step("started the server and waited for it to listen on a UDP port")
        judge.fail(
            expected=f"it listens on UDP port {arena.program.port}",
            observed=f"no UDP port is open; {arena.run.ending()}",
            hint="socket(AF_INET, SOCK_DGRAM), then bind((host, port)) before the loop",
        )
    assert where is not None
    judge.step(f"the server listens at {where[0]}, port {where[1]}")
    return {"host": where[0], "port": where[1]}


def tried(arena: Arena, judge: Judge, **order: Any) -> list[dict[str, Any]]:
    """Send datagrams until each is answered, or 40 times; return what became of each."""
    where = target(arena, judge)
    given = {"op": "try", "tries": TRIES, "wait_s": 0.1, "datagrams": ["hello"], **where, **order}
    return [e for e in arena.ask("udp_client", given) if e["event"] == "tried"]


def still_confirms(arena: Arena, judge: Judge, after: str) -> None:
    """Fail unless the server lives and confirms a datagram after what it was sent."""
    assert arena.run is not None
    (after_it,) = tried_where_it_is(arena)
    judge.step(f'then sent "hello" up to {TRIES} times from a new client')
    if after_it["answer"] is None:
        judge.fail(
            expected="one datagram, whatever is in it, never ends the service for the others",
            observed=f"after {after} no answer came any more; {arena.run.ending()}",
            hint="catch what can go wrong with one datagram inside the loop, and go on",
        )


def tried_where_it_is(arena: Arena) -> list[dict[str, Any]]:
    where = arena.listener("udp") or ("127.0.0.1", arena.program.port)
    order = {"op": "try", "tries": TRIES, "wait_s": 0.1, "datagrams": ["hello"]}
    told = arena.ask("udp_client", order | {"host": where[0], "port": where[1]})
    return [event for event in told if event["event"] == "tried"]


def decisions(arena: Arena, judge: Judge) -> tuple[list[int], int]:
    """Return the server's decisions in order (1: answered), and how many clients took turns."""
    where = target(arena, judge)
    order: dict[str, Any] = {"op": "rounds", "sockets": SOCKETS, "rounds": ROUNDS}
    told = arena.ask("udp_client", {**where, **order, "gap_s": 0.001, "quiet_s": 0.15})
    pattern = next(event["pattern"] for event in told if event["event"] == "answers")
    clients = sum(any(column) for column in zip(*pattern, strict=True))
    if clients > 1 or not any(map(any, pattern)):
        judge.step(f"sent {COUNT} datagrams from {SOCKETS} clients in turn")
        return [answered for row in pattern for answered in row], SOCKETS
    order = {"op": "turns", "count": COUNT, "wait_s": 0.03}
    told = arena.ask("udp_client", {**where, **order})
    pattern = next(event["pattern"] for event in told if event["event"] == "answers")
    judge.step(f"sent {COUNT} datagrams from one client, each after the fate of the one before")
    return [row[0] for row in pattern], 1


def test_confirms(arena: Arena, judge: Judge) -> None:
    (event,) = tried(arena, judge)
    judge.step(f'sent "hello" until it was answered, at most {TRIES} times')
    judge.measured(tries=event["tries"], answer=str(event["answer"])[:200])
    if event["answer"] is None:
        assert arena.run is not None
        judge.fail(
            expected="about every second datagram is confirmed to the address that it came from",
            observed=f"none of {TRIES} datagrams was answered; {arena.run.ending()}",
            hint="data, address = sock.recvfrom(2048), and then sock.sendto(answer, address)",
        )


def test_drops_half(arena: Arena, judge: Judge) -> None:
    pattern, _ = decisions(arena, judge)
    answered, accepted = sum(pattern), band(COUNT, FALSE_ALARMS["udp-server.drops-half"])
    judge.measured(datagrams=COUNT, answered=answered, accepted=[accepted[0], accepted[-1]])
    if answered not in accepted:
        judge.fail(
            expected=f"of {COUNT} datagrams, {accepted[0]} to {accepted[-1]} are answered (a server"
            " that drops each with a chance from 45 % to 55 % leaves these bounds once in"
            " 10,000,000 gradings)",
            observed=f"{answered} of {COUNT} were answered: {rule_of(pattern, None)}",
            hint="for each datagram: if random.random() < 0.5, do not answer",
        )


def test_drops_at_random(arena: Arena, judge: Judge) -> None:
    pattern, clients = decisions(arena, judge)
    if sum(pattern) in (0, COUNT):
        judge.not_shown(f"there is no decision to look at: {rule_of(pattern, None)}")
    lags = sorted({*range(1, LAGS + 1), clients} - ({1} if clients == 0 else set()))
    share = sum(pattern) / COUNT
    judge.measured(datagrams=COUNT, answered=sum(pattern))
    if not 0.4 < share < 0.6:
        judge.not_shown(
            f"the test for randomness needs a share near one half, and it is {share:.2f}:"
            f" {rule_of(pattern, None)}"
        )
    lag = dependence(pattern, lags, FALSE_ALARMS["udp-server.drops-at-random"])
    if lag is not None:
        start = "".join(map(str, pattern[:40]))
        judge.fail(
            expected="each datagram's fate is drawn anew, whatever happened to those before",
            observed=f"{rule_of(pattern, lag)}; the first 40 (1: answered): {start}",
            hint="decide with the random module for each datagram, not with a counter",
        )


def test_several_clients(arena: Arena, judge: Judge) -> None:
    sources = [f"127.0.0.{n}" for n in (2, 3, 4, 5)]
    told = tried(arena, judge, sources=sources)
    judge.step(f'sent "hello" from each of {", ".join(sources)}, up to {TRIES} times')
    if silent := [event["source"] for event in told if event["answer"] is None]:
        judge.fail(
            expected="every client is answered, at the address that its datagram came from",
            observed=f"no answer ever came to {', '.join(silent)}",
            hint="answer to the address that recvfrom gave with this very datagram",
        )


def test_survives_an_empty_datagram(arena: Arena, judge: Judge) -> None:
    _survives(arena, judge, "an empty datagram", datagrams=[""])


def test_survives_a_huge_datagram(arena: Arena, judge: Judge) -> None:
    _survives(arena, judge, f"a datagram of {LARGEST} bytes", sizes=[LARGEST])


def test_survives_binary_data(arena: Arena, judge: Judge) -> None:
    binary = ["\xff\xfe\x80\x00", "".join(map(chr, range(256))), "\xc3\x28"]
    _survives(arena, judge, "bytes that are no text", datagrams=binary)


def test_survives_a_client_that_vanishes(arena: Arena, judge: Judge) -> None:
    what = "a client that closed its socket at once"
    _survives(arena, judge, what, datagrams=["hello"] * 20, stay_s=0.0)


def _survives(arena: Arena, judge: Judge, what: str, *, stay_s: float = 0.3, **sent: Any) -> None:
    where = target(arena, judge)
    judge.step(f"sent {what}, 20 times")
    times = 20 if "sizes" in sent or len(sent["datagrams"]) < 20 else 1
    sent = {key: value * times for key, value in sent.items()}
    # Who stays takes the answers: one that cannot be delivered would be another matter.
    arena.ask("udp_client", {"op": "send", "stay_s": stay_s, **where, **sent})
    still_confirms(arena, judge, what)
