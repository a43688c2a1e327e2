"""What the file says, beside what was applied of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from pyboot_svc.config import Config
from pyboot_svc.config.loader import load_config
from pyboot_svc.errors import ConfigError, Problem
from pyboot_svc.master.config_file import (
    APPLIED,
    CHANGED,
    REMOVED,
    UNREADABLE,
    ConfigFile,
    FileState,
)

PUMP = "  - {name: pump, edge_mode: m.f, pre_topic: in, post_topic: out}\n"
FAN = "  - {name: fan, edge_mode: m.f, pre_topic: in2, post_topic: out2}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    write(path, PUMP + FAN)
    return path


def write(path: Path, edges: str) -> None:
    """As editors do: another file of that name."""
    draft = path.with_suffix(".new")
    draft.write_text(f"defaults: {{pre_broker: a, post_broker: a}}\nedge:\n{edges}")
    draft.replace(path)


def test_all_is_as_applied_until_the_file_says_otherwise(path: Path) -> None:
    load = partial(load_config, path)
    applied, file = load(), ConfigFile(path, load)
    assert file.state_of("pump", applied) == FileState(APPLIED, [])
    write(path, PUMP.replace("post_topic: out", "post_topic: there, instance: 3") + FAN)
    assert file.state_of("pump", applied) == FileState(CHANGED, ["instance", "post.topic"])
    assert file.state_of("fan", applied) == FileState(APPLIED, [])
    assert file.state_of("pump", load()) == FileState(APPLIED, [])


def test_who_is_gone_from_the_file_and_who_was_never_in_it(path: Path) -> None:
    load = partial(load_config, path)
    applied, file = load(), ConfigFile(path, load)
    write(path, FAN)
    assert file.state_of("pump", applied).state == REMOVED
    assert file.state_of("stranger", applied).state == APPLIED


def test_why_a_file_can_not_be_taken_on(path: Path) -> None:
    load = partial(load_config, path)
    applied, file = load(), ConfigFile(path, load)
    write(path, PUMP.replace("post_topic", "post_topci"))
    found = file.state_of("pump", applied)
    assert found.state == UNREADABLE
    assert "the key `post_topic` is missing" in str(found.error)
    path.unlink()
    assert file.state_of("pump", applied).error == f"{path}: No such file or directory"
    write(path, PUMP + FAN)
    assert file.state_of("pump", applied) == FileState(APPLIED, [])


def test_what_stands_in_the_file_steers_nothing(path: Path) -> None:
    def load() -> Config:
        raise ConfigError([Problem(str(path), 1, 1, "", "\x1b[2J" + "x" * 10_000)])

    found = ConfigFile(path, load).state_of("pump", Config(()))
    assert found.error is not None
    assert found.error.isprintable()
    assert len(found.error) < 500


def test_it_is_read_once_a_version(path: Path) -> None:
    times = 0

    def load() -> Config:
        nonlocal times
        times += 1
        return load_config(path)

    file = ConfigFile(path, load)
    for _ in range(5):
        file.state_of("pump", load_config(path))
    assert times == 1
