import io
import json
import threading

import pytest

from services.events import ATOMIC_BYTES, KEPT_MS, Events

AT_NS = 1_700_000_000_123_456_789


def written(style: str, **fields: str | int | float) -> str:
    stream = io.StringIO()
    Events("udp", style, stream=stream, wall_clock_ns=lambda: AT_NS)("dropped", **fields)
    return stream.getvalue()


def test_a_human_line_reads_in_order() -> None:
    line = written("human", client="10.0.0.1:5", bytes=3)
    assert line == "2023-11-14T22:13:20.123Z udp dropped client=10.0.0.1:5 bytes=3\n"


def test_a_json_line_has_the_same_fields() -> None:
    assert json.loads(written("json", client="10.0.0.1:5", bytes=3)) == {
        "time": "2023-11-14T22:13:20.123Z",
        "service": "udp",
        "event": "dropped",
        "client": "10.0.0.1:5",
        "bytes": 3,
    }


def test_off_writes_nothing() -> None:
    assert written("off", bytes=3) == ""


@pytest.mark.parametrize("style", ["human", "json"])
@pytest.mark.parametrize(
    "hostile", ["a\nb", "a\r\nb", "\x1b[31m", "a b=c", '"', "\u2028", "\u202e", "\ud800", ""]
)
def test_a_value_from_a_peer_cannot_forge_a_line(style: str, hostile: str) -> None:
    line = written(style, text=hostile)
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert line.isascii()


def test_lines_of_many_threads_do_not_mix() -> None:
    stream = io.StringIO()
    events = Events("udp", "json", stream=stream)

    def write() -> None:
        for number in range(50):
            events("answered", number=number)

    threads = [threading.Thread(target=write, name=f"writer {n}") for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([json.loads(line) for line in stream.getvalue().splitlines()]) == 200


def test_a_reader_that_went_away_does_not_end_the_server() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    Events("udp", stream=Closed())("dropped")


@pytest.mark.parametrize("style", ["human", "json"])
def test_kept_lines_read_as_if_written_at_once_and_come_before_the_next(style: str) -> None:
    at_once, kept = io.StringIO(), io.StringIO()
    write = Events("udp", style, stream=at_once, wall_clock_ns=lambda: AT_NS)
    for event in ("received", "dropped"):
        write(event, client="10.0.0.1:5", bytes=3, ping="7f3a9c01/1.1")
    write("stopped")
    keep = Events("udp", style, stream=kept, wall_clock_ns=lambda: AT_NS)
    shown = keep.shown(client="10.0.0.1:5", bytes=3) + keep.separator
    keep.keep("received", "dropped", shown + keep.shown(ping="7f3a9c01/1.1"))
    assert kept.getvalue() == ""
    keep("stopped")
    assert kept.getvalue() == at_once.getvalue()


def test_kept_lines_tell_the_time_of_each_event() -> None:
    stream = io.StringIO()
    now_ms = 0
    events = Events("udp", stream=stream, wall_clock_ns=lambda: now_ms * 1_000_000 + 999_999)
    for now_ms in (0, 1, 1, 1000, 500):
        events.keep("received", "dropped" if now_ms else "answered", f"at={now_ms}")
    events.flush()
    assert events.kept == []
    told = [(line[17:23], line.split()[2:]) for line in stream.getvalue().splitlines()]
    assert told[::2] == [
        (f"{ms / 1000:06.3f}", ["received", f"at={ms}"]) for ms in (0, 1, 1, 1000, 500)
    ]
    assert [what for _, (what, _) in told[1::2]] == ["answered"] + ["dropped"] * 4


@pytest.mark.parametrize("style", ["human", "json"])
def test_a_noted_line_reads_as_one_written_at_once(style: str) -> None:
    at_once, noted = io.StringIO(), io.StringIO()
    Events("http", style, stream=at_once, wall_clock_ns=lambda: AT_NS)("request", number=7, ms=0.5)
    events = Events("http", style, stream=noted, wall_clock_ns=lambda: AT_NS)
    shown = f"{events.label('number')}7{events.separator}{events.label('ms')}0.5"
    events.note("request", shown)
    assert noted.getvalue() == at_once.getvalue()


def test_a_lone_noted_line_is_written_at_once_and_those_after_it_together() -> None:
    stream = io.StringIO()
    now_ms = 1_000_000
    events = Events("http", stream=stream, wall_clock_ns=lambda: now_ms * 1_000_000)
    lines = []
    for now_ms in range(1_000_000, 1_000_000 + 2 * KEPT_MS, KEPT_MS // 5):
        events.note("request", f"number={now_ms}")
        lines.append(stream.getvalue().count("\n"))
    assert lines == [1, 1, 1, 1, 1, 6, 6, 6, 6, 6]
    events("stopped")
    assert stream.getvalue().count("\n") == 11


def test_noted_lines_of_many_threads_are_all_there_once() -> None:
    stream = io.StringIO()
    events = Events("http", "json", stream=stream)

    def write(first: int) -> None:
        for number in range(first, first + 2000):
            events.note("request", f'"number": {number}')
            if number % 100 == 0:
                events.flush()

    threads = [threading.Thread(target=write, args=(n,), name=f"{n}") for n in (0, 2000, 4000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events.flush()
    numbers = [json.loads(line)["number"] for line in stream.getvalue().splitlines()]
    assert sorted(numbers) == list(range(6000))


def test_a_shared_stream_gets_whole_lines_in_pieces_that_a_pipe_does_not_mix() -> None:
    class Pieces(io.StringIO):
        def write(self, text: str) -> int:
            pieces.append(text)
            return len(text)

    pieces: list[str] = []
    events = Events("http", stream=Pieces(), shared=True, wall_clock_ns=lambda: AT_NS)
    for size in (1, 5000, *range(1, 300)):
        events.note("request", "x" * size)
    events.flush()
    assert sum(piece.count("\n") for piece in pieces) == 301
    assert all(piece.endswith("\n") for piece in pieces)
    assert [piece for piece in pieces if len(piece) > ATOMIC_BYTES][0].count("\n") == 1
    assert sum(len(piece) > ATOMIC_BYTES for piece in pieces) == 1
    assert len(pieces) < 30
