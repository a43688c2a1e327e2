"""`dead`, `health`, `status`, `top` and `trace` find the `pyboot up` that runs."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.app import Running, Up, run_pyboot
from support.broker import Broker
from support.client import Plant
from support.poll import until

EDGE = (
    "{{name: {name}, edge_mode: my_models.bad, pre_topic: {topic}/in, post_topic: {topic}/out, "
    "pre_qos: 1}}"
)
Start = Callable[..., Up]
MODELS = "def bad(payload): raise ValueError('no')"


@pytest.fixture
def start(
    write_config: Callable[..., Path], broker: Broker, tmp_path: Path, topic: str
) -> Iterator[Start]:
    """Starts one of a model of that name; all leave their notes in `tmp_path`."""
    started: list[Up] = []

    def make(name: str, file: str = "", *more: str) -> Up:
        own = tmp_path / f"{file or name}.yaml"
        there = {"host": "127.0.0.1", "port": broker.port, "client_id_prefix": f"{own.stem}-"}
        head = f"brokers: {json.dumps({'there': there})}"
        config = write_config(EDGE.format(name=name, topic=topic), models=MODELS, head=head)
        own.write_text(config.read_text().replace("_broker: 127.0.0.1", "_broker: there"))
        started.append(Up(tmp_path, own, *more))
        return started[-1]

    yield make
    for up in started:
        up.close()


def test_its_dead_letters_and_its_figures(
    start: Start, plant: Plant, topic: str, tmp_path: Path
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


def test_one_that_was_killed_is_none(start: Start, tmp_path: Path) -> None:
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


def test_health_asks_its_workers_and_its_master(start: Start, tmp_path: Path) -> None:
    def ask(*arguments: str) -> tuple[int, str]:
        done = run_pyboot("health", *arguments, env={"XDG_RUNTIME_DIR": str(tmp_path)})
        return done.returncode, done.stdout + done.stderr

    start("one")
    assert ask("one-1", "--ready") == (0, "one-1: ready\n")
    assert ask() == (0, "one-1: ready\n")
    assert ask("master") == (0, "master: ready\n")
    code, said = ask("two-1")
    assert (code, "there is no instance two-1 here: there are one-1" in said) == (64, True)
    start("two")
    assert ask("one-1") == (0, "one-1: ready\n")
    assert ask("two-1") == (0, "two-1: ready\n")
    for arguments in ((), ("master",)):
        code, said = ask(*arguments)
        assert (code, "say which by --config or --run-dir:" in said) == (64, True)
    assert ask("--config", str(tmp_path / "two.yaml")) == (0, "two-1: ready\n")


@pytest.fixture
def seen(plant: Plant, topic: str, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """The instance whose message `pyboot trace` shows, while there are messages."""
    looking: list[Running] = []

    def look(*arguments: str) -> str:
        env = {"XDG_RUNTIME_DIR": str(tmp_path)}
        tracing = Running(
            tmp_path / f"look-{len(looking)}", "trace", "-n", "1", "--json", *arguments, env=env
        )
        looking.append(tracing)

        def ended() -> bool:
            plant.publish(f"{topic}/in", 1, 1)
            return tracing.process.poll() is not None

        until(ended, "it has seen one")
        assert tracing.process.stdout is not None
        assert tracing.process.returncode == 0, tracing.log
        return str(json.loads(tracing.process.stdout.read())["instance"])

    yield look
    for tracing in looking:
        tracing.close()


def test_trace_finds_it_by_its_state_folder_or_its_configuration(
    start: Start, seen: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    start("one", "first", "--state-dir", "first/state")
    assert seen("one") == "one-1"
    assert seen("one", "--state-dir", "first/state") == "one-1"
    start("two")
    assert [seen("one"), seen("two-1")] == ["one-1", "two-1"]  # each runs one of them
    monkeypatch.setenv("PYBOOT_CONFIG", "two.yaml")
    assert seen("one", "--state-dir", "first/../first/state") == "one-1"
    assert seen("one", "--config", "first.yaml") == "one-1"
    assert seen("two") == "two-1"


def test_trace_takes_none_of_several_by_itself(
    start: Start, seen: Callable[..., str], tmp_path: Path
) -> None:
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    start("one", "first", "--state-dir", str(tmp_path / "first"))
    start("one", "second")
    asked = run_pyboot("trace", "one", "-n", "1", env=env)
    assert asked.returncode == 64
    assert "running; say which by --config or --state-dir:\n" in asked.stderr
    assert f"{tmp_path}/first.yaml, state in {tmp_path}/first\n" in asked.stderr
    assert f"{tmp_path}/second.yaml, state in " in asked.stderr
    assert seen("one", "--state-dir", str(tmp_path / "first")) == "one-1"
    assert seen("one", "--config", str(tmp_path / "second.yaml")) == "one-1"
    other = run_pyboot("trace", "one", "--state-dir", str(tmp_path / "third"), env=env)
    assert other.returncode == 64
    assert f"no instance one runs that can be looked at, by /run/pyboot and {tmp_path}/third" in (
        other.stderr
    )
