"""`dead`, `status` and `top` find the `pyboot up` that runs."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.app import Up, run_pyboot
from support.client import Plant
from support.poll import until

EDGE = (
    "{{name: {name}, edge_mode: my_models.bad, pre_topic: {topic}/in, post_topic: {topic}/out, "
    "pre_qos: 1}}"
)
MODELS = "def bad(payload): raise ValueError('no')"


@pytest.fixture
def start(
    write_config: Callable[..., Path], tmp_path: Path, topic: str
) -> Iterator[Callable[[str], Up]]:
    """Starts one of that name; all leave their notes in `tmp_path`."""
    started: list[Up] = []

    def make(name: str) -> Up:
        config = write_config(EDGE.format(name=name, topic=topic), models=MODELS)
        own = config.with_name(f"{name}.yaml")
        own.write_text(config.read_text())
        started.append(Up(tmp_path, own))
        return started[-1]

    yield make
    for up in started:
        up.close()


def test_its_dead_letters_and_its_figures(
    start: Callable[[str], Up], plant: Plant, topic: str, tmp_path: Path
) -> None:
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    up = start("one")
    plant.publish(f"{topic}/in", 1, 1)
    until(lambda: up.instance("one-1")["errors"] == {"model": 1}, "a dead letter")
    listed = run_pyboot("dead", "list", "--json", env=env)
    assert [one["instance"] for one in json.loads(listed.stdout)] == ["one-1"], listed.stderr
    folder = up.log.partition("state and dead letters are in ")[2].split()[0]
    assert f"pyboot: of the running `pyboot up`, in {folder}" in listed.stderr
    assert (Path(folder) / "one-1").is_dir()
    status = run_pyboot("status", "--json", env=env)
    assert [row["instance"] for row in json.loads(status.stdout)["instances"]] == ["one-1"]
    # Another one, and nobody says which.
    start("two")
    listed = run_pyboot("dead", "list", env=env)
    assert listed.returncode == 64
    assert "several `pyboot up` are running; say which by --state-dir:" in listed.stderr
    assert run_pyboot("status", env=env).returncode == 64
    notes = [json.loads(file.read_text()) for file in (tmp_path / "pyboot-up").glob("*.json")]
    [config] = [note["config"] for note in notes if note["config"].endswith("two.yaml")]
    status = run_pyboot("status", "--json", "--config", config, env=env)
    assert [row["instance"] for row in json.loads(status.stdout)["instances"]] == ["two-1"]


def test_one_that_was_killed_is_none(start: Callable[[str], Up], tmp_path: Path) -> None:
    up = start("one")
    [note] = (tmp_path / "pyboot-up").glob("*.json")
    os.kill(up.pid, signal.SIGKILL)
    up.process.wait(20)
    done = run_pyboot("dead", "list", env={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert "of the running" not in done.stderr
    assert not note.exists()


def test_a_folder_of_somebody_else_is_not_looked_at(tmp_path: Path) -> None:
    folder = tmp_path / "pyboot-up"
    folder.symlink_to(tmp_path)
    note = {
        "pid": os.getpid(),
        "began": "1",
        "config": "c",
        "state_dir": "/",
        "host": "h",
        "port": 1,
    }
    (tmp_path / "1.json").write_text(json.dumps(note))
    done = run_pyboot("dead", "list", env={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert "of the running" not in done.stderr
    assert (tmp_path / "1.json").exists()
