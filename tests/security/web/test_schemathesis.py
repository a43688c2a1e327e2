"""Schemathesis asks a master whatever its OpenAPI document has, and what it forbids.

Other methods, other values, what is missing: no answer is of another status, kind or shape than is
documented. `make fuzz FUZZ=http` goes on for longer.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support.app import Up, run_pyboot
from support.certificates import Authority
from support.poll import until
from support.simulated import Simulated

pytest.importorskip("schemathesis")

DOCUMENT = Path(__file__).parents[3] / "docs" / "openapi.json"
OPERATIONS = len(json.loads(DOCUMENT.read_text())["paths"])
EXAMPLES = 15
# A 503 is an answer like any other: an instance that is slow for a moment is not ready.
SETTINGS = """\
[checks]
not_a_server_error.expected-statuses = ["2xx", "4xx", 503]
"""
INSTANCES = ("good-1", "good-2", "bad-1", "bad-2")
MOST_LOG = 10_000


@contextmanager
def working(folder: Path) -> Iterator[None]:
    """All workers are there, and ready."""
    simulated = Simulated(folder / "run" / "metrics.sock", INSTANCES)
    try:
        yield
    finally:
        simulated.close()


def ask(folder: Path, url: str, *options: str) -> None:
    """All of it; what is said tells what is wrong."""
    (folder / "schemathesis.toml").write_text(SETTINGS)
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(DOCUMENT), "--url", url]
    more = ("--max-examples", str(EXAMPLES), "--seed", "1", "--checks", "all")
    done = subprocess.run(
        [*command, *more, "--phases", "examples,coverage,fuzzing", *options],
        cwd=folder,  # it leaves its notes there
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Operations:       {OPERATIONS} selected" in done.stdout


def test_each_answer_is_as_documented(start_master: Callable[..., Up], tmp_path: Path) -> None:
    master = start_master(instances=2)
    with working(tmp_path):
        until(lambda: master.get("/readyz")[0] == 200, "all are ready")
        ask(tmp_path, master.url)
        assert master.get("/healthz")[0] == 200
    assert len(master.log) < MOST_LOG


@pytest.mark.parametrize("known", [True, False], ids=["with a token", "without"])
def test_so_it_is_by_https_and_with_logins(
    start_master: Callable[..., Up], tmp_path: Path, known: bool
) -> None:
    authority = Authority(tmp_path, "authority")
    made, who = authority.issue("web", "IP:127.0.0.1"), tmp_path / "who"
    token = run_pyboot("web", "password", "--file", str(who)).stdout.strip()
    web = f"web: {{tls: {{cert: {made.cert}, key: {made.key}}}, auth: {{file: {who}}}}}"
    master = start_master(head=web, instances=2)
    login = ("--header", f"Authorization: Bearer {token}") if known else ()
    trusting = ssl.create_default_context(cafile=str(authority.ca))
    with working(tmp_path):
        until(lambda: status(master.url, trusting) == 200, "all are ready")
        ask(tmp_path, master.url, "--tls-verify", str(authority.ca), *login)
    assert len(master.log) < MOST_LOG
    assert token not in master.log


def status(url: str, trusting: ssl.SSLContext) -> int:
    """Of /readyz."""
    host = url.removeprefix("https://")
    with closing(http.client.HTTPSConnection(host, timeout=20, context=trusting)) as connection:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
