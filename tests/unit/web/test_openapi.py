"""The OpenAPI document has all that the web answers, and each answer is as it says."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from support.poll import until
from support.snapshots import process, traffic

from pyboot_svc import __version__
from pyboot_svc.config import Broker, Config, Edge, Endpoint, WebAddress
from pyboot_svc.identity import InstanceId
from pyboot_svc.master.admission import Admission
from pyboot_svc.master.hub import Hub
from pyboot_svc.master.view import View
from pyboot_svc.metrics.figures import FIELDS
from pyboot_svc.metrics.reporter import Reporter
from pyboot_svc.metrics.snapshot import Last, Latency, Snapshot
from pyboot_svc.services.base import NoServices, ServiceState
from pyboot_svc.sockets.lines import encode_line
from pyboot_svc.sockets.unix import open_listener
from pyboot_svc.web.app import Pages
from pyboot_svc.web.openapi import openapi_document
from pyboot_svc.web.server import WebServer
from pyboot_svc.web.static import read_static

# No package needs it: where packages run the tests, others have.
jsonschema = pytest.importorskip("jsonschema")

METRICS_PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
DOCUMENT = openapi_document(read_static())
PATHS: Mapping[str, Any] = DOCUMENT["paths"]
SHOWN = {"{name}": "NAME", "{model}": "NAME", "{instance}": "NAME-N", "{id}": "ID"}
REAL = {"{name}": "main.js", "{model}": "temp", "{instance}": "temp-1", "{id}": "1"}
STARTED = ServiceState("running", 4711, 2, "killed by SIGKILL")
CONFIG = Config(
    app_name="plant",
    description="",
    edges=tuple(
        Edge(
            name,
            "my.model",
            Endpoint(Broker("a"), "in", 1),
            Endpoint(Broker("a"), "out"),
            instance=3,
        )
        for name in ("temp", "flow")
    ),
)
EXPECTED = [instance.identity for instance in CONFIG.instances()]
BUSY = traffic(
    errors={"model": 1},
    latency_ms=Latency(1.5, 20),
    last=Last(1.5, 2.5, "model: it failed", 3.5),
)
REPORTS = {
    "temp-1": Snapshot(process(), BUSY).document(),
    "temp-2": Snapshot(process(state="loading", reasons=["the model loads"]), None).document(),
    "temp-3": {"pre_queue": 0, "post_queue": 0, "pid": "x"},
    "flow-1": {"pre_queue": 0, "post_queue": 0},
    "stranger-1": Snapshot(process(notices=["QoS 0"]), traffic()).document(),
}


class Managed(NoServices):
    """Knows of one instance."""

    def states(self) -> dict[InstanceId, ServiceState]:
        return {InstanceId("temp", 1): STARTED}


class Web:
    """A served View over a hub, to which some instances report, and others don't."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._path = folder / "metrics.sock"
        self._hub = Hub([stack.enter_context(open_listener(self._path))], EXPECTED)
        self._hub.configure(
            EXPECTED, admission=Admission(models=frozenset(("temp", "flow", "stranger")))
        )
        self._hub.start()
        stack.callback(self._hub.stop)
        self.view = View(CONFIG, self._hub, Managed(), EXPECTED)
        server = WebServer(WebAddress("127.0.0.1", 0), self.view)
        stack.callback(server.stop)
        self.port = server.bind().port
        server.start()
        for name, report in REPORTS.items():
            reporter = Reporter(self._path, name, lambda report=report: report)  # type: ignore[misc]
            reporter.start()
            stack.callback(reporter.stop)
        until(lambda: REPORTS.keys() <= self._answering(), "all answer")

    def _answering(self) -> set[str]:
        readings = self._hub.scrape()
        return {
            name for name, one in readings.items() if not (one.error or "").startswith("absent")
        }

    def connect_silent(self, name: str) -> socket.socket:
        """One that says hello, and nothing more."""
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(str(self._path))
        peer.sendall(encode_line({"instance": name, "pid": os.getpid(), "version": "1"}))
        return peer

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, bytes]:
        """Status, media type and body."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            kind = response.headers.get_content_type()
            return response.status, kind, response.read()


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with ExitStack() as stack:
        yield Web(stack, tmp_path_factory.mktemp("web"))


def strict(schema: Any) -> Any:
    """The same, for answers of this version: nothing that isn't documented."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    closed = "properties" in schema and "$ref" not in schema
    return {"additionalProperties": False, **found} if closed else found


