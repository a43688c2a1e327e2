"""systemd: a drop-in for each instance below /run, so that nothing outlives a reboot."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from pyboot_svc.config import InstanceConfig
from pyboot_svc.config.compiled import (
    COMPILED_MODE,
    COMPILED_NAME,
    compiled_file,
    compiled_names,
    retire_compiled,
    retired_file,
)
from pyboot_svc.environments.interpreter import environment_folders
from pyboot_svc.errors import UnavailableError, UsageError
from pyboot_svc.identity import InstanceId
from pyboot_svc.metrics.tokens import TOKEN_NAME, token_file
from pyboot_svc.services.exits import DROP_INS, explain_end, is_forbidden, is_of_systemd
from pyboot_svc.services.files import read_text, update_text
from pyboot_svc.services.host import UnitState
from pyboot_svc.services.plan import Applied, Wanted
from pyboot_svc.services.units import MASTER, TARGET, TEMPLATE, render_drop_in, unit_name
from pyboot_svc.text import printable

RUNNING = Path("/run/systemd/system")
UNIT_DIR = Path("/run/systemd/system")
_DROP_IN = "50-pyboot.conf"
TEMPLATE_DIRS = ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
_PROPERTIES = "Id,ActiveState,SubState,Job,Result,ExecMainCode,ExecMainStatus,StatusText"
_ADVICE = f"""\
If the journal says "Operation not permitted" or "Permission denied", this host, which may be a
container, forbids a part of the units' sandbox. These drop-ins do without it; write them, then run
`systemctl daemon-reload`, `systemctl restart pyboot` and `systemctl restart 'edge-model@*'`:

{DROP_INS}"""
# As a worker cuts its own.
_LONGEST_STATUS = 1000
# What a worker tells of itself, before its figures.
_WAITING = re.compile("waiting: (.*?)(; in [0-9]+/s, .*)?")


class SystemdManager:
    """Writes drop-ins and compiled files, and asks systemctl for the rest."""

    def __init__(self, run_dir: Path, unit_dir: Path = UNIT_DIR) -> None:
        self._run_dir = run_dir
        self._unit_dir = unit_dir

    def render(self, instance: InstanceConfig) -> str:
        edge, identity = instance.edge, instance.identity
        own = {
            TOKEN_NAME: str(token_file(self._run_dir, identity)),
            COMPILED_NAME: str(compiled_file(self._run_dir, identity)),
        }
        return render_drop_in(identity, edge, own, environment_folders(edge.python))

    def applied(self) -> Mapping[InstanceId, Applied]:
        found = {_instance_of(folder.name) for folder in self._unit_dir.glob("edge-model@*.d")}
        found |= compiled_names(self._run_dir)
        failed = _listed_units("failed")
        return {
            identity: Applied(
                identity,
                read_text(compiled_file(self._run_dir, identity)),
                self._applied_unit(identity),
                failed=unit_name(identity) in failed,
            )
            for identity in found
            if identity is not None
        }

    def states(self, instances: Sequence[InstanceId]) -> Mapping[InstanceId, UnitState]:
        if not instances:
            return {}
        names = {unit_name(identity): identity for identity in instances}
        shown = _systemctl("show", f"--property={_PROPERTIES}", "--", *names)
        states = {}
        for block in shown.strip().split("\n\n"):
            facts = dict(line.partition("=")[::2] for line in block.splitlines())
            states[names[facts["Id"]]] = unit_state(facts)
        return states

    def suspects(self, instances: Sequence[InstanceId]) -> list[InstanceId]:
        # Of those that are loaded: to be shown, units that are stopped would have to be loaded.
        listed = _listed_units("failed,activating")
        return [identity for identity in instances if unit_name(identity) in listed]

    def tell_master(self, changes: bool) -> None:
        # While it starts, this is a part of that, and it reads the configuration anyway.
        shown = _systemctl("show", "--value", "--property=ActiveState", MASTER, check=False)
        if shown.strip() == "reloading" or (changes and shown.strip() == "active"):
            _systemctl("kill", "--kill-whom=main", "--signal=HUP", MASTER, check=False)

    def write_units(self, wanted: Sequence[Wanted], gone: Sequence[InstanceId]) -> None:
        changed = [self._write_unit(item) for item in wanted]
        changed += [self._remove_unit(identity) for identity in gone]
        if any(changed):
            _systemctl("daemon-reload")

    def write_compiled(self, wanted: Wanted) -> None:
        file = compiled_file(self._run_dir, wanted.identity)
        retired_file(file).unlink(missing_ok=True)
        update_text(file, wanted.compiled, mode=COMPILED_MODE)

    def retire(self, instances: Sequence[InstanceId]) -> None:
        for identity in instances:
            retire_compiled(compiled_file(self._run_dir, identity))

    def start(self, instances: Sequence[InstanceId]) -> None:
        self._job("start", instances)

    def restart(self, instances: Sequence[InstanceId]) -> None:
        self._job("restart", instances)

    def stop(self, instances: Sequence[InstanceId]) -> None:
        if instances:
            _systemctl("stop", "--", *map(unit_name, instances))
            # One that had given up would stay in the list of failed units for ever.
            _systemctl("reset-failed", "--", *map(unit_name, instances), check=False)

    def _job(self, verb: str, instances: Sequence[InstanceId]) -> None:
        if instances:
            # A unit that gave up has to be forgiven first, or its start limit would refuse it.
            _systemctl("reset-failed", "--", *map(unit_name, instances), check=False)
            _systemctl(verb, "--no-block", "--", *map(unit_name, instances))

    def _drop_in(self, identity: InstanceId) -> Path:
        return self._unit_dir / f"{unit_name(identity)}.d" / _DROP_IN

    def _want(self, identity: InstanceId) -> Path:
        return self._unit_dir / f"{TARGET}.wants" / unit_name(identity)

    def _applied_unit(self, identity: InstanceId) -> str | None:
        return read_text(self._drop_in(identity)) if self._want(identity).is_symlink() else None

    def _write_unit(self, wanted: Wanted) -> bool:
        want = self._want(wanted.identity)
        linked = want.is_symlink()
        if not linked:
            want.parent.mkdir(parents=True, exist_ok=True)
            want.symlink_to(_template_file())
        return update_text(self._drop_in(wanted.identity), wanted.unit) or not linked

    def _remove_unit(self, identity: InstanceId) -> bool:
        folder = self._drop_in(identity).parent
        was_there = folder.exists()
        shutil.rmtree(folder, ignore_errors=True)
        self._want(identity).unlink(missing_ok=True)
        compiled = compiled_file(self._run_dir, identity)
        for file in (compiled, retired_file(compiled)):
            file.unlink(missing_ok=True)
        return was_there


def _template_file() -> str:
    for folder in TEMPLATE_DIRS:
        if os.path.exists(os.path.join(folder, TEMPLATE)):
            return os.path.join(folder, TEMPLATE)
    raise UnavailableError(f"{TEMPLATE} is not installed: install the package, or copy systemd/*")


def _listed_units(states: str) -> set[str]:
    # Without an answer, as in a container without D-Bus, files alone say what there is to do.
    pattern = "edge-model@*.service"
    listed = _systemctl(
        "list-units", f"--state={states}", "--plain", "--no-legend", "--full", pattern, check=False
    )
    return {line.split()[0] for line in listed.splitlines() if line.strip()}


def _instance_of(folder: str) -> InstanceId | None:
    return _parsed(folder.removeprefix("edge-model@").removesuffix(".service.d"))


def _parsed(text: str) -> InstanceId | None:
    try:
        return InstanceId.parse(text)
    except UsageError:
        return None  # somebody else's


def unit_state(facts: Mapping[str, str]) -> UnitState:
    """What the properties of a unit mean."""
    active, sub = facts["ActiveState"], facts["SubState"]
    # While a job waits or runs, the unit is on its way: up may be from before a restart, and down
    # the middle of it.
    settled = facts.get("Job", "") in ("", "0")
    told = _told(facts)
    waits = _WAITING.fullmatch(told)
    status = facts.get("ExecMainStatus", "")
    failing = active == "activating" and sub == "auto-restart" and settled
    broken = failing or active == "failed"
    return UnitState(
        ready=active == "active" and sub == "running" and settled,
        failed=active == "failed",
        stopped=active == "inactive" and settled,
        detail=_broken(facts) if broken else f"{active} ({sub})" + (f": {told}" if told else ""),
        failing=failing,
        hopeless=broken and is_of_systemd(status),
        waiting=waits[1] if waits and active in ("active", "activating") else "",
        advice=_ADVICE if broken and is_forbidden(status) else "",
    )


def _told(facts: Mapping[str, str]) -> str:
    """A worker's status; its model can have told systemd anything."""
    return printable(facts.get("StatusText", ""), _LONGEST_STATUS)


def _broken(facts: Mapping[str, str]) -> str:
    """How a unit ended that has failed, or does again and again."""
    end = explain_end(
        facts.get("ExecMainCode", ""), facts.get("ExecMainStatus", ""), facts.get("Result", "")
    )
    head = "failed" if facts["ActiveState"] == "failed" else "ended, will be restarted"
    told = _told(facts)
    said = [text for text in (head, end, told) if text]
    return f"{': '.join(said)} (journalctl -u {facts['Id'].removesuffix('.service')})"


def _systemctl(*arguments: str, check: bool = True) -> str:
    """Run systemctl; gives what it printed. Raises UnavailableError with what it complained of."""
    try:
        ended = subprocess.run(
            ["systemctl", "--no-ask-password", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise UnavailableError(f"systemctl can't be run: {error.strerror}") from error
    if check and ended.returncode != 0:
        raise UnavailableError(f"systemctl {arguments[0]} failed: {ended.stderr.strip()}")
    return ended.stdout
