"""The names a user imports."""

from __future__ import annotations

import subprocess
import sys

import potluck
import pytest
from potluck.overlay.errors import PotluckError


@pytest.mark.parametrize("name", potluck.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(potluck, name) is getattr(potluck, name)
    assert name in dir(potluck)


def test_names_are_sorted_and_others_are_refused() -> None:
    assert sorted(potluck.__all__) == potluck.__all__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        potluck.nonsense  # noqa: B018


def test_every_exported_class_but_the_executors_is_an_error_to_catch() -> None:
    classes = [value for name in potluck.__all__ if isinstance(value := getattr(potluck, name), type)]
    assert {cls for cls in classes if not issubclass(cls, PotluckError)} == {potluck.AsyncExecutor, potluck.Executor}


def test_importing_potluck_is_nearly_free() -> None:
    program = "import sys; before = set(sys.modules); import potluck; print(*sorted(set(sys.modules) - before))"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert not {"trio", "msgspec", "click", "cloudpickle", "asyncio"} & set(shown.stdout.split())
