"""What is asked of a UDP client: it asks again with growing patience, and measures what it says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from grading.arena import Arena
from grading.conversation import (
    UNITS_S,
    WORDS,
    Exchange,
    Found,
    agreeing,
    called_average,
    enough,
    exchanges,
    find,
    ladder,
    mean,
    shown,
    waits_grow,
)
from grading.manifest import Manifest
from grading.sandbox import Submission
from grading.udp_runs import EXAM_REQUESTS, SILENCE_S, Runs, Watched, lost_of
from grading.verdict import Judge

PROGRAM = "udp-client"
RUNS_APART = True
FLOOD = 400
"""Datagrams within ``SILENCE_S`` that are no patience any more: more than 30 a second."""


@pytest.fixture(scope="module")
def runs(
    submission: Submission,
    submission_manifest: Manifest,
    arena: Arena | None,
    packets_folder: Path | None,
) -> Iterator[Runs | None]:
    """The client's runs, made on first need, each once."""
    if arena is None:
        yield None
        return
    programs = submission_manifest.programs
    made = Runs(submission, arena.program, programs.get("udp-server"), packets_folder)
    try:
        yield made
    finally:
        made.close()


def keep(judge: Judge, watched: Watched) -> None:
    judge.finding.output = watched.output
    judge.finding.ladder = ladder(watched.events)
    judge.finding.receipt = watched.receipt
    judge.rests_on(watched.frames, watched.packets, watched.not_kept)


def started(judge: Judge, runs: Runs) -> None:
    """Say how it was started; a client from which nothing comes is not judged any further."""
    program, watched = runs.program, runs.plain
    typed = f", and typed {', '.join(map(repr, program.stdin))}" if program.stdin else ""
    judge.step(f"started your client: {program.command}{typed}")
    if watched.sent:
        return
    keep(judge, watched)
    judge.not_shown(
        f"No datagram came to UDP port {program.port}; {watched.ending}.",
        hint="Are the port and the address in lab.toml those that the program calls?",
    )


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def listed(values: list[float]) -> str:
    return ", ".join(ms(value) for value in values)


def test_several_requests(judge: Judge, runs: Runs) -> None:
    watched, told = runs.plain, runs.program.requests
    if not watched.sent:
        keep(judge, watched)
        judge.step(f"started your client ({runs.program.command}) and waited for a datagram")
        judge.fail(
            observed=f"No datagram came to UDP port {runs.program.port}; {watched.ending}.",
            hint="Run the command of lab.toml in a fresh copy of your folder. Are port and address"
            " those in lab.toml?",
        )
    started(judge, runs)
    judge.step("confirmed every datagram, each after a delay of 20 to 80 ms")
    keep(judge, watched)
    count = len(watched.sent)
    judge.measured(datagrams=count, requests_told=told)
    if watched.crashed:
        judge.fail(observed=f"It sent {count} datagrams, then {watched.ending}.")
    if told is not None and count > told and len({e["data"] for e in watched.sent}) < count:
        judge.not_shown(
            f"It sent {count} datagrams where {told} requests were told: it does not take our"
            f" confirmations for confirmations. They were worded {runs.wording['kind']!r}.",
            hint="Hand in the server together with the client: then we confirm as it does.",
        )
    if told is not None and count != told:
        judge.fail(
            observed=f"It was told to make {told} requests, and every one was confirmed at once;"
            f" {count} came."
        )
    if told is None and count < 2:
        judge.fail(observed="One datagram came, was confirmed, and no other followed.")


def losses(judge: Judge, runs: Runs) -> tuple[Watched, list[Exchange]]:
    """Say what was done in the run with losses, and return it."""
    started(judge, runs)
    watched = runs.of("losses")
    judge.step(
        "lost some of its datagrams: the first of requests 1 and 6, and the first two of request 3;"
        " the others were confirmed"
    )
    keep(judge, watched)
    return watched, exchanges(watched.events)


