"""What the sidecars and the ends of a calibration are told, and what their refusals become."""

import pytest

from lab.sidecars import Kept, _kept, _need, _refusal
from services.netem.kernel import REMEDY
from services.netem.respond import Order


@pytest.mark.parametrize(
    ("order", "need"),
    [
        ({"from_server": "loss 10%", "to_server": "loss 5% seed 7"}, 0),
        ({"from_server": "default", "to_server": "off"}, 0),
        ({"from_server": "delay 10ms"}, 1),
        ({"from_server": "off", "to_server": "delay 10ms"}, 2),
        ({"from_server": "delay 10ms", "to_server": "loss 10%"}, 1),
    ],
)
def test_who_asks_the_most_of_the_kernel_is_asked_first(order: dict[str, str], need: int) -> None:
    assert _need(order) == need


def test_refusals_by_the_kernel_are_told_once_with_the_remedy() -> None:
    complaint = "{}-netem: the old setting stays: this kernel cannot do delay 1ms. " + REMEDY
    refused = _refusal({e: (3, complaint.format(e)) for e in ("udp", "clock")})
    assert refused.by_kernel
    assert refused.cause == "udp, clock: this kernel cannot do delay 1ms."
    assert refused.remedy == REMEDY


def test_other_refusals_are_told_each() -> None:
    refused = _refusal({"udp": (1, "udp-netem: no"), "http": (2, "http-netem: wrong")})
    assert not refused.by_kernel
    assert refused.cause.splitlines() == ["udp: no", "http: wrong"]
    assert "nothing has changed" in refused.remedy


def test_what_was_kept_before_is_what_is_brought_back() -> None:
    assert _kept('{"format": 2, "name": "exam", "from_server": "loss 3%"}') == Kept(
        "loss 3%", "default", "exam"
    )
    assert _kept("") == _kept("[1]") == _kept("{damaged") == Kept()
    assert Kept("off", "default", "x").order() == {
        "from_server": "off",
        "to_server": "default",
        "name": "x",
    }


def test_probes_leave_evenly_and_trains_after_them_each_at_once() -> None:
    order = Order(("udp", 1), 4, 1000, 64, trains=2, train_packets=3, train_gap_ns=50_000)
    assert order.total == 10
    assert [order.due_ns(number) for number in range(4)] == [0, 1000, 2000, 3000]
    assert [order.due_ns(number) for number in range(4, 10)] == 3 * [54_000] + 3 * [104_000]
    # One that is late may catch up at twice the pace, but not fill a queue at once.
    assert order.least_gap_ns(2) == 500
    assert order.least_gap_ns(5) == 0
