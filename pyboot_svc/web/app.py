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
        found = self._view.model_history(model)
        if found is None:
            raise cherrypy.NotFound
        return _json(found, _COMPACT)

    def _openapi(self) -> bytes:
        return _json(openapi_document(self._static), _COMPACT)


class Dispatcher:
    """Finds pages by their paths alone.

    CherryPy's own follows the attributes of whatever it is given: by /metrics/__func__/x it calls
    a method without its object.
    """

    def __init__(self, routes: Mapping[str, Page]) -> None:
        self._pages = {path: page for path, page in routes.items() if not path.endswith("}")}
        self._families = {
            path.rpartition("/")[0]: page for path, page in routes.items() if path.endswith("}")
        }

    def __call__(self, path: str) -> None:
        request = cherrypy.serving.request
        request.config = {**cherrypy.config, **request.app.config["/"]}
        request.handler = self._find([part for part in path.split("/") if part])

    def _find(self, parts: list[str]) -> Callable[[], bytes]:
        page = self._pages.get("/" + "/".join(parts))
        if page is not None:
            return page
        family = self._families.get("/" + "/".join(parts[:-1])) if parts else None
        return cherrypy.NotFound() if family is None else partial(family, parts[-1])

    @cherrypy.expose
    def dead(self, instance: str = "", number: str = "") -> bytes:
        """The newest dead letters of an instance, or one of them."""
        if number and not (number.isascii() and number.isdecimal() and len(number) < 19):
            raise cherrypy.NotFound
        found = self._view.dead_letters(instance, int(number) if number else None)
        if found is None:
            raise cherrypy.NotFound
        return _json(found)


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


def _json(document: Any, separators: tuple[str, str] | None = None) -> bytes:
    cherrypy.response.headers["Content-Type"] = "application/json"
    return json.dumps(document, separators=separators).encode() + b"\n"


def _error_page(status: str, message: str, traceback: str, version: str) -> bytes:
    return _json({"error": status, "message": message})
