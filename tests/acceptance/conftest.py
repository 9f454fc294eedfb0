from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import Pool, pool


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Pool]:
    """Nodes on loopback, gone after the test."""
    with pool(tmp_path) as running:
        yield running
