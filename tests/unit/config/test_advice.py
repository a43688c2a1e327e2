"""What `check` warns of, though it works today."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.certificates import Authority

from pyboot_svc.config.advice import advice
from pyboot_svc.config.loader import load_config

NOW = datetime(2030, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
EDGES = """
edge:
  - {name: a, edge_mode: m.f, pre_topic: i, post_topic: o, pre_broker: far, post_broker: far}
  - {name: b, edge_mode: m.f, pre_topic: p, post_topic: q, pre_broker: far, post_broker: far}
"""


def warnings(folder: Path, broker: str) -> list[str]:
    file = folder / "config.yaml"
    file.write_text(f"brokers: {{far: {{{broker}}}}}\n{EDGES}")
    return list(advice(load_config(file), NOW))


@pytest.mark.parametrize(
    ("host", "warned"),
    [
        ("10.0.0.1", True),
        ("plant", True),
        ("ws://plant", True),
        ("mqtts://plant", False),
        ("127.0.0.1", False),
        ("127.8.0.1", False),
        ("::1", False),
        ("localhost", False),
        ("LocalHost.", False),
    ],
)
def test_a_password_without_tls(host: str, warned: bool, tmp_path: Path) -> None:
    found = warnings(tmp_path, f"host: '{host}', username: me, password_file: p")
    name = host.rpartition("/")[2]
    message = f"the password goes to {name} without TLS, for all to read on the way"
    wanted = [f"edge[0].pre_broker: {message}: give its broker `tls: {{}}`"]
    assert found == (wanted if warned else [])
    assert warnings(tmp_path, f"host: '{host}'") == []


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [
        (NOW - 99 * DAY, NOW + 31 * DAY, ""),
        (NOW - 99 * DAY, NOW + 29 * DAY, "ends on 2030-06-30, in 29 days"),
        (NOW - 99 * DAY, NOW - DAY, "ended on 2030-05-31: renew it"),
        (NOW + DAY, NOW + 99 * DAY, "is not valid before 2030-06-02 00:00 UTC"),
    ],
    ids=["good", "soon", "ended", "early"],
)
def test_a_certificate_of_ours(begin: datetime, end: datetime, words: str, tmp_path: Path) -> None:
    own = Authority(tmp_path, "authority").issue_dated("mine", "DNS:mine", begin, end)
    found = warnings(tmp_path, f"host: h.example, tls: {{cert: {own.cert}, key: {own.key}}}")
    assert found == ([f"edge[0].pre_broker: the certificate {own.cert} {words}"] if words else [])


def test_authorities_of_which_one_has_ended(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    old = authority.issue_dated("old", "DNS:old", NOW - 9 * DAY, NOW - DAY).cert.read_text()
    new = authority.issue_dated("new", "DNS:new", NOW - 9 * DAY, NOW + 99 * DAY).cert.read_text()
    (tmp_path / "ca.pem").write_text(old + new)
    assert warnings(tmp_path, "host: h.example, tls: {ca: ca.pem}") == []
    (tmp_path / "ca.pem").write_text(old)
    [found] = warnings(tmp_path, "host: h.example, tls: {ca: ca.pem}")
    assert "ca.pem ended on 2030-05-31" in found


BROKEN = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----"


@pytest.mark.parametrize("text", [None, "hello", BROKEN], ids=["absent", "text", "broken"])
def test_what_is_no_certificate_is_for_the_worker_to_tell(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "ca.pem").write_text(text)
    assert warnings(tmp_path, "host: h.example, tls: {ca: ca.pem}") == []


@pytest.mark.parametrize(
    ("keys", "paths"),
    [
        ("options: {api_key: hunter2}", ["options.api_key"]),
        ("options: {a: {apiKey: hunter2}}", ["options.a.apiKey"]),
        ("options: {a: [{db-password: hunter2}]}", ["options.a[0].db-password"]),
        ("environment: {INFLUX_TOKEN: hunter2}", ["environment.INFLUX_TOKEN"]),
        ("environment: {S3_SECRET: hunter2, TZ: UTC}", ["environment.S3_SECRET"]),
        ("options: {accessToken: hunter2}", ["options.accessToken"]),
        ("options: {max_tokens: 5, token: 7, tokens: ab}", []),
        ("options: {password_file: p, secret: /etc/x, api_key: ''}", []),
        ("secrets: {API_KEY: api.key}", []),
    ],
)
def test_secrets_where_everybody_can_read_them(keys: str, paths: list[str], tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(EDGES.replace("far", "127.0.0.1").replace("name: b", f"name: b, {keys}"))
    found = list(advice(load_config(file), NOW))
    assert [warning.partition(": it looks like a secret")[0] for warning in found] == [
        f"edge[1].{path}" for path in paths
    ]
    assert "hunter2" not in str(found)
    for warning in found:
        assert "context.secret(" in warning
