"""The ladder: what became of each attempt, by capture and account; and how it is drawn."""

import io
import random
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Literal

import pytest

from clients.udp.ledger import Outcome
from lab import ladder, pcapng, trips
from lab.errors import LabError
from lab.ladder import Arrow
from services.events import Events
from services.udp.protocol import AccountQuestion, Ping, confirm, times_text
from tests.pure import frames
from tests.pure.frames import asked, told

RUN = "7f3a9c01"
SVG = "{http://www.w3.org/2000/svg}"


def ping(request: int, attempt: int, number: int) -> bytes:
    return Ping(RUN, request, attempt, number).datagram(b"hello")


def confirmation(request: int, attempt: int, number: int, received_s: float) -> bytes:
    times = times_text(frames.at(received_s), 20_000, True)
    return confirm(ping(request, attempt, number), times)


def account(codes: str, at_s: float, complete_s: float = 60.0) -> list[tuple[float, bytes, int]]:
    answer = f"account {RUN} from 1, complete for {complete_s:.3f} s, drop 0.5: {codes}\n"
    return [
        asked(at_s, AccountQuestion(RUN, 1, len(codes)).datagram()),
        told(at_s, answer.encode()),
    ]


def the_run(packets: list[tuple[float, bytes, int]]) -> trips.Run:
    (found,) = trips.runs(pcapng.datagrams(pcapng.parse(frames.file(packets))))
    return found


def outcomes(run: trips.Run) -> list[tuple[int, int, Outcome]]:
    return [(trip.request, trip.attempt, trip.outcome) for trip in run.trips]


# One of each: 1.1 dropped, 1.2 lost on the way there behind the tap, 1.3 lost on the way back,
# 1.4 answered; 2.1 answered after its retry 2.2, which is answered too.
ONE_OF_EACH = [
    asked(0.0, ping(1, 1, 1)),
    asked(0.2, ping(1, 2, 2)),
    asked(0.45, ping(1, 3, 3)),
    asked(0.76, ping(1, 4, 4)),
    told(0.7601, confirmation(1, 4, 4, 0.76)),
    asked(1.0, ping(2, 1, 5)),
    asked(1.2, ping(2, 2, 6)),
    told(1.3, confirmation(2, 1, 5, 1.0)),
    told(1.5, confirmation(2, 2, 6, 1.2)),
    *account("401111", 1.8),
]


def test_each_attempt_gets_the_outcome_that_capture_and_account_tell() -> None:
    assert outcomes(the_run(ONE_OF_EACH)) == [
        (1, 1, Outcome.DROPPED),
        (1, 2, Outcome.LOST_THERE),
        (1, 3, Outcome.LOST_BACK),
        (1, 4, Outcome.ANSWERED),
        (2, 1, Outcome.LATE),
        (2, 2, Outcome.ANSWERED),
    ]


def test_without_an_account_nobody_knows_why() -> None:
    run = the_run(ONE_OF_EACH[:-2])
    assert not run.account
    assert [o for _, _, o in outcomes(run)][:4] == [Outcome.UNKNOWN] * 3 + [Outcome.ANSWERED]


def test_an_account_says_nothing_of_what_came_before_the_server_was_running() -> None:
    packets = [asked(0.0, ping(1, 1, 1)), asked(0.2, ping(1, 2, 2)), *account("04", 1.0, 0.9)]
    assert [o for _, _, o in outcomes(the_run(packets))] == [Outcome.UNKNOWN, Outcome.DROPPED]


@pytest.mark.parametrize(
    ("before", "after", "last", "missing"),
    [
        ((3, 1, 5), (3, 4, 8), 8, [(3, 2), (3, 3)]),
        ((3, 1, 5), (4, 1, 8), 8, [(3, 2), (3, 3)]),
        ((3, 2, 5), (4, 3, 8), 8, [(4, 1), (4, 2)]),
        ((3, 1, 5), (6, 1, 8), 8, [(4, 1), (5, 1)]),
        ((3, 1, 5), (5, 2, 8), 8, []),  # 3.2 or 4.1 and ...: nobody can say
        ((3, 1, 5), (3, 2, 6), 8, [(3, 3), (3, 4)]),
    ],
)
def test_datagrams_that_did_not_even_pass_are_known_by_their_numbers(
    before: tuple[int, int, int],
    after: tuple[int, int, int],
    last: int,
    missing: list[tuple[int, int]],
) -> None:
    codes = "".join("4" if n in (before[2], after[2]) else "0" for n in range(1, last + 1))
    run = the_run([asked(1.0, ping(*before)), asked(4.0, ping(*after)), *account(codes, 9.0)])
    found = [(trip.request, trip.attempt) for trip in run.trips if not trip.asked_ns]
    assert found == missing
    assert all(t.outcome is Outcome.LOST_THERE for t in run.trips if not t.asked_ns)


