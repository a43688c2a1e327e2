"""What `pyboot up` tells of its children to who carries out a plan."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.poll import until

from pyboot_svc.config.compiled import compiled_file, retired_file
from pyboot_svc.health.client import health_socket
from pyboot_svc.health.record import Health
from pyboot_svc.health.server import HealthServer
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.foreground import ForegroundManager, Restarts
from pyboot_svc.services.foreground_host import AppliedFiles, ForegroundHost
from pyboot_svc.services.host import UnitState
from pyboot_svc.services.plan import Applied, Wanted

A, B = InstanceId("a", 1), InstanceId("b", 1)
FOREVER = "import time; time.sleep(600)"
WELL = Health("a-1", alive=True, loaded=True, started=True, ready=True)


@pytest.fixture
def files(tmp_path: Path) -> AppliedFiles:
    return AppliedFiles(tmp_path)


@pytest.fixture
def host(files: AppliedFiles, tmp_path: Path) -> Iterator[Callable[..., ForegroundHost]]:
    managers = []

    def start(code: str = FOREVER) -> ForegroundHost:
        manager = ForegroundManager(
            lambda identity: [sys.executable, "-I", "-S", "-c", code],
            20.0,
            environment=files.variables,
            restarts=Restarts(600.0, 600.0),
        )
        managers.append(manager)
        made = ForegroundHost(manager, files, tmp_path)
        for identity in (A, B):
            apply(made, identity)
        manager.start([A])
        return made

    yield start
    for manager in managers:
        manager.stop()


def apply(host: ForegroundHost, identity: InstanceId, compiled: str = "{}") -> None:
    wanted = Wanted(identity, compiled, json.dumps({"X": str(identity)}))
    host.write_units([wanted], [])
    host.write_compiled(wanted)


def wait_word(host: ForegroundHost, word: str, identity: InstanceId = A) -> UnitState:
    def seen() -> UnitState | None:
        state = host.states([identity])[identity]
        return state if state.word == word else None

    found = until(seen, f"{identity}: {word}")
    assert found
    return found


def test_what_is_applied(
    host: Callable[..., ForegroundHost], files: AppliedFiles, tmp_path: Path
) -> None:
    made = host()
    # What was never started is applied anew.
    assert made.applied() == {A: Applied(A, "{}", '{"X": "a-1"}')}
    assert files.variables(B) == {"X": "b-1"}
    file = compiled_file(tmp_path, A)
    file.unlink()
    files.restore(A)
    assert file.read_text() == "{}"


def test_what_is_gone_for_good(host: Callable[..., ForegroundHost], tmp_path: Path) -> None:
    made = host()
    file = compiled_file(tmp_path, A)
    made.retire([A])
    assert (file.exists(), retired_file(file).exists()) == (False, True)
    made.stop([A])
    made.write_units([], [A])
    assert not retired_file(file).exists()
    assert made.applied() == {}
    assert made.states([A])[A].stopped
    apply(made, A)
    made.start([A])
    wait_word(made, "starting")


def test_its_states(host: Callable[..., ForegroundHost], tmp_path: Path) -> None:
    made = host()
    until(lambda: made.suspects([A, B]) == [B], "it runs")
    told = [WELL]
    server = HealthServer(health_socket(tmp_path, A), lambda: told[0])
    try:
        assert wait_word(made, "ready").works
        told[0] = WELL._replace(ready=False, reasons=("pre broker b: away",))
        assert wait_word(made, "waiting").waiting == "pre broker b: away"
        told[0] = Health("a-1", alive=True, reasons=("the model is being loaded",))
        assert wait_word(made, "starting").detail == "the model is being loaded"
    finally:
        server.close()


def test_one_that_failed_is_started_again(host: Callable[..., ForegroundHost]) -> None:
    made = host("raise SystemExit(78)")
    assert wait_word(made, "failed").detail == "ended with exit code 78"
    assert made.applied()[A].failed
    made.start([A])
    wait_word(made, "failed")


def test_one_that_ends_again_and_again(host: Callable[..., ForegroundHost]) -> None:
    assert wait_word(host("raise SystemExit(1)"), "failing").detail == "ended with exit code 1"
