"""Where the settings of `up` come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from potluck.cli import COMMAND
from potluck.overlay.config import Config
from potluck.overlay.errors import UsageError
from potluck.verbs import up
from potluck.verbs.answer import Session


def settings(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    session = Session({"POTLUCK_DATA_DIR": str(tmp_path)}, lambda _event, _line: None)
    with click.Context(COMMAND, obj=session) as context:
        command = COMMAND.get_command(context, "up")
        assert command is not None
        return command.make_context("up", list(arguments), parent=context).params


def test_a_flag_is_above_the_environment_which_is_above_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.toml").write_text('slots = 3\nmemory = "2G"\npeer = ["10.0.0.1:9000"]\n')
    assert settings(tmp_path)["slots"] == 3
    assert settings(tmp_path)["memory"] == 2 << 30
    assert settings(tmp_path)["peers"] == ("10.0.0.1:9000",)
    monkeypatch.setenv("POTLUCK_SLOTS", "4")
    monkeypatch.setenv("PEER_PORT", "9100")
    assert settings(tmp_path)["slots"] == 4
    assert settings(tmp_path)["port"] == 9100
    assert settings(tmp_path, "--slots", "5", "--port=0")["slots"] == 5
    assert settings(tmp_path, "--slots", "5", "--port=0")["port"] == 0


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("port = {a = 1}", "port is text, a number, or true or false"),
        ("slots = 1979-05-27", "slots is text, a number, or true or false"),
        ("slots = [1]", "slots is one value, no list"),
        ('peer = "10.0.0.1:9000"', "peer is a list"),
        ('mesh-secret-file = "\\u0000"', "mesh-secret-file has a character that cannot be typed"),
    ],
)
def test_a_setting_that_could_not_be_typed_is_refused_by_name(tmp_path: Path, line: str, complaint: str) -> None:
    (tmp_path / "config.toml").write_text(line)
    with pytest.raises(UsageError, match=complaint):
        settings(tmp_path)


SAID = {
    "lend-hours": ("22:00-07:00", "22:00-07:00"),
    "task-network": ("own", "own"),
    "only-when-idle": (60, 60.0),
    "idle-cpus": (0.25, 0.25),
    "idle-device": (["/dev/input"], ("/dev/input",)),
    "lend-grace": (5, 5.0),
    "probe-interval": (2, 2.0),
    "label": (["room=1"], ("room=1",)),
}


@pytest.mark.parametrize("name", SAID)
def test_a_setting_of_several_words_is_taken_from_the_file_too(tmp_path: Path, name: str) -> None:
    value, meant = SAID[name]
    (tmp_path / "config.toml").write_text(f"{name} = {json.dumps(value)}")
    (taken,) = [settings(tmp_path)[one.name] for one in up.command.params if f"--{name}" in one.opts and one.name]
    assert taken == meant


@pytest.mark.parametrize(
    ("name", "told"), [("slot", "'slot'"), ("lend_hours", "'lend_hours': it is written lend-hours")]
)
def test_what_is_no_setting_is_refused_with_what_was_meant(tmp_path: Path, name: str, told: str) -> None:
    session = Session({"POTLUCK_DATA_DIR": str(tmp_path)}, lambda _event, _line: None, settings={name: 1})
    with pytest.raises(UsageError, match=f"there is no setting {told}$"):
        up.checked(session, {})


@pytest.mark.parametrize(("said", "meant"), [("true", float(up.IDLE_S)), ("false", None), ("60", 60.0)])
def test_a_flag_that_may_stand_alone_is_true_or_false_in_the_file(
    tmp_path: Path, said: str, meant: float | None
) -> None:
    (tmp_path / "config.toml").write_text(f"only-when-idle = {said}")
    assert settings(tmp_path)["only_when_idle"] == meant


def config(tmp_path: Path, *arguments: str) -> Config:
    session = Session({"POTLUCK_DATA_DIR": str(tmp_path)}, lambda _event, _line: None)
    params = settings(tmp_path, *arguments)
    for other in ("nodes", "detach", "background", "until_eof"):
        del params[other]
    return up.config_of(session, **params)


def test_what_is_not_said_is_filled_in(tmp_path: Path) -> None:
    made = config(tmp_path)
    assert made.name == up.host_name()
    assert made.slots >= 1
    assert made.memory_bytes > 0
    assert made.disk_bytes > 0
    assert made.port is None
    assert made.interface is None


def test_a_node_handles_the_leading_letters_of_its_name_unless_told(tmp_path: Path) -> None:
    assert config(tmp_path, "--name", "b1").kinds == ("b",)
    assert config(tmp_path, "--name", "b1", "--handles", "a,C").kinds == ("a", "c")
    assert config(tmp_path, "--name", "1").kinds == ()


def test_a_private_node_stays_on_loopback(tmp_path: Path) -> None:
    made = config(tmp_path, "--private")
    assert made.private
    assert made.interface == "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("0", 0), ("1500", 1500), ("512M", 512 << 20), ("1.5GiB", 3 << 29), ("2gb", 2 << 30)]
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert up.size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "M", "3x", "nan", "inf", "1 000"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(click.BadParameter):
        up.size(text)


def test_containers_can_be_asked_for_as_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(tmp_path)["sandbox"] == "auto"
    monkeypatch.setenv("USE_DOCKER", "false")
    assert settings(tmp_path)["sandbox"] == "auto"
    monkeypatch.setenv("USE_DOCKER", "true")
    assert settings(tmp_path)["sandbox"] == "docker"
    assert settings(tmp_path, "--sandbox=bare")["sandbox"] == "bare"
    monkeypatch.setenv("POTLUCK_SANDBOX", "bubblewrap")
    assert settings(tmp_path)["sandbox"] == "bubblewrap"


def test_the_doctor_looks_at_the_sandbox_that_a_node_would_use(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('sandbox = "docker"\npeer = ["10.0.0.1:9000"]\n')
    session = Session({"POTLUCK_DATA_DIR": str(tmp_path)}, lambda _event, _line: None)
    with click.Context(COMMAND, obj=session) as context:
        command = COMMAND.get_command(context, "doctor")
        assert command is not None
        assert command.make_context("doctor", [], parent=context).params["sandbox"] == "docker"
