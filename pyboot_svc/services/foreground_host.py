"""`pyboot up` as `apply` sees a host: what is applied is known here, and instances are children."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pyboot_svc.config import InstanceConfig
from pyboot_svc.config.compiled import (
    COMPILED_MODE,
    compiled_file,
    retire_compiled,
    retired_file,
)
from pyboot_svc.files import replace_text
from pyboot_svc.health.client import ask_health, health_socket
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.base import ServiceState
from pyboot_svc.services.folders import as_they_are
from pyboot_svc.services.foreground import ForegroundManager
from pyboot_svc.services.host import UnitState
from pyboot_svc.services.plan import Applied, Wanted

_ANSWER_SECONDS = 1.0


class AppliedFiles:
    """What each child runs by: its compiled file in `run_dir`, and its environment variables.

    `hold`, which raises UnavailableError, is called before anything is done there.
    """

    def __init__(self, run_dir: Path, hold: Callable[[], None] = as_they_are) -> None:
        self.hold = hold
        self._run_dir = run_dir
        self._compiled: dict[InstanceId, Wanted] = {}
        # Apart from the others: the variables of all are replaced before the first one restarts.
        self._units: dict[InstanceId, str] = {}

    def applied(self) -> list[Wanted]:
        found = list(self._compiled.items())
        return [Wanted(i, one.compiled, self._units[i]) for i, one in found if i in self._units]

    def variables(self, identity: InstanceId) -> Mapping[str, str]:
        found: dict[str, str] = json.loads(self._units.get(identity, "{}"))
        return found

    def write_unit(self, wanted: Wanted) -> None:
        self._units[wanted.identity] = wanted.unit

    def write_compiled(self, wanted: Wanted) -> None:
        """Raises OSError and UnavailableError."""
        self.hold()
        file = compiled_file(self._run_dir, wanted.identity)
        file.parent.mkdir(parents=True, exist_ok=True)
        retired_file(file).unlink(missing_ok=True)
        replace_text(file, wanted.compiled, mode=COMPILED_MODE)
        self._compiled[wanted.identity] = wanted

    def restore(self, identity: InstanceId) -> None:
        """Whatever clears folders may have taken its file; raises OSError and UnavailableError."""
        self.hold()
        wanted = self._compiled.get(identity)
        if wanted is not None and not compiled_file(self._run_dir, identity).exists():
            self.write_compiled(wanted)

    def retire(self, identity: InstanceId) -> None:
        self.hold()
        self._compiled.pop(identity, None)
        retire_compiled(compiled_file(self._run_dir, identity))

    def forget(self, identity: InstanceId) -> None:
        self.hold()
        self._units.pop(identity, None)
        retired_file(compiled_file(self._run_dir, identity)).unlink(missing_ok=True)


class ForegroundHost:
    """A HostManager whose units are child processes; ready is what its health socket calls so."""

    def __init__(self, manager: ForegroundManager, files: AppliedFiles, run_dir: Path) -> None:
        self._manager = manager
        self._files = files
        self._run_dir = run_dir

    def render(self, instance: InstanceConfig) -> str:
        return json.dumps(dict(instance.edge.variables), sort_keys=True)

    def applied(self) -> Mapping[InstanceId, Applied]:
        states = self._manager.states()
        return {
            one.identity: Applied(
                one.identity,
                one.compiled,
                one.unit,
                failed=states[one.identity].state == "failed",
            )
            for one in self._files.applied()
            if one.identity in states
        }

    def states(self, instances: Sequence[InstanceId]) -> Mapping[InstanceId, UnitState]:
        states = self._manager.states()
        return {identity: self._state(identity, states.get(identity)) for identity in instances}

    def suspects(self, instances: Sequence[InstanceId]) -> list[InstanceId]:
        states = self._manager.states()
        return [i for i in instances if i not in states or states[i].state != "running"]

    def tell_master(self, changes: bool) -> None:
        """It is the same process, and knows."""

    def write_units(self, wanted: Sequence[Wanted], gone: Sequence[InstanceId]) -> None:
        for one in wanted:
            self._files.write_unit(one)
        for identity in gone:
            self._files.forget(identity)

    def write_compiled(self, wanted: Wanted) -> None:
        self._files.write_compiled(wanted)

    def retire(self, instances: Sequence[InstanceId]) -> None:
        for identity in instances:
            self._files.retire(identity)

    def start(self, instances: Sequence[InstanceId]) -> None:
        known = self._manager.states()
        self._manager.add([identity for identity in instances if identity not in known])
        # One that has given up.
        self._manager.restart([identity for identity in instances if identity in known])

    def restart(self, instances: Sequence[InstanceId]) -> None:
        self._manager.restart(instances)

    def stop(self, instances: Sequence[InstanceId]) -> None:
        self._manager.remove(instances)

    def _state(self, identity: InstanceId, service: ServiceState | None) -> UnitState:
        if service is None or service.state == "stopped":
            return UnitState(ready=False, failed=False, stopped=True, detail="stopped")
        if service.state != "running":
            ended = service.exit or "not started yet"
            failed = service.state == "failed"
            failing = not failed and service.pid is None and service.exit is not None
            return UnitState(False, failed, stopped=False, detail=ended, failing=failing)
        self._files.hold()
        health = ask_health(health_socket(self._run_dir, identity), _ANSWER_SECONDS)
        waiting = health.trouble if health.alive and health.loaded and not health.ready else ""
        return UnitState(
            ready=health.alive and health.ready,
            failed=False,
            stopped=False,
            detail=health.trouble or "running",
            waiting=waiting,
        )
