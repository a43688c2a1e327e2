"""What `pyboot up` does on SIGHUP, and when a file is saved: what `pyboot apply` does on a host."""

from __future__ import annotations

import logging
import threading

from pyboot_svc.config import Config, Edge
from pyboot_svc.errors import PybootError, told
from pyboot_svc.services.apply import Roll, apply_plan
from pyboot_svc.services.examination import trouble_of
from pyboot_svc.services.host import HostManager
from pyboot_svc.services.plan import UNCHANGED, make_plan
from pyboot_svc.services.rollout import wanted_instances, without_broken
from pyboot_svc.threads import spawn

# How long an instance may take to become ready.
_READY_SECONDS = 60.0
# For a roll to notice that it is over.
_STOP_SECONDS = 1.0

log = logging.getLogger(__name__)


class Reloads:
    """Brings the instances in line with a configuration, in a thread of its own: a roll takes
    time, and what is asked for meanwhile is done once, after it."""

    def __init__(self, host: HostManager) -> None:
        self._host = host
        self._asked = threading.Event()
        self._stopping = False
        self._config: Config | None = None
        self._thread = spawn("reload", self._run)

    def request(self, config: Config) -> None:
        self._config = config
        self._asked.set()

    def stop(self) -> None:
        self._stopping = True
        self._asked.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while self._asked.wait() and not self._stopping:
            self._asked.clear()
            assert self._config is not None
            try:
                self._roll(self._config)
            except (PybootError, OSError) as error:
                if not self._stopping:
                    log.error("the reload stopped: %s", told(error))
            except Exception:
                log.exception("internal error in a reload; what runs goes on")

    def _roll(self, config: Config) -> None:
        host = self._host
        wanted = wanted_instances(config, host.render)
        plan = make_plan(wanted, host.applied())
        for step in plan.steps:
            if step.action != UNCHANGED:
                log.info("to do: %s", step)
        plan, wanted, troubles = without_broken(
            plan, wanted, config, lambda edge: self._trouble_of(config, edge)
        )
        for name, why in troubles.items():
            log.error("%s stays as it is: its new code can't be loaded: %s", name, why)
        apply_plan(plan, wanted, host, Roll(_READY_SECONDS, wait_for_new=True, say=self._say))
        if not troubles:
            log.info("reloaded: all instances are as configured")

    def _trouble_of(self, config: Config, edge: Edge) -> str | None:
        return trouble_of(edge.edge_mode, config.model_path, edge.variables, edge.python, here=True)

    def _say(self, text: str) -> None:
        log.info("%s", text)


class NoReloads:
    """Where a service manager runs the workers, `pyboot apply` brings them in line."""

    def request(self, config: Config) -> None: ...
