"""Runs a stranger's program: confined, bounded, watched.

A submission's files are copied into a memory file system of a container that has no network, and
built there if they ask for it; the program's own container sees them read-only. Nothing of the host
is mounted, and nothing here follows a symbolic link on the host.

Confinement: user 65534, no capabilities, no-new-privileges, read-only root, no interface but the
arena's ``lo``, limits on memory, processor, processes, files, output and time.
"""

import io
import os
import socket
import stat
import tarfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import docker.errors
from docker.utils.socket import frames_iter

from grading import GradingError
from grading.images import ensure_image
from grading.manifest import OWN_IMAGE, Program

LABEL = "progres-lab.grading"
USER = "65534:65534"
FOLDER = "/submission"
MAX_FILES_BYTES = 64 << 20
MAX_OUTPUT_BYTES = 1 << 20
BUILD_TIMEOUT_S = 120.0
UNTRUSTED = (
    f'image = "{OWN_IMAGE}": the engine builds that with the network, before any sandbox; where the'
    " folder is trusted, say TRUST=1 (--trust-dockerfile), else choose an image of the list"
)
MEMORY = {"java": "512m"}
BEFORE_BUILD = {"go": "cp -r /var/cache/go-build /tmp/go-build && export GOCACHE=/tmp/go-build && "}
"""Go writes into its cache even where it only reads; /tmp has room for it while a build runs."""


def confinement(image: str) -> dict[str, Any]:
    """Return the options of every container that runs a stranger's code."""
    memory = MEMORY.get(image, "256m")
    return {
        "user": USER,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "read_only": True,
        "init": True,
        "detach": True,
        "mem_limit": memory,
        "memswap_limit": memory,
        "pids_limit": 128,
        "nano_cpus": 10**9,
        "tmpfs": {"/tmp": "size=64m,mode=1777"},
        "ulimits": [docker.types.Ulimit(name="nofile", soft=1024, hard=1024)],
        "log_config": docker.types.LogConfig(type="none"),
        "environment": {
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONUNBUFFERED": "1",
            "TERM": "dumb",  # else Python would colour its tracebacks, and readline its prompts
        },
    }


class BuildFailed(GradingError):
    """The submission does not build: that is its fault; ``output`` is what the build said."""

    expected = "The build command makes the program, with nothing to be fetched."
    hint = "Run the build command in a fresh copy of your folder, without a network."

    def __init__(self, reason: str, output: str) -> None:
        super().__init__(reason)
        self.output = output


class ImageFailed(BuildFailed):
    """The submission's own Dockerfile does not build."""

    expected = "The Dockerfile makes an image, from nothing but the folder and what it fetches."
    hint = "Run docker build in a fresh copy of your folder."


@dataclass
class Output:
    """What a program printed, bounded; ``pieces`` are (seconds since the start, bytes)."""

    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    size: int = 0
    overflowed: bool = False

    @property
    def text(self) -> str:
        """Everything, as text."""
        content = b"".join(piece for _, piece in self.pieces)
        return content.decode("utf-8", errors="replace").replace("\r\n", "\n")