def test_a_damaged_answer_counts_as_lost_on_the_way_back() -> None:
    data = confirmation(1, 1, 1, 0.0)
    damaged = frames.ipv4(
        frames.SERVER[0], frames.CLIENT[0], frames.udp(frames.SERVER, frames.CLIENT, data, sum_=1)
    )
    run = the_run([asked(0.0, ping(1, 1, 1)), (0.1, damaged, 2), *account("1", 1.0)])
    assert outcomes(run) == [(1, 1, Outcome.LOST_BACK)]


def test_plain_datagrams_are_matched_by_what_they_say() -> None:
    run = the_run(
        [
            asked(0.0, b"hello\n"),
            asked(1.0, b"hello\n"),
            told(1.1, confirm(b"hello\n")),
            asked(2.0, b"ping 1 2\n"),
            told(2.1, b"PING 1 2"),
        ]
    )
    assert run.name == ""
    assert outcomes(run) == [
        (1, 1, Outcome.UNKNOWN),
        (1, 2, Outcome.ANSWERED),
        (2, 1, Outcome.ANSWERED),
    ]


@pytest.mark.parametrize("style", ["human", "json"])
def test_where_there_is_no_account_the_servers_log_tells(style: Literal["human", "json"]) -> None:
    written = io.StringIO()
    now = [0.0]
    events = Events("udp", style, stream=written, wall_clock_ns=lambda: frames.at(now[0]))
    client = f"{frames.CLIENT[0]}:{frames.CLIENT[1]}"
    logged: list[tuple[float, str, dict[str, str | int]]] = [
        (0.0004, "dropped", {"bytes": 6}),
        (2.001, "answered", {"bytes": 6}),
        (3.0, "dropped", {"bytes": 27, "ping": f"{RUN}/1.1"}),
        (3.5, "answered", {"bytes": 27, "ping": f"{RUN}/1.3"}),
    ]
    for now[0], end, fields in logged:
        events("received", client=client, **fields)
        events(end, client=client, **fields)
    packets = [asked(float(n), b"hello\n") for n in range(3)]
    packets += [asked(3.0 + n / 4, ping(1, n + 1, n + 1)) for n in range(3)]
    found = trips.runs(pcapng.datagrams(pcapng.parse(frames.file(packets))))
    trips.settle_by_log(found, written.getvalue().splitlines())
    expected = [Outcome.DROPPED, Outcome.LOST_THERE, Outcome.LOST_BACK]
    assert [[trip.outcome for trip in run.trips] for run in found] == [expected, expected]


def test_a_log_that_is_off_says_nothing() -> None:
    run = the_run([asked(0.0, b"hello\n")])
    trips.settle_by_log([run], ["2026-10-14T17:46:40.000Z udp stopped reason=SIGTERM"])
    assert outcomes(run) == [(1, 1, Outcome.UNKNOWN)]


def test_runs_of_two_clients_at_a_time_are_told_apart() -> None:
    other = ("192.0.2.3", 40000)
    packets = [asked(0.0, ping(1, 1, 1)), asked(0.1, ping(1, 1, 1), other)]
    found = trips.runs(pcapng.datagrams(pcapng.parse(frames.file(packets))))
    assert [run.client for run in found] == [frames.CLIENT, other]


# Drawing ------------------------------------------------------------------------------------------


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_the_ladder_names_every_cause_and_timeout() -> None:
    svg = ladder.of_run(the_run(ONE_OF_EACH))
    shown = texts(svg)
    assert shown.count("lost") == 2
    assert shown.count("dropped") == 1
    assert "timeout 200 ms, try 2" in shown
    assert "timeout 250 ms, try 3" in shown
    assert "confirmed after 760 ms" in shown
    assert "confirmed late, 300 ms" in shown
    assert "try 2, answered too" in shown


def test_it_is_a_document_of_its_own_that_says_what_it_shows() -> None:
    root = ElementTree.fromstring(ladder.of_run(the_run(ONE_OF_EACH)))
    assert root.get("role") == "img"
    named = {node.get("id"): node.text for node in root if node.get("id")}
    assert (root.get("aria-labelledby") or "").split() == list(named)
    assert "Request 1, attempt 1, at 0.000 s: dropped by the server." in " ".join(
        map(str, named.values())
    )
    assert "http" not in re.sub(r'xmlns="[^"]*"', "", ladder.of_run(the_run(ONE_OF_EACH)))


def test_text_from_strangers_is_text() -> None:
    svg = ladder.draw(
        [Arrow(True, 0.0, 0.1, label="<script>\x00\x1b[31m&", details="</title>")], title="<b>"
    )
    assert "<script>" not in svg
    assert "<script>�" in texts(svg)[-1]


