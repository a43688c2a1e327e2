"""Every URL with a query behind it: what those who ask add, against caches or by habit."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import Running, Up
from support.broker import free_port

MODELS = "def same(payload): return payload\n"
QUERIES = ("?ts=1", "?", "?a=1&a=2&self=3", "?%ff=%fe", "?instances", "?view=x&payload=")
PATHS = ("/", "/healthz", "/readyz", "/metrics", "/queue_size_metrics", "/api/instances")


def head(host: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.request("HEAD", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.fixture
def edge(topic: str) -> str:
    return f"{{name: m, edge_mode: my_models.same, pre_topic: {topic}, post_topic: {topic}/out}}"


def test_the_masters_urls_ignore_queries(
    write_config: Callable[..., Path], up: Callable[..., Up], edge: str
) -> None:
    master = up(write_config(edge, models=MODELS))
    for path in PATHS:
        for query in QUERIES:
            assert master.get(path + query)[0] == 200, path + query
            assert head(master.url.removeprefix("http://"), path + query)[0] == 200, path + query
    assert master.get("/nowhere?ts=1")[0] == 404


def test_a_workers_probes_ignore_queries(
    write_config: Callable[..., Path],
    track: Callable[[Running], Running],
    tmp_path: Path,
    edge: str,
) -> None:
    port = free_port()
    places = ("--run-dir", str(tmp_path), "--state-dir", str(tmp_path))
    worker = track(
        Running(
            *(
                tmp_path / "run",
                "worker",
                "m-1",
                "--config",
                str(write_config(edge, models=MODELS)),
            ),
            *(*places, "--probes-listen", f"127.0.0.1:{port}"),
        )
    )
    worker.wait_log("subscribed to")
    for query in QUERIES:
        assert head(f"127.0.0.1:{port}", f"/healthz{query}") == (200, b"")