class Run:
    """A program that runs, or has run."""

    def __init__(self, container: Any, program: Program) -> None:
        self.output = Output()
        self.ended = threading.Event()
        """Set when it has ended, and all that it printed is here."""
        self._container = container
        self._program = program
        self._socket = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
        self._wire: socket.socket = getattr(self._socket, "_sock", self._socket)
        self._started = time.monotonic()
        self._reader = threading.Thread(target=self._read, name="output", daemon=True)
        self._reader.start()
        container.start()
        self.type_in(program.stdin)

    @property
    def container_id(self) -> str:
        """Its container."""
        return str(self._container.id)

    def type_in(self, lines: tuple[str, ...]) -> None:
        """Type lines, as at a terminal."""
        with suppress(OSError):  # EPIPE: the program has ended
            for line in lines:
                self._wire.sendall(line.encode() + b"\n")

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        self._container.reload()
        return bool(self._container.attrs["State"]["Running"])

    @property
    def exit_status(self) -> int | None:
        """How it ended; None while it runs."""
        self._container.reload()
        state = self._container.attrs["State"]
        return None if state["Running"] else int(state["ExitCode"])

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel ended it for the memory that it took."""
        self._container.reload()
        return bool(self._container.attrs["State"]["OOMKilled"])

    def wait(self, timeout_s: float) -> bool:
        """Wait until it ends; return whether it did."""
        end = time.monotonic() + timeout_s
        while self.alive:
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        self._reader.join(2)
        return True

    def stop(self) -> None:
        """End it, however it feels about that, and remove its container."""
        with suppress(docker.errors.APIError):  # 404, 409: it is gone, or going
            self._container.remove(force=True, v=True)
        self._reader.join(2)
        close_socket(self._socket)

    def ending(self) -> str:
        """Return how it stands, in words."""
        if self.output.overflowed:
            return f"it printed more than {MAX_OUTPUT_BYTES >> 20} MiB and was stopped"
        status = self.exit_status
        if status is None:
            return "it still runs"
        if self.out_of_memory:
            return "it was ended because it took more memory than it may"
        return f"it ended with status {status}"

    def _read(self) -> None:
        try:
            self._take_output()
        finally:
            self.ended.set()

    def _take_output(self) -> None:
        while True:
            try:
                piece = self._wire.recv(65536)
            except (OSError, ValueError):  # closed from our side
                return
            if not piece:
                return
            output = self.output
            if output.size + len(piece) > MAX_OUTPUT_BYTES:
                if not output.overflowed:
                    output.overflowed = True
                    _kill_aside(self._container)
                continue
            output.size += len(piece)
            output.pieces.append((time.monotonic() - self._started, piece))


class Submission:
    """A submission's files in the engine, built where it asks for that, until ``close``.

    ``trusted``: a Dockerfile of its own may be built.
    """

    def __init__(
        self, engine: Any, folder: Path, names: Sequence[str] = ("",), *, trusted: bool = False
    ) -> None:
        self.engine = engine
        self._trusted = trusted
        self._own_image: str | BuildFailed = ""
        # Whose run it is, so that what a killed one left can be told from what is in use.
        self.run_id = f"{uuid.uuid4().hex[:8]}-{os.getpid()}.{running_since(str(os.getpid()))}"
        self.folder = folder
        self._archive = archive(folder, names)
        self._held: dict[tuple[str, str], str | BuildFailed] = {}

    def close(self) -> None:
        """Remove every container and volume of this run."""
        remove_all(self.engine, self.run_id)

    def image_for(self, program: Program) -> str:
        """Return the image that a program runs in, built if it is the folder's own.

        Raises GradingError: not trusted, or (BuildFailed) what the build printed.
        """
        if program.image != OWN_IMAGE:
            return ensure_image(program.image)
        if not self._trusted:
            raise GradingError(UNTRUSTED)
        self._own_image = self._own_image or self._build_image()
        if isinstance(self._own_image, BuildFailed):
            raise self._own_image
        return self._own_image

    def _build_image(self) -> str | BuildFailed:
        tag = f"progres-lab-grading-own:{self.run_id}"
        context = io.BytesIO(self._archive)
        labels = {LABEL: self.run_id}
        try:
            self.engine.images.build(
                fileobj=context, custom_context=True, tag=tag, labels=labels, rm=True, forcerm=True
            )
        except docker.errors.BuildError as error:
            said = "".join(str(line.get("stream", "")) for line in error.build_log)
            return ImageFailed(f"the {OWN_IMAGE} does not build: {error.msg}", said[-4000:])
        except docker.errors.APIError as error:
            return ImageFailed(f"the {OWN_IMAGE} does not build: {error.explanation}", "")
        return tag

    def volume_for(self, program: Program) -> str:
        """Return the volume that holds the files, built for this program.

        Raises GradingError with what the build printed when it fails.
        """
        key = (program.image, program.build)
        if key not in self._held:
            self._held[key] = self._hold(program)
        name = self._held[key]
        if isinstance(name, BuildFailed):
            raise name
        return name

    def _hold(self, program: Program) -> str | BuildFailed:
        name = f"progres-lab-grading-{self.run_id}-{len(self._held)}"
        labels = {LABEL: self.run_id}
        room = {"type": "tmpfs", "device": "tmpfs", "o": "size=128m,mode=755,uid=65534,gid=65534"}
        self.engine.volumes.create(name, driver="local", driver_opts=room, labels=labels)
        # A compiler needs more than a program. (Memory file systems count as the memory they hold.)
        roomy = (
            {
                "mem_limit": "1g",
                "memswap_limit": "1g",
                "tmpfs": {"/tmp": "size=512m,mode=1777,exec"},
            }
            if program.build
            else {}
        )
        # The memory file system lasts as long as a container has it mounted.
        holder = self.engine.containers.create(
            self.image_for(program) if program.build else ensure_image("python"),
            entrypoint=["sleep", "infinity"],
            name=f"{name}-files",
            labels=labels,
            network_mode="none",
            volumes={name: {"bind": FOLDER, "mode": "rw"}},
            working_dir=FOLDER,
            **confinement(program.image) | roomy,
        )
        holder.start()
        _unpack(holder, self._archive)
        if not program.build:
            return name
        command = BEFORE_BUILD.get(program.image, "") + program.build
        said, status = _bounded_exec(holder, command, BUILD_TIMEOUT_S)
        if status == 0:
            return name
        with suppress(docker.errors.APIError):
            holder.remove(force=True)
        why = f"status {status}"
        if status is None:
            limits = f"{BUILD_TIMEOUT_S:g} s, or printed more than {MAX_OUTPUT_BYTES >> 20} MiB"
            why = f"it took more than {limits}"
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        last = f"; it said last: {lines[-1][:200]}" if lines else ""
        return BuildFailed(f"the build {program.build!r} failed ({why}){last}", said[-4000:])

    def start(self, program: Program, arena: str, *, command: str = "") -> Run:
        """Start a program in the namespace of the container ``arena``."""
        container = self.engine.containers.create(
            self.image_for(program),
            # A terminal, so that what it prints is not held back in a buffer. A shell of its own
            # for the command, which may be a line of several: cd server && python3 web.py.
            entrypoint=["sh", "-c", 'stty -echo 2>/dev/null; exec sh -c "$0"'],
            command=[command or program.command],
            name=f"progres-lab-grading-{self.run_id}-{program.name}-{uuid.uuid4().hex[:6]}",
            labels={LABEL: self.run_id},
            network_mode=f"container:{arena}",
            volumes={self.volume_for(program): {"bind": FOLDER, "mode": "ro"}},
            working_dir=FOLDER,
            tty=True,
            stdin_open=True,
            **confinement(program.image),
        )
        return Run(container, program)


def _kill_aside(container: Any) -> None:
    """Kill a container whose output this thread has to go on reading.

    The engine answers when the container has ended, which it has when all its output is taken: to
    wait for that answer instead of reading would be for ever.
    """

    def kill() -> None:
        with suppress(docker.errors.APIError, OSError):  # 404, 409: it has ended; a time-out
            container.kill()

    threading.Thread(target=kill, name="kill", daemon=True).start()


def close_socket(taken: Any) -> None:
    """Close a socket that the Docker SDK took out of a response, and that response."""
    for each in (getattr(taken, "_response", None), taken):
        with suppress(OSError, ValueError):  # ValueError: one of them has closed the other's file
            if each is not None:
                each.close()


def _unpack(container: Any, content: bytes) -> None:
    """Unpack a tar archive in a container, as its user: the engine need not read a stranger's.

    (It would refuse a link that leads out of the folder. Here such links lead to what is in the
    container.) Raises GradingError.
    """
    api = container.client.api
    argv = ["tar", "-x", "-f", "-", "-C", FOLDER]
    made = api.exec_create(container.id, argv, user=USER, stdin=True)
    stream = api.exec_start(made["Id"], socket=True)
    said = b""
    try:
        with suppress(OSError):  # EPIPE: tar has complained and ended
            stream._sock.sendall(content)
            stream._sock.shutdown(socket.SHUT_WR)
        for _, piece in frames_iter(stream, tty=False):
            said = (said + piece)[-2000:]
    finally:
        close_socket(stream)
    if api.exec_inspect(made["Id"])["ExitCode"]:
        raise GradingError(f"copying the folder: {said.decode(errors='replace').strip()}")


def _bounded_exec(container: Any, command: str, timeout_s: float) -> tuple[str, int | None]:
    """Run a command in a container; return the end of its output and its status (None: too long).

    Whoever prints without end, or does not end, loses the container.
    """
    api = container.client.api
    made = api.exec_create(container.id, ["sh", "-c", command], user=USER, workdir=FOLDER)
    said, size = [], 0
    too_long = threading.Event()

    def give_up() -> None:
        if not too_long.is_set():
            too_long.set()
            _kill_aside(container)

    timer = threading.Timer(timeout_s, give_up)
    timer.start()
    stream = api.exec_start(made["Id"], socket=True)
    try:
        for _, piece in frames_iter(stream, tty=False):
            size += len(piece)
            if size <= MAX_OUTPUT_BYTES:
                said.append(piece)
            else:
                give_up()
    finally:
        timer.cancel()
        close_socket(stream)
    text = b"".join(said).decode("utf-8", errors="replace")
    if too_long.is_set():
        return text, None
    return text, int(api.exec_inspect(made["Id"])["ExitCode"] or 0)


def archive(folder: Path, names: Sequence[str] = ("",)) -> bytes:
    """Return a folder, or what has those names in it, as a tar archive.

    Symbolic links stay links; nothing but files, folders and links is taken.

    Raises GradingError for what cannot be read, and above 64 MiB.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise GradingError(f"{folder}: not a folder (a symbolic link is not followed)")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, kind in (found for name in names for found in _walk(folder / name)):
            info = tarfile.TarInfo(path.relative_to(folder).as_posix())
            info.uid = info.gid = 65534
            if kind == stat.S_IFDIR:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            elif kind == stat.S_IFLNK:
                info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
                tar.addfile(info)
            else:
                content, executable = _file(path)
                info.size, info.mode = len(content), 0o755 if executable else 0o644
                tar.addfile(info, io.BytesIO(content))
            if buffer.tell() > MAX_FILES_BYTES:
                raise GradingError(f"{folder}: more than {MAX_FILES_BYTES >> 20} MiB of files")
    return buffer.getvalue()


