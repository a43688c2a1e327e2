"""The web over a real hub, with the test's own reporters as the workers."""

from __future__ import annotations

import errno
import http.client
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.poll import until

import pyboot_svc.web.static
from pyboot_svc import __version__
from pyboot_svc.cli.table import reasons_of
from pyboot_svc.config import Broker, Config, Edge, Endpoint, QueueLimits, WebAddress
from pyboot_svc.config.settings import NO_AUTH
from pyboot_svc.errors import ExitCode, UnavailableError
from pyboot_svc.master.admission import Admission
from pyboot_svc.master.hub import Hub
from pyboot_svc.master.view import View
from pyboot_svc.metrics.figures import (
    FIGURES,
    INFO,
    MASTER_INFO,
    MASTER_STARTED,
    MASTERS,
    READY,
    REFUSED,
    UP,
)
from pyboot_svc.metrics.reporter import Reporter
from pyboot_svc.services.base import NoServices, ServiceManager
from pyboot_svc.services.foreground import ForegroundManager
from pyboot_svc.sockets.unix import open_listener
from pyboot_svc.web.server import WebServer
from pyboot_svc.worker.delivery.told_dead_letters import tell_dead_letters

LOOPBACK = WebAddress("127.0.0.1", 0)
ABSENT = "absent: not connected"
CONFIG = Config(
    app_name="plant & <b>",
    description='"edge" <script>',
    edges=(
        Edge(
            "temp",
            "my.models.mean",
            Endpoint(Broker("10.0.0.1"), "in/t", 1),
            Endpoint(Broker("::1", 8883), "out/t"),
            instance=2,
            threads=4,
            queue=QueueLimits(10, 20),
        ),
        Edge("flow", "my.flow", Endpoint(Broker("a"), "in"), Endpoint(Broker("a"), "out")),
    ),
)
EXPECTED = [instance.identity for instance in CONFIG.instances()]


def worker_snapshot(**changes: Any) -> dict[str, Any]:
    """What a worker answers."""
    return {
        "pid": 4711,
        "version": "0.9",
        "state": "ready",
        "reasons": [],
        "started": 1.0,
        "uptime_s": 12.5,
        "cpu_s": 0.75,
        "rss_bytes": 23_000_000,
        "pre_queue": 3,
        "post_queue": 1,
        "in_flight": 2,
        "unacknowledged": 6,
        "spooled": 7,
        "dead_letters_waiting": 8,
        "counters": {
            "received": 100,
            "processed": 97,
            "published": 90,
            "nothing_to_publish": 4,
            "dropped": 5,
            "spooled": 11,
            "dropped_at_stop": 12,
            "spool_expired": 13,
            "spool_overflowed": 14,
        },
        "errors": {"not_json": 2, "model": 1},
        "rates": {"in": 10.5, "out": 9.1},
        "latency_ms": {"p50": 1.5, "p99": 20.0},
        **changes,
    }


class Servers:
    """Web servers that stop together after the last test: each takes half a second for it."""

    def __init__(self) -> None:
        self._running: list[WebServer] = []

    def start(self, view: View) -> WebAddress:
        server = WebServer(LOOPBACK, view)
        self._running.append(server)
        address = server.bind()
        server.start()
        return address

    def stop(self) -> None:
        with ThreadPoolExecutor(len(self._running) or 1) as pool:
            for server in self._running:
                pool.submit(server.stop)