def test_retries(judge: Judge, runs: Runs) -> None:
    watched, found = losses(judge, runs)
    sent, lost = len(watched.sent), sum(event["lost"] for event in watched.sent)
    judge.measured(datagrams=sent, lost=lost, requests=runs.requests)
    if sent > runs.requests or any(
        exchange.data and exchange.data == again["data"]
        for exchange in found
        for again in watched.sent
        if again["request"] == exchange.request and again["attempt"] > 1
        if runs.requests > 1 and len({e["data"] for e in runs.plain.sent}) > 1
    ):
        return
    hint = ""
    if sent <= 1:
        observed = f"Its first datagram was lost, and nothing came after it; {watched.ending}."
        if not watched.ended:
            hint = (
                "recvfrom() waits for ever unless the socket has a timeout: call settimeout()"
                " before it."
            )
    else:
        observed = (
            f"{lost} datagrams were lost, and none was sent again: {sent} datagrams came for"
            f" {runs.requests} requests."
        )
    judge.fail(observed=observed, hint=hint)


def test_timeout_grows(judge: Judge, runs: Runs) -> None:
    _, found = losses(judge, runs)
    waits = [exchange.waits_s for exchange in found]
    pairs = [(each[0], each[1]) for each in waits if len(each) >= 2]
    judge.step("ran it again, and confirmed nothing at all")
    silence = runs.of("silence")
    arrivals = [event["t_ns"] for event in silence.sent]
    gaps = [(b - a) / 1e9 for a, b in zip(arrivals, arrivals[1:], strict=False)]
    judge.measured(waits_s=[list(pair) for pair in pairs], waits_in_silence_s=gaps[:20])
    if len(runs.of("losses").sent) <= runs.requests:
        judge.not_shown("It never sends again, so there is no second wait to compare.")
    grows = waits_grow(pairs, gaps)
    if grows is None:
        judge.not_shown("It never sent twice again for one request, so there are no two waits.")
    if not grows:
        if gaps:
            keep(judge, silence)
        seen = [f"{ms(a)}, then {ms(b)}" for a, b in pairs]
        if gaps:
            seen.append(f"without any answer {listed(gaps[:6])}")
        judge.fail(observed=f"It waited {'; '.join(seen)}: not longer each time.")


def test_goes_on(judge: Judge, runs: Runs) -> None:
    started(judge, runs)
    watched = runs.of("silence")
    judge.step(f"confirmed nothing at all, for {SILENCE_S:.0f} s")
    keep(judge, watched)
    count = len(watched.sent)
    judge.measured(datagrams=count, ended=watched.ended)
    if watched.crashed:
        last = [line for line in watched.output.splitlines() if line.strip()][-1:]
        judge.fail(observed=f"After {count} datagrams it broke: {''.join(last)[:200]}")
    if count > FLOOD:
        judge.fail(
            observed=f"It sent {count} datagrams in {SILENCE_S:.0f} s: it hardly waits at all."
        )
    if count <= 1 and not watched.ended:
        if runs.of("losses").sent[1:]:
            judge.not_shown(f"It was still waiting after {SILENCE_S:.0f} s.")
        judge.fail(
            observed="It sent one datagram and waited for ever.",
            hint="recvfrom() waits for ever unless the socket has a timeout: call settimeout().",
        )


def measured(found: list[Exchange]) -> list[Exchange]:
    """Return the requests whose round trip is beyond doubt: answered, before it asked again."""
    return [each for each in found if each.answered_ns is not None and not each.early_ns]


def best(output: str, sure: list[Exchange]) -> tuple[Found, Found]:
    """Return the numbers that follow the answered attempts, and those from the first ones."""
    held = find(output, [each.held for each in sure])
    total = find(output, [each.total for each in sure])
    return held, total


