"""The dissector, as tshark runs it: what it shows of each packet, and that the ladder agrees."""

import json
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import pcapng, trips
from services.udp.protocol import AccountQuestion, Ping, confirm, times_text
from tests.loopback.conftest import ROOT
from tests.pure import frames
from tests.pure.frames import asked, told
from tests.requirements_gate import missing

DISSECTOR = ROOT / "wireshark" / "progres-lab.lua"
FIELDS = (
    "frame.number", "labping.kind", "labping.run", "labping.request", "labping.attempt",
    "labping.number", "labping.message", "labping.cause", "labping.answered_in",
    "labping.answer_to", "labping.retry_of", "labping.held", "labping.size", "labping.codes",
)  # fmt: skip
PLAIN = ("192.0.2.9", 50000)

NOT_ROOT: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
"""Who tshark is where we are root: Wireshark 4.4 loads no user's Lua for root, without a word."""

Fits = Callable[[dict[str, str]], bool]


def tshark(file: Path, *options: str) -> str:
    """Run tshark with the dissector, two passes, and return what it says."""
    if shutil.which("tshark") is None:
        missing("tshark", "tshark is not installed (Debian: apt-get install tshark)")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        for source in (DISSECTOR, file):
            shutil.copyfile(source, place / source.name)
        script = f"lua_script:{place / DISSECTOR.name}"
        argv = ["tshark", "-2", "-X", script, "-r", str(place / file.name), *options]
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            argv,
            capture_output=True,
            timeout=60,
            check=False,
            env={**os.environ, "HOME": name},
            **NOT_ROOT if os.geteuid() == 0 else {},
        )
    assert b"Lua" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
    return done.stdout.decode(errors="replace")


def dissected(file: Path, *options: str) -> list[dict[str, str]]:
    """Return the fields of every packet by their short names; "" where a packet has none."""
    shown = tshark(file, "-T", "fields", *(f"-e{field}" for field in FIELDS), *options)
    names = [field.rpartition(".")[2] for field in FIELDS]
    # frame.number and labping.number have one short name: the later one wins, the first is ours.
    rows = [line.split("\t") for line in shown.splitlines()]
    return [{"frame": row[0], **dict(zip(names[1:], row[1:], strict=True))} for row in rows]


