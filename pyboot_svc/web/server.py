"""The HTTP server below the application: a gate, some threads, and cheroot for HTTP and WSGI."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from pathlib import Path

from cheroot.server import HTTPConnection
from cheroot.wsgi import Server

from pyboot_svc.config import WebAddress
from pyboot_svc.config.settings import NO_AUTH
from pyboot_svc.errors import ConfigError, Problem, UnavailableError
from pyboot_svc.master.view import View
from pyboot_svc.sockets.descriptors import allow_many
from pyboot_svc.sockets.gate import Bounds, Gate, Visit
from pyboot_svc.sockets.http import request_line, response
from pyboot_svc.sockets.tcp import listen_tcp
from pyboot_svc.sockets.tls import Certificates, TlsFiles
from pyboot_svc.sockets.unix import open_listener
from pyboot_svc.threads import end_process
from pyboot_svc.web.app import make_app
from pyboot_svc.web.credentials import Credentials
from pyboot_svc.web.workers import Workers

_THREADS, _WAITING = 4, 32
_SHUTDOWN_SECONDS = 1.0
_OPTION = "`web:` or --listen HOST:PORT (port 0: any free one)"


class WebServer:
    """Binds at once, so that a port in use is known before anything else starts.

    Cheroot never sees a socket: what it gives up to its own is one thread a connection, for as long
    as that likes.
    """

    def __init__(self, address: WebAddress, view: View) -> None:
        if address.trouble:
            raise ConfigError([Problem("web", 0, 0, "", address.trouble)])
        self._address = address
        app = make_app(view, address, _credentials(address))
        self._parser = Server((address.host, address.port), app)
        tls = address.tls
        self._secure = Certificates(TlsFiles(tls.cert, tls.key), "web.tls").wrap if tls else None
        self._workers = Workers(self._answer, _THREADS, _WAITING)
        self._listener: socket.socket | None = None
        self._gate: Gate | None = None

    def bind(self) -> WebAddress:
        """Listen; gives the address with the port that port 0 became."""
        address = self._address
        if address.socket is not None:
            self._listener = open_listener(Path(address.socket), "web", "master")
            self._gate = Gate("web", [self._listener], self._serve, _bounds(), self._secure)
            return address
        try:
            self._listener = listen_tcp((address.host, address.port), _OPTION)
        except UnicodeError as error:
            raise UnavailableError(f"can't listen at {address}: {error}") from error
        self._gate = Gate("web", [self._listener], self._serve, _bounds(), self._secure)
        port = self._listener.getsockname()[1]
        self._parser.bind_addr = (address.host, port)
        return address._replace(port=port)

    def start(self, on_crash: Callable[[], None] = end_process) -> None:
        assert self._gate is not None
        self._workers.start(on_crash)
        self._gate.start(on_crash)

    def stop(self) -> None:
        if self._gate is not None:
            self._gate.stop()
        self._workers.stop(_SHUTDOWN_SECONDS)
        if self._listener is not None:
            self._listener.close()
            if self._address.socket is not None:
                Path(self._address.socket).unlink(missing_ok=True)

    @property
    def turns(self) -> bool:
        """Whether its threads turn; asked by the watchdog."""
        return self._gate is not None and self._gate.turned and not self._workers.stuck

    def _serve(self, visit: Visit) -> None:
        method, path = request_line(visit.head)
        if path == "/healthz" and method in (b"GET", b"HEAD"):
            # At once, however many others want to know more.
            stuck = self._workers.stuck
            status = "503 Service Unavailable" if stuck else "200 OK"
            told = {"status": "no thread makes progress" if stuck else "ok"}
            visit.reply(response(status, told, method=method))
        else:
            self._workers.take(visit)

    def _answer(self, visit: Visit) -> bytes:
        """By cheroot, which reads the head of a request and nothing behind it."""
        written = io.BytesIO()
        files = {"rb": io.BytesIO(visit.head), "wb": written}
        connection = HTTPConnection(self._parser, None, lambda _, mode, size: files[mode])
        connection.remote_addr = visit.peer
        connection.communicate()  # type: ignore[no-untyped-call]
        return written.getvalue()


def _credentials(address: WebAddress) -> Credentials | None:
    if address.auth in (None, NO_AUTH):
        return None
    try:
        return Credentials(Path(address.auth))
    except OSError as error:
        message = f"{address.auth} can't be read: {error.strerror}; `pyboot web password` makes it"
        raise ConfigError([Problem("web", 0, 0, "auth", message)]) from error


def _bounds() -> Bounds:
    """Workers and their files need descriptors, too."""
    most = min(Bounds.connections, max(allow_many() // 4, 8))
    return Bounds(most, max(most // 4, 4), max(most // 16, 2))
