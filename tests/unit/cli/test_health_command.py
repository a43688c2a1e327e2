"""`pyboot health`: whom it asks, what it prints, and how it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from support.locked import locked

from pyboot_svc.cli import main
from pyboot_svc.cli.commands import health
from pyboot_svc.cli.running import RunningUp, began_at
from pyboot_svc.health.client import health_socket, master_health_socket
from pyboot_svc.health.record import Health
from pyboot_svc.health.server import HealthServer
from pyboot_svc.identity import InstanceId
from pyboot_svc.sockets.unix import open_listener
from pyboot_svc.threads import spawn

Serve = Callable[..., None]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Has an instance answer."""
    servers = []

    def start(name: str, **more: Any) -> None:
        signs = {"alive": True, "started": True, "ready": True}
        answer = Health(name, **{**signs, **more})
        path = health_socket(tmp_path, InstanceId.parse(name))
        servers.append(HealthServer(path, lambda: answer))

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Exit code and output of `pyboot health`."""

    def run(*arguments: str) -> tuple[int, str]:
        code = main(["health", *arguments, "--run-dir", str(tmp_path)])
        return code, capsys.readouterr().out

    return run


Ask = Callable[..., tuple[int, str]]
WAITING = {"ready": False, "reasons": ("not subscribed yet",)}
STALLED = {"alive": False, "ready": False, "stalls": ("thread pre made no progress",)}


def apply(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "instances"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text("{}")


def test_a_healthy_instance(ask: Ask, serve: Serve) -> None:
    serve("a-1")
    assert ask("a-1") == (0, "a-1: ready\n")
    assert ask("a-1", "--ready") == (0, "a-1: ready\n")


def test_one_that_waits_is_alive_and_not_ready(ask: Ask, serve: Serve) -> None:
    serve("a-1", **WAITING)
    assert ask("a-1") == (0, "a-1: alive: not subscribed yet\n")
    assert ask("a-1", "--ready") == (1, "a-1: alive: not subscribed yet\n")


def test_one_that_stalls_is_neither(ask: Ask, serve: Serve) -> None:
    serve("a-1", **STALLED)
    assert ask("a-1") == (1, "a-1: not alive: thread pre made no progress\n")
    assert ask("a-1", "--ready")[0] == 1


def test_one_that_does_not_run(ask: Ask) -> None:
    code, text = ask("a-1")
    assert code == 1
    assert text.startswith("a-1: not alive: it isn't running: there is no ")


def test_without_a_name_all_that_run_have_to_be_alive(ask: Ask, serve: Serve) -> None:
    assert ask()[0] == 1
    serve("b-1", **WAITING)
    serve("a-1")
    assert ask() == (0, "a-1: ready\nb-1: alive: not subscribed yet\n")
    serve("c-1", **STALLED)
    assert ask()[0] == 1


def test_without_a_name_all_that_were_applied_have_to_be_ready(
    ask: Ask, serve: Serve, tmp_path: Path
) -> None:
    assert ask("--ready")[0] == 1
    serve("a-1")
    apply(tmp_path, "a-1")
    apply(tmp_path, "not an instance")
    assert ask("--ready")[0] == 0
    apply(tmp_path, "gave_up-1")
    code, text = ask("--ready")
    assert code == 1
    assert "gave_up-1: not alive: it isn't running" in text
    assert ask()[0] == 0


def test_services_come_before_an_up_that_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check that asks them asks no other ones as soon as somebody tries something."""

    def ask(*arguments: str) -> str:
        main(["health", *arguments])
        return capsys.readouterr().out

    with TemporaryDirectory() as name, ExitStack() as stack:
        services, of_up, notes = (Path(name, part) for part in ("services", "up", "pyboot-up"))
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        monkeypatch.setattr(health, "RUN_DIR", services)
        for run_dir, instance in ((services, "a-1"), (of_up, "a-1"), (of_up, "b-1")):
            answer = Health(instance, alive=True, reasons=(run_dir.name,))
            path = health_socket(run_dir, InstanceId.parse(instance))
            server = HealthServer(path, partial(Health._replace, answer))
            stack.callback(server.close)
            apply(run_dir, instance)
        notes.mkdir()
        pid = os.getpid()
        up = RunningUp(
            pid=pid,
            began=began_at(pid),
            config="/c.yaml",
            host="127.0.0.1",
            port=1,
            state_dir=name,
            run_dir=str(of_up),
        )
        (notes / "1.json").write_text(json.dumps(asdict(up)))
        assert ask("a-1") == ask() == "a-1: alive: services\n"
        assert ask("b-1") == "b-1: alive: up\n"
        assert ask("a-1", "--config", "/nobody's") == "a-1: alive: services\n"
        assert ask("a-1", "--config", "/c.yaml") == "a-1: alive: up\n"
        assert ask("a-1", "--run-dir", str(of_up)) == "a-1: alive: up\n"
        # One that is applied, and doesn't run, or reports to systemd.
        apply(services, "b-1")
        assert ask("b-1").startswith("b-1: not alive: it isn't running: there is no ")


def test_as_json(ask: Ask, serve: Serve) -> None:
    serve("a-1", **WAITING)
    code, text = ask("a-1", "--json")
    assert code == 0
    one = json.loads(text)
    assert one["instance"] == "a-1"
    assert one["reasons"] == ["not subscribed yet"]
    assert json.loads(ask("--json")[1]) == {"instances": [one]}


def test_a_worker_of_another_make_is_not_taken_for_healthy(ask: Ask, tmp_path: Path) -> None:
    answer = b'{"instance": "a-1", "alive": "yes"}\n'
    with open_listener(health_socket(tmp_path, InstanceId("a", 1))) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(answer)

        spawn("stranger", serve)
        code, text = ask("a-1")
    assert code == 1
    assert "its answer doesn't say how it does" in text


def test_of_one_that_may_not_be_asked_nothing_is_said_but_that(
    open_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {name: health_socket(open_folder, InstanceId(name, 1)) for name in "ab"}
    servers = [
        HealthServer(path, partial(Health, f"{name}-1", alive=True, ready=True))
        for name, path in paths.items()
    ]
    if os.geteuid() == 0:
        os.chown(paths["a"], 65_534, -1)

    def ask(*arguments: str) -> tuple[str, str]:
        with locked(paths["b"].parent):
            assert main(["health", *arguments, "--run-dir", str(open_folder)]) == 69
        return capsys.readouterr()

    why = f"pyboot: b-1: it can't be asked: {paths['b']}: Permission denied; try as root (sudo)\n"
    assert ask("b-1") == ask("b-1", "--json") == ask("b-1", "--ready") == ("", why)
    assert ask() == ("a-1: ready\n", why)
    told, error = ask("--json")
    assert [one["instance"] for one in json.loads(told)["instances"]] == ["a-1"]
    assert error == why
    for server in servers:
        server.close()


def test_the_master(ask: Ask, tmp_path: Path) -> None:
    code, text = ask("master")
    assert code == 1
    assert text.startswith("master: not alive: it isn't running: there is no ")
    answer = Health("master", alive=True, started=True, ready=True)
    server = HealthServer(master_health_socket(tmp_path), lambda: answer)
    assert ask("master", "--ready") == (0, "master: ready\n")
    assert ask()[1].startswith("no instance is running")
    server.close()


def test_no_name_of_an_instance(ask: Ask) -> None:
    assert ask("../a")[0] == 64