def made_up(requests: int, seed: int) -> list[Arrow]:
    """A run of the default lab: half dropped, a tenth lost on the way back."""
    chance, now = random.Random(seed), 0.0
    found: list[Arrow] = []
    for request in range(1, requests + 1):
        for attempt in range(1, 20):
            end: ladder.End = "dropped" if chance.random() < 0.5 else "arrived"
            answered = end == "arrived" and chance.random() < 0.9
            wait = 0.2 * 1.25 ** (attempt - 1)
            label = f"request {request}" if attempt == 1 else f"try {attempt}"
            until = None if answered else now + wait
            found.append(Arrow(True, now, now + 5e-5, end, "drop", label, "", attempt == 1, until))
            if end == "arrived":
                back_s = now + 3e-4 if answered else None
                found.append(Arrow(False, now + 2e-4, back_s, "arrived" if answered else "lost"))
            now += 0.2 if answered else wait
            if answered:
                break
    return found


@pytest.mark.parametrize("requests", [1, 3, 10, 30])
@pytest.mark.parametrize("seed", range(5))
def test_it_fills_a_projectors_screen_and_its_letters_stay_legible(
    requests: int, seed: int
) -> None:
    svg = ladder.draw(made_up(requests, seed), title="t", summary="s")
    _, _, width, height = map(float, ElementTree.fromstring(svg).get("viewBox", "").split())
    scale = min(1920 / width, 1080 / height)
    # 1/100 of a screen's height is what the last row of a lecture hall reads (about 11 pixels).
    assert ladder.FONT_PX * scale >= 11
    labels = [
        (float(node.get("x", 0)), float(node.get("y", 0)))
        for group in ElementTree.fromstring(svg).iter(f"{SVG}g")
        if group.get("transform")
        for node in group.iter(f"{SVG}text")
        if node.get("x") == f"{ladder.LABEL_X:.1f}" and node.get("text-anchor") == "end"
    ]
    by_column = [b - a for (_, a), (_, b) in zip(labels, labels[1:], strict=False) if b > a]
    assert all(step >= ladder.FONT_PX for step in by_column), "two labels lie on one another"


def test_paced_datagrams_all_under_way_at_a_time_are_drawn_too() -> None:
    sent = [
        Arrow(True, n / 100, n / 100 + 0.3, label=f"request {n}", begins=True) for n in range(50)
    ]
    back = [Arrow(False, n / 100 + 0.3, n / 100 + 0.6) for n in range(50)]
    svg = ladder.draw(sent + back, title="t")
    assert len(list(ElementTree.fromstring(svg).iter(f"{SVG}polygon"))) == 100 + 1


def test_nothing_to_draw_is_a_document_as_well() -> None:
    assert ElementTree.fromstring(ladder.draw([], title="empty")).tag == f"{SVG}svg"


def test_its_colours_are_those_of_the_reports() -> None:
    told = Path(ladder.__file__).with_name("report").joinpath("drawing.py").read_text("utf-8")
    light, dark = told.split("DARK = ")
    for palette, theirs in ((ladder.LIGHT, light), (ladder.DARK, dark)):
        for name, code in palette.items():
            assert f'"{name}": "{code}"' in theirs


# The command --------------------------------------------------------------------------------------


def run_command(monkeypatch: pytest.MonkeyPatch, folder: Path, **given: str) -> int:
    monkeypatch.setenv("LAB_RESULTS", str(folder))
    for name in ("CAPTURE", "RUN", "REQUESTS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return ladder.ladder_command()


def test_the_newest_capture_is_drawn_beside_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "capture" / "now"
    folder.mkdir(parents=True)
    (tmp_path / "capture" / "latest").symlink_to("now")
    (folder / "udp.pcapng").write_bytes(frames.file(ONE_OF_EACH))
    assert run_command(monkeypatch, tmp_path) == 0
    assert (folder / "udp-ladder.svg").read_text(encoding="utf-8").startswith("<svg")
    assert "2 requests, 6 attempts: 2 answered" in capsys.readouterr().out
    assert run_command(monkeypatch, tmp_path, REQUESTS="2") == 0
    assert "1 request, 2 attempts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "no capture yet"),
        ({"CAPTURE": "absent.pcapng"}, "No such file"),
        ({"CAPTURE": "gif"}, "does not begin"),
        ({"CAPTURE": "empty"}, "no UDP ping"),
        ({"CAPTURE": "good", "RUN": "00000000"}, "one of: 7f3a9c01"),
        ({"CAPTURE": "good", "REQUESTS": "a-b"}, "no range"),
    ],
)
def test_what_cannot_be_drawn_is_said_with_the_way_out(
    given: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gif").write_bytes(b"GIF89a" + bytes(100))
    (tmp_path / "empty").write_bytes(frames.file([]))
    (tmp_path / "good").write_bytes(frames.file(ONE_OF_EACH))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LabError) as error:
        run_command(monkeypatch, tmp_path, **given)
    assert says in str(error.value)
