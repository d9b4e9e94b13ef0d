"""udp-client as a process, against the lab's server and against foreign ones."""

import csv
import io
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from services.udp.protocol import Ping, confirm, find_ping
from tests.loopback.conftest import ROOT, StartServer, python, run_client, start_client
from tests.loopback.udp_in_thread import ServerThread, run_client_here

MODULE = "clients.udp"
QUICK = ("--timeout", "50ms", "--interval", "0")

Reply = Callable[[socket.socket, bytes, Any], None]
Serve = Callable[..., ServerThread]


@pytest.fixture
def foreign_server() -> Iterator[Callable[[Reply], int]]:
    """Start a UDP server in this process that calls ``reply(socket, datagram, sender)``."""
    over = threading.Event()
    threads: list[threading.Thread] = []

    def start(reply: Reply) -> int:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.05)

        def serve() -> None:
            with sock:
                while not over.is_set():
                    try:
                        datagram, sender = sock.recvfrom(65536)
                    except TimeoutError:
                        continue
                    reply(sock, datagram, sender)

        threads.append(threading.Thread(target=serve, name="foreign UDP server"))
        threads[-1].start()
        return int(sock.getsockname()[1])

    yield start
    over.set()
    for thread in threads:
        thread.join(5)


@pytest.fixture
def serve() -> Iterator[Callable[..., ServerThread]]:
    """Start the server in this process with ``serve(*options)``; stop it after the test."""
    started: list[ServerThread] = []

    def start(*arguments: str) -> ServerThread:
        started.append(ServerThread(*arguments))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def ping(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_client_here("--port", str(port), *arguments)


def ping_json(port: int, *arguments: str) -> dict[str, Any]:
    done = ping(port, *arguments, "--json")
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


def attempts(document: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return (attempt for request in document["requests"] for attempt in request["attempts"])


def test_ten_pings_are_answered_though_the_server_drops_half(start_server: StartServer) -> None:
    server = start_server("services.udp", "--seed", "1")
    done = run_client(MODULE, "--port", str(server.port), *QUICK)
    assert done.returncode == 0, done
    assert done.stderr == ""
    assert done.stdout.count(": answered in ") == 10
    assert re.search(r"timed out after 50 ms, retry 2\n", done.stdout)
    assert "requests 10, answered 10, gave up 0\n" in done.stdout
    assert re.search(
        r"^milliseconds +min +average +median +p95 +p99 +max +std.dev.$", done.stdout, re.M
    )
    assert "\x1b" not in done.stdout


def test_the_document_agrees_with_the_servers_own_account(serve: Serve) -> None:
    server = serve("--drop-schedule", "1,2,5")
    document = ping_json(server.port, *QUICK, "--count", "3", "--seed", "7")
    server.stop()
    counts = server.wait_for("stopped")
    run = document["run"]
    dropped = [event["ping"] for event in server.events if event["event"] == "dropped"]
    assert dropped == [f"{run}/1.1", f"{run}/1.2", f"{run}/3.1"]
    outcomes = [[a["outcome"] for a in request["attempts"]] for request in document["requests"]]
    assert outcomes == [
        ["dropped by the server", "dropped by the server", "answered"],
        ["answered"],
        ["dropped by the server", "answered"],
    ]
    figures = document["statistics"]
    assert figures["datagrams_sent"] == counts["received"] == 6
    assert figures["retries"] == counts["dropped"] == 3
    # The waits for lost attempts are in the time to confirmation, and not in the round trip.
    first = document["requests"][0]
    assert first["time_to_confirmation_s"] >= 0.05 + 0.0625 + first["attempts"][2]["rtt_s"]
    assert first["attempts"][2]["rtt_s"] < 0.05
    samples = [a["rtt_s"] for a in attempts(document) if a["rtt_s"] is not None]
    assert figures["rtt"]["samples"] == len(samples) == 3
    assert figures["rtt"]["average_s"] == pytest.approx(sum(samples) / 3)
    assert [a["timeout_s"] for a in document["requests"][0]["attempts"]] == [0.05, 0.0625, 0.078125]
    assert document["format"] == 2
    assert document["settings"]["timeout_s"] == 0.05


def test_a_foreign_server_that_sends_the_datagram_back_is_understood(
    foreign_server: Callable[[Reply], int],
) -> None:
    def reply(sock: socket.socket, datagram: bytes, who: Any) -> None:
        sock.sendto(b"MESSAGE RECEIVED: " + datagram.upper(), who)

    figures = ping_json(foreign_server(reply), *QUICK, "--size", "1200")["statistics"]
    assert (figures["answered"], figures["rtt"]["samples"], figures["strays"]) == (10, 10, 0)


def test_a_foreign_server_that_answers_a_fixed_text_is_sampled_only_without_doubt(
    foreign_server: Callable[[Reply], int],
) -> None:
    def reply(sock: socket.socket, datagram: bytes, who: Any) -> None:
        if b" 2.1 " not in datagram:
            sock.sendto(b"OK", who)

    document = ping_json(foreign_server(reply), *QUICK, "--count", "3")
    figures = document["statistics"]
    assert (figures["answered"], figures["rtt"]["samples"], figures["ambiguous"]) == (3, 1, 2)
    assert document["requests"][0]["attempts"][0]["outcome"] == "answered"


def test_a_late_answer_completes_its_request_and_is_credited_to_its_own_attempt(
    foreign_server: Callable[[Reply], int],
) -> None:
    """The server holds the first datagram back until the second is there."""
    held: list[bytes] = []

    def reply(sock: socket.socket, datagram: bytes, who: Any) -> None:
        held.append(datagram)
        if len(held) == 2:
            sock.sendto(confirm(held[0]), who)

    document = ping_json(foreign_server(reply), *QUICK, "--count", "1")
    (request,) = document["requests"]
    assert [a["outcome"] for a in request["attempts"]] == ["answered late", "unknown"]
    assert request["attempts"][0]["rtt_s"] >= 0.05
    assert request["time_to_confirmation_s"] >= request["attempts"][0]["rtt_s"]
    assert document["statistics"]["late"] == 1


def test_duplicates_and_strays_are_counted_and_never_taken_for_answers(
    foreign_server: Callable[[Reply], int],
) -> None:
    def reply(sock: socket.socket, datagram: bytes, who: Any) -> None:
        found = find_ping(datagram)
        assert found is not None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(confirm(datagram), who)
        sock.sendto(confirm(Ping("00000000", 1, 1).datagram(b"")), who)
        sock.sendto(confirm(Ping(found.run, 9, 9).datagram(b"")), who)
        if found.attempt == 2:
            sock.sendto(confirm(datagram), who)
            sock.sendto(confirm(datagram), who)

    document = ping_json(foreign_server(reply), *QUICK, "--count", "1")
    figures = document["statistics"]
    assert [a["outcome"] for a in attempts(document)] == ["unknown", "answered"]
    assert figures["duplicates"] == 1
    assert document["strays"] == {
        "from another address": 2,
        "of another run": 2,
        "for an attempt that was never sent": 2,
    }


def test_answers_of_every_strange_size_harm_nothing(
    foreign_server: Callable[[Reply], int],
) -> None:
    def reply(sock: socket.socket, datagram: bytes, who: Any) -> None:
        sock.sendto(confirm(datagram), who)
        for stray in (b"", b"\xff" * 65507, datagram[:20]):
            sock.sendto(stray, who)

    done = ping(foreign_server(reply), *QUICK, "--count", "2")
    assert done.returncode == 0, done
    assert done.stderr == ""


def closed_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_a_server_that_is_not_there_is_a_clear_line_and_status_1() -> None:
    done = ping(closed_port(), *QUICK)
    assert done.returncode == 1
    assert "attempt 1 refused: nothing listens on that port" in done.stdout
    assert "requests 1 of 10, answered 0, gave up 1" in done.stdout
    assert re.fullmatch(r"udp-client: 127\.0\.0\.1:\d+: refused.*--port\)\n", done.stderr)


def test_a_server_that_stays_silent_is_a_clear_line_and_status_1(
    foreign_server: Callable[[Reply], int],
) -> None:
    port = foreign_server(lambda sock, datagram, who: None)
    done = ping(port, *QUICK, "--count", "2", "--max-tries", "2")
    assert done.returncode == 1
    assert done.stdout.count("gave up after 2 tries") == 2
    assert done.stderr.endswith("no answer at all; is the server there?\n")
    assert done.stderr.count("\n") == 1


def test_a_name_that_does_not_resolve_is_a_clear_line_and_status_1() -> None:
    done = run_client_here("--host", "x" * 70)  # longer than a label may be: no DNS is asked
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("udp-client: cannot resolve ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"), [(("--size", "10"), "--size 10"), (("--count", "0"), "at least 1")]
)
def test_wrong_usage_is_status_2_and_one_line(arguments: tuple[str, ...], complaint: str) -> None:
    done = run_client_here(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_with_the_summary_so_far(
    start_server: StartServer, number: signal.Signals, status: int
) -> None:
    server = start_server("services.udp", "--drop", "0")
    with start_client(MODULE, "--port", str(server.port), "--interval", "1h") as client:
        assert client.stdout is not None
        shown = ""
        while "answered in" not in shown:  # lines come at once, also through a pipe
            shown += client.stdout.readline()
        client.send_signal(number)
        rest, errors = client.communicate(timeout=5)
    assert client.returncode == status
    assert "requests 1 of 10, answered 1, gave up 0" in rest
    assert errors == ""


def test_an_interrupted_document_is_whole_and_says_so(
    foreign_server: Callable[[Reply], int],
) -> None:
    asked = threading.Event()
    port = foreign_server(lambda sock, datagram, who: asked.set())
    with start_client(MODULE, "--port", str(port), "--timeout", "1h", "--json") as client:
        assert asked.wait(5)
        client.send_signal(signal.SIGINT)
        shown, _ = client.communicate(timeout=5)
    assert client.returncode == 130
    document = json.loads(shown)
    assert document["interrupted"] == "SIGINT"
    assert [a["outcome"] for a in attempts(document)] == ["unknown"]


def on_a_terminal(port: int, environment: dict[str, str], *arguments: str) -> str:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        try:
            client = subprocess.Popen(
                python(MODULE, "--port", str(port), "--count", "1", *QUICK, *arguments),
                cwd=ROOT,
                env=os.environ | environment,
                stdout=theirs,
            )
        finally:
            os.close(theirs)
        shown = b""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                shown += screen.read(4096)
            except OSError:  # EIO: the client has closed its side
                break
        client.wait(5)
    return shown.decode()


def test_colour_is_for_terminals_and_no_color_is_honoured(serve: Serve) -> None:
    server = serve("--drop", "0")
    assert "\x1b[32mrequest 1: answered" in on_a_terminal(server.port, {"NO_COLOR": ""})
    assert "\x1b" not in on_a_terminal(server.port, {"NO_COLOR": "1"})


def test_host_and_port_come_from_the_environment(serve: Serve) -> None:
    server = serve("--drop", "0")
    done = subprocess.run(
        python(MODULE, "--count", "1", *QUICK),
        cwd=ROOT,
        env=os.environ | {"UDP_HOST": "localhost", "UDP_PORT": str(server.port)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout.startswith(f"1 request to localhost (127.0.0.1:{server.port}), run ")


def test_output_cut_off_by_its_reader_is_no_traceback(start_server: StartServer) -> None:
    server = start_server("services.udp", "--drop", "0")
    with start_client(MODULE, "--port", str(server.port), "--interval", "50ms") as client:
        assert client.stdout is not None
        client.stdout.close()
        assert client.stderr is not None
        assert client.stderr.read() == ""
    assert client.returncode == -signal.SIGPIPE


def test_drops_and_losses_each_way_are_told_apart_and_add_up(
    serve: Serve, foreign_server: Callable[[Reply], int]
) -> None:
    """The test is the network: it loses 2.1 on the way there, and the answer to 3.1."""
    server = serve("--drop-schedule", "1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as onward:
        onward.connect(("127.0.0.1", server.port))
        onward.settimeout(0.2)

        def reply(sock: socket.socket, datagram: bytes, who: Any) -> None:
            if b" 2.1 " in datagram:
                return
            onward.send(datagram)
            try:
                answer = onward.recv(2048)
            except TimeoutError:  # dropped
                return
            if b" 3.1 " not in datagram:
                sock.sendto(answer, who)

        port = foreign_server(reply)
        document = ping_json(port, "--timeout", "300ms", "--interval", "0", "--count", "3")
    outcomes = [attempt["outcome"] for attempt in attempts(document)]
    assert outcomes == [
        "dropped by the server",
        "answered",
        "lost on the way there",
        "answered",
        "lost on the way back",
        "answered",
    ]
    assert sum(document["statistics"]["outcomes"].values()) == len(outcomes)
    assert document["account"]["complete"] is True
    server.stop()
    assert server.wait_for("stopped")["received"] == 5  # asking for the account is not counted


def test_a_server_restarted_in_mid_run_is_not_taken_for_a_network_that_loses(
    serve: Serve,
) -> None:
    server = serve("--drop-schedule", "1,2")
    with start_client(
        MODULE, "--port", str(server.port), *QUICK, "--count", "2", "--interval", "0.5s", "--json"
    ) as client:
        server.wait_for("answered")
        server.stop()
        serve("--drop", "0", "--port", str(server.port))
        shown, _ = client.communicate(timeout=10)
    document = json.loads(shown)
    first, second = document["requests"]
    assert {a["outcome"] for a in first["attempts"][:2]} == {"unknown"}
    assert first["attempts"][2]["outcome"] == second["attempts"][-1]["outcome"] == "answered"
    assert "cannot know of 2 attempts" in document["account"]["remark"]


@pytest.mark.skipif(sys.platform != "linux", reason="kernel stamps are Linux's")
def test_round_trips_are_from_kernel_stamp_to_kernel_stamp_less_the_servers_holding(
    serve: Serve,
) -> None:
    server = serve("--drop", "0")
    server.until_stamped()
    document = ping_json(server.port, "--paced", "--interval", "1ms", "--count", "200")
    if not document["in_effect"]["kernel_stamps"]:
        pytest.skip("this kernel gives no stamps")
    figures = document["statistics"]
    assert (
        figures["rtt"]["samples"] == figures["rtt_by_kernel"] == figures["held"]["samples"] == 200
    )
    for attempt in attempts(document):
        assert attempt["sent_ns"] - 2000 <= attempt["left_ns"] < attempt["arrived_ns"]
        assert attempt["arrived_ns"] <= attempt["received_ns"] + 2000
        elapsed_ns = attempt["arrived_ns"] - attempt["left_ns"]
        assert attempt["elapsed_s"] == pytest.approx(elapsed_ns / 1e9)
        assert attempt["rtt_s"] == pytest.approx(attempt["elapsed_s"] - attempt["held_s"])
        assert attempt["rtt_s"] > 0
    assert document["in_effect"]["server_drop"] == 0
    assert "answered" in {attempt["outcome"] for attempt in attempts(document)}


def test_the_table_has_a_line_for_each_attempt(serve: Serve) -> None:
    server = serve("--drop-schedule", "1")
    done = ping(server.port, *QUICK, "--count", "2", "--csv", "--rto", "fixed")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["request"], row["attempt"], row["outcome"]) for row in rows] == [
        ("1", "1", "dropped by the server"),
        ("1", "2", "answered"),
        ("2", "1", "answered"),
    ]
    assert [row["timeout_s"] for row in rows] == ["0.05"] * 3
    assert rows[0]["rtt_s"] == ""
    assert float(rows[1]["rtt_s"]) > 0


def test_the_summary_sets_what_is_expected_beside_what_was_measured(
    serve: Serve,
) -> None:
    server = serve("--drop", "0.5", "--seed", "4")
    done = ping(server.port, "--paced", "--interval", "1ms", "--count", "100", "--expect", "back=0")
    table = done.stdout[done.stdout.index("attempts  ") :]
    assert re.match(r"attempts +count +share +expected\n +answered +\d+ +0\.\d+ +0.500\n", table)
    assert re.search(r"^  sum +100$", table, re.M)
    assert re.search(r"without an answer: .* \(95 % confidence: .*\), expected 0\.500", table)
    assert re.search(r"dropped by the server: .* its setting is 0\.5\n", table)
    assert done.stdout.count("request ") == 0  # no line for each of the paced ones


def test_verbose_shows_how_the_adaptive_timeout_is_computed(serve: Serve) -> None:
    server = serve("--drop", "0")
    quiet = ping(server.port, *QUICK, "--count", "1", "--rto", "adaptive")
    assert "SRTT" not in quiet.stdout
    verbose = ping(server.port, *QUICK, "--count", "1", "--rto", "adaptive", "-v")
    assert re.search(r"R = .* SRTT = .* RTTVAR = .* RTO = 200 ms \(the minimum\)", verbose.stdout)


INTERFACE_DOWN = """
import fcntl, os, socket, struct, subprocess, sys
def loopback(up):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, 0x8914, struct.pack("16sh14x", b"lo", up))  # SIOCSIFFLAGS, IFF_UP
loopback(1)
run = lambda *arguments: subprocess.Popen(
    [sys.executable, "-m", *arguments], stdout=subprocess.PIPE, text=True
)
with run("services.udp", "--host", "127.0.0.1", "--port", "7", "--drop", "0") as server:
    server.stdout.readline()
    quick = ["--timeout", "20ms", "--interval", "20ms", "--count", "3"]
    with run("clients.udp", "--port", "7", *quick) as client:
        shown = ""
        while "answered" not in shown:
            shown += client.stdout.readline()
        loopback(0)
        while "request 2: timed out" not in shown and "could not be sent" not in shown:
            shown += client.stdout.readline()
        loopback(1)
        print(shown + client.stdout.read(), client.wait())
    server.terminate()
"""


def test_an_interface_that_goes_down_and_comes_up_again_costs_attempts_and_nothing_else() -> None:
    """In a network namespace of its own, where the loopback interface can be taken down."""
    unshare = shutil.which("unshare")
    in_namespace = [unshare or "unshare", "--user", "--map-root-user", "--net"]
    if unshare is None or subprocess.run([*in_namespace, "true"], check=False).returncode:
        pytest.skip("no network namespaces for this user")
    done = subprocess.run(
        [*in_namespace, sys.executable, "-c", INTERFACE_DOWN],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    assert "requests 3, answered 3, gave up 0" in done.stdout, done.stdout
    assert done.stdout.endswith(" 0\n")


def test_a_paced_run_has_one_line_that_is_written_over_on_a_terminal(
    serve: Serve,
) -> None:
    server = serve("--drop", "0")
    shown = on_a_terminal(server.port, {}, "--paced", "--interval", "1ms", "--count", "150")
    assert re.search(r"\r\x1b\[K\d+ of 150 sent, \d+ answered, the last in [\d.]+ ms", shown)
    assert shown.index("\r\x1b[K---") > 0
