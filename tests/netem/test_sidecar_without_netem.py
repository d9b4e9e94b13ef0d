"""What the sidecar does on a kernel that lacks netem: loss by nftables, all else refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netem.namespaces import Namespaces, made


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Namespaces]:
    with made(tmp_path) as namespaces:
        if namespaces.change("loss 10%")["mechanism"] == "netem":
            pytest.skip("this kernel has netem: nothing falls back to nftables here")
        yield namespaces


def test_the_receipt_names_the_mechanism_and_nothing_of_tc_is_there(pair: Namespaces) -> None:
    assert pair.shown()["mechanism"] == "nftables"
    assert "8a0:" not in pair.run("tc", "qdisc", "show", "dev", "eth0").stdout


def test_anything_but_plain_loss_is_refused_with_reason_and_remedy(pair: Namespaces) -> None:
    for words in ("delay 100ms", "loss 10% 25%", "loss gemodel 1%", "corrupt 1%"):
        refused = pair.sidecar("set", words)
        assert refused.returncode == 3
        assert refused.stderr.count("\n") == 1
        for part in (words, "sch_netem", "qdisc kind is unknown", "kernel-modules-extra", "WSL2"):
            assert part in refused.stderr
    assert pair.shown()["asked"] == "loss 10%"
    assert pair.sidecar("check").returncode == 0


def test_run_ends_at_once_with_what_it_cannot_do_and_is_never_healthy(pair: Namespaces) -> None:
    pair.sidecar("set", "default")
    with pair.running("delay 100ms") as process:
        _, said = process.communicate(timeout=10)
        assert process.returncode == 3
    assert "cannot do delay 100ms" in said
    assert pair.sidecar("--default", "delay 100ms", "check").returncode == 1