SCHEMAS = {name: strict(one) for name, one in DOCUMENT["components"]["schemas"].items()}


def resolved(response: Mapping[str, Any]) -> Mapping[str, Any]:
    name = response.get("$ref", "").rpartition("/")[2]
    return DOCUMENT["components"]["responses"][name] if name else response


def check(path: str, answer: tuple[int, str, bytes]) -> Any:
    """What is answered is one of the documented answers; gives the document."""
    status, kind, body = answer
    responses = PATHS[path]["get"]["responses"]
    assert str(status) in responses, (path, status)
    content = resolved(responses[str(status)])["content"]
    assert kind in content, (path, kind)
    if kind != "application/json":
        return body.decode()
    schema = {**content[kind]["schema"], "components": {"schemas": SCHEMAS}}
    document = json.loads(body)
    jsonschema.Draft202012Validator(schema).validate(document)
    return document


def real(path: str) -> str:
    for name, value in REAL.items():
        path = path.replace(name, value)
    return path


def test_each_route_is_in_it_and_nothing_else(web: Web) -> None:
    assert Pages(web.view).routes().keys() == PATHS.keys()


@pytest.mark.parametrize("path", PATHS)
def test_each_answer_is_as_it_says(web: Web, path: str) -> None:
    web.view.history.sample()
    answer = web.get(real(path))
    assert answer[0] == (503 if path == "/readyz" else 200)
    check(path, answer)


@pytest.mark.parametrize("path", PATHS)
def test_head_is_the_same_without_a_body(web: Web, path: str) -> None:
    status, kind, _ = web.get(real(path))
    assert web.get(real(path), "HEAD") == (status, kind, b"")


def test_instances_in_each_state_are_as_it_says(web: Web) -> None:
    with web.connect_silent("flow-2"):
        until(lambda: web.view.instances()["instances"][4]["state"] == "stalled", "it is connected")
        document = check("/api/instances", web.get("/api/instances"))
        check("/queue_size_metrics", web.get("/queue_size_metrics"))
        check("/readyz", web.get("/readyz"))
    rows = {row["instance"]: row for row in document["instances"]}
    assert {name: row["state"] for name, row in rows.items()} == {
        "temp-1": "ready",
        "temp-2": "loading",
        "temp-3": "malformed",
        "flow-1": "unknown",
        "flow-2": "stalled",
        "flow-3": "absent",
        "stranger-1": "ready",
    }
    assert rows["temp-1"]["service"] == STARTED.as_dict()
    assert rows["stranger-1"]["config"] is None


def test_open_metrics_are_as_it_says(web: Web) -> None:
    answer = web.get("/metrics", Accept="application/openmetrics-text")
    assert answer[1] == "application/openmetrics-text"
    check("/metrics", answer)


@pytest.mark.parametrize("path", [path for path in PATHS if "{" in path])
def test_what_is_not_there_is_as_it_says(web: Web, path: str) -> None:
    answer = web.get(path.partition("{")[0] + "nobody")
    assert answer[0] == 404
    check(path, answer)


def test_another_name_is_refused_as_it_says(web: Web) -> None:
    answer = web.get("/metrics", Host="evil.example")
    assert answer[0] == 421
    check("/metrics", answer)


def test_too_large_a_head_is_refused_as_it_says(web: Web) -> None:
    answer = web.get("/metrics", X="x" * 20_000)
    assert answer[0] == 431
    check("/metrics", answer)


def test_it_is_served(web: Web) -> None:
    document = json.loads(web.get("/api/openapi.json")[2])
    assert document == json.loads(json.dumps(DOCUMENT))
    assert document["info"]["version"] == __version__


@pytest.mark.parametrize("figure", FIELDS, ids=lambda figure: ".".join(figure.path))
def test_each_figure_is_in_it(figure: Any) -> None:
    schema = DOCUMENT["components"]["schemas"]["Instance"]
    for key in figure.path:
        schema = schema["properties"][key]
    assert schema.get("x-unit", "") in (figure.meaning.unit, "")
    assert (
        figure.path[0] == "state"
        or figure.path == ("instance",)
        or (schema["description"] == figure.meaning.text)
    )


@pytest.mark.parametrize("path", PATHS)
def test_each_path_is_in_the_documentation(path: str) -> None:
    shown = path
    for name, value in SHOWN.items():
        shown = shown.replace(name, value)
    assert f"| `{shown}` |" in METRICS_PAGE.read_text()
