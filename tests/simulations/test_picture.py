"""The picture of a run: whole, and in need of nothing but itself."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from potluck import cli
from potluck.overlay.errors import UsageError
from potluck.simulations.faults import PAIRS
from potluck.simulations.run import run_with_page


class Page(HTMLParser):
    """What is open, what is fetched from elsewhere, and the data inside."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.scripts: dict[str | None, str] = {}
        self._script: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.fetched += [value for name in ("src", "href", "action", "data") if (value := named.get(name))]
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)
        if tag == "script":
            self._script = named.get("id")
            self.scripts[self._script] = ""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[self._script] += data

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.scripts["data"])
        return data


def test_a_page_is_whole_and_fetches_nothing() -> None:
    answer, text = run_with_page("mixed", nodes=5, seed=3, hours=0.005)
    page = Page(text)
    assert page.open == []
    assert page.fetched == []
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", text)
    data = page.data
    assert data["title"] == "mixed, seed 3, 5 nodes"
    assert (data["replay"], data["checks"]) == (answer["replay"], answer["checks"])
    assert [lane["name"] for lane in data["lanes"]] == ["a1", "b1", "c1", "d1", "a2"]
    figures: Any = answer["figures"]
    assert len(data["operations"]) == figures["operations"]
    assert len(data["faults"]) == figures["faults"]


def test_what_it_shows_lies_within_the_run_and_on_its_lanes() -> None:
    _, text = run_with_page("mixed", nodes=6, seed=2, hours=0.02)
    data = Page(text).data
    names, until_s = {lane["name"] for lane in data["lanes"]}, data["until_s"]
    for lane in data["lanes"]:
        for began_s, ended_s in (*lane["lives"], *lane["pauses"]):
            assert 0 <= began_s <= ended_s <= until_s
    for fault in data["faults"]:
        assert 0 <= fault["began"] <= fault["ended"] <= until_s
        assert names & set(fault["whom"])
        assert fault["kind"] not in PAIRS or len(names & set(fault["whom"])) == 2
    for lane, called_s, returned_s, *_ in data["operations"]:
        assert 0 <= lane < len(names)
        assert returned_s is None or called_s <= returned_s <= until_s


def test_nothing_in_the_data_can_end_the_script_around_it() -> None:
    _, text = run_with_page("jobs", nodes=2, seed=1, kill=0.0)
    assert text.count("</script>") == 2
    data = text.split('type="application/json">')[1].split("</script>")[0]
    assert "</" not in data


def test_engines_alone_and_crowds_have_no_picture() -> None:
    with pytest.raises(UsageError, match="no picture"):
        run_with_page("agreement", nodes=1)
    with pytest.raises(UsageError, match="up to 250 nodes"):
        run_with_page("join", nodes=251)


def test_a_picture_of_overlays_shows_who_lived_and_every_look_up() -> None:
    answer, text = run_with_page("join", nodes=12, seed=1)
    data, figures = Page(text).data, answer["figures"]
    assert isinstance(figures, dict)
    assert len(data["operations"]) == figures["lookups"]
    assert {operation[3] for operation in data["operations"]} == {"look-up"}
    answer, text = run_with_page("churn", nodes=10, seed=1, kill=0.3)
    data = Page(text).data
    ended = [lane["lives"][-1][1] for lane in data["lanes"]]
    assert sum(end < data["until_s"] for end in ended) == 3
    assert {operation[3] for operation in data["operations"]} == {"set", "get"}


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.html"
    assert cli.main(["sim", "jobs", "--nodes", "2", "--kill", "0", "--html", str(file)]) == 0
    assert Page(file.read_text(encoding="utf-8")).data["title"] == "jobs, seed 1, 2 nodes"
    assert cli.main(["sim", "jobs", "--seeds", "1..2", "--html", str(file)]) == 2
    capsys.readouterr()
    assert cli.main(["sim", "jobs", "--nodes", "1", "--html", str(tmp_path / "missing" / "run.html")]) == 2
    assert capsys.readouterr().out == "", "nothing was played for nothing"
