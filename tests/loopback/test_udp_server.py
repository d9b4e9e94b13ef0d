"""The UDP ping server as a process, asked through real sockets."""

import dataclasses
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from services.events import Events
from services.lifetime import TICK_S
from services.udp.protocol import (
    HEALTH_CHECK,
    LARGEST_ACCOUNT,
    LARGEST_DATAGRAM,
    LARGEST_GROWTH,
    LARGEST_TIMES,
    AccountQuestion,
    confirm,
    find_account,
    find_times,
    times_text,
)
from services.udp.server import PingServer, ServerError, bound_socket, check
from tests.binomial import accepted
from tests.loopback.conftest import ROOT, Server, StartServer, python
from tests.loopback.udp_in_thread import ServerThread

MODULE = "services.udp"
Serve = Callable[..., ServerThread]


@pytest.fixture
def client() -> Iterator[socket.socket]:
    """A UDP socket with a deadline."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        yield sock


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


def ask(client: socket.socket, server: Server, datagrams: Iterable[bytes]) -> list[bytes]:
    """Send all, and return the answers that came.

    A health check behind them, which is always answered, and in order, says that there are no more.
    """
    address = ("127.0.0.1", server.port)
    for datagram in datagrams:
        client.sendto(datagram, address)
    client.sendto(HEALTH_CHECK, address)
    answers: list[bytes] = []
    while (answer := client.recv(2048)) != confirm(HEALTH_CHECK):
        answers.append(answer)
    return answers


def ask_in_batches(client: socket.socket, server: Server, count: int) -> list[int]:
    """Send numbers from 0, few enough at a time for the socket's buffer; return those answered."""
    answers: list[bytes] = []
    for first in range(0, count, 50):
        numbers = range(first, min(first + 50, count))
        answers += ask(client, server, [b"number %d" % number for number in numbers])
    return [int(found[1]) for answer in answers if (found := re.search(rb"number (\d+)", answer))]


def test_any_datagram_is_confirmed(serve: Serve, client: socket.socket) -> None:
    server = serve("--drop", "0")
    every_byte = bytes(range(256))
    for datagram in (b"hello", b"", b"\n", b"\x00\x1b[2J\xff", b"x" * 1472, every_byte * 255):
        assert ask(client, server, [datagram]) == [confirm(datagram)]
    (answer,) = ask(client, server, [b"x" * LARGEST_DATAGRAM])
    assert answer.startswith(b"received 65507 bytes: xxx")
    assert len(answer) < 1100


def test_half_of_the_datagrams_are_dropped_and_the_counts_say_so(
    serve: Serve, client: socket.socket
) -> None:
    count = 1000
    server = serve()
    answered = ask_in_batches(client, server, count)
    assert len(answered) in accepted(count, 0.5)
    assert server.stop() == 0
    counts = server.wait_for("stopped")
    assert counts["received"] == count
    assert counts["answered"] == len(answered)
    assert counts["dropped"] == count - len(answered)
    assert counts["unanswered"] == counts["ignored"] == 0


def test_every_datagram_is_logged_as_received_and_by_what_became_of_it(
    serve: Serve, client: socket.socket
) -> None:
    server = serve("--drop-schedule", "2")
    ask(client, server, [b"ping 7f3a9c01 1.1: hello", b"ping 7f3a9c01 1.2: hello", b"x\ny"])
    server.stop()
    server.wait_for("stopped")
    where = f"127.0.0.1:{client.getsockname()[1]}"
    told = [
        (event["event"], event["client"], event["bytes"], event.get("ping"))
        for event in server.events
        if event["event"] in ("received", "dropped", "answered")
    ]
    assert told == [
        ("received", where, 24, "7f3a9c01/1.1"),
        ("answered", where, 24, "7f3a9c01/1.1"),
        ("received", where, 24, "7f3a9c01/1.2"),
        ("dropped", where, 24, "7f3a9c01/1.2"),
        ("received", where, 3, None),
        ("answered", where, 3, None),
    ]


def test_a_seed_repeats_the_decisions_and_the_log_tells_a_chosen_one(
    serve: Serve, start_server: StartServer, client: socket.socket
) -> None:
    first = serve()
    seed = first.wait_for("listening")["seed"]
    decisions = ask_in_batches(client, first, 100)
    assert ask_in_batches(client, serve("--seed", str(seed)), 100) == decisions
    other = start_server(MODULE, environment={"UDP_SEED": str(seed + 1)})
    assert ask_in_batches(client, other, 100) != decisions


def test_a_schedule_drops_exactly_those_of_each_client(
    start_server: StartServer, client: socket.socket
) -> None:
    server = start_server(MODULE, environment={"UDP_DROP_SCHEDULE": "1,3,4"})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
        second.settimeout(5)
        for sock in (client, second):
            assert ask_in_batches(sock, server, 8) == [1, 4, 5, 6, 7]


