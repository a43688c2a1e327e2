"""bash's completion: commands, options, and instances by name where they go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "packaging" / "completion" / "pyboot"
# What bash-completion brings, as far as it is used.
HELPERS = """
_init_completion() {
    words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
    cur=${words[cword]} prev=${words[cword-1]}
}
_filedir() { COMPREPLY+=("files:$1"); }
"""
EDGE = (
    "{name: %s, instance: 2, edge_mode: a.b, pre_broker: h, pre_topic: i, post_broker: h, "
    "post_topic: o}"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(f"edge:\n- {EDGE % 'pump'}\n- {EDGE % 'fan-x'}\n")
    return file


def complete(tmp_path: Path, *words: str, helpers: str = HELPERS) -> list[str]:
    """What is offered for the last of `words`."""
    program = tmp_path / "bin" / "pyboot"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m pyboot_svc "$@"\n')
    program.chmod(0o755)
    line = " ".join(f"'{word}'" for word in ("pyboot", *words))
    script = (
        f"PATH={program.parent}:$PATH\n{helpers}\nsource {SCRIPT}\n"
        f"COMP_WORDS=({line}); COMP_CWORD={len(words)}\n"
        '_pyboot\nprintf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("st",), ["status"]),
        (("plan", "--serv"), ["--service-manager"]),
        (("plan", "--service-manager", ""), ["systemd", "openrc"]),
        (("up", "--config", ""), ["files:yaml"]),
        (("up", "-c", ""), ["files:yaml"]),
        (("check", "--con"), ["--config"]),
        (("up", "--run-dir", ""), ["files:-d"]),
        (("dead", "re"), ["retry"]),
        (("render", "kub"), ["kubernetes"]),
        (("top", "--interval", ""), []),
        (("try", "a", "--lines", ""), ["files:"]),
        (("logs", "a", "--lines", ""), []),
        (("test", "ca"), ["files:"]),
        (("init", "pu"), ["files:-d"]),
        (("venv", "create", "x", "--re"), ["--requirements"]),
        (("venv", "list", "--re"), []),
        (("web", "pa"), ["password"]),
    ],
)
def test_commands_and_options(tmp_path: Path, words: tuple[str, ...], offered: list[str]) -> None:
    assert complete(tmp_path, *words) == offered


def test_it_works_without_bash_completion(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert complete(tmp_path, "st", helpers="") == ["status"]
    assert complete(tmp_path, "up", "-c", "con", helpers="") == ["config.yaml"]
    assert complete(tmp_path, "bench", "-c", "config.yaml", "pu", helpers="") == ["pump"]
    assert complete(tmp_path, "init", "b", helpers="") == ["bin"]


def test_environments_to_remove(tmp_path: Path) -> None:
    (tmp_path / "venvs" / "forecast").mkdir(parents=True)
    (tmp_path / "venvs" / "forecast" / "pyvenv.cfg").touch()
    words = ("venv", "remove", "--dir", str(tmp_path / "venvs"), "fo")
    assert complete(tmp_path, *words) == ["forecast"]


@pytest.mark.parametrize("option", ["-c", "--config"])
@pytest.mark.parametrize("command", ["worker", "bench"])
def test_instances_of_the_configuration(
    tmp_path: Path, config: Path, command: str, option: str
) -> None:
    names = ["fan-x", "pump"] if command == "bench" else ["pump-1", "pump-2", "fan-x-1", "fan-x-2"]
    offered = complete(tmp_path, command, option, str(config), "")
    assert [word for word in offered if not word.startswith("-")] == names
    assert complete(tmp_path, command, option, str(config), "fa") == [
        name for name in names if name.startswith("fa")
    ]


def test_instances_that_were_applied(tmp_path: Path) -> None:
    (tmp_path / "instances").mkdir()
    for name in ("pump-1", "pump-12"):
        (tmp_path / "instances" / f"{name}.json").touch()
    offered = complete(tmp_path, "health", "--run-dir", str(tmp_path), "pump")
    assert offered == ["pump-1", "pump-12"]


def test_instances_that_have_left_something_behind(tmp_path: Path) -> None:
    (tmp_path / "gone-3").mkdir()
    offered = complete(tmp_path, "dead", "show", "--state-dir", str(tmp_path), "go")
    assert offered == ["gone-3"]


def test_what_is_no_name_of_an_instance_is_neither_offered_nor_run(tmp_path: Path) -> None:
    state = tmp_path / "state"
    for name in ("gone-3", "$(touch made)-1", "`touch made`-1", "lost+found", "a b-1", "x-0"):
        (state / name).mkdir(parents=True)
    (tmp_path / "instances").mkdir()
    for name in ("pump-1", "$(touch made)-1"):
        (tmp_path / "instances" / f"{name}.json").touch()
    for words, name in (
        (("purge", "--state-dir", str(state), ""), "gone-3"),
        (("health", "--run-dir", str(tmp_path), ""), "pump-1"),
    ):
        offered = complete(tmp_path, *words)
        assert [word for word in offered if not word.startswith("-")] == [name]
    assert not Path("made").exists()
