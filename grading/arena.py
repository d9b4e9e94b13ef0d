"""One program and our peer in a namespace of their own."""

import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker.errors
from docker.utils.socket import STDERR, SocketError, frames_iter

from grading import FORGETTING_CLOSED, GradingError
from grading.images import peer_image
from grading.manifest import Program
from grading.sandbox import LABEL, USER, Run, Submission, close_socket
from grading.sources import literal_addresses
from lab.capture import Capture
from lab.settings import ROOT

PEER_TIMEOUT_S = 60.0
MAX_PACKETS_BYTES = 16 << 20
LOSING = "progres_lab_arena"
WAYS = ("to_server", "from_server")
STARTS_WITHIN_S = {"java": 20.0}


class Arena:
    """A namespace with ``lo`` alone, the addresses that the program was written for, our peer.

    What passes between program and peer is kept in ``packets`` (pcapng), if that is given: as
    evidence, at most 16 MiB, before anything is lost on purpose. ``not_kept`` says, once it is
    closed, what is not in there, and why; empty if nothing. ``submitted`` has all programs of the
    submission, by name: from one can be learnt how the other talks.
    """

    def __init__(
        self,
        submission: Submission,
        program: Program,
        packets: Path | None = None,
        *,
        submitted: Mapping[str, Program] | None = None,
    ) -> None:
        self.submission = submission
        self.program = program
        self.submitted = submitted or {}
        self.packets = packets
        self.run: Run | None = None
        self.runs: list[Run] = []
        self._never_listened = False
        self.not_kept = ""
        name = f"progres-lab-grading-{submission.run_id}-peer-{uuid.uuid4().hex[:6]}"
        numeric = program.address.replace(".", "").isdigit()
        hosts = {} if numeric or program.address == "localhost" else {program.address: "127.0.0.1"}
        self._peer = submission.engine.containers.run(
            peer_image(),
            ["sleep", "infinity"],
            name=name,
            detach=True,
            init=True,
            labels={LABEL: submission.run_id},
            network_mode="none",
            sysctls=FORGETTING_CLOSED,
            extra_hosts=hosts,
            user="0:0",
            cap_drop=["ALL"],
            cap_add=["NET_ADMIN", "NET_RAW"],
            read_only=True,
            tmpfs={"/tmp": "size=16m"},
            mem_limit="256m",
            pids_limit=64,
            working_dir="/lab",
            volumes={
                str(ROOT / name): {"bind": f"/lab/{name}", "mode": "ro"}
                for name in ("grading", "services")
            },
            environment={
                "NETEM_INTERFACE": "lo",
                "NETEM_SERVICE": "arena",
                "NETEM_SETTINGS": "/tmp",
            },
        )
        addresses = set(literal_addresses(submission.folder))
        if numeric and not program.address.startswith("127."):
            addresses.add(program.address)
        for address in sorted(addresses):
            self.execute("ip", "address", "add", f"{address}/32", "dev", "lo")
        self._capture = self._capturing(packets) if packets is not None else None

    def _capturing(self, packets: Path) -> Capture:
        """Return a capture of what passes from and to the program's port. Raises LabError."""
        udp = self.program.protocol == "udp" or self.program.name.startswith("udp")
        options = {
            "interface": "lo",
            "protocol": "udp" if udp else "tcp",
            "port": self.program.port,
            "max-bytes": MAX_PACKETS_BYTES,
            "description": f"progres-lab: {self.program.name} and our peer, before what is lost",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        argv = ["docker", "exec", "--interactive", self._peer.id, "python3", "-m"]
        capture = Capture([*argv, "services.capture", *words], packets)
        capture.wait_until_ready()
        return capture

    def close(self) -> None:
        """Take it down."""
        if self._capture is not None:
            self.not_kept = self._capture.stop().not_kept
        for run in self.runs:
            run.stop()
        with suppress(docker.errors.APIError):
            self._peer.remove(force=True)

    def execute(self, *argv: str) -> tuple[int, str]:
        """Run a program on our side; return its status and output."""
        done = self._peer.exec_run(list(argv))
        return int(done.exit_code), done.output.decode(errors="replace")

    def start(self, command: str = "") -> Run:
        """Start the program (another command of it, if given), ending the one that ran before."""
        self.end()
        self.run = self.submission.start(self.program, self._peer.id, command=command)
        self.runs.append(self.run)
        return self.run

    def end(self) -> None:
        """End the program, if it runs."""
        if self.run is not None:
            self.run.stop()
            self.run = None

    @contextmanager
    def playing(self, program: Program) -> Iterator[None]:
        """Have another program of the submission in this one's place meanwhile."""
        own, self.program = self.program, program
        try:
            yield
        finally:
            self.program = own

    def listener(self, protocol: str) -> tuple[str, int] | None:
        """Return address and port at which somebody listens here; None: nobody does.

        The manifest's port is preferred; a program that chose another one is found all the same.
        """
        status, shown = self.execute("cat", f"/proc/net/{protocol}", f"/proc/net/{protocol}6")
        wanted = {"tcp": "0A", "udp": "07"}[protocol]
        found = []
        for line in shown.splitlines():
            words = line.split()
            if len(words) > 3 and words[1] != "local_address":
                where, _, port = words[1].rpartition(":")
                # A UDP server that has connected its socket, to one client, is there all the same.
                connected = protocol == "udp" and words[3] == "01"
                if words[3] == wanted or (connected and int(port, 16) == self.program.port):
                    found.append((_dotted(where), int(port, 16)))
        if not found:
            return None
        return next((f for f in found if f[1] == self.program.port), found[0])

    def serving(self, protocol: str) -> tuple[str, int] | None:
        """Start the server if it does not run; return where it listens, or None in the end."""
        if self.run is None or not self.run.alive:
            self.start()
        assert self.run is not None
        patience_s = STARTS_WITHIN_S.get(self.program.image, 8.0)
        # Who has not listened once is not waited for as long again, check after check.
        end = time.monotonic() + (patience_s / 4 if self._never_listened else patience_s)
        while time.monotonic() < end:
            if (found := self.listener(protocol)) is not None:
                self._never_listened = False
                return found
            if not self.run.alive:
                break
            time.sleep(0.1)
        self._never_listened = True
        return None

    def ask(
        self, peer: str, order: Mapping[str, Any], timeout_s: float = PEER_TIMEOUT_S
    ) -> list[dict[str, Any]]:
        """Run one of our clients to its end and return the events that it told.

        Raises GradingError when it fails or takes too long: that is our fault, not the program's.
        """
        for _ in range(3):
            with self.peer(peer, order) as service:
                if not service.ended.wait(timeout_s):
                    raise GradingError(f"our {peer} did not end within {timeout_s:g} s")
            if service.events or service.complaint:
                break  # else the engine has lost what it told
        if service.complaint:
            raise GradingError(f"our {peer} failed: {service.complaint}")
        return service.events

    @contextmanager
    def peer(self, peer: str, order: Mapping[str, Any]) -> Iterator["Service"]:
        """Run one of our peers meanwhile; it is ended afterwards."""
        service = Service(self._peer, peer, order)
        try:
            yield service
        finally:
            service.stop()

    @contextmanager
    def impaired(self, words: str) -> Iterator[dict[str, Any]]:
        """Degrade the arena's ``lo`` meanwhile; give the receipt, brought up to date at the end.

        Raises GradingError without a valid receipt before or after.
        """
        receipt: dict[str, Any] = {"before": self._netem("set", *words.split())}
        try:
            yield receipt
            receipt["after"] = self._netem("show")
        finally:
            with suppress(GradingError):
                self._netem("set", "off")

    @contextmanager
    def losing(
        self, protocol: str, port: int, losses: Mapping[str, float]
    ) -> Iterator[dict[str, Any]]:
        """Lose shares of what goes to (``to_server``) and comes from a port meanwhile; the receipt.

        By nftables at the ingress hook of ``lo``, so that it is the same on every kernel, and each
        direction has a counter of its own. The receipt is brought up to date at the end. Raises
        GradingError where it is not in effect before and after.
        """
        receipt: dict[str, Any] = {}
        self._nft(losing_rules(protocol, port, losses))
        try:
            receipt |= self._losses(protocol, port, losses)
            yield receipt
            receipt |= self._losses(protocol, port, losses)
        finally:
            with suppress(GradingError):
                self._nft(f"delete table netdev {LOSING}\n")

    def _losses(self, protocol: str, port: int, losses: Mapping[str, float]) -> dict[str, Any]:
        status, said = 0, ""
        for _ in range(3):  # on a busy engine the output of a short command was seen to be lost
            status, said = self.execute("nft", "-j", "list", "table", "netdev", LOSING)
            if said.strip():
                break
        try:
            listed = json.loads(said)["nftables"] if status == 0 else []
        except ValueError:
            raise GradingError(f"the network could not be read back: {said!r}") from None
        asked = {way: f"loss {losses.get(way, 0):.1%}" for way in WAYS}
        receipt = losing_receipt({"protocol": protocol, "port": port, **asked}, listed)
        if receipt["verdict"] != "in effect":
            raise GradingError(f"the network is not as asked: {'; '.join(receipt['because'])}")
        return receipt

    def _nft(self, rules: str) -> None:
        status, said = self.execute("sh", "-c", 'printf %s "$1" | nft -f -', "sh", rules)
        if status != 0:
            raise GradingError(f"the network could not be degraded: nft: {said.strip()[-500:]}")

    def _netem(self, verb: str, *words: str) -> dict[str, Any]:
        status, said = self.execute("python3", "-m", "services.netem", verb, *words, "--json")
        try:
            receipt: dict[str, Any] = json.loads(said)
        except ValueError:
            raise GradingError(
                f"the network could not be degraded: {said.strip()[-500:]}"
            ) from None
        if status != 0 or receipt.get("verdict") != "in effect":
            raise GradingError(f"the network is not as asked: {receipt.get('because')}")
        return receipt


class Service:
    """One of our peers, while it runs."""

    def __init__(self, container: Any, peer: str, order: Mapping[str, Any]) -> None:
        self.events: list[dict[str, Any]] = []
        self.complaint = ""
        self.ended = threading.Event()
        self._container = container
        self._api = container.client.api
        argv = ["python3", "-m", f"grading.peer.{peer}", json.dumps(dict(order))]
        # It reads what strangers send: not as root, although the arena is.
        made = self._api.exec_create(container.id, argv, workdir="/lab", user=USER)
        self._id = made["Id"]
        self._socket = self._api.exec_start(self._id, socket=True)
        self._reader = threading.Thread(target=self._read, name=peer, daemon=True)
        self._reader.start()

    def wait_for(self, event: str, timeout_s: float = 30.0) -> dict[str, Any]:
        """Return the first event of that name. Raises GradingError when it does not come."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            for told in list(self.events):
                if told["event"] == event:
                    return told
            if self.ended.is_set():
                break
            time.sleep(0.02)
        raise GradingError(f"our peer did not get as far as {event!r}: {self.complaint}")

    def stop(self) -> None:
        """End it and wait until all that it told is here."""
        if not self.ended.is_set():
            pid = self.wait_for("started")["pid"]
            # As the same user: root without CAP_KILL may not.
            self._container.exec_run(["sh", "-c", f"kill {pid}"], user=USER)
        self._reader.join(5)
        close_socket(self._socket)

    def _read(self) -> None:
        rest = errors = b""
        try:
            for stream, piece in frames_iter(self._socket, tty=False):
                if stream == STDERR:
                    errors = (errors + piece)[-4000:]
                    continue
                *lines, rest = (rest + piece).split(b"\n")
                self.events += [json.loads(line) for line in lines]
        except (
            OSError,
            ValueError,
            SocketError,
        ):  # closed from our side, in the middle of a line perhaps
            errors = errors or b"it had to be cut off"
        finally:
            self.complaint = errors.decode(errors="replace").strip()
            self.ended.set()


def _dotted(hexadecimal: str) -> str:
    """Return an address of /proc/net as one that can be called; any address is localhost."""
    if len(hexadecimal) > 8:  # IPv6; those that take IPv4, too, listen on ::
        return "127.0.0.1"
    octets = bytes.fromhex(hexadecimal)[::-1]
    return "127.0.0.1" if octets == bytes(4) else ".".join(map(str, octets))


def losing_rules(protocol: str, port: int, losses: Mapping[str, float]) -> str:
    """Return the input of ``nft -f`` that loses these shares on ``lo``, by direction."""
    lines = [f"add table netdev {LOSING}", f"delete table netdev {LOSING}"]
    lines += [f"table netdev {LOSING} {{"]
    for way in WAYS:
        side = f"{protocol} {'dport' if way == 'to_server' else 'sport'} {port}"
        lines += [f"  chain {way} {{", '    type filter hook ingress device "lo" priority 0;']
        lines += [f"    {side} counter"]
        if below := round(losses.get(way, 0.0) * 1000):
            lines += [f"    {side} numgen random mod 1000 < {below} counter drop"]
        lines += ["  }"]
    return "\n".join([*lines, "}", ""])


def losing_receipt(asked: Mapping[str, Any], listed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the receipt: in effect when the kernel shows just what was asked. Pure.

    ``listed`` is what ``nft -j list table`` prints; ``packets`` came to the rule, ``lost`` of them
    were lost.
    """
    shown: dict[str, dict[str, Any]] = {}
    for rule in (item["rule"] for item in listed if "rule" in item):
        part = shown.setdefault(rule["chain"], {"in_effect": "loss 0.0%", "packets": 0, "lost": 0})
        packets = sum(e["counter"]["packets"] for e in rule["expr"] if "counter" in e)
        if {"drop": None} not in rule["expr"]:
            part["packets"] = packets
            continue
        below = [
            e["match"]["right"]
            for e in rule["expr"]
            if "match" in e and "numgen" in e["match"]["left"]
        ]
        part |= {"in_effect": f"loss {(below or [1000])[0] / 1000:.1%}", "lost": packets}
    wrong = [
        f"{way}: asked for {asked[way]}, not in effect: {shown.get(way, 'nothing is')}"
        for way in WAYS
        if shown.get(way, {}).get("in_effect") != asked[way]
    ]
    return {
        "verdict": "not in effect" if wrong else "in effect",
        "because": wrong,
        "mechanism": "nftables, ingress hook of lo",
        "asked": dict(asked),
        "directions": shown,
    }