def test_health_checks_take_no_decision_no_place_in_the_schedule_and_are_not_counted(
    serve: Serve, client: socket.socket
) -> None:
    server = serve("--drop-schedule", "2")
    assert [ask(client, server, [b"x"]) != [] for _ in range(4)] == [True, False, True, True]
    server.stop()
    assert server.wait_for("stopped")["received"] == 4


def test_check_is_healthy_while_the_server_is_up_even_if_it_drops_everything(
    start_server: StartServer,
) -> None:
    server = start_server(MODULE, "--drop", "1")

    command = python(MODULE, "--check", "--host", "127.0.0.1", "--port", str(server.port))
    healthy = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, "healthy\n", "")
    assert server.stop() == 0
    gone = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert gone.returncode == 1
    assert gone.stderr == f"health check of 127.0.0.1:{server.port}: connection refused\n"


def test_check_tells_another_program_and_a_silent_one_from_this_server(
    client: socket.socket,
) -> None:
    client.bind(("127.0.0.1", 0))
    port = client.getsockname()[1]
    silent = check("127.0.0.1", port, tries=2, timeout_s=0.02)
    assert silent == f"health check of 127.0.0.1:{port}: no answer within 0.04 s"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        other.settimeout(5)
        port = other.getsockname()[1]

        def echo() -> None:
            datagram, sender = other.recvfrom(2048)
            other.sendto(datagram, sender)

        echoing = threading.Thread(target=echo, name="echo server")
        echoing.start()
        assert check("127.0.0.1", port, tries=1, timeout_s=5).endswith("is not this server's")
        echoing.join(5)


def test_a_client_that_has_vanished_and_forged_senders_do_not_end_the_loop(
    client: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    with bound_socket("127.0.0.1", 0) as sock:
        events = Events("udp", "human")
        server = PingServer(sock, lambda client: False, events)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as vanished:
            vanished.bind(("127.0.0.1", 0))
            nobody = vanished.getsockname()
        server.handle([(b"x", nobody)])
        server.handle([(b"x", ("127.0.0.1", 0))])
        server.handle([(b"x", ("255.255.255.255", 9))])
        client.bind(("127.0.0.1", 0))
        server.handle([(b"still here", client.getsockname())])
        assert client.recv(2048) == confirm(b"still here")
    events.flush()
    counts = server.counts
    assert (counts["received"], counts["answered"], counts["unanswered"]) == (4, 2, 2)
    log = capsys.readouterr().out
    assert "error=EINVAL why=" in log
    assert "error=EACCES why=" in log


def test_answers_to_answers_are_ignored_after_a_few_rounds(
    serve: Serve, client: socket.socket
) -> None:
    """A forged sender points one server at another: here the test plays the other one."""
    server = serve("--drop", "0")
    datagram, rounds = b"forged", 0
    while answers := ask(client, server, [datagram]):
        datagram = confirm(answers[0])
        rounds += 1
        assert rounds < 5
    server.wait_for("ignored")
    assert ask(client, server, [b"hello"]) == [confirm(b"hello")]


def test_the_health_check_text_from_another_machine_is_an_ordinary_datagram() -> None:
    with bound_socket("127.0.0.1", 0) as sock:
        server = PingServer(sock, lambda client: True, Events("udp", "off"))
        server.handle([(HEALTH_CHECK, ("192.0.2.7", 4000))])
        server.handle([(HEALTH_CHECK, sock.getsockname())])
    assert (server.counts["received"], server.counts["dropped"]) == (1, 1)


def test_sigterm_ends_the_server_with_status_0_promptly(start_server: StartServer) -> None:
    server = start_server(MODULE)
    begin = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begin < 4 * TICK_S + 1
    assert server.wait_for("stopped")["reason"] == "SIGTERM"


def test_sigterm_is_heard_between_datagrams_that_come_all_the_time(
    start_server: StartServer, client: socket.socket
) -> None:
    server = start_server(MODULE)
    over = threading.Event()

    def trickle() -> None:
        while not over.wait(0.05):
            client.sendto(b"x", ("127.0.0.1", server.port))

    trickling = threading.Thread(target=trickle, name="trickle")
    trickling.start()
    try:
        server.wait_for("received")
        begin = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begin < 4 * TICK_S + 1
    finally:
        over.set()
        trickling.join(5)


def test_one_thread_serves(start_server: StartServer, client: socket.socket) -> None:
    server = start_server(MODULE)
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        pytest.skip("no /proc on this system")
    ask_in_batches(client, server, 20)
    assert "Threads:\t1\n" in status.read_text()


def test_a_port_that_is_taken_is_one_line_and_status_1(client: socket.socket) -> None:
    client.bind(("127.0.0.1", 0))
    port = client.getsockname()[1]
    command = python(MODULE, "--host", "127.0.0.1", "--port", str(port))
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == (
        f"bind 127.0.0.1:{port}: address already in use (set UDP_PORT or --port)\n"
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 70])
def test_an_address_that_is_not_this_machines_names_the_setting(host: str) -> None:
    with pytest.raises(ServerError, match=rf"^bind {host}:0: .* \(set UDP_HOST or --host\)$"):
        bound_socket(host, 0)


