"""What a task may ask of its node, as people and programs write it."""

from __future__ import annotations

import pytest
from potluck.client.needs import COUNT_MAX, kind_of, limits_of, resources_of
from potluck.overlay.errors import UsageError
from potluck.overlay.wire.needs import Needs


def test_needs_are_read_as_they_are_written() -> None:
    assert resources_of({}) == Needs()
    needs = {"cpu": 2, "ram": 1 << 30, "gpu": 1, "label": ["b:2", "a:1:x"], "kind": "k"}
    assert resources_of(needs) == Needs(2, 1 << 30, 1, (("a", "1:x"), ("b", "2")))
    assert resources_of({"label": {"b": "2", "a": "1:x"}}) == Needs(labels=(("a", "1:x"), ("b", "2")))
    assert resources_of({"label": "a:"}) == Needs(labels=(("a", ""),))
    assert (kind_of(needs), kind_of({})) == ("k", "")


@pytest.mark.parametrize(
    "needs",
    [
        {"cpus": 1},
        {"cpu": 1.5},
        {"cpu": -1},
        {"ram": COUNT_MAX + 1},
        {"gpu": "1"},
        {"cpu": "2"},
        {"ram": "much"},
        {"ram": "-1G"},
        {"label": "a"},
        {"label": ":b"},
        {"label": [1]},
        {"label": {"a:b": "c"}},
        {"label": [f"{n}:" for n in range(65)]},
    ],
)
def test_what_makes_no_sense_is_refused(needs: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        resources_of(needs)


def test_sizes_may_be_written_as_people_do() -> None:
    assert resources_of({"ram": "1G"}) == Needs(memory_bytes=1 << 30)
    with pytest.raises(UsageError, match="limits cpu 0: more than 0; what is left out has no limit"):
        limits_of({"cpu": 0})
    assert limits_of({"memory": "1.5M", "disk": "2KiB", "cpu": 3}).memory_bytes == 3 << 19
    with pytest.raises(UsageError, match="ram"):
        resources_of({"ram": "1X"})


def test_a_kind_is_text() -> None:
    with pytest.raises(UsageError):
        kind_of({"kind": 1})
