"""The emulated machine's decisions, without a machine: processor, command line, status port."""

from pathlib import Path

import pytest

from lab.vm.disk import Disk
from lab.vm.machine import Order, Status, accelerator, parse_status, qemu_command

DISK = Disk(Path("/c/disk.raw"), Path("/c/vmlinuz"), Path("/c/initrd"))


def command_line(order: Order, folder: str = "/run/x") -> list[str]:
    return qemu_command(DISK, order, Path(folder), "tcg,thread=multi")


def value_of(argv: list[str], option: str) -> str:
    return argv[argv.index(option) + 1]


@pytest.mark.parametrize(
    ("flags", "kvm_usable", "wanted", "expected"),
    [
        (["fpu", "vmx"], True, "", "kvm"),
        (["fpu", "svm"], True, "", "kvm"),
        (["fpu"], True, "", "tcg,thread=multi"),  # a /dev/kvm that cannot work
        (["fpu", "vmx"], False, "", "tcg,thread=multi"),
        (["fpu", "vmx"], True, "tcg", "tcg"),
        ([], False, "kvm", "kvm"),
    ],
)
def test_kvm_is_taken_only_where_device_and_processor_have_it(
    flags: list[str], kvm_usable: bool, wanted: str, expected: str
) -> None:
    assert accelerator(flags, kvm_usable, wanted) == expected


def test_no_disk_that_is_kept_is_ever_written() -> None:
    argv = command_line(Order("true", Path("/p.tar"), Path("/i.tar")))
    drives = [argv[at + 1] for at, word in enumerate(argv) if word == "-drive"]
    assert len(drives) == 3
    for drive in drives:
        assert drive.endswith((",snapshot=on", ",readonly=on")), drive
    assert drives[0].endswith("file=/c/disk.raw,snapshot=on")


def test_the_system_is_the_first_disk_because_the_kernel_is_told_vda() -> None:
    argv = command_line(Order("true", Path("/p.tar"), Path("/i.tar")))
    disks = [word for word in argv if word.startswith("virtio-blk-pci")]
    assert disks[0] == "virtio-blk-pci,drive=system,serial=system"
    assert "root=/dev/vda" in value_of(argv, "-append").split()


def test_without_images_there_is_no_disk_of_images() -> None:
    assert not any("images" in word for word in command_line(Order("true", Path("/p.tar"))))


def test_the_command_never_mixes_with_the_kernels_messages() -> None:
    argv = command_line(Order("true", Path("/p.tar")))
    assert value_of(argv, "-serial") == "file:/run/x/console.log"
    assert "file,path=/dev/stdout,id=output" in argv


def test_a_shell_has_the_console_and_no_command() -> None:
    argv = command_line(Order(None, Path("/p.tar")))
    assert value_of(argv, "-serial") == "mon:stdio"
    assert "-fw_cfg" not in argv


def test_a_comma_in_a_path_does_not_end_qemus_option() -> None:
    argv = command_line(Order("true", Path("/a,b/p.tar")), folder="/run/a,b")
    assert "id=project,if=none,format=raw,file=/a,,b/p.tar,readonly=on" in argv
    assert "name=opt/progres-lab/command,file=/run/a,,b/command" in argv


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Status()),
        ("booted", Status()),
        ("booted\n", Status(booted=True)),
        ("booted\nready\n", Status(booted=True, ready=True)),
        ("booted\nready\nexit 1", Status(booted=True, ready=True)),  # could become 124
        ("booted\nready\nexit 124\n", Status(booted=True, ready=True, exit_status=124)),
        ("booted\nready\nexit \n", Status(booted=True, ready=True)),
    ],
)
def test_a_status_line_counts_once_it_is_whole(text: str, expected: Status) -> None:
    assert parse_status(text) == expected