def _walk(folder: Path) -> Iterator[tuple[Path, int]]:
    for place, folders, files in os.walk(folder, followlinks=False):
        for name in sorted([*folders, *files]):
            path = Path(place, name)
            kind = stat.S_IFMT(path.lstat().st_mode)
            if kind in (stat.S_IFDIR, stat.S_IFLNK, stat.S_IFREG):  # no devices, pipes, sockets
                yield path, kind
        folders[:] = [name for name in folders if name not in (".git", "__pycache__")]


def _file(path: Path) -> tuple[bytes, bool]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise GradingError(f"{path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(MAX_FILES_BYTES + 1)
        return content, bool(os.fstat(descriptor).st_mode & 0o111)


@contextmanager
def submitted(
    engine: Any, folder: Path, names: Sequence[str] = ("",), *, trusted: bool = False
) -> Iterator[Submission]:
    """Hold a submission in the engine; remove all of it afterwards, whatever happens."""
    submission = Submission(engine, folder, names, trusted=trusted)
    try:
        yield submission
    finally:
        submission.close()


def remove_abandoned(engine: Any) -> None:
    """Remove what runs left behind whose process is gone: killed, or taken away by a crash."""
    found = engine.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True)
    found += engine.volumes.list(filters={"label": LABEL})
    found += engine.images.list(filters={"label": LABEL})
    for run_id in {_labels(each).get(LABEL, "") for each in found}:
        pid, _, since = run_id.rpartition("-")[2].partition(".")
        if running_since(pid) != since:
            remove_all(engine, run_id)


def _labels(found: Any) -> dict[str, str]:
    return found.attrs.get("Labels") or found.attrs.get("Config", {}).get("Labels") or {}


def running_since(pid: str) -> str:
    """Return since when (in ticks) a process runs; empty: there is none, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    except (OSError, IndexError):
        return ""


def remove_all(engine: Any, run_id: str) -> None:
    """Remove the containers, volumes and images of one run."""
    label = f"{LABEL}={run_id}"
    # Without "ignore_removed" one that another grading removes meanwhile is an error (404).
    containers = engine.containers.list(all=True, filters={"label": label}, ignore_removed=True)
    for container in containers:
        with suppress(docker.errors.APIError):  # 404, 409: somebody else removes it
            container.remove(force=True, v=True)
    for volume in engine.volumes.list(filters={"label": label}):
        with suppress(docker.errors.APIError):
            volume.remove(force=True)
    for image in engine.images.list(filters={"label": label}):
        with suppress(docker.errors.APIError):
            engine.images.remove(image.id, force=True)
