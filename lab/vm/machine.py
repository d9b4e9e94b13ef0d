"""Boot the emulated machine, stream what its command prints, return its exit status.

Three virtio-serial ports lead from the machine to the host, so that the kernel's messages (on the
serial console) never mix with the command's output::

    output     what the command prints, standard output and error in one, as it comes
    status     one line per event:
                   booted       the machine is up, docker included
                   ready        project and images are unpacked; the command starts
                   exit N       the command has ended with status N; the machine switches itself off
    results    a tar archive of the project's results/, when the command made one

QEMU runs in a process group of its own and is ended whatever happens; the disk is a snapshot.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lab.errors import LabError
from lab.say import say
from lab.settings import ROOT
from lab.vm.disk import CACHE, Disk, tail

CPUS = 2
MEMORY_MIB = 2048
BOOT_WITHIN_S = 300.0
"""Measured: 25 s on two idle cores. A loaded machine gets time, a hung one is found out."""

END_WITHIN_S = 30.0
"""How long the machine may take to switch itself off once the command has ended."""

TIMED_OUT = 124
"""Exit status when the command took too long, as timeout(1) has it."""

_TICK_S = 0.2


@dataclass(frozen=True)
class Status:
    """How far the machine is, as the lines on its status port say."""

    booted: bool = False
    ready: bool = False
    exit_status: int | None = None


@dataclass(frozen=True)
class Order:
    """What to do with a machine: ``command`` for ``sh``, or None for a shell on the console."""

    command: str | None
    project: Path
    images: Path | None = None
    timeout_s: float = 3000.0


@dataclass
class _Milestones:
    """When what happened, in seconds since the start of QEMU."""

    started_s: float = field(default_factory=time.monotonic)
    last: Status = Status()

    def note(self, status: Status) -> None:
        elapsed_s = time.monotonic() - self.started_s
        if status.booted and not self.last.booted:
            say(f"booted in {elapsed_s:.0f} s")
        if status.ready and not self.last.ready:
            say(f"the command starts after {elapsed_s:.0f} s")
        self.last = status


def accelerator(cpu_flags: Sequence[str], kvm_usable: bool, wanted: str = "") -> str:
    """Return QEMU's ``-accel``: ``wanted`` (from LAB_VM_ACCEL), or KVM where that can work.

    A /dev/kvm without the processor's virtualisation (itself in a virtual machine) does not.
    """
    if wanted:
        return wanted
    return "kvm" if kvm_usable and {"vmx", "svm"} & set(cpu_flags) else "tcg,thread=multi"


def processor(accel: str) -> str:
    """Return QEMU's ``-cpu``: x86-64-v2 where it is emulated, or else all that the host has.

    Wide vector instructions and page tables of five levels are what an emulation is slowest at:
    without them the machine boots in 26 s instead of 38 (measured, QEMU 10). Instructions for
    SHA-256 are worth their emulation: an image's layers are hashed when it is loaded.
    """
    return "max" if accel.startswith("kvm") else "Nehalem,+sha-ni"


def this_accelerator() -> str:
    """Return the accelerator for this machine."""
    flags: list[str] = []
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        flags = next((line.split() for line in cpuinfo if line.startswith("flags")), [])
    usable = os.access("/dev/kvm", os.R_OK | os.W_OK)
    return accelerator(flags, usable, os.environ.get("LAB_VM_ACCEL", ""))


def qemu_command(disk: Disk, order: Order, folder: Path, accel: str) -> list[str]:
    """Return the QEMU command line; what the machine sends arrives in ``folder``.

    With a command, standard output is the machine's output port; without, standard input and
    output are its console.
    """
    interactive = order.command is None
    ports = {
        # Not the "stdio" device: with nothing to read there it counts as unplugged, for good.
        "output": f"file,path={_escaped(folder / 'output') if interactive else '/dev/stdout'}",
        "status": f"file,path={_escaped(folder / 'status')}",
        "results": f"file,path={_escaped(folder / 'results.tar')}",
    }
    argv = [
        "qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-reboot",
        "-machine", "q35", "-accel", accel, "-cpu", processor(accel),
        "-smp", str(CPUS), "-m", str(MEMORY_MIB),
        "-kernel", str(disk.kernel), "-initrd", str(disk.initrd),
        "-append", "root=/dev/vda rw console=ttyS0 mitigations=off",
        "-serial", "mon:stdio" if interactive else f"file:{folder / 'console.log'}",
        "-netdev", "user,id=net,ipv6=off", "-device", "virtio-net-pci,netdev=net,romfile=",
        "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
        *_drive("system", disk.image, "snapshot=on"),
        *_drive("project", order.project, "readonly=on"),
    ]  # fmt: skip
    if order.images:
        argv += _drive("images", order.images, "readonly=on")
    for name, backend in ports.items():
        argv += ["-chardev", f"{backend},id={name}"]
        argv += ["-device", f"virtserialport,chardev={name},name=progres-lab.{name}"]
    if not interactive:
        path = _escaped(folder / "command")
        argv += ["-fw_cfg", f"name=opt/progres-lab/command,file={path}"]
    return argv


def parse_status(text: str) -> Status:
    """Return what the status port's lines say. A line that is not yet whole does not count."""
    lines = text.split("\n")[:-1]
    ended = [line.removeprefix("exit ") for line in lines if line.startswith("exit ")]
    exit_status = int(ended[-1]) if ended and ended[-1].isdigit() else None
    return Status("booted" in lines, "ready" in lines, exit_status)


