"""What a starter is, and what the starters of one process share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pyboot_svc.config import Config, WebAddress
from pyboot_svc.identity import InstanceId
from pyboot_svc.master.hub import Hub
from pyboot_svc.services.base import NoServices, ServiceManager
from pyboot_svc.services.folders import as_they_are

PHASES = ("init", "setup", "start", "stop")


@dataclass(frozen=True)
class Settings:
    """What the command line says; None where it says nothing."""

    config_file: Path
    run_dir: Path
    state_dir: Path
    # Called before they are used: makes anew what was cleared away. Raises UnavailableError where
    # somebody else has put something in their place.
    hold_folders: Callable[[], None] = as_they_are
    model_path: tuple[str, ...] = ()
    listen: WebAddress | None = None
    # Where the configuration says nothing of it: who may read the web.
    web_auth: str | None = None
    # Where workers on other hosts report to.
    reports_listen: tuple[str, int] | None = None
    # The certificates for that; None for none.
    reports_tls: Path | None = None
    # The hashes of the workers' tokens, if not in `run_dir`.
    tokens: Path | None = None
    # Under `pyboot up` the workers are children; otherwise a service manager runs them.
    run_workers: bool = False
    stop_seconds: float = 4.0
    # How long one of them may be silent; 0: nobody asks.
    watchdog_seconds: float = 30.0
    # Whether saved files reload it.
    watch_files: bool = False
    log_format: str = "plain"
    log_level: str = "info"


@dataclass
class StarterContext:
    """Shared by the starters of one process; each fills in what it brings up."""

    settings: Settings
    config: Config | None = None
    hub: Hub | None = None
    services: ServiceManager = field(default_factory=NoServices)
    web: WebAddress | None = None
    # What has to turn, by its name: while one doesn't, the service manager's watchdog isn't told.
    watched: dict[str, Callable[[], bool]] = field(default_factory=dict)
    # Called by a thread that the master can't do without, when it dies of an internal error.
    crashed: Callable[[], None] = lambda: None
    # Has all starters reload, as SIGHUP does; from any thread.
    reload: Callable[[], None] = lambda: None
    # For starters that come from elsewhere to leave things for each other.
    extra: dict[str, Any] = field(default_factory=dict)

    def expected_instances(self) -> list[InstanceId]:
        """Those that are missed when they are not there; a deployment's pods come and go."""
        over_network = self.settings.reports_listen is not None
        return [
            instance.identity
            for instance in self.require_config().instances()
            if not (over_network and instance.edge.kubernetes.deployment)
        ]

    def require_config(self) -> Config:
        """The configuration; there from BaseConfStarter's init on (priority 0)."""
        if self.config is None:
            raise RuntimeError("no configuration yet: a starter below priority 0 can't use it")
        return self.config

    def require_hub(self) -> Hub:
        """What asks the workers; there from ProcessorStarter's setup on (priority 100)."""
        if self.hub is None:
            raise RuntimeError("nobody asks the workers yet: that begins with priority 100's setup")
        return self.hub

    def require_web(self) -> WebAddress:
        """Where the web is; there from WebStarter's setup on (priority 200)."""
        if self.web is None:
            raise RuntimeError("no web yet: a starter below priority 200 can't use its address")
        return self.web


class Starter:
    """Derive, override what is needed, and register it in the entry-point group pyboot.starters.

    All starters run `init`, then all `setup`, then all `start`, in ascending order of `priority`
    (the built-in ones have 0, 100, 200 and 300), and `stop` in exactly the reverse order. `init`
    and `setup` must not block; `stop` is called also when `start` was never reached.
    The spellings `Init`, `Setup`, `Start` and `Stop` work too.
    """

    priority: ClassVar[int] = 1000

    def init(self, context: StarterContext) -> None: ...

    def setup(self, context: StarterContext) -> None: ...

    def start(self, context: StarterContext) -> None: ...

    def reload(self, context: StarterContext) -> None:
        """On SIGHUP, in ascending order: the configuration may have changed.

        A ConfigError, or an UnavailableError, ends the reload: nothing is new, and the starters
        after this one go on.
        """

    def stop(self, context: StarterContext) -> None: ...
