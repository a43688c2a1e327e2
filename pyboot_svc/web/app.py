"""The pages and what they answer. Everything can be read, nothing can be changed."""

from __future__ import annotations

import json
from typing import Any

import cherrypy

from pyboot_svc.config import WebAddress
from pyboot_svc.master.view import View
from pyboot_svc.web.access import UNKNOWN, WsgiApp, guarded
from pyboot_svc.web.credentials import Credentials
from pyboot_svc.web.page import render_page
from pyboot_svc.web.prometheus import content_type, render_metrics
from pyboot_svc.web.static import read_static


class Root:
    """The URLs of the master."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.api = Api(view)
        self._static = read_static()

    @cherrypy.expose
    def static(self, name: str = "") -> bytes:
        """What the page is made of."""
        file = self._static.get(name)
        if file is None:
            raise cherrypy.NotFound
        cherrypy.response.headers["Content-Type"] = file.kind
        return file.content

    @cherrypy.expose
    def index(self) -> bytes:
        cherrypy.response.headers["Content-Type"] = "text/html; charset=utf-8"
        return render_page(self._view.instances()).encode()

    @cherrypy.expose
    def queue_size_metrics(self) -> bytes:
        return _json(self._view.queue_size_metrics())

    @cherrypy.expose
    def metrics(self) -> bytes:
        kind = content_type(cherrypy.request.headers.get("Accept", ""))
        cherrypy.response.headers["Content-Type"] = kind
        cherrypy.response.headers["Vary"] = "Accept"
        return render_metrics(self._view.instances(), kind)

    @cherrypy.expose
    def healthz(self) -> bytes:
        return _json({"status": "ok"})

    @cherrypy.expose
    def readyz(self) -> bytes:
        reasons, notices = self._view.readiness()
        if reasons:
            cherrypy.response.status = 503
        if cherrypy.request.wsgi_environ.get(UNKNOWN):
            return _json({"ready": not reasons})
        noticed = {"notices": notices} if notices else {}
        return _json({"ready": not reasons, "reasons": reasons, **noticed})


class Api:
    """The URLs below /api."""

    def __init__(self, view: View) -> None:
        self._view = view

    @cherrypy.expose
    def instances(self) -> bytes:
        return _json(self._view.instances())

    @cherrypy.expose
    def history(self, model: str = "") -> bytes:
        """The last minutes of all instances, or the day of a model."""
        found = self._view.model_history(model) if model else self._view.history.recent()
        if found is None:
            raise cherrypy.NotFound
        return _json(found, (",", ":"))

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
    app = cherrypy.Application(Root(view), "", {"/": settings})
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
