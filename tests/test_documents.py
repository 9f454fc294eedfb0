"""The documents speak of what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("client", "discovery", "node", "overlay", "simulations", "tests", "verbs", "benchmarks", "docs")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
_NAMED = re.compile(r"`((?:" + "|".join(ROOMS) + r")/[a-z_/]+(?:\.py|\.md)?)`")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_room_and_module_that_a_document_names_exists(document: Path) -> None:
    named = set(_NAMED.findall(document.read_text()))
    missing = [name for name in named if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists()]
    assert not missing


def test_the_readme_leads_to_every_document() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [path.name for path in DOCUMENTS if path.name != "README.md" and path.name not in readme] == []