class Web:
    """A served View over a hub."""

    def __init__(
        self, stack: ExitStack, servers: Servers, folder: Path, services: ServiceManager
    ) -> None:
        self._stack = stack
        self._path = folder / "metrics.sock"
        listener = stack.enter_context(open_listener(self._path))
        self.hub = Hub([listener], EXPECTED)
        # One that is taken away stays until it has drained, and pods come and go.
        models = frozenset({"temp", "flow", "stranger"})
        self.hub.configure(EXPECTED, admission=Admission(models=models))
        self.hub.start()
        stack.callback(self.hub.stop)
        self.view = View(CONFIG, self.hub, services, EXPECTED)
        self.address = servers.start(self.view)

    def worker(self, name: str, **changes: Any) -> None:
        """Connect a worker that answers as usual, but for `changes`."""
        self.report(name, worker_snapshot(**changes))

    def report(
        self,
        name: str,
        snapshot: dict[str, Any],
        tell: Callable[[str], dict[str, Any] | None] = lambda asked: None,
    ) -> None:
        """Connect a worker that answers so, and wait until it does."""
        reporter = Reporter(self._path, name, lambda: snapshot, tell=tell)
        reporter.start()
        self._stack.callback(reporter.stop)
        until(lambda: self._answers(name), f"{name} answers")

    def _answers(self, name: str) -> bool:
        reading = self.hub.scrape().get(name)
        return reading is not None and reading.error is None

    def request(self, path: str, method: str = "GET", body: bytes | None = None) -> Response:
        connection = http.client.HTTPConnection(self.address.host, self.address.port, timeout=20)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return Response(response.status, response.headers, response.read().decode())
        finally:
            connection.close()


class Response:
    def __init__(self, status: int, headers: http.client.HTTPMessage, text: str) -> None:
        self.status = status
        self.headers = headers
        self.text = text

    @property
    def kind(self) -> str | None:
        return self.headers["Content-Type"]

    @property
    def json(self) -> Any:
        assert self.kind == "application/json"
        return json.loads(self.text)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    running = Servers()
    yield running
    running.stop()


@pytest.fixture
def serve(tmp_path: Path, servers: Servers) -> Iterator[Callable[..., Web]]:
    with ExitStack() as stack:
        yield lambda services=None: Web(stack, servers, tmp_path, services or NoServices())


@pytest.fixture
def web(serve: Callable[..., Web]) -> Web:
    return serve()


def test_queue_size_metrics_to_the_letter(web: Web) -> None:
    for instance in ("temp-1", "temp-2", "flow-1"):
        web.worker(instance, pre_queue=int(instance[-1]), post_queue=0)
    response = web.request("/queue_size_metrics")
    assert (response.status, response.kind) == (200, "application/json")
    assert response.text.strip() == (
        '{"queue_size_metrics": ['
        '{"sub_process_name": "sub_process_temp_1", "pre_queue": 1, "post_queue": 0}, '
        '{"sub_process_name": "sub_process_temp_2", "pre_queue": 2, "post_queue": 0}, '
        '{"sub_process_name": "sub_process_flow_1", "pre_queue": 1, "post_queue": 0}]}'
    )


def test_queue_size_metrics_of_what_cannot_be_read(web: Web) -> None:
    web.worker("temp-2")
    web.worker("stranger-1")
    assert web.request("/queue_size_metrics").json == {
        "queue_size_metrics": [
            {
                "sub_process_name": "sub_process_temp_1",
                "pre_queue": None,
                "post_queue": None,
                "error": ABSENT,
            },
            {"sub_process_name": "sub_process_temp_2", "pre_queue": 3, "post_queue": 1},
            {
                "sub_process_name": "sub_process_flow_1",
                "pre_queue": None,
                "post_queue": None,
                "error": ABSENT,
            },
        ]
    }


def test_instances_have_everything_that_is_known(web: Web) -> None:
    web.worker("temp-2")
    document = web.request("/api/instances").json
    rows = document.pop("instances")
    assert isinstance(document.pop("started"), float)
    assert document == {
        "app_name": "plant & <b>",
        "description": '"edge" <script>',
        "version": __version__,
        "refused_connections": {},
    }
    assert [row["instance"] for row in rows] == ["temp-1", "temp-2", "flow-1"]
    assert rows[1] == {
        **worker_snapshot(),
        "instance": "temp-2",
        "model": "temp",
        "number": 2,
        "configured": True,
        "unit": "edge-model@temp-2.service",
        "sub_process_name": "sub_process_temp_2",
        "error": None,
        "service": None,
        "restarts": 0,
        "config": {
            "edge_mode": "my.models.mean",
            "instance": 2,
            "threads": 4,
            "share": True,
            "codec": "json",
            "queue": {"pre": 10, "post": 20},
            "pre": {"broker": "10.0.0.1:1883", "topic": "in/t", "qos": 1},
            "post": {"broker": "[::1]:8883", "topic": "out/t", "qos": 0},
        },
    }
    absent = {key: rows[2][key] for key in ("state", "error", "pre_queue", "post_queue")}
    assert absent == {"state": "absent", "error": ABSENT, "pre_queue": None, "post_queue": None}


