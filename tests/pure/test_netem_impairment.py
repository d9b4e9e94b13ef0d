"""The words of tc netem, against read-backs captured from a stock Debian 13 kernel."""

import json
import math
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.netem import WrongWords
from services.netem.impairment import (
    LARGEST_LIMIT,
    Impairment,
    differences,
    parse,
    queue_limit,
    without_seed,
    words_of,
)
from services.netem.readback import netem_impairment

CAPTURED = json.loads(Path(__file__).with_name("netem_readbacks.json").read_text(encoding="utf-8"))[
    "readbacks"
]
FORGOTTEN_BY_TC = "duplicate 1% 10%"  # tc 6.15 does not send this correlation to the kernel

EVERYTHING = (
    "delay 10ms 5ms 20% distribution normal loss 5% 10% ecn corrupt 3% 4% duplicate 1% 2%"
    " reorder 5% 6% gap 7 rate 1mbit 1 2 3 slot 1ms 2ms packets 3 bytes 4 limit 99 seed 77"
)


def parsed(text: str) -> Impairment:
    return parse(text.split())


@pytest.mark.parametrize(
    ("words", "options"), [row for row in CAPTURED if row[0] != FORGOTTEN_BY_TC]
)
def test_what_the_kernel_showed_is_what_the_words_ask_for(
    words: str, options: dict[str, Any]
) -> None:
    assert differences(parsed(words), netem_impairment(options)) == []


def test_a_correlation_that_tc_forgets_to_send_is_noticed() -> None:
    options = dict(map(tuple, CAPTURED))[FORGOTTEN_BY_TC]
    found = differences(parsed(FORGOTTEN_BY_TC), netem_impairment(options))
    assert found == ["duplicate_correlation: asked for 0.1, the kernel shows 0.0"]


@pytest.mark.parametrize(
    "name",
    [f.name for f in fields(Impairment) if not f.name.endswith("distribution")],
)
def test_every_field_that_differs_is_named(name: str) -> None:
    asked = replace(
        parsed(EVERYTHING),
        loss_state=(0.1, 0.2, 0.3, 0.4, 0.5),
        loss_gemodel=(0.1, 0.2, 0.3, 0.4),
        slot_delay_s=0.01,
        slot_jitter_s=0.02,
    )
    value = getattr(asked, name)
    other: Any
    if isinstance(value, tuple):
        other = (*value[:-1], value[-1] * 1.01)
    elif isinstance(value, bool):
        other = not value
    else:
        other = value * 1.01 if isinstance(value, float) else value + 1
    (difference,) = differences(asked, replace(asked, **{name: other}))
    assert difference.startswith(f"{name}: asked for ")


def test_what_stays_of_an_older_setting_is_a_difference() -> None:
    older = netem_impairment({"limit": 1000, "corrupt": {"corrupt": 0.03, "correlation": 0}})
    assert differences(parsed("loss 0%"), older) == [
        "corrupt: asked for 0.0, the kernel shows 0.03"
    ]


def test_a_seed_that_nobody_asked_for_is_no_difference() -> None:
    assert differences(parsed("loss 10%"), replace(parsed("loss 10%"), seed=4711)) == []
    assert differences(parsed("loss 10% seed 5"), parsed("loss 10% seed 6"))


def test_a_seed_that_the_kernel_does_not_know_is_no_difference() -> None:
    assert differences(parsed("loss 10% seed 5"), parsed("loss 10%")) == []


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("loss 10% seed 5", "loss 10%"),
        ("seed 5 loss 10%", "loss 10%"),
        ("loss 10% se 5 ecn", "loss 10% ecn"),
        ("slot 1ms 2ms", "slot 1ms 2ms"),
        ("loss 10% seed", "loss 10%"),
    ],
)
def test_a_seed_is_left_out_for_a_tc_that_does_not_know_it(words: str, left: str) -> None:
    assert without_seed(words.split()) == tuple(left.split())


def test_what_is_drawn_is_random_and_what_is_computed_is_not() -> None:
    for words in ("loss 1%", "delay 1ms 1us", "corrupt 1%", "duplicate 1%", "slot 1ms 2ms"):
        assert parsed(words).is_random
    for words in ("loss 0%", "delay 10ms", "rate 1mbit", "slot 1ms 1ms", "limit 5", "seed 5"):
        assert not parsed(words).is_random
    for words in ("loss 1%", "loss state 1%", "loss gemodel 1%"):
        assert parsed(words).loses_at_random
    assert not parsed("corrupt 1% delay 1ms 1ms").loses_at_random


