"""A worker that reports whatever it likes harms its own row, and no other's."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.app import Up
from support.poll import until

from pyboot_svc.threads import spawn

GOOD = '{"pre_queue": 1, "post_queue": 2, "state": "ready", "errors": {"model": 3}}'
ATTACKS = {
    "a list of errors": '"errors": [1]',
    "a huge integer": f'"uptime_s": {10**400}',
    "a huge queue": f'"pre_queue": {10**400}',
    "an integer that Python refuses": f'"uptime_s": {"9" * 5000}',
    "a lone surrogate": r'"version": "\ud800", "reasons": ["\ud800"], "edge_mode": "\udfff"',
    "NaN": '"rates": {"in": NaN, "out": Infinity}, "cpu_s": -Infinity',
    "deep": '"reasons": ' + "[" * 20_000 + "]" * 20_000,
    "deep objects": '"last": ' + '{"last": ' * 3000 + "1" + "}" * 3000,
    "a huge key": '"errors": {"' + "k" * 40_000 + '": 1}',
    "many keys": '"errors": {' + ", ".join(f'"k{n}": {n}' for n in range(4000)) + "}",
    "markup": '"state": "<script>alert(1)</script>"',
    "a row of its own": '"instance": "good-1", "model": "\\n", "number": [], "error": {}',
    "text for a record": '"counters": "x", "brokers": [], "latency_ms": null',
}


def answer_with(connection: socket.socket, answer: str) -> None:
    """In a thread of its own, until the master has had enough of it."""

    def run() -> None:
        try:
            while connection.recv(1000):
                connection.sendall(answer.encode() + b"\n")
        except OSError:
            pass

    spawn("peer", run)


def judged(master: Up) -> bool:
    """Whether the bad one is there, or its connection was dropped for nonsense."""
    document = master.get("/api/instances")[1]
    states = {row["instance"]: row["state"] for row in document["instances"]}
    return states["bad-1"] != "absent" or bool(document["refused_connections"])


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_no_report_ends_a_page(
    start_master: Callable[..., Up], hello: Callable[[str], socket.socket], attack: str
) -> None:
    master = start_master()
    answer_with(hello("good-1"), GOOD)
    answer_with(hello("bad-1"), f'{{"pre_queue": 1, "post_queue": 2, {attack}}}')
    until(lambda: master.instance("good-1")["error"] is None, "the good one is read")
    until(lambda: judged(master), "what the bad one reports has been read")
    told = ("/metrics", "/api/instances", "/api/history", "/queue_size_metrics", "/readyz")
    for path in ("/", *told):
        status, body = master.get(path)
        assert status == (503 if path == "/readyz" else 200), body
        assert len(json.dumps(body)) < 20_000

    # On a busy host the good one's answer may be late at times.
    def good_is_shown() -> bool:
        good = master.instance("good-1")
        return (good["state"], good["pre_queue"], good["errors"]) == ("ready", 1, {"model": 3})

    def good_is_counted() -> bool:
        families = text_string_to_metric_families(master.get("/metrics")[1])
        errors = [one for family in families for one in family.samples if one.labels.get("kind")]
        of_good = {"model": "good", "instance": "1", "kind": "model"}
        return ("pyboot_errors_total", of_good, 3) in [one[:3] for one in errors]

    until(good_is_shown, "the good one is shown")
    until(good_is_counted, "the good one is counted")
    assert "Traceback" not in master.log
