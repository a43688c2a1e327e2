"""`pyboot venv`: names, and what is in use. tests/integration makes real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pyboot_svc.cli import main
from pyboot_svc.config.compiled import write_compiled
from pyboot_svc.config.loader import load_config

EDGE = (
    "edge: [{name: pump, edge_mode: a.b, pre_broker: h, pre_topic: in, post_broker: h,"
    " post_topic: out%s}]\n"
)

Venv = Callable[..., int]


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    folder = tmp_path / "venvs" / "forecast"
    folder.mkdir(parents=True)
    (folder / "pyvenv.cfg").touch()
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(EDGE % "")
    return file


@pytest.fixture
def venv(tmp_path: Path, config: Path) -> Venv:
    def run(action: str, *arguments: str) -> int:
        places = [f"--dir={tmp_path}/venvs"]
        if action == "remove":
            places += [f"--run-dir={tmp_path}/run", f"--config={config}"]
        return main(["venv", action, *places, *arguments])

    return run


@pytest.mark.parametrize("name", ["", ".hidden", "../elsewhere", "a/b", "a b", "x" * 65])
def test_what_can_not_be_a_name(
    venv: Venv, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert venv("create", name, f"--requirements={tmp_path}/none") == 64
    assert "can't be a name" in capsys.readouterr().err
    assert not (tmp_path / "venvs").exists()


def test_what_nobody_uses_is_removed(
    venv: Venv, environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert venv("remove", "forecast") == 0
    assert capsys.readouterr().out == f"{environment}: removed\n"
    assert not environment.exists()


@pytest.mark.parametrize("named", ["", "/bin/python"])
def test_what_is_configured_stays(
    venv: Venv, environment: Path, config: Path, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(EDGE % f", python: {environment}{named}")
    assert venv("remove", "forecast") == 64
    assert f"is used by pump, configured in {config}: " in capsys.readouterr().err
    assert environment.exists()


def test_what_was_applied_stays(
    venv: Venv,
    environment: Path,
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config.write_text(EDGE % f", python: {environment}")
    write_compiled(next(load_config(config).instances()), tmp_path / "run")
    config.write_text(EDGE % "")
    assert venv("remove", "forecast") == 64
    assert "is used by pump-1, as applied: " in capsys.readouterr().err


def test_with_a_configuration_that_is_wrong_nobody_knows(
    venv: Venv, environment: Path, config: Path
) -> None:
    config.write_text("edge: nonsense")
    assert venv("remove", "forecast") == 78
    assert environment.exists()


def test_one_that_is_not_there(
    venv: Venv, environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert venv("remove", "forcast") == 64
    assert "is named forcast; there: forecast" in capsys.readouterr().err


def test_the_list(venv: Venv, environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert venv("list") == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAME", "PYTHON", "PACKAGES", "PATH"]
    assert row.split() == ["forecast", "unusable", "0", str(environment)]
    assert venv("list", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "forecast"
