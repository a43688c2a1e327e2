"""The master's own starters."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import ClassVar

from pyboot_svc.config import Config, WebAddress
from pyboot_svc.config.loader import load_config
from pyboot_svc.errors import UnavailableError, told
from pyboot_svc.health.client import health_socket, master_health_socket
from pyboot_svc.health.record import Health
from pyboot_svc.health.server import HealthServer
from pyboot_svc.identity import MASTER, MASTER_TITLE, InstanceId
from pyboot_svc.logs import journal_reads_stderr
from pyboot_svc.master.admission import Admission
from pyboot_svc.master.config_file import ConfigFile
from pyboot_svc.master.hub import Hub
from pyboot_svc.master.view import View
from pyboot_svc.metrics.protocol import listening_path
from pyboot_svc.metrics.tokens import hashes_file, read_hashes
from pyboot_svc.notify import Notifier, watchdog_seconds
from pyboot_svc.services.foreground import ForegroundManager
from pyboot_svc.services.foreground_host import AppliedFiles, ForegroundHost
from pyboot_svc.services.lines import as_json, with_names
from pyboot_svc.services.log_files import keep_lines, lines_folder
from pyboot_svc.services.rollout import wanted_instances
from pyboot_svc.services.tokens import issue_tokens
from pyboot_svc.services.watchdog import MakeWatchdog, NoWatchdog, Watchdog
from pyboot_svc.sockets.descriptors import allow_many
from pyboot_svc.sockets.tcp import listen_tcp
from pyboot_svc.sockets.tls import Certificates, TlsFiles
from pyboot_svc.sockets.unix import inherited_listener, open_listener
from pyboot_svc.starter.base import Settings, Starter, StarterContext
from pyboot_svc.starter.reload import NoReloads, Reloads
from pyboot_svc.threads import spawn
from pyboot_svc.titles import show_title
from pyboot_svc.web.server import WebServer

log = logging.getLogger(__name__)


def load(settings: Settings) -> Config:
    """What the file says now; raises ConfigError."""
    return load_config(settings.config_file, model_path=settings.model_path)


class BaseConfStarter(Starter):
    """Reads the configuration."""

    priority: ClassVar[int] = 0

    def init(self, context: StarterContext) -> None:
        # Before any thread or child: the first title moves the process's environment in memory.
        show_title(MASTER_TITLE)
        self._load(context)

    def _load(self, context: StarterContext) -> None:
        context.settings.hold_folders()
        context.config = load(context.settings)

    def reload(self, context: StarterContext) -> None:
        self._load(context)
        log.info("reloaded the configuration")


class ProcessorStarter(Starter):
    """Owns the metrics socket, and under `pyboot up` the workers."""

    priority: ClassVar[int] = 100

    def __init__(self) -> None:
        self._to_undo = ExitStack()
        self._own_socket = False
        self._reloads: Reloads | NoReloads = NoReloads()

    def setup(self, context: StarterContext) -> None:
        config, settings = context.require_config(), context.settings
        allow_many()
        metrics = listening_path(settings.run_dir)
        listener = inherited_listener()
        if listener is None:
            listener = open_listener(metrics)
            self._own_socket = True
            self._to_undo.callback(_close_held, settings, partial(metrics.unlink, missing_ok=True))
        self._to_undo.callback(listener.close)
        listeners = [listener]
        if settings.reports_listen is not None:
            listeners.append(listen_tcp(settings.reports_listen))
            self._to_undo.callback(listeners[-1].close)
        context.hub = hub = Hub(listeners, [], _certificates(settings))
        context.watched["the metrics socket"] = lambda: hub.turned
        self._to_undo.callback(context.hub.stop)
        self._configure(context)
        if settings.run_workers:
            self._set_up_workers(context, config, context.hub)

    def _set_up_workers(self, context: StarterContext, config: Config, hub: Hub) -> None:
        settings = context.settings
        files = AppliedFiles(settings.run_dir, settings.hold_folders)
        context.services = manager = self._foreground(files, hub, settings)
        self._to_undo.callback(manager.stop)
        host = ForegroundHost(manager, files, settings.run_dir)
        _apply_files(config, host, settings)
        self._reloads = Reloads(host)
        self._to_undo.callback(self._reloads.stop)

    def _foreground(self, files: AppliedFiles, hub: Hub, settings: Settings) -> ForegroundManager:
        watchdog: MakeWatchdog = NoWatchdog
        if settings.watchdog_seconds > 0:
            watchdog = partial(
                Watchdog, partial(_health_socket, settings), settings.watchdog_seconds
            )
        show = as_json() if settings.log_format == "json" else with_names()
        return ForegroundManager(
            partial(self._prepare, files, hub, settings),
            settings.stop_seconds,
            environment=files.variables,
            watchdog=watchdog,
            show=keep_lines(show, lines_folder(settings.run_dir), settings.hold_folders),
        )

    def _prepare(
        self, files: AppliedFiles, hub: Hub, settings: Settings, identity: InstanceId
    ) -> list[str]:
        """Gives the command of an instance, for a start of it.

        Whatever clears folders may have taken ours: what a worker needs of it is made again.
        Raises UnavailableError where it is somebody else's by now.
        """
        settings.hold_folders()
        metrics = listening_path(settings.run_dir)
        try:
            files.restore(identity)
            hub.trust(issue_tokens(settings.run_dir, [identity]))
            if self._own_socket and not metrics.exists():
                log.warning("%s was removed; creating it again", metrics)
                listener = open_listener(metrics)
                self._to_undo.callback(listener.close)
                hub.listen_also(listener)
        except (OSError, UnavailableError) as error:
            where = settings.run_dir
            log.error("%s: its files in %s can't be created: %s", identity, where, told(error))
        return worker_command(identity, settings)

    def start(self, context: StarterContext) -> None:
        context.require_hub().start(context.crashed)
        instances = [i.identity for i in context.require_config().instances()]
        context.services.start(instances, context.crashed)

    def reload(self, context: StarterContext) -> None:
        self._configure(context)
        self._reloads.request(context.require_config())

    def _configure(self, context: StarterContext) -> None:
        config = context.require_config()
        passing = sum(edge.kubernetes.most or edge.instance for edge in config.edges)
        context.require_hub().configure(
            context.expected_instances(), passing, self._admission(context)
        )

    def _admission(self, context: StarterContext) -> Admission:
        config, settings = context.require_config(), context.settings
        identities = [instance.identity for instance in config.instances()]
        # Elsewhere, instances are as many as their scaler wants.
        far = settings.reports_listen is not None
        models = [edge.name for edge in config.edges if far and edge.kubernetes.deployment]
        hashes: dict[str, str] | None
        if settings.run_workers:
            hashes = issue_tokens(settings.run_dir, identities)
        else:
            hashes = read_hashes(settings.tokens or hashes_file(settings.run_dir))
            if hashes is None:
                log.warning("there are no tokens: who can reach the metrics socket can report")
        return Admission(frozenset(map(str, identities)), frozenset(models), hashes)

    def stop(self, context: StarterContext) -> None:
        self._to_undo.close()


class WebStarter(Starter):
    """Serves the metrics over HTTP."""

    priority: ClassVar[int] = 200

    def __init__(self) -> None:
        self._to_undo = ExitStack()

    def setup(self, context: StarterContext) -> None:
        config, hub = context.require_config(), context.require_hub()
        file = ConfigFile(context.settings.config_file, partial(load, context.settings))
        expected = context.expected_instances()
        self._view = View(config, hub, context.services, expected, file)
        self._to_undo.callback(self._view.history.stop)
        self._server = WebServer(_web(config, context.settings), self._view)
        self._to_undo.callback(self._server.stop)
        context.web = self._server.bind()
        context.watched["the web"] = lambda: self._server.turns

    def start(self, context: StarterContext) -> None:
        self._view.history.start(context.crashed)
        self._server.start(context.crashed)

    def reload(self, context: StarterContext) -> None:
        self._view.configure(context.require_config(), context.expected_instances())

    def stop(self, context: StarterContext) -> None:
        self._to_undo.close()


class HookStarter(Starter):
    """Comes last: says that the master is up, and first that it goes down."""

    priority: ClassVar[int] = 300

    def __init__(self) -> None:
        self._notifier = Notifier()
        self._stopping = threading.Event()
        self._to_undo = ExitStack()

    def start(self, context: StarterContext) -> None:
        url = context.require_web().url
        if not journal_reads_stderr():
            # The one line on standard output: what a script that starts us wants to read. Both
            # streams may lead to one that reads JSON.
            in_json = context.settings.log_format == "json"
            print(json.dumps({"url": url}) if in_json else url, flush=True)
        log.info("%s is up: %s", context.require_config().app_name, url)
        if context.settings.run_workers:
            log.info("state and dead letters are in %s", context.settings.state_dir)
        self._tell_ready(context)
        interval = watchdog_seconds()
        if interval is not None:
            spawn("watchdog", lambda: self._watch(context, interval / 3))
        else:
            self._open_health(context)

    def reload(self, context: StarterContext) -> None:
        self._tell_ready(context)

    def stop(self, context: StarterContext) -> None:
        log.info("stopping")
        self._stopping.set()
        self._to_undo.close()
        self._notifier.stopping()
        self._notifier.close()

    def _tell_ready(self, context: StarterContext) -> None:
        count = sum(1 for _ in context.require_config().instances())
        self._notifier.status(f"{context.require_web().url}, instances configured: {count}")
        self._notifier.ready()

    def _watch(self, context: StarterContext, interval: float) -> None:
        """Signs of life as long as all threads turn, whoever else wants something of them."""
        while not self._stopping.wait(interval):
            stalls = _stalls(context)
            if stalls:
                log.critical("%s", "; ".join(stalls))
            else:
                self._notifier.alive()

    def _open_health(self, context: StarterContext) -> None:
        """For a service manager that asks, and doesn't want to be told."""
        path = master_health_socket(context.settings.run_dir)
        try:
            server = HealthServer(path, partial(_health, context), MASTER)
        except UnavailableError as error:
            log.warning("%s; `pyboot health master` can't see how the master does", error)
        else:
            self._to_undo.callback(_close_held, context.settings, server.close)


