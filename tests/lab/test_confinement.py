"""Containers can do no more than what is stated: the engine is asked, and so is the kernel."""

import pytest

from tests.lab.driver import Lab, printed

pytestmark = pytest.mark.any_kernel

SERVERS = ("udp", "clock", "http")
OWNERS = ("udp-net", "clock-net", "http-net")
SIDECARS = ("udp-netem", "clock-netem", "http-netem")
NET_ADMIN = 1 << 12
"""CAP_NET_ADMIN of linux/capability.h as a bit mask."""


@pytest.mark.parametrize("service", [*SERVERS, *OWNERS, *SIDECARS])
def test_every_container_is_confined(lab: Lab, service: str) -> None:
    container = lab.container(service)
    host = container.attrs["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Init"] is True
    assert 0 < host["Memory"] <= 1 << 30
    assert host["PidsLimit"] > 0
    assert host["LogConfig"] == {"Type": "local", "Config": {"max-size": "5m", "max-file": "2"}}
    assert not any("docker.sock" in mount["Source"] for mount in container.attrs["Mounts"])


@pytest.mark.parametrize("service", [*SERVERS, *OWNERS])
def test_servers_are_not_root_and_have_no_capability(lab: Lab, service: str) -> None:
    container = lab.container(service)
    assert container.attrs["Config"]["User"] == "65534:65534"
    assert not container.attrs["HostConfig"]["CapAdd"]
    assert _capabilities(lab, service) == 0
    tried = "touch /lab/file || touch /tmp/file || echo read-only"
    assert printed(container, ["sh", "-c", tried]) == "read-only\n"


@pytest.mark.parametrize("service", SIDECARS)
def test_sidecars_have_net_admin_and_nothing_else(lab: Lab, service: str) -> None:
    assert lab.container(service).attrs["HostConfig"]["CapAdd"] in (
        ["NET_ADMIN"],
        ["CAP_NET_ADMIN"],
    )
    assert _capabilities(lab, service) == NET_ADMIN


def _capabilities(lab: Lab, service: str) -> int:
    """Return the effective capabilities of the main process (not of a process started by exec)."""
    status = printed(lab.container(service), ["cat", "/proc/1/status"])
    (line,) = (line for line in status.splitlines() if line.startswith("CapEff:"))
    return int(line.split()[1], 16)


def test_ports_are_published_on_the_loopback_address_only(lab: Lab) -> None:
    for service in OWNERS:
        for bindings in lab.container(service).attrs["NetworkSettings"]["Ports"].values():
            assert [binding["HostIp"] for binding in bindings] == ["127.0.0.1"]


def test_idle_servers_stay_within_their_memory_figure(lab: Lab) -> None:
    for service in SERVERS:
        used = lab.container(service).stats(stream=False)["memory_stats"]["usage"]
        assert used < 25 * 1024 * 1024, f"{service} uses {used / 2**20:.1f} MiB"
