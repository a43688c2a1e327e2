"""`pyboot worker NAME-N`: one instance, from its start to its clean end.

The main thread is the model's: it imports it, makes it, calls it (with `threads: 1`) and closes it,
as a script would. All else is the thread `control`'s: time, signals, the end.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pyboot_svc.address import Address
from pyboot_svc.config import InstanceConfig
from pyboot_svc.config.compiled import retired_file
from pyboot_svc.errors import ExitCode, PybootError, UnavailableError
from pyboot_svc.health.client import ask_health
from pyboot_svc.health.loading import LONGEST_LOAD_SECONDS, loading_mark
from pyboot_svc.health.probes import ProbeServer
from pyboot_svc.health.server import HealthServer
from pyboot_svc.logs import hold_logging
from pyboot_svc.metrics.reporter import Reporter
from pyboot_svc.metrics.tokens import read_token
from pyboot_svc.model import Context, Model, load_model
from pyboot_svc.model.fingerprint import code_of, fingerprint
from pyboot_svc.model.loader import version_of, working_folder
from pyboot_svc.model.secrets import Secrets
from pyboot_svc.model.state import CallState, ModelState
from pyboot_svc.notify import Notifier, watchdog_seconds
from pyboot_svc.sockets.unix import Occupied
from pyboot_svc.text import counted
from pyboot_svc.threads import spawn
from pyboot_svc.titles import show_title
from pyboot_svc.tracing.server import TraceServer
from pyboot_svc.undumpable import refuse_dumps
from pyboot_svc.worker.condition import Condition, Draining, Loaded, Running
from pyboot_svc.worker.delivery.told_dead_letters import tell_dead_letters
from pyboot_svc.worker.durables import Durables
from pyboot_svc.worker.execution.pool import NoIdleWork
from pyboot_svc.worker.heartbeat import TICK_SECONDS, Heartbeat
from pyboot_svc.worker.mqtt.inbox import MqttInbox
from pyboot_svc.worker.mqtt.outbox import MqttOutbox
from pyboot_svc.worker.mqtt.reactor import Reactor
from pyboot_svc.worker.output import forgive_output
from pyboot_svc.worker.pipeline import Links, Pipeline
from pyboot_svc.worker.readiness import Readiness
from pyboot_svc.worker.signals import Signals
from pyboot_svc.worker.storage.claim import claim_state
from pyboot_svc.worker.storage.writer import DATABASE_NAME

# How often the main thread is disturbed, to see whether it still hears signals.
_SIGNALS_SECONDS = 5.0
# What a drain may take beyond its deadline.
_FAREWELL_SECONDS = 10.0
# Of the drain, for spans that wait to be sent.
_FLUSH_SECONDS = 2.0
# Of another process of this instance, if there is one.
_ANSWER_SECONDS = 2.0
# How long a stall lasts until every thread's stack is written, where nobody sends SIGABRT.
_STACKS_SECONDS = 10.0

_SUBSCRIPTIONS_NAME = "subscribed"

log = logging.getLogger(__name__)


class WorkerSettings(NamedTuple):
    """What the command line adds to the configuration; times in seconds."""

    # The master's socket, or its address on the network.
    master: Path | Address
    # The certificates for that, if it is secured.
    report_tls: Path | None
    health_socket: Path
    # Where it has what proves to the master which instance it is.
    token: Path
    # Where probes ask over HTTP, if they do.
    probes: Address | None
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
        self._title = ""
        self._heartbeat = Heartbeat()
        self._condition = Condition(config, self._heartbeat)
        self._at_end = ExitStack()
        # For so many seconds at most.
        self._close_spans: Callable[[float], None] = lambda seconds: None
        self._exit_code = ExitCode.INTERNAL
        self._controlled = threading.Event()

    def run(self) -> ExitCode:
        refuse_dumps()
        # What systemd's watchdog sends: every thread's stack, written even while the GIL is held.
        faulthandler.enable()
        forgive_output()
        hold_logging()
        # Before any thread: the first title moves the process's environment in memory.
        self._show_title(0, 0)
        self._signals = Signals(self._events.put)
        self._signals.catch()
        if self._settings.stop_at_eof:
            spawn("parent", self._watch_parent)
        # Before anybody is told of this one: there may be another.
        self._claimed = self._claim()
        self._heartbeat.beat(LONGEST_LOAD_SECONDS)
        health = self._open_health()
        instance, condition = str(self._config.identity), self._condition
        reporter = Reporter(
            self._settings.master,
            instance,
            lambda: condition.snapshot().document(),
            partial(read_token, self._settings.token),
            partial(tell_dead_letters, self._settings.state_dir / DATABASE_NAME),
            self._settings.report_tls,
        )
        reporter.start()
        if self._settings.probes is not None:
            ProbeServer(self._settings.probes, condition.health)
        self._at_end.callback(self._notifier.close)
        if health is not None:
            self._at_end.callback(health.close)
        self._at_end.callback(reporter.stop)
        with self._at_end:
            with loading_mark(self._settings.health_socket):
                pipeline = self._load()
            # Whatever the model has made of them.
            self._signals.catch()
            hold_logging()
            self._open_trace(pipeline)
            self._open_spans(pipeline)
            pipeline.start(on_crash=lambda: self._events.put("crash"), here=True)
            spawn("control", partial(self._control, pipeline))
            try:
                pipeline.work()
            except BaseException:  # also what a model's signal handler raises
                log.exception("internal error")
                self._events.put("crash")
            self._controlled.wait()
        return self._exit_code

    def _load(self) -> Pipeline:
        # Once for all of it: an import that holds the GIL lets nobody ask for more time meanwhile.
        self._notifier.status("loading the model")
        self._notifier.extend_start(LONGEST_LOAD_SECONDS)
        try:
            pipeline = self._build()
        except PybootError as error:
            self._notifier.status(str(error).partition("\n")[0])
            raise
        self._condition.phase = Loaded(pipeline)
        return pipeline

    def _control(self, pipeline: Pipeline) -> None:
        """Look after it until something ends the worker, and end it."""
        try:
            self._exit_code = self._serve(pipeline)
        except Exception:
            log.exception("internal error")
        self._controlled.set()
        if not pipeline.worked:
            # The main thread is in a call that never ends. Nothing more is to be expected of it.
            self._at_end.close()
            logging.shutdown()
            os._exit(self._exit_code)

    def _serve(self, pipeline: Pipeline) -> ExitCode:
        readiness = Readiness(str(self._config.identity), pipeline, self._notifier)
        self._condition.phase = Running(pipeline, readiness)
        reason = self._wait(pipeline, readiness)
        self._condition.phase = Draining(pipeline, readiness)
        faulthandler.cancel_dump_traceback_later()
        self._heartbeat.beat(self._settings.drain_seconds + _FAREWELL_SECONDS)
        self._notifier.stopping()
        self._drain(pipeline)
        return ExitCode.INTERNAL if reason == "crash" else ExitCode.OK

    def _claim(self) -> int | None:
        try:
            return claim_state(self._settings.state_dir, self._config.identity)
        except PybootError as error:
            self._notifier.status(str(error))
            raise

    def _open_health(self) -> HealthServer | None:
        if watchdog_seconds() is not None:
            return None  # the service manager wants to be told, and doesn't ask
        socket = self._settings.health_socket
        try:
            return HealthServer(socket, self._condition.health)
        except UnavailableError as error:
            # One with another state directory: the two would fight for the session. What a dead
            # one's model has forked may hold the socket, too, and doesn't answer.
            if isinstance(error, Occupied) and ask_health(socket, _ANSWER_SECONDS).alive:
                raise
            log.warning("%s; `pyboot health` can't see how this instance does", error)
            return None

    def _open_trace(self, pipeline: Pipeline) -> None:
        """Beside the health socket, where there is one; else with the state, which is root's to
        see and the worker's own."""
        told = watchdog_seconds() is not None
        folder = self._settings.state_dir if told else self._settings.health_socket.parent
        try:
            self._at_end.callback(TraceServer(folder, pipeline.tracer.watch).close)
        except UnavailableError as error:
            log.warning("%s; `pyboot trace` can't look at this instance", error)

    def _open_spans(self, pipeline: Pipeline) -> None:
        """For OpenTelemetry, where the edge asks for that: others don't load it."""
        edge, version = self._config.edge, self._condition.model_version
        if edge.tracing is None:
            return
        from pyboot_svc.tracing.provider import open_telemetry
        from pyboot_svc.worker.message_spans import MessageSpans

        dropped = partial(pipeline.add, "spans_dropped")
        telemetry = open_telemetry(
            edge.tracing, self._config.identity, version, os.environ, dropped
        )
        spans = MessageSpans(edge, telemetry)
        pipeline.tracer.export(spans)
        self._close_spans = spans.close

    def _build(self) -> Pipeline:
        edge = self._config.edge
        if edge.tracing is not None:
            from pyboot_svc.tracing.provider import import_libraries

            import_libraries()
        durables = Durables(self._config, self._settings.state_dir)
        # One a thread, since each has its own topic at hand and its own calls; a single thread is
        # the one that makes the model, which may keep what it gets.
        alone = edge.threads == 1
        context = self._make_context(CallState(durables.state) if alone else durables.state)
        model_path = self._config.model_path
        os.chdir(working_folder(edge.edge_mode, model_path))
        self._condition.code = fingerprint(code_of(edge.edge_mode, model_path, edge.options))
        model = load_model(edge.edge_mode, model_path, context)
        self._condition.model_version = version_of(edge.edge_mode)
        log.info("%s: loaded %s", self._config.identity, edge.edge_mode)
        _keep_changes(context)
        model = model._replace(close=partial(_close, model, context))

        def thread_context() -> Context:
            return context if alone else self._make_context(CallState(durables.state))

        # Of several threads, or while one waits for a batch to fill, none is simply idle.
        patient = edge.batch is not None and edge.batch.max_wait_ms > 0
        reactor = Reactor(edge.max_linger_us) if edge.threads == 1 and not patient else None
        subscriptions = self._settings.state_dir / _SUBSCRIPTIONS_NAME
        inbox = MqttInbox(self._config, subscriptions, reactor)
        outbox = MqttOutbox(self._config, reactor, durables.stored_in_hand)
        links = Links(inbox, outbox, reactor or NoIdleWork())
        return Pipeline(self._config, model, thread_context, durables, links)

    def _make_context(self, state: CallState | ModelState) -> Context:
        return Context(
            instance=str(self._config.identity),
            state_dir=self._settings.state_dir,
            logger=logging.getLogger(f"model.{self._config.identity}"),
            options=self._config.edge.options,
            state=state,
            secrets=Secrets(self._config.edge.secrets),
        )

    def _wait(self, pipeline: Pipeline, readiness: Readiness) -> str:
        """Tick until something ends the worker; says what."""
        next_tick = next_look = time.monotonic()
        while True:
            try:
                return self._events.get(timeout=max(next_tick - time.monotonic(), 0))
            except queue.Empty:
                if next_tick >= next_look:
                    next_look = next_tick + _SIGNALS_SECONDS
                    self._signals.look()
                next_tick += readiness.interval
                pipeline.tick()
                readiness.tick()
                self._heartbeat.beat(TICK_SECONDS)
                if self._settings.probes is not None and not pipeline.stalls():
                    # Who asks there ends a worker that stalls by SIGKILL: the stacks come before.
                    faulthandler.dump_traceback_later(_STACKS_SECONDS)
                self._show_title(*pipeline.depths())

    def _drain(self, pipeline: Pipeline) -> None:
        log.info("%s: stopping: finishing work in progress", self._config.identity)
        compiled, seconds = self._settings.compiled, self._settings.drain_seconds
        if compiled is not None and retired_file(compiled).exists():
            # By `apply`: this instance is no longer wanted, and won't come back.
            log.info("%s: no longer configured: ending its session", self._config.identity)
            seconds /= 2
            pipeline.leave(seconds)
        flush = 0.0 if self._config.edge.tracing is None else min(_FLUSH_SECONDS, seconds / 4)
        left = pipeline.drain(seconds - flush)
        self._close_spans(flush)
        if left:
            log.warning(
                "%s: stopped with %s unfinished", self._config.identity, counted(left, "message")
            )
        else:
            log.info("%s: stopped", self._config.identity)

    def _show_title(self, pre_queue: int, post_queue: int) -> None:
        title = self._config.identity.title(pre_queue, post_queue)
        if title != self._title:
            self._title = title
            show_title(title)

    def _watch_parent(self) -> None:
        """End with the process that holds the other end of standard input."""
        while os.read(0, 4096):
            pass
        self._events.put("parent ended")


def _keep_changes(context: Context) -> None:
    """What the model has changed in its state outside of a call stays, whatever a call does."""
    if isinstance(context.state, CallState):
        context.state.commit()


def _close(model: Model, context: Context) -> None:
    model.close()
    _keep_changes(context)