def _health_socket(settings: Settings, identity: InstanceId) -> Path:
    """Raises UnavailableError where it may be anybody's."""
    settings.hold_folders()
    return health_socket(settings.run_dir, identity)


def _close_held(settings: Settings, close: Callable[[], None]) -> None:
    """Close what is in `run_dir`, unless that is somebody else's by now."""
    with suppress(UnavailableError):
        settings.hold_folders()
        close()


def _stalls(context: StarterContext) -> tuple[str, ...]:
    still = [name for name, turns in context.watched.items() if not turns()]
    return tuple(f"{name} makes no progress" for name in still)


def _health(context: StarterContext) -> Health:
    stalls = _stalls(context)
    well = not stalls
    return Health(MASTER, alive=well, loaded=well, started=well, ready=well, stalls=stalls)


def builtin_starters() -> list[Starter]:
    return [BaseConfStarter(), ProcessorStarter(), WebStarter(), HookStarter()]


def worker_command(identity: InstanceId, settings: Settings) -> list[str]:
    """How `pyboot up` runs one instance."""
    return [
        sys.executable,
        "-u",  # what a model prints comes out at once
        "-P",  # the folder that we were started in is not a place for modules
        # Saved twice within a second at the same length, a file would be taken for what was cached.
        *(["-B"] if settings.watch_files else []),
        "-m",
        "pyboot_svc",
        "worker",
        str(identity),
        "--run-dir",
        str(settings.run_dir),
        "--state-dir",
        str(settings.state_dir),
        "--drain-seconds",
        str(settings.stop_seconds - 1),
        "--stop-at-eof",
        "--log-format",
        settings.log_format,
        "--log-level",
        settings.log_level,
    ]


def _apply_files(config: Config, host: ForegroundHost, settings: Settings) -> None:
    wanted = wanted_instances(config, host.render)
    try:
        host.write_units(wanted, ())
        for one in wanted:
            host.write_compiled(one)
    except OSError as error:
        raise UnavailableError(
            f"{settings.run_dir} can't be written: {error.strerror}; choose another --run-dir"
        ) from error


def _certificates(settings: Settings) -> Certificates | None:
    if settings.reports_tls is None:
        return None
    files = TlsFiles.within(settings.reports_tls)
    if files.cert is None:
        raise UnavailableError(f"--reports-tls: there is no {settings.reports_tls / 'tls.crt'}")
    return Certificates(files, "--reports-tls")


def _web(config: Config, settings: Settings) -> WebAddress:
    """As configured, but for what the command line says; it may only open what says nothing."""
    web, listen = config.web, settings.listen
    if listen is not None:
        web = web._replace(host=listen.host, port=listen.port, socket=None)
    return web if web.auth is not None else web._replace(auth=settings.web_auth)
