"""The command without a node: what it refuses, how it says so, and how quickly it starts."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from potluck.cli import VERBS, main
from potluck.overlay.errors import NotAllowed


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [*os.environ]:
        if name.startswith("POTLUCK_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("POTLUCK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.py").write_text("def f(x):\n    return x\n")
    (tmp_path / "bad.py").write_text("def f(x:\n")
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "inputs.jsonl").write_text("[1]\n\n{nonsense\n")
    return tmp_path


USAGE = [
    ["nonsense"],
    ["run"],
    ["run", "missing.py"],
    ["run", "good.py", "--function", "f", "--args", "3"],
    ["run", "good.py", "--function", "f", "--args", "[1"],
    ["run", "good.py", "--function", "f", "--", "argument"],
    ["run", "good.py", "--args", "[]"],
    ["run", "good.py", "--function", "f", "--args", "[" * 100_000],
    ["run", "good.py", "--function", "f", "--args", "[NaN]"],
    ["run", "good.py", "--function", "f", "--args", "[1e400]"],
    ["run", "good.py", "--priority", "urgent"],
    ["run", "good.py", "--priority", "9" * 20],
    ["run", "good.py", "--retries", "9" * 20],
    ["run", "good.py", "--timeout", "inf"],
    ["sim", "jobs", "--kill", "nan"],
    ["mem", "set", "key", "1", "--ttl", "1e300"],
    ["run", "good.py", "--timeout", "1e300"],
    ["run", "good.py", "--on", "n" * 300],
    ["run", "good.py", "--timeout", "0"],
    ["run", "good.py", "--nonsense"],
    ["map", "good.py", "--function", "f", "--inputs", "inputs.jsonl"],
    ["map", "good.py", "--function", "f", "--inputs", "missing.jsonl"],
    ["map", "good.py"],
    ["instruct"],
    ["instruct", "1a"],
    ["mem"],
    ["mem", "set", "key"],
    ["mem", "nonsense"],
    ["mem", "set", "key", "--nonsense"],
    ["mem", "incr", "key", "--nonsense"],
    ["mesh"],
    ["sim", "nonsense"],
    ["sim", "jobs", "--seed", "1", "--seeds", "1..2"],
    ["sim", "partition", "--kill", "0.1"],
    ["sim", "join", "--hours", "1"],
    ["invite", "--count", "0"],
    ["invite", "--hours", "0"],
    ["join"],
    ["join", "copper-lantern"],
    ["join", "7-copper-lanten"],
    ["join", "7-copper-lantern", "--peer", "nowhere"],
    ["up", "--port", "99999"],
    ["up", "--memory", "3x"],
    ["up", "--memory", "-1"],
    ["up", "--slots", "-1"],
    ["up", "--label", "nonsense"],
    ["up", "--name", "-x"],
    ["up", "--name", "a/b"],
    ["up", "--peer", "nonsense"],
    ["up", "--policy", "nonsense"],
    ["up", "--sandbox", "nonsense"],
    ["up", "--interface", "nonsense"],
    ["up", "--suspicion", "-1"],
    ["up", "--quota", "cpu=0"],
    ["up", "--quota", "memory=1G,memory=2G"],
    ["run", "good.py", "--on", ""],
    ["run", "good.py", "--limits", "memory=0"],
    ["run", "good.py", "--limits", "cpu=1,cpu=2"],
    ["run", "good.py", "--limits", ""],
    ["run", "good.py", "--needs", ""],
    ["up", "--quota", ""],
    ["up", "--lend-hours", ""],
    ["join", "7-copper-lantern", "--interface", "nonsense"],
]
FAILED = [
    (["status"], "NoNode"),
    (["peers"], "NoNode"),
    (["invite"], "NoNode"),
    (["mesh", "members"], "NoNode"),
    (["join", "7-copper-lantern", "--peer", "127.0.0.1:1"], "LinkLost"),
    (["down"], "NoNode"),
    (["down", "--all"], "NoNode"),
    (["mem", "get", "key"], "NoNode"),
    (["run", "good.py", "--node", "else"], "NoNode"),
    (["run", "bad.py"], "BadProgram"),
    (["run", "binary.py"], "BadProgram"),
    (["run", "-c", "1 +"], "BadProgram"),
    (["run", "good.py", "--function", "g"], "BadProgram"),
]


@pytest.mark.parametrize(("arguments", "kind", "code"), [
    *((arguments, "UsageError", 2) for arguments in USAGE),
    *((arguments, kind, 1) for arguments, kind in FAILED),
])  # fmt: skip
def test_a_refusal_is_one_clear_line_and_with_json_one_object(
    arguments: list[str], kind: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    plain = capsys.readouterr()
    assert plain.out == ""
    assert plain.err.startswith("potluck: ")
    assert plain.err.count("\n") == 1
    words = arguments.index("--") if "--" in arguments else len(arguments)
    assert main([*arguments[:words], "--json", *arguments[words:]]) == code
    shown = capsys.readouterr()
    error = json.loads(shown.out)["error"]
    assert error["kind"] == kind
    assert error["message"]
    assert shown.err.count("\n") == 1


def options_of(command: click.Command) -> Iterator[click.Parameter]:
    yield from command.params
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        yield from options_of(below)


@pytest.mark.parametrize("verb", VERBS)
def test_an_option_that_takes_a_number_takes_nothing_else(verb: str) -> None:
    """Python reads "nan" and "inf" as numbers, and compares the former to nothing."""
    for option in options_of(importlib.import_module(f"potluck.verbs.{verb}").command):
        for text in ("nan", "inf", "-inf") if isinstance(option.type, click.types.FloatParamType) else ():
            with pytest.raises(click.BadParameter):
                option.type.convert(text, option, None)


def test_the_line_without_a_node_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 1
    assert "`potluck up`" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [[], *([verb] for verb in VERBS)])
def test_every_verb_has_help(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb, "--help"]) == 0
    assert "Usage: potluck" in capsys.readouterr().out


def test_without_a_verb_the_command_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in VERBS)


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from potluck.cli import main; main(['--help']);"
        "heavy = {'trio', 'msgspec', 'rich', 'cloudpickle', 'asyncio', 'cryptography'};"
        "print(*heavy & set(sys.modules), file=sys.stderr)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert shown.stderr.strip() == ""


def test_a_wrong_config_file_is_one_line(surroundings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = surroundings / "data" / "config.toml"
    file.parent.mkdir()
    file.write_text("port = ")
    assert main(["up"]) == 2
    assert str(file) in capsys.readouterr().err
    file.write_text("prot = 9\nsolts = 2\n")
    assert main(["up"]) == 2
    said = capsys.readouterr().err
    assert "'prot'" in said
    assert "'solts'" in said


@pytest.mark.parametrize(
    ("setting", "blamed"),
    [("PEER_PORT", "PEER_PORT"), ("POTLUCK_PORT", "POTLUCK_PORT"), ("port", "config.toml, port"), ("--port", "--port")],
)
def test_a_wrong_value_is_blamed_on_where_it_was_said(
    setting: str, blamed: str, surroundings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (surroundings / "data").mkdir()
    if setting == "port":
        (surroundings / "data" / "config.toml").write_text("port = 99999")
    elif setting.isupper():
        monkeypatch.setenv(setting, "99999")
    assert main(["up", *(["--port", "99999"] if setting == "--port" else [])]) == 2
    said = capsys.readouterr().err
    assert blamed in said
    assert ("--port" in said) == (setting == "--port")


def test_a_folder_that_cannot_be_used_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    arguments = ["up", "--interface", "127.0.0.1", "--port", "0", "--json"]
    for name, kind in (("POTLUCK_DATA_DIR", "ConfigError"), ("XDG_RUNTIME_DIR", "Unavailable")):
        with monkeypatch.context() as patch:
            patch.setenv(name, str(tmp_path / "file" / "folder"))
            assert main(arguments) == 1
        shown = capsys.readouterr()
        assert json.loads(shown.out)["error"]["kind"] == kind
        assert str(tmp_path / "file") in shown.err
        assert shown.err.count("\n") == 1


def test_words_of_other_machines_do_nothing_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> None:
        raise NotAllowed("go \x1b[2J\u202eaway\nnow")

    monkeypatch.setattr("potluck.cli._answer", refused)
    assert main(["peers"]) == 1
    assert capsys.readouterr().err == "potluck: go ?[2J?away now\n"


def test_needless_variables_are_answered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TRACKER_HOST", "10.0.0.1")
    main(["status"])
    assert "TRACKER_HOST: not needed" in capsys.readouterr().err


def test_python_without_checks_is_refused() -> None:
    shown = subprocess.run(
        [sys.executable, "-O", "-m", "potluck", "status"], capture_output=True, text=True, check=False, timeout=30
    )
    assert shown.returncode == 2
    assert "-O" in shown.stderr


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "potluck", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=30)
    assert b"Traceback" not in said
