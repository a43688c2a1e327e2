"""OpenRC: a link to the shipped script for each instance, in the runlevel `default`."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pyboot_svc.config import InstanceConfig
from pyboot_svc.config.compiled import (
    COMPILED_MODE,
    compiled_file,
    compiled_names,
    retire_compiled,
    retired_file,
)
from pyboot_svc.errors import UnavailableError, UsageError
from pyboot_svc.health.client import ask_health, health_socket
from pyboot_svc.identity import InstanceId
from pyboot_svc.metrics.protocol import socket_path
from pyboot_svc.services.files import read_text, update_text
from pyboot_svc.services.folders import OPENRC_FOLDERS, make_folders
from pyboot_svc.services.host import UnitState
from pyboot_svc.services.plan import Applied, Wanted
from pyboot_svc.services.settings import render_settings
from pyboot_svc.services.users import ensure_user
from pyboot_svc.sockets.unix import is_listening
from pyboot_svc.text import printable

log = logging.getLogger(__name__)

RUNNING = Path("/run/openrc/softlevel")
INIT_DIR = Path("/etc/init.d")
RUNLEVEL_DIR = Path("/etc/runlevels/default")
LOG_DIR = Path("/var/log/edge-model")
_SCRIPT = "edge-model"
_MASTER = "pyboot"
_PREFIX = f"{_SCRIPT}."
# Exit codes of `rc-service … status`.
_STARTED, _STOPPED = 0, 3
_STATUS_TRIES = 2
_HEALTH_SECONDS = 1.0
# So long OpenRC may give no answer: the supervisor hears nothing while it looks at the master's
# health, or starts it anew.
_DEAF_SECONDS, _TRY_SECONDS = 20.0, 0.1
# Just after a stop it may still think that a service runs, or is on its way down.
_BUSY_SECONDS = 10.0
_BUSY = ("is already running", "is already starting", "is already stopping", "is stopping")
_AT_ONCE = 8
_TAIL_BYTES = 8192
_LONGEST_WORDS = 1000

T = TypeVar("T")


class OpenrcManager:
    """Writes links, settings and compiled files, and asks rc-service for the rest."""

    def __init__(
        self,
        run_dir: Path,
        init_dir: Path = INIT_DIR,
        runlevel_dir: Path = RUNLEVEL_DIR,
        log_dir: Path = LOG_DIR,
        deaf_seconds: float = _DEAF_SECONDS,
        make_user: Callable[[InstanceId], None] = ensure_user,
    ) -> None:
        self._run_dir = run_dir
        self._init_dir = init_dir
        self._runlevel_dir = runlevel_dir
        self._log_dir = log_dir
        self._deaf_seconds = deaf_seconds
        self._make_user = make_user

    def render(self, instance: InstanceConfig) -> str:
        return render_settings(instance.identity, instance.edge)

    def applied(self) -> Mapping[InstanceId, Applied]:
        found = compiled_names(self._run_dir)
        for folder in (self._init_dir, self._runlevel_dir):
            for link in folder.glob(f"{_PREFIX}*"):
                with suppress(UsageError):
                    found.add(InstanceId.parse(link.name.removeprefix(_PREFIX)))
        return {
            identity: Applied(
                identity,
                read_text(compiled_file(self._run_dir, identity)),
                self._applied_unit(identity),
                failed=self._failure(identity).exists(),
            )
            for identity in found
        }

    def states(self, instances: Sequence[InstanceId]) -> Mapping[InstanceId, UnitState]:
        return dict(zip(instances, _each(self._state, instances), strict=True))

    def suspects(self, instances: Sequence[InstanceId]) -> list[InstanceId]:
        return list(instances)

    def tell_master(self, changes: bool) -> None:
        # In a reload without changes, the script tells it.
        if not changes:
            return
        environment = {**os.environ, "RC_SVCNAME": _MASTER}
        command = ["supervise-daemon", _MASTER, "--signal", "HUP"]
        deadline = time.monotonic() + self._deaf_seconds
        # Down, or on its way up, it will read the configuration anyway.
        while is_listening(socket_path(self._run_dir)):
            ended = _run(command, check=False, environment=environment)
            if ended.returncode == 0:
                return
            if time.monotonic() >= deadline:
                said = (ended.stderr + ended.stdout).strip()
                log.warning("the master could not be told of the changes: %s", said)
                return
            time.sleep(_TRY_SECONDS)

    def write_units(self, wanted: Sequence[Wanted], gone: Sequence[InstanceId]) -> None:
        make_folders(self._run_dir, OPENRC_FOLDERS)
        self._make_users([item.identity for item in wanted])
        for item in wanted:
            update_text(self._settings(item.identity), item.unit)
        added = [item.identity for item in wanted if not self._linked(item.identity)]
        if added and not (self._init_dir / _SCRIPT).exists():
            raise UnavailableError(
                f"{self._init_dir / _SCRIPT} is not installed: install the package, or copy etc/*"
            )
        for identity in added:
            with suppress(FileExistsError):
                self._script(identity).symlink_to(self._init_dir / _SCRIPT)
            _run(["rc-update", "--quiet", "add", _service(identity), "default"])
        linked = {identity for identity in gone if self._script(identity).is_symlink()}
        for identity in gone:
            _run(["rc-update", "--quiet", "delete", _service(identity), "default"], check=False)
            for file in (
                self._script,
                self._settings,
                self._failure,
                self._compiled,
                self._retired,
            ):
                file(identity).unlink(missing_ok=True)
            # Its folder is its user's: this follows no link.
            shutil.rmtree(health_socket(self._run_dir, identity).parent, ignore_errors=True)
        if added or linked:
            _run(["rc-update", "--update"])  # or rc-status would not know of them

    def write_compiled(self, wanted: Wanted) -> None:
        self._retired(wanted.identity).unlink(missing_ok=True)
        update_text(self._compiled(wanted.identity), wanted.compiled, mode=COMPILED_MODE)

    def retire(self, instances: Sequence[InstanceId]) -> None:
        for identity in instances:
            retire_compiled(self._compiled(identity))

    def start(self, instances: Sequence[InstanceId]) -> None:
        _each(lambda identity: _rc_service(identity, "start"), instances)

    def restart(self, instances: Sequence[InstanceId]) -> None:
        _each(lambda identity: _rc_service(identity, "restart"), instances)

    def stop(self, instances: Sequence[InstanceId]) -> None:
        linked = [identity for identity in instances if self._script(identity).exists()]
        _each(lambda identity: _rc_service(identity, "stop"), linked)

    def _make_users(self, instances: Sequence[InstanceId]) -> None:
        try:
            for identity in instances:
                self._make_user(identity)
        except UnavailableError as error:
            log.warning("%s; the instances without one share the user edge-model", error)

    def _state(self, identity: InstanceId) -> UnitState:
        if self._failure(identity).exists():
            return UnitState(False, True, False, f"failed: {self._last_words(identity)}")
        health = ask_health(health_socket(self._run_dir, identity), _HEALTH_SECONDS)
        if not health.alive:
            code = self._status(identity)
            if code != _STARTED:
                stopped = code == _STOPPED
                told = "rc-service gives no answer" if code is None else f"status {code}"
                state = "stopped" if stopped else f"not started ({told})"
                return UnitState(False, False, stopped, state, failing=not stopped)
        return UnitState(
            ready=health.started,
            failed=False,
            stopped=False,
            detail=f"started: {health.trouble or 'ready'}",
            failing=not health.alive and not health.unasked,
            waiting=health.trouble if health.loaded else "",
        )

    def _status(self, identity: InstanceId) -> int | None:
        """The exit code; None where there is none in time. On a busy host rc-service has been seen
        to print the status and never to end."""
        for _ in range(_STATUS_TRIES):
            with suppress(subprocess.TimeoutExpired):
                command = ["rc-service", _service(identity), "status"]
                return _run(command, check=False, seconds=self._deaf_seconds).returncode
        return None

    def _last_words(self, identity: InstanceId) -> str:
        """What a worker that gave up said to that: the last line that comes from the command."""
        marker = "pyboot: "
        try:
            with (self._log_dir / f"{identity}.log").open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        said = [line.removeprefix(marker) for line in lines if line.startswith(marker)]
        exit_code = (read_text(self._failure(identity)) or "").strip()
        return printable(said[-1], _LONGEST_WORDS) if said else f"exit code {exit_code}"

    def _applied_unit(self, identity: InstanceId) -> str | None:
        return read_text(self._settings(identity)) if self._linked(identity) else None

    def _linked(self, identity: InstanceId) -> bool:
        links = (self._script(identity), self._runlevel_dir / _service(identity))
        return all(link.is_symlink() for link in links)

    def _script(self, identity: InstanceId) -> Path:
        return self._init_dir / _service(identity)

    def _settings(self, identity: InstanceId) -> Path:
        return self._run_dir / "openrc" / str(identity)

    def _failure(self, identity: InstanceId) -> Path:
        """Left by edge-model-run when the worker gave up; the next start removes it."""
        return self._run_dir / "failed" / str(identity)

    def _compiled(self, identity: InstanceId) -> Path:
        return compiled_file(self._run_dir, identity)

    def _retired(self, identity: InstanceId) -> Path:
        return retired_file(self._compiled(identity))


def _service(identity: InstanceId) -> str:
    return f"{_PREFIX}{identity}"


def _each(work: Callable[[InstanceId], T], instances: Sequence[InstanceId]) -> list[T]:
    """Several at once: a stop takes as long as its drain."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(work, instances))


def _rc_service(identity: InstanceId, verb: str) -> None:
    # Without dependencies: the master, after which they come at boot, starts them itself.
    command = ["rc-service", "--nodeps", _service(identity), verb]
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        ended = _run(command, check=False)
        said = ended.stderr + ended.stdout
        if ended.returncode == 0:
            return
        if not any(words in said for words in _BUSY) or time.monotonic() >= deadline:
            raise UnavailableError(f"{' '.join(command)} failed: {said.strip()}")
        time.sleep(_TRY_SECONDS)


def _run(
    command: Sequence[str],
    *,
    check: bool = True,
    environment: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run one of OpenRC's commands. Raises UnavailableError with what it complained of, and
    subprocess.TimeoutExpired."""
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=seconds,
        )
    except OSError as error:
        raise UnavailableError(f"{command[0]} can't be run: {error.strerror}") from error
    if check and ended.returncode != 0:
        said = (ended.stderr + ended.stdout).strip()
        raise UnavailableError(f"{' '.join(command)} failed: {said}")
    return ended