def test_it_listens_on_ipv6_where_told_to(serve: Serve) -> None:
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 on this system")
    server = serve("--host", "::1", "--drop", "0")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(b"six", ("::1", server.port))
        assert client.recv(2048) == confirm(b"six")


def test_a_numbered_ping_gets_the_times_and_nobody_else_does(
    serve: Serve, client: socket.socket
) -> None:
    server = serve("--drop", "0")
    server.until_stamped()
    before_ns = time.time_ns()
    numbered = b"ping 7f3a9c01 1.1 #1: hello"
    answers = ask(client, server, [numbered, b"ping 7f3a9c01 1.1: hello", b" " + numbered])
    after_ns = time.time_ns()
    times = find_times(answers[0])
    assert times is not None
    assert answers[0] == confirm(numbered, times_text(*dataclasses.astuple(times)))
    assert before_ns <= times.received_ns <= times.received_ns + times.held_ns <= after_ns
    assert times.by_kernel == (sys.platform == "linux")
    assert answers[1:] == [confirm(b"ping 7f3a9c01 1.1: hello"), confirm(b" " + numbered)]


def test_the_account_tells_each_datagrams_end_and_asking_leaves_no_trace(
    serve: Serve, client: socket.socket
) -> None:
    server = serve("--drop-schedule", "2,4,5")
    question = AccountQuestion("7f3a9c01", 1, 6).datagram()
    for number in (1, 2, 3):
        answers = ask(client, server, [b"ping 7f3a9c01 %d.1 #%d:" % (number, number), question])
        told = find_account(answers[-1])
        assert told is not None
        assert (told.codes, told.drop) == ((b"100000", b"140000", b"141000")[number - 1], None)
    twice = b"ping 7f3a9c01 5.1 #5:"
    ask(client, server, [b"ping 7f3a9c01 4.1 #4:", twice, twice])
    (answer,) = ask(client, server, [question])
    told = find_account(answer)
    assert told is not None
    assert told.codes == b"141450"
    assert 0 <= told.complete_s < 60
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:  # same run, other port
        stranger.settimeout(5)
        (answer,) = ask(stranger, server, [question])
        told = find_account(answer)
        assert told is not None
        assert told.codes == b"000000"
    server.stop()
    counts = server.wait_for("stopped")
    assert (counts["received"], counts["dropped"], counts["answered"]) == (6, 3, 3)
    assert not any("account" in str(event) for event in server.events)


def test_no_answer_is_much_larger_than_its_question(serve: Serve, client: socket.socket) -> None:
    server = serve("--drop", "0")
    questions = [
        b"ping 7f3a9c01 1.1 #1:",
        b"account? 7f3a9c01 1 999999999",
        AccountQuestion("7f3a9c01", 1, 999_999_999).datagram(),
        b"account? 7f3a9c01 1 999999999 " + bytes(20_000),
    ]
    for question in questions:
        (answer,) = ask(client, server, [question])
        assert len(answer) <= len(question) + LARGEST_GROWTH + LARGEST_TIMES
        assert len(answer) <= LARGEST_ACCOUNT


def test_lines_of_an_idle_server_are_there_at_once(
    start_server: StartServer, client: socket.socket
) -> None:
    server = start_server(MODULE, "--drop", "0")
    client.sendto(b"hello", ("127.0.0.1", server.port))
    client.recv(2048)
    server.wait_for("answered")  # no other datagram comes, and nobody stops it
    assert server.process.poll() is None


def test_every_line_is_written_though_the_server_is_told_to_stop_under_load(
    start_server: StartServer, client: socket.socket
) -> None:
    server = start_server(MODULE, "--drop", "0.5")
    for number in range(2000):
        client.sendto(
            b"ping 7f3a9c01 %d.1 #%d:" % (number + 1, number + 1), ("127.0.0.1", server.port)
        )
        if number == 0:
            server.wait_for("received")  # it runs; only what is yet to come is the load
    assert server.stop() == 0
    counts = server.wait_for("stopped")
    lines = Counter(event["event"] for event in server.events)
    for what in ("received", "dropped", "answered"):
        assert lines[what] == counts[what]
