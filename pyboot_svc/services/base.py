"""What every service manager can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from pyboot_svc.identity import InstanceId
from pyboot_svc.threads import end_process


@dataclass(frozen=True)
class ServiceState:
    """A unit as its manager sees it.

    `state` is running, restarting, failed or stopped; `exit` says how the process ended last.
    """

    state: str
    pid: int | None = None
    restarts: int = 0
    exit: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class ServiceManager(Protocol):
    """Starts and stops the workers, each as a unit of its own."""

    def start(
        self, instances: Sequence[InstanceId], on_crash: Callable[[], None] = end_process
    ) -> None:
        """`on_crash` is called when the manager itself dies of an internal error."""

    def stop(self) -> None:
        """Stop all that were started, and wait for them."""

    def states(self) -> dict[InstanceId, ServiceState]: ...


class NoServices:
    """Where the host's own service manager runs the workers: nothing to do, nothing to tell."""

    def start(
        self, instances: Sequence[InstanceId], on_crash: Callable[[], None] = end_process
    ) -> None: ...

    def stop(self) -> None: ...

    def states(self) -> dict[InstanceId, ServiceState]:
        return {}
