"""The pages and what they answer. Everything can be read, nothing can be changed."""

from __future__ import annotations

import json
from typing import Any

import cherrypy

from pyboot_svc.config import WebAddress
from pyboot_svc.master.view import View
from pyboot_svc.web.access import UNKNOWN, WsgiApp, guarded
from pyboot_svc.web.credentials import Credentials
from pyboot_svc.web.page import STYLE_HASH, render_page
from pyboot_svc.web.prometheus import content_type, render_metrics


class Root:
    """The URLs of the master."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.api = Api(view)

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


# The page has one style and no script, and nothing is for pages of others.
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src '{STYLE_HASH}'; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'"
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


def _json(document: Any) -> bytes:
    cherrypy.response.headers["Content-Type"] = "application/json"
    return json.dumps(document).encode() + b"\n"


def _error_page(status: str, message: str, traceback: str, version: str) -> bytes:
    return _json({"error": status, "message": message})
