"""How far a worker has come, and how it does: what it tells whoever asks."""

from __future__ import annotations

import os
import resource
import time
from typing import Protocol

from pyboot_svc import __version__
from pyboot_svc.config import InstanceConfig
from pyboot_svc.health.record import Health
from pyboot_svc.metrics.snapshot import Process, Snapshot, Traffic
from pyboot_svc.worker.heartbeat import Heartbeat
from pyboot_svc.worker.pipeline import Pipeline
from pyboot_svc.worker.readiness import Readiness


class Phase(Protocol):
    """What can be said of a worker while this lasts."""

    @property
    def state(self) -> str: ...

    @property
    def loaded(self) -> bool: ...

    @property
    def started(self) -> bool: ...

    def not_ready(self) -> list[str]: ...

    def stalls(self) -> list[str]: ...

    def notices(self) -> list[str]: ...

    def figures(self) -> Traffic | None: ...


class Loading:
    """There is nothing yet but a model that is being loaded."""

    state = "loading"
    loaded = started = False

    def not_ready(self) -> list[str]:
        return ["the model is being loaded"]

    def stalls(self) -> list[str]:
        return []

    def notices(self) -> list[str]:
        return []

    def figures(self) -> None:
        return None


class Loaded:
    """The pipeline is there, and about to start."""

    loaded = True

    def __init__(self, pipeline: Pipeline) -> None:
        self.stalls = pipeline.stalls
        self.notices = pipeline.notices
        self.figures = pipeline.figures

    @property
    def state(self) -> str:
        return "loading"

    @property
    def started(self) -> bool:
        return False

    def not_ready(self) -> list[str]:
        return ["it is about to start"]


class Running(Loaded):
    """The pipeline works, or waits for a broker."""

    def __init__(self, pipeline: Pipeline, readiness: Readiness) -> None:
        super().__init__(pipeline)
        self._readiness = readiness

    @property
    def state(self) -> str:
        return "waiting" if self.not_ready() else "ready"

    @property
    def started(self) -> bool:
        return self._readiness.started

    def not_ready(self) -> list[str]:
        return self._readiness.not_ready()


class Draining(Running):
    """What is at hand is being finished."""

    @property
    def state(self) -> str:
        return "draining"


class Condition:
    """What is told at the health socket, to probes, and to the master; asked by any thread."""

    def __init__(self, config: InstanceConfig, heartbeat: Heartbeat) -> None:
        self._config = config
        self._instance = str(config.identity)
        self._heartbeat = heartbeat
        self._started, self._began = time.time(), time.monotonic()
        self.phase: Phase = Loading()
        # Of the model, from when it is loaded.
        self.model_version = self.code = ""

    def health(self) -> Health:
        phase = self.phase
        reasons = phase.not_ready()  # before `started` is asked: what is ready has started
        if phase.state == "draining":
            reasons.append("it is stopping")
        stalls = phase.stalls()
        late = self._heartbeat.overdue
        if late > 0:
            stalls.append(f"the main thread made no progress for {late:.0f} s past its limit")
        return Health(
            self._instance,
            alive=not stalls,
            loaded=phase.loaded,
            started=phase.started,
            ready=not reasons and not stalls,
            reasons=tuple(reasons),
            stalls=tuple(stalls),
            notices=tuple(phase.notices()),
        )

    def snapshot(self) -> Snapshot:
        phase = self.phase
        reasons = phase.not_ready()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        process = Process(
            instance=self._instance,
            pid=os.getpid(),
            version=__version__,
            state=phase.state,
            reasons=reasons,
            notices=phase.notices(),
            started=self._started,
            uptime_s=round(time.monotonic() - self._began, 1),
            cpu_s=round(usage.ru_utime + usage.ru_stime, 3),
            rss_bytes=_resident_bytes(),
            edge_mode=self._config.edge.edge_mode,
            model_version=self.model_version,
            code=self.code,
            threads=self._config.edge.threads,
        )
        return Snapshot(process, phase.figures())


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()
