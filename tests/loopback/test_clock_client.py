"""The clock client against our server, and against servers that are not like ours."""

import ctypes
import json
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any

import pytest

from clients.clock.__main__ import main
from clients.clock.answers import parse_time
from clients.clock.asking import Asker, Failure
from clients.clock.conversation import Conversation
from clients.clock.estimate import MAX_DRIFT_PPM, Sample, estimate
from clients.clock.steady import SteadyClock
from services.clock.protocol import EXACT_QUESTION, rfc3339
from tests.loopback.conftest import StartServer, run_client, start_client
from tests.requirements_gate import missing

TIMEOUT_S = 5.0
S = 1_000_000_000

Behaviour = Callable[[socket.socket], None]
"""What a foreign server does with one connection."""


@contextmanager
def foreign(*behaviours: Behaviour) -> Iterator[int]:
    """Serve one connection after the other, the last behaviour again and again; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT_S)
        over = threading.Event()

        def serve() -> None:
            number = 0
            while True:
                connection, _ = listener.accept()
                with connection:
                    if over.is_set():
                        return
                    connection.settimeout(TIMEOUT_S)
                    try:
                        behaviours[min(number, len(behaviours) - 1)](connection)
                    except ConnectionError:  # the client had enough
                        pass
                number += 1

        thread = threading.Thread(target=serve, name="foreign server")
        thread.start()
        port = listener.getsockname()[1]
        try:
            yield port
        finally:
            over.set()
            socket.create_connection(("127.0.0.1", port), TIMEOUT_S).close()
            thread.join(TIMEOUT_S)
            assert not thread.is_alive()


def answering(*pieces: bytes | Callable[[], str], pause_s: float = 0.0) -> Behaviour:
    """Answer each question with the pieces; a callable gives a text and its line end is added."""

    def behave(connection: socket.socket) -> None:
        while connection.recv(1000):
            for piece in pieces:
                connection.sendall(piece if isinstance(piece, bytes) else f"{piece()}\n".encode())
                if pause_s:
                    time.sleep(pause_s)

    return behave


def once(behave_with: bytes, *, reset: bool = False) -> Behaviour:
    """Answer one question with these bytes, and close."""

    def behave(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(behave_with)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return behave


GOOD = b"2026-11-22T19:03:18.975123456Z\n"


def client(port: int, *words: str) -> int:
    return main(
        ["--host", "127.0.0.1", "--port", str(port), "--count", "2", "--interval", "0", *words]
    )


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(capsys.readouterr().out)
    return made


@pytest.mark.parametrize(
    ("options", "environment", "offset_ns", "drift_ppm"),
    [
        ([], {}, 0, 0),
        (["--offset", "2.5s"], {}, 2_500_000_000, 0),
        (["--offset", "-20ms"], {"CLOCK_DRIFT_PPM": "-10000"}, -20_000_000, -10_000),
    ],
)
def test_the_offset_that_the_server_was_told_is_within_the_bound(
    start_server: StartServer,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    environment: dict[str, str],
    offset_ns: int,
    drift_ppm: int,
) -> None:
    server = start_server("services.clock", *options, environment=environment)
    told = server.wait_for("listening")
    started_ns = parse_time(told["started"]).earliest_ns
    for question, words in (("exact", []), ("plain", ["--plain"])):
        assert client(server.port, "--count=20", "--max-drift=10000", "--json", *words) == 0
        made = document(capsys)
        assert len(made["requests"]) == 20
        summary = made["summary"]
        assert summary["question"] == question
        truth_ns = offset_ns + (summary["at_wall_ns"] - started_ns) * drift_ppm / 1e6
        # 100 ns: "started" and the start of the drift are readings of two clocks, 2 us apart.
        assert abs(summary["offset_ns"] - truth_ns) <= summary["bound_ns"] + 100
        least_ns = min(request["delay_ns"] for request in made["requests"])
        assert summary["bound_ns"] <= least_ns / 2 + least_ns * 0.01 + 2
        if sys.platform == "linux":
            by: dict[str, str | None] = {
                "sent": "kernel",
                "server_received": "kernel",
                "received": "kernel",
            }
            if question == "plain":
                by["server_received"] = None
            assert [request["stamped_by"] for request in made["requests"]] == [by] * 20


def test_the_servers_time_is_no_part_of_the_delay(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start_server("services.clock")
    assert client(server.port, "--json") == 0
    for request in document(capsys)["requests"]:
        assert 0 < request["residence_ns"] < request["rtt_ns"]
        # One more: the answers' last digit.
        assert request["delay_ns"] == request["rtt_ns"] - request["residence_ns"] + 1


def test_the_table_and_the_summary(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start_server("services.clock", "--offset=-2.5s")
    assert client(server.port, "--count", "3") == 0
    first, second, third, head, rtt, result, *_ = capsys.readouterr().out.splitlines()
    for number, line in enumerate((first, second, third), 1):
        assert line.startswith(f"  {number}  server 20")
        assert "  difference -2." in line
        assert "  round trip " in line
    assert head.endswith(f"127.0.0.1 (127.0.0.1:{server.port}): 3 asked, 3 answered")
    assert rtt.startswith("round trip min / average / max: ")
    assert "s behind this machine's, ± " in result
    assert server.stop() == 0
    assert server.wait_for("stopped")["clients"] == 1  # one connection for all questions


@pytest.mark.parametrize(
    ("answer", "resolution_ns"),
    [
        (lambda: time.ctime(), S),
        (lambda: time.strftime("%Y-%m-%dT%H:%M:%S%z"), S),
        (lambda: str(int(time.time())), S),
        (lambda: repr(time.time()), 100_000),
        (lambda: time.strftime("%Y-%m-%d %H:%M:%S.") + f"{time.time_ns() % S // 10**6:03d}", S),
    ],
    ids=["ctime", "ISO 8601", "epoch", "epoch float", "no zone"],
)
def test_other_servers_are_understood_and_their_resolution_is_in_the_bound(
    answer: Callable[[], str], resolution_ns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with foreign(answering(answer)) as port:
        assert client(port, "--json") == 0
    made = document(capsys)
    for request in made["requests"]:
        assert abs(request["offset_ns"]) <= request["bound_ns"]  # one machine, one clock
        step_ns = request["resolution_ns"]
        assert step_ns <= resolution_ns
        assert request["bound_ns"] - request["rtt_ns"] / 2 >= step_ns / 2


def test_a_zone_that_was_assumed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with foreign(answering(b"2026-11-22T19:03:18\n")) as port:
        assert client(port, "--zone", "+05:30") == 0
    assert "(the answers name no time zone: UTC+05:30 is assumed" in capsys.readouterr().out


def test_an_answer_in_pieces_is_one_answer(capsys: pytest.CaptureFixture[str]) -> None:
    pieces = (b"\r\n", *(GOOD[at : at + 1] for at in range(len(GOOD))))
    with foreign(answering(*pieces, pause_s=0.002)) as port:
        assert client(port, "--json") == 0
    assert [request["server_text"] for request in document(capsys)["requests"]] == [
        GOOD.decode().strip()
    ] * 2


def test_a_server_that_closes_after_each_answer_is_asked_on_a_new_connection(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with foreign(once(GOOD)) as port:
        assert client(port, "--count", "4") == 0
    assert "4 asked, 4 answered" in capsys.readouterr().out


def test_an_answer_without_a_line_end_is_understood_when_the_server_closes_or_falls_silent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bare = GOOD.strip()
    with foreign(once(bare), answering(bare)) as port:
        assert client(port, "--json") == 0
    made = document(capsys)
    assert made["summary"]["answered"] == 2
    assert made["summary"]["rtt_max_ns"] < S // 2  # the silence is no part of the round trip


BAD = [
    (answering(b"hello\n"), "'hello' is not a time that can be read", "unreadable"),
    (answering(b"\xff\x1b[31m\x00\n"), "'\\ufffd\\x1b[31m\\x00' is not a time", "unreadable"),
    (answering(b"x" * 5000), "more than 1000 bytes are not a time", "unreadable"),
    (answering(b"error: go away\n"), "the server says 'error: go away'", "unreadable"),
    (once(b"2026-11-2"), "the answer broke off after '2026-11-2'", "unreadable"),
    (once(b"17953"), "the answer broke off after '17953'", "unreadable"),
    (once(b""), "the server closed the connection without an answer", "connection lost"),
    (once(b"", reset=True), "the connection was lost before the answer", "connection lost"),
    (answering(), "no answer within 0.3 s", "timed out"),
    (
        answering(b"2", b"0", b"2", b"6", pause_s=0.12),
        "no whole answer within 0.3 s, only '2",
        "timed out",
    ),
]


@pytest.mark.parametrize(("behaviour", "message", "status"), BAD, ids=[bad[1] for bad in BAD])
def test_a_bad_answer_is_a_clear_line_and_counted(
    behaviour: Behaviour, message: str, status: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with foreign(behaviour) as port:
        timeout = "0.3s" if status == "timed out" else "5s"
        assert client(port, "--plain", "--timeout", timeout) == 1
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert [line[:5] for line in lines] == ["  1  ", "  2  "]
    assert all(message in line for line in lines)
    assert f"2 asked, 0 answered, 2 {status}" in printed.out


def test_a_late_answer_is_not_taken_for_that_to_the_next_question(
    capsys: pytest.CaptureFixture[str],
) -> None:
    late = b"2001-01-01T00:00:00Z\n"

    def too_late(connection: socket.socket) -> None:
        connection.recv(1000)
        time.sleep(0.4)
        connection.sendall(late)

    def chatty(connection: socket.socket) -> None:
        while connection.recv(1000):
            connection.sendall(GOOD + late)  # more than was asked for

    with foreign(too_late, chatty) as port:
        assert client(port, "--plain", "--timeout", "300ms", "--count", "3", "--json") == 1
    requests = document(capsys)["requests"]
    assert [request["status"] for request in requests] == ["timed out", "answered", "answered"]
    assert [request["server_text"] for request in requests[1:]] == [GOOD.decode().strip()] * 2


def test_the_refusal_of_a_full_server_is_shown(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start_server("services.clock", "--max-clients", "1")
    with socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S) as taken:
        taken.sendall(b"what time is it?")
        taken.recv(100)
        assert client(server.port, "--count", "1") == 1
    assert "the server says 'error: all 1 places are taken" in capsys.readouterr().err


def test_bare_sends_the_question_alone(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[bytes] = []

    def exact(connection: socket.socket) -> None:
        asked.append(connection.recv(1000))
        connection.sendall(GOOD)

    with foreign(exact) as port:
        assert client(port, "--count", "1", "--plain") == 0
        assert client(port, "--count", "1", "--bare") == 0
    assert asked == [b"what time is it?\n", b"what time is it?"]


def knowing_only_the_plain_question(otherwise: Behaviour) -> Behaviour:
    """Answer ``what time is it?``; do as ``otherwise`` says when something else is asked."""

    def behave(connection: socket.socket) -> None:
        while asked := connection.recv(1000, socket.MSG_PEEK):
            if asked.startswith(EXACT_QUESTION):
                otherwise(connection)
                return
            connection.recv(1000)
            connection.sendall(f"{rfc3339(time.time_ns())}\n".encode())

    return behave


def silent(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.recv(1000)  # until the client has enough


def complaining(connection: socket.socket) -> None:
    while connection.recv(1000).startswith(EXACT_QUESTION):
        connection.sendall(b"error: what?\n")
        knowing_only_the_plain_question(silent)(connection)


@pytest.mark.parametrize(
    ("otherwise", "reason"),
    [
        (complaining, "the server says 'error: what?'"),
        (once(b"hello\n"), "'hello' is not a time that can be read"),
        (once(b""), "the server closed the connection without an answer"),
        (once(b"", reset=True), "the connection was lost before the answer"),
        (silent, "no answer within 0.3 s"),
        (
            once(b"received 2026-11-22T19:03:18.9Z by kernel sent 2026-11-22T19:03:18.8Z\n"),
            "the server's clock ran backwards while it answered",
        ),
        (
            once(b"received 2026-11-22T19:03:18.1Z by kernel sent 2026-11-22T19:03:28.8Z\n"),
            "the server says that it had the question for longer than the round trip took",
        ),
    ],
    ids=["error", "nonsense", "close", "reset", "silence", "backwards", "longer than possible"],
)
def test_a_server_that_knows_only_the_plain_question_is_asked_that_from_then_on(
    otherwise: Behaviour, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with foreign(knowing_only_the_plain_question(otherwise)) as port:
        started = time.monotonic()
        assert client(port, "--count=4", "--timeout=300ms", "--json") == 0
        assert time.monotonic() - started < 2
    printed = capsys.readouterr()
    made = json.loads(printed.out)
    assert printed.err == ""
    assert made["summary"]["question"] == "plain"
    assert reason in made["summary"]["fallback"]
    for request in made["requests"]:
        assert abs(request["offset_ns"]) <= request["bound_ns"]


def test_a_server_that_answers_everything_with_one_time_is_understood(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with foreign(answering(lambda: rfc3339(time.time_ns()))) as port:
        assert client(port) == 0
    out = capsys.readouterr().out
    assert "2 asked, 2 answered" in out
    assert "asked plainly, so when the question arrived is not known: it answers the exact" in out


def attach_filter(connection: socket.socket) -> None:
    """Have the kernel throw away what comes; PermissionError where that needs root (Linux 6.18)."""
    nothing = struct.pack("HBBI", 6, 0, 0, 0)  # the BPF program "return 0": keep no byte of it
    program = ctypes.create_string_buffer(nothing)
    filtering = struct.pack("HP", 1, ctypes.addressof(program))
    connection.setsockopt(socket.SOL_SOCKET, 26, filtering)  # SO_ATTACH_FILTER


def deaf_after_the_first_question(connection: socket.socket) -> None:
    """Answer two questions exactly; throw away what comes for 100 ms before the second.

    A filter on the socket does it, so the client's kernel sees a loss and sends again.
    """
    for number in range(2):
        connection.recv(1000)
        received_ns = time.time_ns()
        if number == 0:
            attach_filter(connection)
        answer = f"received {rfc3339(received_ns)} by process sent {rfc3339(time.time_ns())}\n"
        connection.sendall(answer.encode())
        if number == 0:
            time.sleep(0.1)
            connection.setsockopt(socket.SOL_SOCKET, 27, 0)  # SO_DETACH_FILTER


@pytest.mark.skipif(sys.platform != "linux", reason="socket filters and TCP_INFO are Linux's")
def test_a_retransmission_is_seen_and_the_sample_rejected_but_for_the_bound(
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        with socket.socket() as unconnected:
            attach_filter(unconnected)
    except PermissionError:
        missing("root", "a filter on a TCP socket needs it on this kernel")
    with foreign(deaf_after_the_first_question) as port:
        assert client(port, "--json") == 0
    made = document(capsys)
    clean, sent_again = made["requests"]
    assert (clean["retransmissions"], clean["rejected"]) == (0, None)
    assert sent_again["retransmissions"] >= 1
    assert sent_again["rejected"] == "retransmission"
    assert sent_again["delay_ns"] > 100_000_000
    for figure in (clean, sent_again, made["summary"]):
        assert abs(figure["offset_ns"]) <= figure["bound_ns"]
    a_second_of_drift_ns = MAX_DRIFT_PPM * 1_000
    assert made["summary"]["bound_ns"] <= clean["bound_ns"] + a_second_of_drift_ns


def test_a_server_that_is_restarted_in_mid_run_with_another_clock(
    start_server: StartServer,
) -> None:
    first = start_server("services.clock", "--offset=-10s")
    with Conversation("127.0.0.1", first.port, TIMEOUT_S) as conversation:
        asker = Asker(conversation, UTC, TIMEOUT_S)
        outcomes = [asker.ask(number) for number in range(1, 6)]
        assert first.stop() == 0
        outcomes.append(asker.ask(6))
        start_server("services.clock", "--offset=10s", "--port", str(first.port))
        outcomes += [asker.ask(number) for number in range(7, 12)]
    missed = outcomes.pop(5)
    assert isinstance(missed, Failure)
    assert missed.status == "unreachable"
    samples = [outcome for outcome in outcomes if isinstance(outcome, Sample)]
    assert len(samples) == 10
    found = estimate(samples)
    (step,) = found.steps
    assert (step.clock, step.after_number, step.before_number) == ("the server", 5, 7)
    assert step.earliest_ns <= 20 * S <= step.latest_ns
    assert abs(found.offset_ns - 10 * S) <= found.bound_ns


def test_a_server_whose_time_runs_backwards_is_said_to(capsys: pytest.CaptureFixture[str]) -> None:
    shown_ns = iter(range(time.time_ns(), 0, -2 * S))
    with foreign(answering(lambda: rfc3339(next(shown_ns)))) as port:
        assert client(port, "--count=3") == 0
    out = capsys.readouterr().out
    assert "the server's clock was set between questions 1 and 2, by -2." in out
    assert "the server's clock was set between questions 2 and 3, by -2." in out


def test_a_step_of_this_machines_clock_is_seen_and_bends_no_figure(
    start_server: StartServer,
) -> None:
    server = start_server("services.clock")
    step_ns = 0
    clock = SteadyClock(wall_clock_ns=lambda: time.time_ns() + step_ns)
    with Conversation("127.0.0.1", server.port, TIMEOUT_S, clock) as conversation:
        asker = Asker(conversation, UTC, TIMEOUT_S)
        outcomes = [asker.ask(number) for number in range(1, 6)]
        step_ns = 3600 * S
        outcomes += [asker.ask(number) for number in range(6, 11)]
    samples = [outcome for outcome in outcomes if isinstance(outcome, Sample)]
    assert len(samples) == 10
    found = estimate(samples)
    (step,) = found.steps
    assert (step.clock, step.after_number, step.before_number) == ("this machine", 5, 6)
    assert abs(step.earliest_ns - step_ns) < 1_000_000
    assert abs(found.offset_ns + step_ns) <= found.bound_ns + 10_000


def test_no_server_there_is_one_line_and_exit_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ended = run_client("clients.clock", "--host", "127.0.0.1", "--port", str(port))
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == (
        f"  1  no clock server at 127.0.0.1:{port}: connection refused "
        "(is it started? set --host and --port)\n"
    )


def test_a_name_that_is_none_is_one_line_and_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", "no..name", "--json"]) == 1
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert "the name 'no..name' cannot be resolved" in printed.err
    assert json.loads(printed.out)["summary"]["failed"] == 1


def test_ctrl_c_prints_the_summary_so_far_and_exits_130(start_server: StartServer) -> None:
    server = start_server("services.clock")
    place = ("--host", "127.0.0.1", "--port", str(server.port))
    with start_client("clients.clock", *place, "--count=99") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert first.startswith("  1  server ")
    assert " asked, " in rest
    assert "this machine's, ± " in rest
    assert errors == ""


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--count", "0"], "argument --count: must be at least 1, not 0"),
        (["--interval", "-1s"], "argument --interval: this duration cannot be negative: '-1s'"),
        (["--zone", "mars"], "argument --zone: a zone is local, utc, or like +02:00"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    message = capsys.readouterr().err
    assert complaint in message
    assert message.count("\n") == 1
