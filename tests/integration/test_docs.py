"""The examples of the README do what the README says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.app import Up, run_pyboot
from support.broker import Broker
from support.client import Plant

ROOT = Path(__file__).parents[2]


def _blocks(language: str, file: str = "README.md") -> list[str]:
    text = (ROOT / file).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_the_first_model_works_as_described(
    tmp_path: Path, broker: Broker, up: Callable[..., Up]
) -> None:
    model = next(block for block in _blocks("python") if block.startswith("# my_models.py"))
    config = next(block for block in _blocks("yaml") if block.startswith("# config.yaml"))
    (tmp_path / "my_models.py").write_text(model)
    port = broker.port
    file = tmp_path / "config.yaml"
    file.write_text(f"{config}\ndefaults: {{pre_port: {port}, post_port: {port}}}\n")
    assert run_pyboot("check", "--config", str(file), "--models").returncode == 0
    up(file)
    with Plant(port) as plant:
        plant.subscribe("plant/mean")
        plant.publish("plant/values", b'{"values": [1, 2, 6]}')
        plant.wait_for(1)
        assert plant.received == [("plant/mean", b'{"mean":3.0}')]


@pytest.mark.parametrize("block", [*_blocks("yaml"), *_blocks("yaml", "docs/kubernetes.md")])
def test_every_configuration_in_the_documentation_is_valid(tmp_path: Path, block: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(block)
    ended = run_pyboot("check", "--config", str(file))
    assert ended.returncode == 0, ended.stdout


def test_the_model_of_batches_in_the_readme_is_one() -> None:
    block = next(block for block in _blocks("python") if "numpy" in block)
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["model"]([{"samples": [1, 2, 6]}, {"samples": [0, 0, 3]}]) == [
        {"mean": 3.0},
        {"mean": 1.0},
    ]


def test_the_bundled_model_of_batches_can_be_loaded(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(next(block for block in _blocks("yaml") if "models.samples" in block))
    ended = run_pyboot("check", "--config", str(file), "--models")
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("name", ["config.yaml", "kubeedge.yaml"])
def test_the_examples_for_kubernetes_are_valid(name: str) -> None:
    file = ROOT / "packaging" / "kubernetes" / name
    ended = run_pyboot("check", "--config", str(file))
    assert ended.returncode == 0, ended.stdout


def test_the_shipped_configuration_is_valid_with_its_models() -> None:
    ended = run_pyboot("check", "--models", "--config", str(ROOT / "etc" / "config.yaml"))
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("block", [b for b in _blocks("python") if "Starter" in b])
def test_the_starter_in_the_readme_is_one(block: str) -> None:
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    starter = names["AuditStarter"]
    assert isinstance(starter, type)
    assert starter().priority == 150
