"""The pages and what they answer. Everything can be read, nothing can be changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import cherrypy

from pyboot_svc.config import WebAddress
from pyboot_svc.master.view import View
from pyboot_svc.web.access import UNKNOWN, WsgiApp, guarded
from pyboot_svc.web.credentials import Credentials
from pyboot_svc.web.openapi import openapi_document
from pyboot_svc.web.page import render_page
from pyboot_svc.web.prometheus import content_type, render_metrics
from pyboot_svc.web.static import read_static

Page = Callable[..., bytes]
_COMPACT = (",", ":")
# As many digits fit into what SQLite counts in.
_LONGEST_ID = 19


class Pages:
    """What is answered; `routes` has each by its path."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._static = read_static()

    def routes(self) -> dict[str, Page]:
        """Paths as the OpenAPI document has them."""
        return {
            "/": self._index,
            "/static/{name}": self._file,
            "/queue_size_metrics": self._queue_sizes,
            "/metrics": self._metrics,
            "/healthz": self._health,
            "/readyz": self._readiness,
            "/api/instances": self._instances,
            "/api/history": self._history,
            "/api/history/{model}": self._day,
            "/api/dead/{instance}": self._dead_letters,
            "/api/dead/{instance}/{id}": self._dead_letter,
            "/api/openapi.json": self._openapi,
        }

    def _index(self) -> bytes:
        cherrypy.response.headers["Content-Type"] = "text/html; charset=utf-8"
        return render_page(self._view.instances()).encode()

    def _file(self, name: str) -> bytes:
        """What the page is made of."""
        file = self._static.get(name)
        if file is None:
            raise cherrypy.NotFound
        cherrypy.response.headers["Content-Type"] = file.kind
        return file.content

    def _queue_sizes(self) -> bytes:
        return _json(self._view.queue_size_metrics())

    def _metrics(self) -> bytes:
        kind = content_type(cherrypy.request.headers.get("Accept", ""))
        cherrypy.response.headers["Content-Type"] = kind
        cherrypy.response.headers["Vary"] = "Accept"
        return render_metrics(self._view.instances(), kind)

    def _health(self) -> bytes:
        return _json({"status": "ok"})

    def _readiness(self) -> bytes:
        reasons, notices = self._view.readiness()
        if reasons:
            cherrypy.response.status = 503
        if cherrypy.request.wsgi_environ.get(UNKNOWN):
            return _json({"ready": not reasons})
        noticed = {"notices": notices} if notices else {}
        return _json({"ready": not reasons, "reasons": reasons, **noticed})

    def _instances(self) -> bytes:
        return _json(self._view.instances())

    def _history(self) -> bytes:
        """The last minutes of all instances."""
        return _json(self._view.history.recent(), _COMPACT)

    def _day(self, model: str) -> bytes:
        return _known(self._view.model_history(model))

    def _dead_letters(self, instance: str) -> bytes:
        """The newest of an instance."""
        return _known(self._view.dead_letters(instance))

    def _dead_letter(self, instance: str, number: str) -> bytes:
        if not (number.isascii() and number.isdecimal() and len(number) < _LONGEST_ID):
            raise cherrypy.NotFound
        return _known(self._view.dead_letters(instance, int(number)))

    def _openapi(self) -> bytes:
        return _json(openapi_document(self._static), _COMPACT)


class Dispatcher:
    """Finds pages by their paths alone.

    CherryPy's own follows the attributes of whatever it is given: by /metrics/__func__/x it calls
    a method without its object.
    """

    def __init__(self, routes: Mapping[str, Page]) -> None:
        self._routes = [(_parts(path), page) for path, page in routes.items()]

    def __call__(self, path: str) -> None:
        request = cherrypy.serving.request
        request.config = {**cherrypy.config, **request.app.config["/"]}
        request.handler = self._find(_parts(path))

    def _find(self, asked: list[str]) -> Callable[[], bytes]:
        for route, page in self._routes:
            if len(route) == len(asked):
                pairs = list(zip(route, asked, strict=True))
                if all(own == part for own, part in pairs if not own.startswith("{")):
                    return partial(page, *(part for own, part in pairs if own.startswith("{")))
        missing: Callable[[], bytes] = cherrypy.NotFound()
        return missing


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


# The page loads its own files and asks its own master, and nothing is for pages of others.
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
}


def make_app(view: View, address: WebAddress, credentials: Credentials | None) -> WsgiApp:
    """The WSGI application, for who may read it at this address."""
    settings = {
        "request.dispatch": Dispatcher(Pages(view).routes()),
        "tools.allow.on": True,
        "tools.allow.methods": ["GET", "HEAD"],
        "tools.response_headers.on": True,
        "tools.response_headers.headers": list(HEADERS.items()),
        "request.show_tracebacks": False,
        "error_page.default": _error_page,
        "log.screen": False,
    }
    # Requests are not logged: a scrape every few seconds would fill the journal.
    cherrypy.config.update({"environment": "production", "log.screen": False})
    app = cherrypy.Application(None, "", {"/": settings})
    app.log.access_log.propagate = False
    return guarded(_without_query(app), address, credentials, HEADERS)


def _without_query(app: WsgiApp) -> WsgiApp:
    """No URL here takes parameters, and CherryPy gives 404 where some are.

    Those who ask add them all the same, as in /healthz?ts=1 against caches.
    """

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        return app({**environ, "QUERY_STRING": ""}, start_response)

    return answer


def _known(document: dict[str, Any] | None) -> bytes:
    if document is None:
        raise cherrypy.NotFound
    return _json(document, _COMPACT)


def _json(document: Any, separators: tuple[str, str] | None = None) -> bytes:
    cherrypy.response.headers["Content-Type"] = "application/json"
    return json.dumps(document, separators=separators).encode() + b"\n"


def _error_page(status: str, message: str, traceback: str, version: str) -> bytes:
    for point in ("before_finalize", "after_error_response"):
        cherrypy.request.hooks.attach(point, _leave_off_padding)
    return _json({"error": status, "message": message})


def _leave_off_padding() -> None:
    """CherryPy fills up its errors with spaces, as a browser of long ago wanted."""
    response = cherrypy.response
    response.body = response.collapse_body().rstrip(b" ")
    response.headers.pop("Content-Length", None)  # it is counted anew
