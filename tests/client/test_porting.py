"""A program that was written for other executors hears in one line what to do instead."""

from __future__ import annotations

from typing import Any

import pytest
from potluck.client.asynchronous import AsyncExecutor
from potluck.client.executor import Executor
from potluck.overlay.errors import UsageError


@pytest.mark.parametrize("executor", [Executor, AsyncExecutor])
@pytest.mark.parametrize(
    ("arguments", "others", "advice"),
    [
        ((4,), {}, "`potluck up --slots N`"),
        ((), {"node": 4}, "`potluck up --slots N`"),
        ((), {"max_workers": 4}, "`potluck up --slots N`"),
        ((), {"initializer": print, "initargs": ()}, "functools.cache"),
        ((), {"mp_context": None}, "leave it out"),
        ((), {"max_tasks_per_child": 1}, "leave it out"),
    ],
)
def test_what_it_would_give_them_is_answered(
    executor: Any, arguments: tuple[object, ...], others: dict[str, object], advice: str
) -> None:
    with pytest.raises(UsageError) as caught:
        executor(*arguments, **others)
    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_no_executor_takes_is_a_mistake_in_the_program() -> None:
    wrong: dict[str, Any] = {"slotz": 4}
    with pytest.raises(TypeError, match="'slotz'"):
        Executor(**wrong)
