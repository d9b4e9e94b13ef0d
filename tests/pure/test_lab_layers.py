"""How the tests run: in how many processes, and where their bytecode goes."""

import pytest

from lab.layers import as_many_as_fit, environment
from lab.settings import ROOT


@pytest.mark.parametrize(
    ("processors", "available_mib", "processes"),
    [
        (2, 23_000, "6"),
        (1, 23_000, "3"),
        (16, 64_000, "6"),  # no more than there are long groups
        (2, 1_600, "4"),  # six would push one another out of memory
        (2, 200, "1"),
        (4, 0, "6"),  # macOS does not say
    ],
)
def test_containers_share_the_processors_and_fit_the_memory(
    processors: int, available_mib: int, processes: str
) -> None:
    words = as_many_as_fit(processors, available_mib)
    assert words[words.index("-n") + 1] == processes


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"A": "b"}, {"A": "b"}),
        ({"PYTHONDONTWRITEBYTECODE": ""}, {}),
        ({"PYTHONDONTWRITEBYTECODE": "1"}, {"PYTHONPYCACHEPREFIX": f"{ROOT}/.lab/bytecode"}),
        (
            {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": "/mine"},
            {"PYTHONPYCACHEPREFIX": "/mine"},
        ),
    ],
)
def test_bytecode_is_kept_where_none_is_wanted_beside_the_sources(
    given: dict[str, str], kept: dict[str, str]
) -> None:
    assert environment(given) == kept
