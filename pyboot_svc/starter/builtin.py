"""The master's own starters."""

from __future__ import annotations

import logging
import socket
import sys
from typing import ClassVar

import setproctitle

from pyboot_svc.config import Config, WebAddress
from pyboot_svc.config.compiled import write_compiled
from pyboot_svc.config.loader import load_config
from pyboot_svc.errors import UnavailableError
from pyboot_svc.identity import MASTER_TITLE, InstanceId
from pyboot_svc.metrics.hub import Hub
from pyboot_svc.metrics.listener import open_listener
from pyboot_svc.metrics.protocol import socket_path
from pyboot_svc.services import ServiceManager
from pyboot_svc.services.foreground import ForegroundManager
from pyboot_svc.starter.base import Settings, Starter, StarterContext
from pyboot_svc.web.server import WebServer
from pyboot_svc.web.view import View

log = logging.getLogger(__name__)


class BaseConfStarter(Starter):
    """Reads the configuration."""

    priority: ClassVar[int] = 0

    def init(self, context: StarterContext) -> None:
        settings = context.settings
        context.config = load_config(settings.config_file, model_path=settings.model_path)


class ProcessorStarter(Starter):
    """Owns the metrics socket, and under `pyboot up` the workers."""

    priority: ClassVar[int] = 100

    def __init__(self) -> None:
        self._listener: socket.socket | None = None
        self._hub: Hub | None = None
        self._services: ServiceManager | None = None
        self._started = False

    def setup(self, context: StarterContext) -> None:
        config, settings = context.require_config(), context.settings
        self._listener = open_listener(socket_path(settings.run_dir))
        self._hub = context.hub = Hub(self._listener, [i.identity for i in config.instances()])
        if settings.run_workers:
            _compile_instances(config, settings)
            self._services = context.services = ForegroundManager(
                lambda identity: worker_command(identity, settings), settings.stop_seconds
            )

    def start(self, context: StarterContext) -> None:
        assert self._hub is not None
        self._started = True
        self._hub.start()
        if self._services is not None:
            self._services.start([i.identity for i in context.require_config().instances()])

    def stop(self, context: StarterContext) -> None:
        if self._services is not None and self._started:
            self._services.stop()
        if self._hub is not None and self._started:
            self._hub.stop()
        if self._listener is not None:
            self._listener.close()
            socket_path(context.settings.run_dir).unlink(missing_ok=True)


class WebStarter(Starter):
    """Serves the metrics over HTTP."""

    priority: ClassVar[int] = 200

    def __init__(self) -> None:
        self._server: WebServer | None = None

    def setup(self, context: StarterContext) -> None:
        config, hub = context.require_config(), context.hub
        assert hub is not None
        address = context.settings.listen or config.web
        self._server = WebServer(address, View(config, hub, context.services))
        context.web = self._server.bind()

    def start(self, context: StarterContext) -> None:
        assert self._server is not None
        self._server.start()

    def stop(self, context: StarterContext) -> None:
        if self._server is not None:
            self._server.stop()


class HookStarter(Starter):
    """Comes last: says that the master is up, and first that it goes down."""

    priority: ClassVar[int] = 300

    def start(self, context: StarterContext) -> None:
        setproctitle.setproctitle(MASTER_TITLE)
        assert context.web is not None
        # The one line on standard output: what a script that starts us wants to read.
        print(_url(context.web), flush=True)
        log.info("%s is up: %s", context.require_config().app_name, _url(context.web))

    def stop(self, context: StarterContext) -> None:
        log.info("stopping")


def builtin_starters() -> list[Starter]:
    return [BaseConfStarter(), ProcessorStarter(), WebStarter(), HookStarter()]


def worker_command(identity: InstanceId, settings: Settings) -> list[str]:
    """How `pyboot up` runs one instance."""
    return [
        sys.executable,
        "-u",  # what a model prints comes out at once
        "-P",  # the folder that we were started in is not a place for modules
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
    ]


def _compile_instances(config: Config, settings: Settings) -> None:
    try:
        for instance in config.instances():
            write_compiled(instance, settings.run_dir)
    except OSError as error:
        raise UnavailableError(
            f"{settings.run_dir} can't be written: {error.strerror}; choose another --run-dir"
        ) from error


def _url(address: WebAddress) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"http://{host}:{address.port}"
