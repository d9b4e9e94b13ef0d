from dataclasses import replace
from pathlib import Path

import pytest

from lab.doctor import (
    Check,
    Impairment,
    address_pools_check,
    built_in,
    disk_check,
    emulation_check,
    engine_check,
    how_to_get_netem,
    impairment_check,
    line,
    memory_check,
    module_there,
    plugin_check,
    port_check,
    registry_check,
)
from lab.engine import Finding
from lab.system import TIMED_OUT, Output, System
from tests.pure.lab_systems import DEBIAN_13, FEDORA, LAPTOP, MACOS, UBUNTU

GOOD = Finding("answers", version="26.1.5", compose="2.26.1", buildx="0.13.1")
REFUSED = Output(1, "", "dial tcp: lookup registry: no such host")


def test_an_engine_that_will_do_is_ok_with_its_versions() -> None:
    assert engine_check(GOOD, DEBIAN_13).text == "Docker Engine 26.1.5 answers"
    assert plugin_check("compose", GOOD, DEBIAN_13).text == "docker compose 2.26.1"
    assert plugin_check("buildx", GOOD, DEBIAN_13).status == "ok"


def test_what_make_up_would_install_has_make_up_as_its_remedy() -> None:
    nothing = Finding("no client")
    assert engine_check(nothing, DEBIAN_13).remedy == "make up (installs or starts it)"
    assert engine_check(nothing, LAPTOP).remedy == "make up (installs or starts it, and asks first)"
    assert plugin_check("compose", nothing, DEBIAN_13).remedy.startswith("make up")
    refused = replace(DEBIAN_13, may_install=False)
    assert "apt-get install" in engine_check(nothing, refused).remedy
    assert "Docker Desktop" in engine_check(nothing, MACOS).remedy


def test_every_check_is_one_line() -> None:
    assert line(Check("disk", "ok", "9 MiB free")) == "9 MiB free"
    assert line(Check("disk", "failed", "full", "rm x")) == "full; way out: rm x"
    assert "make up prints" in line(Check("engine", "failed", "none\nat all", "run\napt-get x"))
    assert "\n" not in line(Check("engine", "failed", "none\nat all", "run\napt-get x"))


@pytest.mark.parametrize(
    "old", [replace(GOOD, version="20.10.24"), replace(GOOD, compose="2.25.0")]
)
def test_an_old_version_is_never_what_make_up_replaces(old: Finding) -> None:
    checks = [engine_check(old, DEBIAN_13), plugin_check("compose", old, DEBIAN_13)]
    (failed,) = [check for check in checks if check.status == "failed"]
    assert "too old" in failed.text
    assert "apt-get install" in failed.remedy


def test_a_kernel_with_netem_is_ok() -> None:
    found = Impairment("6.12.43+deb13-amd64", netem=True, nftables=True, how="in a container")
    check = impairment_check(found, DEBIAN_13)
    assert (check.status, check.remedy) == ("ok", "")


def test_a_kernel_that_cannot_shape_what_comes_in_is_told_apart() -> None:
    check = impairment_check(Impairment("6.1", True, True, "here", incoming=False), DEBIAN_13)
    assert check.status == "warning"
    assert "towards the servers loss works, by nftables, no more" in check.text
    assert "modprobe -a ifb " in check.remedy
    neither = impairment_check(Impairment("6.1", True, False, "here", incoming=False), DEBIAN_13)
    assert "towards the servers nothing works" in neither.text


def test_a_kernel_without_netem_can_still_lose_packets_by_nftables() -> None:
    check = impairment_check(Impairment("6.1", False, True, "in a container"), DEBIAN_13)
    assert check.status == "warning"
    assert "loss works all the same, by nftables" in check.text
    assert "make test-vm" in check.remedy


def test_a_kernel_with_neither_cannot_run_the_lab() -> None:
    assert impairment_check(Impairment("6.1", False, False, "here"), DEBIAN_13).status == "failed"
    assert impairment_check(Impairment("6.1", None, None, ""), MACOS).status == "warning"


def test_a_kernel_is_not_blamed_for_an_engine_that_starts_no_container() -> None:
    found = Impairment("6.1", None, None, "", complaint="exec /usr/bin/runc: no such file")
    check = impairment_check(found, DEBIAN_13)
    assert (check.subject, check.status) == ("containers", "failed")
    assert "/usr/bin/runc" in check.text