def test_a_distribution_is_named_as_not_verifiable() -> None:
    asked = parsed("delay 10ms 1ms distribution pareto")
    assert asked.not_verifiable == ("distribution pareto",)
    assert differences(asked, parsed("delay 10ms 1ms limit 2400")) == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("lss 10%", '"lss"'),
        ("loss", '"loss" is the last word'),
        ("loss ten", '"ten"'),
        ("loss 110%", '"110%"'),
        ("loss 10%%", '"10%%"'),
        ("loss 0x10%", '"0x10%"'),
        ("loss nan", '"nan"'),
        ("loss 10% 20% 30%", '"30%"'),
        ("loss 0.00000001%", "so small"),
        ("loss 5% loss 6%", "given twice"),
        ("loss 5% drop 6%", "given twice"),
        ("loss gemodel", '"loss gemodel" is the last word'),
        ("delay 100", "no unit"),
        ("delay 100m", '"100m"'),
        ("delay -10ms", '"-10ms"'),
        ("delay 0.1ns", "less than a nanosecond"),
        ("delay 10ms 1ms distribution", '"distribution" is the last word'),
        ("delay 10ms 1ms distribution uniform", '"uniform"'),
        ("delay 10ms 1ms distribution ../x", '"../x"'),
        ("delay 10ms distribution normal", "needs a delay and a jitter"),
        ("delay 0ms 10ms", "no jitter without a delay"),
        ("corrupt 0% 5%", "correlation"),
        ("reorder 5%", "needs a delay"),
        ("delay 1ms gap 5", "needs reorder"),
        ("ecn", "needs a loss"),
        ("rate 50%", "no speed"),
        ("rate 1mbyte", '"1mbyte"'),
        ("rate 7", '"7"'),
        ("rate 1mbit 010", '"010"'),
        ("limit -1", '"-1"'),
        ("limit 1k", '"1k"'),
        ("slot 0s", "longer than 0"),
        ("slot 1ms packets", '"slot packets" is the last word'),
        ("seed 0x10", '"0x10"'),
        ("dev eth1", '"dev"'),
        ("-batch x", '"-batch"'),
    ],
)
def test_words_that_cannot_be_checked_are_refused_by_name(words: str, named: str) -> None:
    with pytest.raises(WrongWords, match=re.escape(named)):
        parsed(words)


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        ("loss 10%", 1000),
        ("delay 100ms", 11_000),
        ("delay 100ms 20ms", 19_000),
        ("rate 1mbit", 1000),
        ("rate 1mbit delay 100ms", 1196),  # 125,000 bytes/s for 0.1 s in packets of 64 bytes
        ("delay 10s", LARGEST_LIMIT),
        ("slot 1ms 10ms", 2000),
        ("delay 100ms limit 50", 50),
    ],
)
def test_the_queue_holds_what_the_delay_keeps_on_its_way(words: str, limit: int) -> None:
    assert parsed(words).limit == limit


def test_only_plain_loss_is_loss_alone() -> None:
    assert parsed("loss 10%").is_loss_alone
    assert parsed("drop random 0.5%").is_loss_alone
    assert parsed("loss 10% seed 1").is_loss_alone
    for words in ("loss 10% 5%", "loss 10% limit 5", "loss gemodel 1%"):
        assert not parsed(words).is_loss_alone


def percents(least: int = 1) -> st.SearchStrategy[str]:
    return st.integers(least, 10**6).map(lambda n: f"{n / 10**4}%")


def times() -> st.SearchStrategy[str]:
    return st.builds("{}{}".format, st.integers(1, 999), st.sampled_from(("s", "ms", "us", "ns")))


def with_optional(
    keyword: str, first: st.SearchStrategy[str], second: st.SearchStrategy[str]
) -> st.SearchStrategy[list[str]]:
    return st.tuples(first, st.lists(second, max_size=1)).map(lambda t: [keyword, t[0], *t[1]])


CLAUSES = (
    with_optional("delay", times(), times()),
    with_optional("loss", percents(), percents()),
    with_optional("corrupt", percents(), percents()),
    with_optional("duplicate", percents(), percents()),
    with_optional(
        "rate", st.integers(8, 10**10).map(lambda n: f"{n}bit"), st.integers(-99, 99).map(str)
    ),
    st.tuples(times(), times()).map(lambda t: ["slot", *t]),
    # tc's own default is not written, so it would not come back where another is computed.
    st.integers(0, 2**32 - 1).filter(lambda n: n != 1000).map(lambda n: ["limit", str(n)]),
)


@given(st.lists(st.sampled_from(CLAUSES), unique=True).flatmap(lambda c: st.tuples(*c)))
def test_words_survive_being_read_and_written_again(clauses: tuple[list[str], ...]) -> None:
    asked = parse([word for clause in clauses for word in clause])
    again = words_of(asked)
    if again == "no impairment":
        assert asked == Impairment()
    else:
        # What was not given is not written: the computed limit may be tc's default again.
        assert differences(asked, parse([*again.split()])) == []


PIECES = st.sampled_from(
    ["loss", "random", "state", "gemodel", "delay", "10ms", "5", "5%", "-5", "0", "ecn", "gap"]
    + ["slot", "packets", "bytes", "7", "distribution", "normal", "rate", "1mbit", "limit", "seed"]
    + ["reorder", "corrupt", "duplicate", "l", "d", "r", "s", "e", "\u0661", ".", "%", "x", ""]
)


@given(st.lists(PIECES | st.text(max_size=5), max_size=12))
def test_any_words_are_understood_or_refused(words: list[str]) -> None:
    try:
        impairment = parse(words)
    except WrongWords:
        return
    for field in fields(impairment):
        value = getattr(impairment, field.name)
        assert not isinstance(value, float) or math.isfinite(value)
    assert 0 <= impairment.loss <= 1
    assert impairment.limit >= 0


@pytest.mark.parametrize("length", range(len(EVERYTHING) + 1))
def test_words_cut_short_anywhere_are_understood_or_refused(length: int) -> None:
    try:
        assert queue_limit(parsed(EVERYTHING[:length])) >= 1000
    except WrongWords:
        pass