def a_run(seed: int, name: str, client: tuple[str, int]) -> list[tuple[float, bytes, int]]:
    """A run of 20 requests in which everything happens, with its account, as the tap sees it."""
    chance = random.Random(seed)
    packets: list[tuple[float, bytes, int]] = []
    codes, now, number = "", seed / 100, 0
    for request in range(1, 21):
        for attempt in range(1, 7):
            number += 1
            data = Ping(name, request, attempt, number).datagram(b"hello")
            what = chance.choice(["answered", "late", "dropped", "there", "back", "not seen"])
            codes += {"dropped": "4", "there": "0", "not seen": "0"}.get(what, "1")
            if what != "not seen":
                packets.append(asked(now, data, client))
            if what in ("answered", "late"):
                times = times_text(frames.at(now), 30_000, True)
                after = 0.001 if what == "answered" else 0.25
                packets.append(told(now + after, confirm(data, times), client))
            if what == "answered":
                now += 0.3
                break
            now += 0.2
    question = AccountQuestion(name, 1, len(codes)).datagram()
    packets.append(asked(now + 1, question, client))
    answer = f"account {name} from 1, complete for 100.000 s, drop 0.5: {codes}\n"
    packets.append(told(now + 1, answer.encode(), client))
    return packets


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five runs at a time, and somebody with netcat."""
    packets = [
        asked(0.001, b"hello\n", PLAIN),
        told(0.002, confirm(b"hello\n"), PLAIN),
        asked(0.003, b"nobody answers", PLAIN),
        asked(0.004, b"progres-lab health check\n", PLAIN),
        asked(0.005, b"ping 7f3a9c01 cut short", PLAIN),
        told(0.006, b"received something else", PLAIN),
        asked(0.007, bytes(range(256)), PLAIN),
    ]
    for seed in range(5):
        packets += a_run(seed, f"7f3a9c0{seed}", (f"192.0.2.{seed + 2}", 40000))
    path = tmp_path_factory.mktemp("capture") / "udp.pcapng"
    path.write_bytes(frames.file(sorted(packets, key=lambda packet: packet[0])))
    return path


@pytest.fixture(scope="module")
def rows(capture: Path) -> list[dict[str, str]]:
    return dissected(capture)


def test_it_tells_of_every_ping_what_the_ladder_tells(
    capture: Path, rows: list[dict[str, str]]
) -> None:
    shown = {
        (row["run"], int(row["request"]), int(row["attempt"])): row["cause"]
        for row in rows
        if row["kind"] == "ping"
    }
    drawn = {}
    for run in trips.runs(pcapng.datagrams(pcapng.parse(capture.read_bytes()))):
        for trip in run.trips:
            if run.name and trip.asked_ns:
                drawn[run.name, trip.request, trip.attempt] = str(trip.outcome)
            elif (before := (run.name, trip.request, trip.attempt - 1)) in drawn:
                # That a retry was sent which did not even pass, the dissector learns from nobody.
                drawn[before] = shown[before]
    assert len(drawn) > 100
    assert shown == drawn
    assert set(shown.values()) == {
        "answered", "answered late", "dropped by the server", "lost on the way there",
        "lost on the way back",
    }  # fmt: skip


def test_question_and_answer_lead_to_one_another(rows: list[dict[str, str]]) -> None:
    by_frame = {row["frame"]: row for row in rows}
    answered = [row for row in rows if row["kind"] == "ping" and row["answered_in"]]
    assert answered
    for row in answered:
        answer = by_frame[row["answered_in"]]
        assert answer["answer_to"] == row["frame"]
        assert answer["number"] == row["number"]
        assert float(answer["held"]) == pytest.approx(30e-6)
    for row in rows:
        if row["retry_of"]:
            before = by_frame[row["retry_of"]]
            assert (before["run"], before["request"]) == (row["run"], row["request"])
            assert int(before["attempt"]) < int(row["attempt"])


def test_plain_datagrams_are_questions_and_confirmations(rows: list[dict[str, str]]) -> None:
    plain = [row for row in rows if not row["run"]]
    assert [row["kind"] for row in plain] == [
        "question", "confirmation", "question", "health check", "question", "answer", "question",
    ]  # fmt: skip
    assert (plain[0]["cause"], plain[0]["answered_in"]) == ("answered", plain[1]["frame"])
    assert plain[1]["size"] == "6"
    assert plain[2]["cause"] == "unknown"


def has_more_attempts(row: dict[str, str]) -> bool:
    return row["request"] == "7" and int(row["attempt"]) > 1


def is_dropped(row: dict[str, str]) -> bool:
    return row["cause"] == "dropped by the server"


def tells_of_loss(row: dict[str, str]) -> bool:
    """An account tells of those that did not even pass the interface."""
    return row["cause"].startswith("lost") or row["kind"] == "account"


def is_retry(row: dict[str, str]) -> bool:
    return row["retry_of"] != ""


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ("labping.request == 7 && labping.attempt > 1", has_more_attempts),
        ('labping.cause == "dropped by the server"', is_dropped),
        ("labping.expert.lost", tells_of_loss),
        ("labping.expert.retry", is_retry),
    ],
)
def test_filters_find_what_they_name(
    wanted: str, fits: Fits, capture: Path, rows: list[dict[str, str]]
) -> None:
    found = tshark(capture, "-Y", wanted, "-T", "fields", "-e", "frame.number").split()
    assert found == [row["frame"] for row in rows if fits(row)]
    assert found


def test_another_port_can_be_set(tmp_path: Path) -> None:
    client, server = ("192.0.2.2", 40000), ("192.0.2.1", 4321)
    data = Ping("7f3a9c01", 1, 1, 1).datagram(b"hello")
    packets = [(0.0, frames.frame(client, server, data), 1)]
    path = tmp_path / "other.pcapng"
    path.write_bytes(frames.file([*packets, (0.1, frames.frame(server, client, confirm(data)), 2)]))
    assert [row["kind"] for row in dissected(path)] == ["", ""]
    assert [row["kind"] for row in dissected(path, "-o", "labping.port:4321")] == [
        "ping",
        "confirmation",
    ]


def test_nothing_that_comes_breaks_it(tmp_path: Path) -> None:
    chance = random.Random(1)
    beginnings = [
        b"", b"ping ", b"ping 7f3a9c01 99999999999.1 #1:", b"ping 7f3a9c01 1.1 #", b"received ",
        b"received 5 bytes at ~99999999999.1 +1ns", b"received 99999 bytes: ping 7f3a9c01 1.1:",
        b"account? ", b"account? 7f3a9c01 9 1", b"account 7f3a9c01 from 1, complete for 1. s, drop",
        b"account 7f3a9c01 from 999999999, complete for 0.000 s, drop 1: 014\n",
    ]  # fmt: skip
    packets = []
    for number in range(300):
        data = chance.choice(beginnings) + chance.randbytes(chance.randrange(30))
        packets.append((asked if number % 2 else told)(number / 100, data))
    path = tmp_path / "hostile.pcapng"
    path.write_bytes(frames.file(packets))
    shown: list[dict[str, Any]] = json.loads(tshark(path, "-T", "json", "-J", "labping"))
    assert len(shown) == 300
    assert "Lua Error" not in json.dumps(shown)