@pytest.mark.parametrize(
    ("kernel", "system", "remedy"),
    [
        ("5.15.167.4-microsoft-standard-WSL2", UBUNTU, "wsl --update"),
        ("6.10.14-linuxkit", MACOS, "Docker Desktop"),
        ("6.14.0-63.fc42.x86_64", FEDORA, "kernel-modules-extra"),
        ("6.8.0-1024-aws", UBUNTU, "linux-modules-extra-6.8.0-1024-aws"),
        ("6.12.43+deb13-amd64", DEBIAN_13, "modprobe sch_netem"),
        ("6.18.44-custom", DEBIAN_13, "CONFIG_NET_SCH_NETEM"),
    ],
)
def test_the_way_to_netem_is_the_systems_own(kernel: str, system: System, remedy: str) -> None:
    assert remedy in how_to_get_netem(kernel, system)


def test_a_module_is_there_loadable_or_built_in(tmp_path: Path) -> None:
    folder = tmp_path / "lib" / "modules" / "6.1"
    assert module_there("6.1", "sch_netem", tmp_path) is None
    folder.mkdir(parents=True)
    (folder / "modules.builtin").write_text("kernel/net/sched/sch_fq.ko\n")
    (folder / "modules.dep").write_text("kernel/net/sched/sch_netem.ko.xz:\n")
    assert module_there("6.1", "sch_netem", tmp_path) is True
    assert module_there("6.1", "sch_fq", tmp_path) is True
    assert module_there("6.1", "sch_tbf", tmp_path) is False


def test_a_kernels_configuration_tells_what_is_built_in_and_what_is_not() -> None:
    text = "CONFIG_NETFILTER_EGRESS=y\n# CONFIG_NET_SCH_NETEM is not set\nCONFIG_NET_SCH_TBF=m\n"
    assert built_in("NETFILTER_EGRESS", text) is True
    assert built_in("NET_SCH_NETEM", text) is False
    assert built_in("NET_SCH_TBF", text) is None
    assert built_in("NET_SCH_NETEM", "") is None


def test_a_taken_port_names_its_holder_and_the_variable() -> None:
    check = port_check("clock", "tcp", 1236, "python3 (process 42)")
    assert check.status == "failed"
    assert check.text == "taken by python3 (process 42)"
    assert "make up CLOCK_PORT=11236" in check.remedy
    assert port_check("clock", "tcp", 1236, None).status == "ok"
    assert port_check("clock", "tcp", 1236, "the lab itself").status == "ok"


def test_used_up_address_pools_are_told_from_other_failures() -> None:
    used_up = "could not find an available, non-overlapping IPv4 address pool among the defaults"
    check = address_pools_check(31, Output(1, "", used_up))
    assert (check.status, check.text) == ("failed", "used up: 31 networks exist")
    newer = "all predefined address pools have been fully subnetted"
    assert "prune" in address_pools_check(31, Output(1, "", newer)).remedy
    assert address_pools_check(3, Output(1, "", "iptables: no chain")).text == "iptables: no chain"
    assert address_pools_check(3, Output(0, "id", "")).status == "ok"


def test_little_memory_or_disk_is_said() -> None:
    assert memory_check(8000).status == "ok"
    assert memory_check(300).status == "warning"
    assert disk_check("/var/lib/docker", 9000).status == "ok"
    assert disk_check("/var/lib/docker", 900).status == "warning"
    assert disk_check("/var/lib/docker", 90).status == "failed"


@pytest.mark.parametrize(
    ("local", "manifest", "can_build", "status"),
    [
        ("", Output(0, "{}", ""), False, "ok"),
        ("progres-lab-base:trixie", REFUSED, False, "ok"),
        ("", REFUSED, True, "warning"),
        ("", REFUSED, False, "failed"),
        ("", Output(TIMED_OUT, "", "docker: no answer within 6 s"), False, "failed"),
    ],
)
def test_a_registry_is_needed_only_where_nothing_else_gives_the_base_image(
    local: str, manifest: Output, can_build: bool, status: str
) -> None:
    assert registry_check(local, manifest, can_build).status == status


@pytest.mark.parametrize(
    ("qemu", "mmdebstrap", "status", "said"),
    [
        ("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)", True, "ok", "QEMU 10.0.2"),
        ("QEMU emulator version 7.2.17 (Debian 1:7.2)", True, "warning", "before 8"),
        ("QEMU emulator version 10.0.2", False, "warning", "mmdebstrap missing"),
        ("", True, "warning", "qemu-system-x86_64 missing"),
    ],
)
def test_emulation_needs_qemu_8_and_mmdebstrap(
    qemu: str, mmdebstrap: bool, status: str, said: str
) -> None:
    check = emulation_check(qemu, mmdebstrap)
    assert check.status == status
    assert said in check.text
