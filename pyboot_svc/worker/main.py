"""`pyboot worker NAME-N`: one instance, from its start to its clean end."""

from __future__ import annotations

import faulthandler
import io
import logging
import os
import queue
import resource
import signal
import sys
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import setproctitle

from pyboot_svc import __version__
from pyboot_svc.config import InstanceConfig
from pyboot_svc.errors import ExitCode, PybootError
from pyboot_svc.metrics.reporter import Reporter
from pyboot_svc.model import Context, load_model
from pyboot_svc.notify import Notifier
from pyboot_svc.threads import spawn
from pyboot_svc.worker.inbox import MqttInbox
from pyboot_svc.worker.outbox import MqttOutbox
from pyboot_svc.worker.pipeline import Pipeline, Safe
from pyboot_svc.worker.supervision import StartExtension, Supervision

_SUBSCRIPTIONS_NAME = "subscribed"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerSettings:
    """What the command line adds to the configuration; times in seconds."""

    metrics_socket: Path
    state_dir: Path
    # The compiled configuration that it runs by, if it does.
    compiled: Path | None
    drain_seconds: float
    stop_at_eof: bool


class Worker:
    """Runs the pipeline of one instance until a signal ends it."""

    def __init__(self, config: InstanceConfig, settings: WorkerSettings) -> None:
        self._config = config
        self._settings = settings
        # Its put may interrupt its own get: what signal handlers need.
        self._events: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._notifier = Notifier()
        self._started = time.time()
        self._state = "loading"
        self._title = ""
        self._pipeline: Pipeline | None = None

    def run(self) -> ExitCode:
        # What systemd's watchdog sends: every thread's stack, written even while the GIL is held.
        faulthandler.enable()
        if isinstance(sys.stdout, io.TextIOWrapper):
            # What a model prints goes to a pipe or a socket, and is to be seen at once.
            sys.stdout.reconfigure(line_buffering=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        # Before any thread: the first title moves the process's environment in memory.
        self._show_title(0, 0)
        if self._settings.stop_at_eof:
            spawn("parent", self._watch_parent)
        reporter = Reporter(
            self._settings.metrics_socket, str(self._config.identity), self._snapshot
        )
        reporter.start()
        self._make_state_dir()
        loading = StartExtension(self._notifier)
        try:
            self._pipeline = pipeline = self._build()
        except PybootError as error:
            self._notifier.status(str(error).partition("\n")[0])
            raise
        finally:
            loading.end()
        pipeline.start(on_crash=lambda: self._events.put("crash"))
        self._state = "running"
        supervision = Supervision(str(self._config.identity), pipeline, self._notifier)
        reason = self._wait(pipeline, supervision)
        self._state = "draining"
        self._notifier.stopping()
        self._drain(pipeline)
        reporter.stop()
        return ExitCode.INTERNAL if reason == "crash" else ExitCode.OK

    def _build(self) -> Pipeline:
        edge = self._config.edge
        safe = Safe(self._config, self._settings.state_dir)
        context = self._make_context(safe.state)
        model = load_model(edge.edge_mode, self._config.model_path, context)
        log.info("%s: loaded %s", self._config.identity, edge.edge_mode)

        # One a thread, since each has its own topic at hand; the state is the instance's.
        thread_context = partial(self._make_context, safe.state)
        inbox = MqttInbox(self._config, self._settings.state_dir / _SUBSCRIPTIONS_NAME)
        outbox = MqttOutbox(self._config)
        return Pipeline(self._config, model, thread_context, safe, inbox, outbox)

    def _make_context(self, state: MutableMapping[str, Any]) -> Context:
        return Context(
            instance=str(self._config.identity),
            state_dir=self._settings.state_dir,
            logger=logging.getLogger(f"model.{self._config.identity}"),
            options=self._config.edge.options,
            state=state,
        )

    def _make_state_dir(self) -> None:
        try:
            self._settings.state_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            log.warning(
                "state directory %s can't be made: %s; the model can keep no files; "
                "name another with --state-dir",
                self._settings.state_dir,
                error.strerror,
            )

    def _wait(self, pipeline: Pipeline, supervision: Supervision) -> str:
        """Tick until something ends the worker; says what."""
        next_tick = time.monotonic()
        while True:
            try:
                return self._events.get(timeout=max(next_tick - time.monotonic(), 0))
            except queue.Empty:
                next_tick += supervision.interval
                pipeline.tick()
                supervision.tick()
                self._show_title(*pipeline.depths())

    def _drain(self, pipeline: Pipeline) -> None:
        log.info("%s: stopping: finishing what is in hand", self._config.identity)
        compiled, seconds = self._settings.compiled, self._settings.drain_seconds
        if compiled is not None and not compiled.exists():
            # `apply` has removed it: this instance is no longer wanted, and won't come back.
            log.info("%s: no longer configured: ending its session", self._config.identity)
            seconds /= 2
            pipeline.leave(seconds)
        left = pipeline.drain(seconds)
        if left:
            log.warning("%s: stopped with %d messages unfinished", self._config.identity, left)
        else:
            log.info("%s: stopped", self._config.identity)

    def _show_title(self, pre_queue: int, post_queue: int) -> None:
        title = self._config.identity.title(pre_queue, post_queue)
        if title != self._title:
            self._title = title
            setproctitle.setproctitle(title)

    def _snapshot(self) -> dict[str, Any]:
        pipeline = self._pipeline
        reasons = pipeline.not_ready() if pipeline else ["the model is being loaded"]
        state = self._state
        if state == "running":
            state = "waiting" if reasons else "ready"
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "instance": str(self._config.identity),
            "pid": os.getpid(),
            "version": __version__,
            "state": state,
            "reasons": reasons,
            "started": self._started,
            "uptime_s": round(time.time() - self._started, 1),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
            "rss_bytes": _resident_bytes(),
            "edge_mode": self._config.edge.edge_mode,
            "threads": self._config.edge.threads,
            **(pipeline.figures() if pipeline else {"pre_queue": 0, "post_queue": 0}),
        }

    def _watch_parent(self) -> None:
        """End with the process that holds the other end of standard input."""
        while os.read(0, 4096):
            pass
        self._events.put("parent ended")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._events.put(signal.Signals(number).name)


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()
