"""The HTTP server below the application."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable

from cheroot.wsgi import Server

from pyboot_svc.config import WebAddress
from pyboot_svc.errors import UnavailableError
from pyboot_svc.master.view import View
from pyboot_svc.threads import end_process, spawn
from pyboot_svc.web.app import make_app

_THREADS = 4
_SHUTDOWN_SECONDS = 1
_PROBE_SECONDS = 5


class _Server(Server):
    """Closes the socket that it could not bind."""

    @staticmethod
    def bind_socket(socket_: socket.socket, bind_addr: tuple[str, int]) -> socket.socket:
        try:
            socket_.bind(bind_addr)
        except OSError:
            socket_.close()
            raise
        return socket_


class WebServer:
    """Binds at once, so that a port in use is known before anything else starts."""

    def __init__(self, address: WebAddress, view: View) -> None:
        self._address = address
        self._server = _Server(
            (address.host, address.port),
            make_app(view),
            numthreads=_THREADS,
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )
        self._thread: threading.Thread | None = None

    def bind(self) -> WebAddress:
        """Listen; gives the address with the port that port 0 became."""
        try:
            self._server.prepare()
        except OSError as error:
            raise UnavailableError(
                f"can't listen at {self._address}: {_reason(error)}; "
                "choose another address with `web:` or --listen HOST:PORT (port 0: any free one)"
            ) from error
        return WebAddress(self._address.host, self._server.bind_addr[1])

    def start(self, on_crash: Callable[[], None] = end_process) -> None:
        self._thread = spawn("web", self._server.serve, on_crash)

    def stop(self) -> None:
        self._server.stop()
        if self._thread is not None:
            self._thread.join(_SHUTDOWN_SECONDS)


def answers(address: WebAddress) -> bool:
    """Whether the server at `address` answers /healthz; asked by the watchdog."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _reason(error: OSError) -> str:
    # cheroot puts all the addresses that it tried into the message.
    return error.strerror or str(error)