def test_rtt(judge: Judge, runs: Runs) -> None:
    watched, found = losses(judge, runs)
    sure = measured(found)
    if len(sure) < 3:
        watched = runs.plain
        keep(judge, watched)
        sure = measured(exchanges(watched.events))
        judge.step("as it does not come that far, looked at a run in which nothing was lost")
    if len(sure) < 3:
        judge.not_shown(
            f"Only {len(sure)} requests were confirmed: too few to tell which number is the RTT.",
            hint="Make it at least five requests: stdin, or the arguments, in lab.toml.",
        )
    delays = [each.held_s for each in sure]
    judge.step(f"held the confirmations back for {listed(delays)}")
    judge.step("looked for numbers in its output that follow these times, in any unit")
    clean = [i for i, each in enumerate(sure) if len(each.sent_ns) == 1]
    held, total = best(watched.output, sure)
    following = {i for i, _ in held.pairs}
    judge.measured(
        held_ms=[round(d * 1000, 1) for d in delays],
        printed_ms=[round(s * 1000, 3) for s in held.samples_s],
        unit=held.unit,
    )
    is_followed = enough(sum(i in following for i in clean), len(clean))
    if is_followed and len(held.pairs) >= len(total.pairs):
        return
    if enough(len(total.pairs), len(sure)) and len(total.pairs) > len(held.pairs):
        place = next(i for i, each in enumerate(sure) if len(each.sent_ns) > 1)
        each = sure[place]
        printed = dict(total.pairs).get(place)
        judge.fail(
            observed=f"For request {each.request} it printed {printed.text if printed else '?'}:"
            f" {ms(each.total_s)} had passed since its first attempt, but the attempt that was"
            f" answered took {ms(each.held_s)}. The wait for lost datagrams is in it.",
            mistake="UDP client: RTT from the first attempt",
        )
    free = find(watched.output, [each.held for each in sure], trusting=False)
    if enough(len(free.pairs), len(sure)) and free.called:
        place, number = free.pairs[0]
        judge.fail(
            observed=f"It printed {number.text!r} for a round trip of {ms(delays[place])}: the"
            f" number is in {WORDS[free.unit]}, not in {WORDS.get(free.called, free.called)}.",
            hint="Multiply seconds by 1000 for milliseconds, or write s behind the number.",
            mistake="UDP client: wrong unit",
        )
    if summary := agreeing(watched.output, Found(unit="s"), mean(delays), 0.015):
        judge.measured(average_printed=summary.text)
        return
    for unit in UNITS_S:
        if agreeing(watched.output, Found(unit=unit), mean(delays), 0.015):
            return
    judge.fail(
        observed=f"The confirmations took {listed(delays)}. No numbers that it printed follow these"
        f" times ({len(held.pairs)} of {len(sure)} could, in {WORDS.get(held.unit, 'any unit')}).",
    )


def test_average(judge: Judge, runs: Runs) -> None:
    watched, found = losses(judge, runs)
    sure = measured(found)
    if len(sure) < 3 or not (watched.ended or len(sure) >= runs.requests):
        watched = runs.plain
        keep(judge, watched)
        sure = measured(exchanges(watched.events))
        judge.step("as it does not come that far, looked at a run in which nothing was lost")
    if len(sure) < 2:
        judge.not_shown(
            f"Only {len(sure)} requests were confirmed: there is no average to speak of."
        )
    held, total = best(watched.output, sure)
    free = find(watched.output, [each.held for each in sure], trusting=False)
    samples = max((held, total, free), key=lambda each: len(each.pairs))
    judge.step("looked for a number in its output that is the mean of the round trips")
    delays = [each.held_s for each in sure]
    if enough(len(samples.pairs), len(sure)):
        expected_s = mean(samples.samples_s)
        # A sample that we did not recognise may be in its mean, too.
        more_s = 0.0 if len(samples.pairs) == len(sure) == len(found) else 0.015
        said = agreeing(watched.output, samples, mean(samples.all_samples_s))
        said = said or agreeing(watched.output, samples, expected_s, more_s)
        said = said or (agreeing(watched.output, samples, mean(delays), 0.015) if more_s else None)
    else:
        samples, expected_s = Found(unit="s"), mean(delays)
        options = (agreeing(watched.output, Found(unit=u), expected_s, 0.015) for u in UNITS_S)
        said = next((each for each in options if each), None)
    judge.measured(mean_ms=round(expected_s * 1000, 3), average=said.text if said else "")
    if said:
        return
    labelled = called_average(watched.output)
    if labelled is None:
        judge.fail(
            observed=f"The mean of its round trips is {ms(expected_s)}. No number that it printed"
            " is that, and none is called an average.",
            mistake="UDP client: no average",
        )
    waits = [wait for each in found for wait in each.waits_s]
    trips = samples.samples_s or delays
    with_waits_s = (sum(trips) + sum(waits)) / (len(trips) + len(waits))
    said_s = samples.seconds(labelled)
    with_waits = bool(waits) and abs(said_s - with_waits_s) <= 0.05 * with_waits_s
    why = (
        ": that is the mean with the timeouts counted as if they were round trips"
        if with_waits
        else ""
    )
    judge.fail(
        observed=f"It prints {labelled.text!r} as the average. Its own {len(sure)} round trips"
        f" have a mean of {ms(expected_s)}{why}.",
        mistake="UDP client: average over timeouts" if with_waits else "",
    )