def run(disk: Disk, order: Order, write: Callable[[bytes], object]) -> int:
    """Boot, hand each piece of the command's output to ``write``, return the exit status.

    What the command left in results/ is put into the project's results/. Raises LabError when the
    machine does not come up or stops early.
    """
    with tempfile.TemporaryDirectory(prefix="progres-lab-vm-") as name:
        folder = Path(name)
        (folder / "command").write_text(f"{order.command}\n", encoding="utf-8")
        accel = this_accelerator()
        say(f"booting Debian 13 ({accel.partition(',')[0]}, {CPUS} processors, {MEMORY_MIB} MiB)")
        with _qemu(qemu_command(disk, order, folder, accel), folder) as qemu:
            try:
                status = _follow(qemu, order, folder, write)
            finally:
                _keep_console(folder)
        _unpack_results(folder / "results.tar")
        return status


def interact(disk: Disk, order: Order) -> int:
    """Boot with the console on this terminal; return QEMU's exit status."""
    with tempfile.TemporaryDirectory(prefix="progres-lab-vm-") as name:
        say("the project is in /root/progres-lab; poweroff, or Ctrl-A X, ends the machine")
        argv = qemu_command(disk, order, Path(name), this_accelerator())
        return subprocess.run(argv, check=False).returncode


def _follow(
    qemu: subprocess.Popen[bytes], order: Order, folder: Path, write: Callable[[bytes], object]
) -> int:
    milestones = _Milestones()
    limit_s = milestones.started_s + order.timeout_s
    deadline_s = milestones.started_s + BOOT_WITHIN_S
    for piece in _pieces(qemu):
        if piece:
            write(piece)
        before = milestones.last
        status = parse_status(_text(folder / "status"))
        milestones.note(status)
        now_s = time.monotonic()
        if status.exit_status is not None:
            if before.exit_status is None:
                deadline_s = now_s + END_WITHIN_S
            elif now_s > deadline_s:
                break  # it has said all that matters
        elif now_s > limit_s:
            say(f"stopped: it took more than {order.timeout_s:.0f} s (--timeout)")
            return TIMED_OUT
        elif not status.booted and now_s > deadline_s:
            raise _stopped(f"it was not up after {BOOT_WITHIN_S:.0f} s", folder)
    status = parse_status(_text(folder / "status"))
    if status.exit_status is None:
        raise _stopped(f"QEMU ended with status {qemu.wait()} before the command had", folder)
    return status.exit_status


def _pieces(qemu: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Yield the output as it comes, b"" at least every _TICK_S; end when QEMU closes it."""
    assert qemu.stdout is not None
    descriptor = qemu.stdout.fileno()
    while True:
        readable, _, _ = select.select([descriptor], [], [], _TICK_S)
        piece = os.read(descriptor, 65536) if readable else b""
        if readable and not piece:
            return
        yield piece


@contextlib.contextmanager
def _qemu(argv: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run QEMU apart from the terminal's Ctrl-C, and end it on the way out, whatever the way.

    SIGTERM leaves through SystemExit meanwhile, so that it passes here too.
    """
    previous = signal.signal(signal.SIGTERM, _leave)
    try:
        with open(folder / "qemu.log", "wb") as log:
            qemu = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        with qemu:
            try:
                yield qemu
            finally:
                qemu.kill()
    finally:
        signal.signal(signal.SIGTERM, previous)


def _leave(number: int, _: object) -> None:
    sys.exit(128 + number)


def _stopped(cause: str, folder: Path) -> LabError:
    shown = tail(folder / "qemu.log") + "\n" + tail(folder / "console.log")
    return LabError(
        "running the emulated machine",
        f"{cause}; the end of its console:\n{shown.strip(chr(10))}",
        f"the whole console is in {CACHE / 'console.log'}; look inside: python3 -m lab.vm shell",
    )


def _keep_console(folder: Path) -> None:
    with contextlib.suppress(OSError):
        shutil.copy(folder / "console.log", CACHE / "console.log")


def _unpack_results(archive: Path) -> None:
    if not archive.is_file() or archive.stat().st_size == 0:
        return
    unpacked = subprocess.run(
        ["tar", "--extract", "--directory", str(ROOT), "--file", str(archive), "results"],
        check=False,
    )
    if unpacked.returncode == 0:
        say("what the machine measured is in results/")


def _drive(name: str, image: Path, how: str) -> list[str]:
    """Return a virtio disk: in the machine /dev/disk/by-id/virtio-NAME; the first is /dev/vda."""
    backend = f"id={name},if=none,format=raw,file={_escaped(image)},{how}"
    return ["-drive", backend, "-device", f"virtio-blk-pci,drive={name},serial={name}"]


def _escaped(path: Path) -> str:
    """Return a path for use in one of QEMU's comma-separated options."""
    return str(path).replace(",", ",,")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def to_stdout(piece: bytes) -> None:
    """Write the machine's output to standard output at once."""
    out: IO[bytes] = sys.stdout.buffer
    out.write(piece)
    out.flush()
