"""A host's own service manager, as `plan` and `apply` use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pyboot_svc.config import InstanceConfig
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.plan import Applied, Wanted

# Words of a UnitState.
BROKEN = ("failed", "failing")
STARTING = "starting"


@dataclass(frozen=True)
class UnitState:
    """`ready`: up, and it said so; `failed`: given up; `stopped`: ended, and meant to.

    `failing`: it ends again and again, and no restart has helped yet; `hopeless`: none will, since
    it ends before our command is run. `waiting`: what it waits for, as a broker, with its model
    loaded. `detail` says in words what the unit is at, `advice` what helps.
    """

    ready: bool
    failed: bool
    stopped: bool
    detail: str
    failing: bool = False
    hopeless: bool = False
    waiting: str = ""
    advice: str = ""

    @property
    def works(self) -> bool:
        return self.ready and not self.waiting

    @property
    def word(self) -> str:
        signs = ("failed", "failing", "stopped", "waiting", "ready")
        return next((sign for sign in signs if getattr(self, sign)), STARTING)


class HostManager(Protocol):
    """What systemd and OpenRC can do; what changes something needs root."""

    def render(self, instance: InstanceConfig) -> str:
        """What the manager needs beside the compiled configuration: its own kind of file."""

    def applied(self) -> Mapping[InstanceId, Applied]:
        """What was applied last and is still there, by instance."""

    def states(self, instances: Sequence[InstanceId]) -> Mapping[InstanceId, UnitState]: ...

    def suspects(self, instances: Sequence[InstanceId]) -> list[InstanceId]:
        """Those whose `states` are worth a look, since they may be broken."""

    def tell_master(self, changes: bool) -> None:
        """Have the master, if it runs, show what the configuration says now.

        Without `changes` of instances that is only needed in a reload, as of what `web:` says.
        """

    def write_units(self, wanted: Sequence[Wanted], gone: Sequence[InstanceId]) -> None:
        """Make the units those of `wanted`; tells the manager once, when any file differed."""

    def write_compiled(self, wanted: Wanted) -> None:
        """Replace what the instance will run by at its next start."""

    def retire(self, instances: Sequence[InstanceId]) -> None:
        """These won't come back: say so to those that run, and remove what they would run by."""

    def start(self, instances: Sequence[InstanceId]) -> None:
        """Begin to start them; `states` tells when they are ready."""

    def restart(self, instances: Sequence[InstanceId]) -> None: ...

    def stop(self, instances: Sequence[InstanceId]) -> None:
        """Stop them and wait until they have ended, drained."""