def strangers(judge: Judge, runs: Runs, number: int, what: str) -> None:
    """Fail a client that takes a strange answer for the one to request ``number``."""
    started(judge, runs)
    if runs.requests < number + 1:
        judge.not_shown(
            f"It makes {runs.requests} requests; to see this takes {number + 1}.",
            hint=f"Make it {number + 1} requests or more: stdin, or the arguments, in lab.toml.",
        )
    watched = runs.of("strangers")
    judge.step(what)
    keep(judge, watched)
    found = {each.request: each for each in exchanges(watched.events)}
    here, before = found.get(number), found.get(number - 1)
    if here is None or before is None or here.answered_ns is None:
        judge.not_shown(f"It did not come as far as request {number}; {watched.ending}.")
    if not here.early_ns:
        return
    lost = sum(event["lost"] and not event["early"] for event in watched.sent)
    again = here.early_data[0] == here.data != before.data
    if again or len(watched.sent) > runs.requests + lost:
        return  # it has not taken it, only sent its own request again at once
    waited_s = (here.early_ns[0] - here.sent_ns[0]) / 1e9
    judge.fail(
        observed=f"It sent request {number} ({shown(here.data)!r}) and, {ms(waited_s)} later, the"
        f" next one ({shown(here.early_data[0])!r}), though request {number} was confirmed only"
        f" {ms(here.held_s)} after it was sent: it took the strange answer for its own."
    )


def test_ignores_duplicate(judge: Judge, runs: Runs) -> None:
    strangers(
        judge, runs, 3,
        "confirmed request 2 twice, at once, and request 3 only after half of the client's timeout",
    )  # fmt: skip


def test_ignores_late(judge: Judge, runs: Runs) -> None:
    strangers(
        judge, runs, 5,
        "lost the first datagram of request 4 and confirmed the second; then, while request 5"
        " waited, the confirmation of that first datagram came after all",
    )  # fmt: skip


def test_exam(judge: Judge, runs: Runs) -> None:
    started(judge, runs)
    if runs.requests < EXAM_REQUESTS:
        judge.not_shown(
            f"It makes {runs.requests} requests: too few to lose some of them.",
            hint="Make it at least five requests: stdin, or the arguments, in lab.toml.",
        )
    watched = runs.of("exam")
    keep(judge, watched)
    parts = watched.receipt["directions"]
    lost_there, lost_back = (parts[way]["lost"] for way in ("to_server", "from_server"))
    judge.step(
        f"ran it with losses of 10 % each way; {lost_there} of its datagrams and {lost_back}"
        " confirmations were lost"
    )
    sent, count = len(watched.sent) + lost_there, runs.requests
    judge.measured(datagrams=sent, lost_to_server=lost_there, lost_from_server=lost_back)
    if watched.crashed:
        judge.fail(observed=f"After {sent} datagrams {watched.ending}: it broke.")
    if not lost_of(watched.receipt):
        judge.not_shown("By chance nothing was lost, in eight runs.")
    if watched.hung and sent <= count:
        judge.fail(observed=f"After {sent} datagrams nothing more came: it waits for ever.")
    if sent <= count and (watched.ended or watched.hung):
        judge.fail(
            observed=f"{lost_there + lost_back} packets were lost, and it sent {sent} datagrams for"
            f" {count} requests: what was lost was not asked again."
        )
    if sent < count:
        judge.not_shown(f"It was still on its way, after {sent} datagrams, when we stopped it.")