def test_who_is_connected_without_being_configured_is_shown(web: Web) -> None:
    web.worker("stranger-7")
    row = web.request("/api/instances").json["instances"][-1]
    assert (row["instance"], row["configured"], row["config"]) == ("stranger-7", False, None)


def test_refused_connections_are_told(web: Web, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(20)
        peer.connect(str(tmp_path / "metrics.sock"))
        peer.sendall(b"nonsense\n")
        assert peer.recv(10) == b""
    refused = web.request("/api/instances").json["refused_connections"]
    assert refused == {"a line that is not a JSON object": 1}


def test_a_worker_cannot_pass_for_another(web: Web) -> None:
    web.worker("temp-1", instance="flow-1", configured=False, error="x", model="<b>", service=1)
    row = web.request("/api/instances").json["instances"][0]
    told = {key: row[key] for key in ("instance", "configured", "error", "model", "service")}
    assert told == {
        "instance": "temp-1",
        "configured": True,
        "error": None,
        "model": "temp",
        "service": None,
    }


def test_health_is_the_masters_own(web: Web) -> None:
    response = web.request("/healthz")
    assert (response.status, response.json) == (200, {"status": "ok"})


def test_ready_when_every_configured_instance_is(web: Web) -> None:
    for instance in ("temp-1", "temp-2", "flow-1"):
        web.worker(instance)
    web.worker("stranger-1", state="waiting", reasons=["whatever"])
    response = web.request("/readyz")
    assert (response.status, response.json) == (200, {"ready": True, "reasons": []})


def test_what_brokers_grant_less_than_asked_for_is_told_beside_it(web: Web) -> None:
    for instance in ("temp-1", "temp-2"):
        web.worker(instance)
    web.worker("flow-1", notices=["the pre broker granted QoS 0"])
    response = web.request("/readyz")
    assert (response.status, response.json) == (
        200,
        {"ready": True, "reasons": [], "notices": ["flow-1: the pre broker granted QoS 0"]},
    )


def test_not_ready_says_which_and_why(web: Web) -> None:
    web.worker("temp-1", state="waiting", reasons=["pre broker a:1: no answer", "another"])
    web.worker("temp-2", state="draining")
    response = web.request("/readyz")
    assert response.status == 503
    assert response.json == {
        "ready": False,
        "reasons": [
            "temp-1: pre broker a:1: no answer",
            "temp-1: another",
            "temp-2: draining",
            f"flow-1: {ABSENT}",
        ],
    }


def test_what_the_service_manager_knows(serve: Callable[..., Web]) -> None:
    [first, *_] = CONFIG.instances()
    services = ForegroundManager(lambda identity: ["/bin/sh", "-c", "exit 78"], 5.0)
    services.start([first.identity])
    try:
        until(lambda: services.states()[first.identity].state == "failed", "it has ended")
        web = serve(services)
        row = web.request("/api/instances").json["instances"][0]
        assert row["service"] == {
            "state": "failed",
            "pid": None,
            "restarts": 0,
            "exit": "ended with exit code 78",
        }
        # In the same words wherever it is shown.
        why = f"{ABSENT}; failed, ended with exit code 78"
        assert (row["state"], row["error"]) == ("absent", why)
        assert reasons_of(row) == [why]
        assert web.request("/readyz").json["reasons"][0] == f"temp-1: {why}"
        assert web.request("/queue_size_metrics").json["queue_size_metrics"][0]["error"] == why
        assert why in web.request("/").text
    finally:
        services.stop()


def test_a_worker_that_tells_little_breaks_no_page(web: Web) -> None:
    web.report("temp-1", {"pre_queue": 1, "post_queue": 2})
    for path in ("/", "/metrics", "/api/instances", "/queue_size_metrics"):
        assert web.request(path).status == 200
    assert "temp-1: unknown" in web.request("/readyz").json["reasons"]


def samples(web: Web) -> dict[str, dict[tuple[str, ...], float]]:
    """The values by metric name and label values (model, instance, …)."""
    response = web.request("/metrics")
    assert response.status == 200
    assert (response.kind or "").startswith("text/plain;version=")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(response.text):
        assert family.documentation
        for sample in family.samples:
            labels = dict(sample.labels)
            key = (labels.pop("model", ""), labels.pop("instance", ""), *labels.values())
            found.setdefault(sample.name, {})[key] = sample.value
    return found


def test_metrics_as_prometheus_reads_them(web: Web) -> None:
    web.worker("temp-2")
    web.worker("flow-1", state="waiting", latency_ms={"p50": None, "p99": None}, errors={})
    told = samples(web)
    temp, flow = ("temp", "2"), ("flow", "1")
    assert told["pyboot_up"] == {("temp", "1"): 0, temp: 1, flow: 1}
    assert told["pyboot_ready"] == {("temp", "1"): 0, temp: 1, flow: 0}
    expected = {
        "pyboot_pre_queue_messages": 3,
        "pyboot_post_queue_messages": 1,
        "pyboot_in_flight_messages": 2,
        "pyboot_resident_memory_bytes": 23_000_000,
        "pyboot_uptime_seconds": 12.5,
        "pyboot_received_messages_total": 100,
        "pyboot_processed_messages_total": 97,
        "pyboot_published_messages_total": 90,
        "pyboot_nothing_to_publish_messages_total": 4,
        "pyboot_dropped_messages_total": 5,
        "pyboot_unacknowledged_messages": 6,
        "pyboot_spooled_messages": 7,
        "pyboot_dead_letters_waiting_messages": 8,
        "pyboot_results_spooled_total": 11,
        "pyboot_dropped_at_stop_messages_total": 12,
        "pyboot_spool_expired_results_total": 13,
        "pyboot_spool_overflowed_results_total": 14,
        "pyboot_cpu_seconds_total": 0.75,
    }
    for name, value in expected.items():
        assert told[name] == {temp: value, flow: value}, name
    assert told["pyboot_errors_total"] == {(*temp, "not_json"): 2, (*temp, "model"): 1}
    assert told["pyboot_latency_seconds"] == {(*temp, "0.5"): 0.0015, (*temp, "0.99"): 0.02}
    assert told["pyboot_state"][("temp", "1", "absent")] == 1
    meanings = (UP, READY, INFO, MASTER_INFO, MASTER_STARTED, REFUSED)
    tabled = {
        meaning.prometheus for meaning in (*meanings, *(f.meaning for f in (*FIGURES, *MASTERS)))
    }
    assert told.keys() >= expected.keys()
    # A worker of another version may tell less.
    assert told.keys() <= tabled


class Page(HTMLParser):
    """Collects a page's tags, and its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loads: set[str | None] = set()
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag in ("script", "link"):
            named = dict(attrs)
            self.loads.add(named.get("src", named.get("href")))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_shows_texts_as_texts(web: Web) -> None:
    failed = {"error": "<img src=x> & <i>", "error_time": 1.0}
    web.worker("temp-1", last=failed, rates={"in": 1, "out": 9.1})
    response = web.request("/")
    assert (response.status, response.kind) == (200, "text/html;charset=utf-8")
    page = Page(response.text)
    assert page.tags.isdisjoint({"b", "style", "img", "i"})
    assert page.loads == {"static/main.js", "static/page.css", "static/icon.svg"}
    for text in ("plant & <b>", '"edge" <script>', "temp-1", "flow-1"):
        assert text in page.texts, text
    assert any(text.endswith("<img src=x> & <i>") for text in page.texts)
    assert ABSENT in page.texts
    assert "9.1" in page.texts


def test_nothing_is_cached_and_the_page_loads_nothing_from_elsewhere(web: Web) -> None:
    for path in ("/", "/metrics", "/queue_size_metrics", "/nowhere"):
        headers = web.request(path).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_what_the_page_is_made_of_is_served_and_small(web: Web) -> None:
    kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    folder = Path(pyboot_svc.web.static.__file__).parent
    files = [file for file in folder.iterdir() if file.suffix.lstrip(".") in kinds]
    assert len(files) > 5
    for file in files:
        response = web.request(f"/static/{file.name}")
        assert (response.status, response.text) == (200, file.read_text())
        assert (response.kind or "").partition(";")[0] == kinds[file.suffix[1:]]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert sum(file.stat().st_size for file in files) < 150_000


def test_only_own_scripts_and_styles_may_be_loaded(web: Web) -> None:
    policy = web.request("/").headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.pop("default-src") == "'none'"
    own = {name for name, allowed in rules.items() if allowed == "'self'"}
    assert own == {"script-src", "style-src", "connect-src", "img-src"}
    assert {rules[name] for name in rules.keys() - own} == {"'none'"}


def test_what_was_before_is_told(web: Web) -> None:
    web.worker("temp-1")
    web.view.history.sample()
    recent = web.request("/api/history").json
    line = dict(zip(recent["columns"], recent["instances"]["temp-1"], strict=True))
    assert (line["in"][-1], line["pre_queue"][-1]) == (10.5, 3)
    assert recent["instances"].keys() == {"temp-1", "temp-2", "flow-1"}
    day = web.request("/api/history/temp").json
    assert [tier["seconds"] for tier in day["tiers"]] == [5, 60, 600]
    assert day["tiers"][0]["in"][-1] == 10.5
    assert day["load"] is None
    assert [tier["seconds"] for tier in day["latency"]["tiers"]] == [15, 180, 1800]


def test_a_model_that_has_said_nothing_yet_has_an_empty_day(web: Web) -> None:
    day = web.request("/api/history/temp").json
    assert (day["model"], day["load"], day["tiers"][0]["in"]) == ("temp", None, [])


def test_dead_letters_are_told(web: Web, tmp_path: Path) -> None:
    web.report("temp-1", worker_snapshot(), partial(tell_dead_letters, tmp_path / "none"))
    assert web.request("/api/dead/temp-1").json == {"instance": "temp-1", "kept": 0, "letters": []}
    nowhere = ("temp-1/7", "temp-1/x", "temp-1/-7", f"temp-1/{10**20}", "temp-9", "nobody-1", "..")
    for nothing in nowhere:
        assert web.request(f"/api/dead/{nothing}").status == 404, nothing
    away: dict[str, Any] = {
        "instance": "temp-2",
        "kept": None,
        "letters": [],
        "error": "it is not connected",
    }
    assert web.request("/api/dead/temp-2").json == away


def test_head_is_answered(web: Web) -> None:
    response = web.request("/healthz", "HEAD")
    assert (response.status, response.text) == (200, "")


def test_what_is_not_there_is_404(web: Web) -> None:
    nowhere = ("/nowhere", "/api", "/api/nothing", "/healthz/x", "/_view", "/api/_view", "/..")
    files = ("/static", "/static/x.js", "/static/__init__.py", "/static/../app.py", "/static/a/b")
    history = ("/api/history/nobody", "/api/history/temp/1")
    # What CherryPy would find by itself, on its way along Python's objects.
    inside = (
        *("/metrics/__func__/x", "/__class__/metrics/x", "/metrics/__self__/metrics"),
        *("/api/history/__func__/x", "/static/__func__/x", "/index", "/queue.size.metrics"),
    )
    for path in (*nowhere, *files, *history, *inside):
        response = web.request(path)
        assert response.status == 404, path
        assert response.json["error"] == "404 Not Found"
        assert response.text.endswith("}\n"), path
        assert "Traceback" not in response.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(web: Web, method: str) -> None:
    for path in ("/", "/api/instances", "/queue_size_metrics", "/healthz"):
        response = web.request(path, method, b"x=1")
        assert response.status == 405, path
        assert response.headers["Allow"] == "GET, HEAD"
        assert response.json["error"] == "405 Method Not Allowed"
        assert response.text.endswith("}\n"), path


class BrokenView(View):
    def instances(self) -> dict[str, Any]:
        raise RuntimeError("a bug with a secret")


def test_a_bug_shows_no_traceback_and_is_logged(
    web: Web, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    web.address = servers.start(BrokenView(CONFIG, web.hub, NoServices(), EXPECTED))
    response = web.request("/api/instances")
    assert response.status == 500
    assert response.json["error"] == "500 Internal Server Error"
    assert response.text.endswith("}\n")
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    assert "a bug with a secret" in caplog.text
    assert web.request("/queue_size_metrics").status == 200


def test_requests_are_not_logged(web: Web) -> None:
    # Not caplog: it listens to loggers that keep their records to themselves, too.
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        web.request("/healthz")
        web.request("/nowhere")
        logging.getLogger("another").warning("the end")
    finally:
        root.removeHandler(handler)
    assert lines == ["the end"]


def test_bind_gives_the_port_that_port_0_became(web: Web) -> None:
    assert web.address.host == "127.0.0.1"
    assert web.address.port > 0
    assert web.request("/healthz").status == 200


def test_a_port_in_use_is_said_with_what_to_do(web: Web) -> None:
    server = WebServer(web.address, web.view)
    with pytest.raises(UnavailableError) as caught:
        server.bind()
    server.stop()
    assert caught.value.exit_code == ExitCode.UNAVAILABLE
    said = str(caught.value)
    assert said.startswith(f"can't listen at 127.0.0.1:{web.address.port}: ")
    assert os.strerror(errno.EADDRINUSE) in said
    assert "--listen HOST:PORT" in said


def test_a_host_that_is_not_there_is_said_with_what_to_do(web: Web) -> None:
    server = WebServer(WebAddress("192.0.2.1", 0, auth=NO_AUTH), web.view)
    with pytest.raises(UnavailableError, match=r"can't listen at 192\.0\.2\.1:0: .*--listen"):
        server.bind()
    server.stop()


@pytest.mark.parametrize("serving", [True, False])
def test_stop_gives_the_port_back(web: Web, serving: bool) -> None:
    server = WebServer(LOOPBACK, web.view)
    address = server.bind()
    if serving:
        server.start()
        web.address = address
        assert web.request("/healthz").status == 200
    server.stop()
    with socket.socket() as probe:
        assert probe.connect_ex((address.host, address.port)) != 0


def test_instances_that_come_and_go_are_shown_while_they_are_there_and_never_missed(
    web: Web,
) -> None:
    expected = [identity for identity in EXPECTED if identity.model != "flow"]
    web.view.configure(CONFIG, expected)
    web.hub.configure(expected, admission=Admission(models=frozenset({"temp", "flow"})))
    web.worker("temp-1")
    web.worker("temp-2")
    web.worker("flow-4711")
    sizes = web.request("/queue_size_metrics").json["queue_size_metrics"]
    names = [row["sub_process_name"] for row in sizes]
    assert names == ["sub_process_temp_1", "sub_process_temp_2", "sub_process_flow_4711"]
    rows = {
        row["instance"]: row["configured"]
        for row in web.request("/api/instances").json["instances"]
    }
    assert rows == {"temp-1": True, "temp-2": True, "flow-4711": True}
    assert web.request("/readyz").status == 200


def test_the_page_says_why_and_what_is_to_be_noticed(web: Web) -> None:
    web.worker("temp-2", state="waiting", reasons=["pre broker <a>: no answer"])
    web.worker("flow-1", notices=["in a call for 37 s"])
    page = web.request("/").text
    assert "<li>temp-2: pre broker &lt;a&gt;: no answer<li>flow-1: in a call for 37 s</ul>" in page


def test_without_a_host_the_answer_tells_nothing_of_the_inside(web: Web) -> None:
    """CherryPy would answer with its own page: a traceback, paths, and no headers of ours."""
    with socket.create_connection((web.address.host, web.address.port), 20) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
        said = b""
        while data := peer.recv(65536):
            said += data
    assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b'"HTTP/1.1 has a Host header"' in said
    assert b"Content-Security-Policy" in said
