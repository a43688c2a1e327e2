"""Brokers as URLs: what they stand for, and what is refused, without a word of a password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyboot_svc.config import Broker, Tls
from pyboot_svc.config.loader import parse_config
from pyboot_svc.errors import ConfigError

PASSWORD = "hunter2"
EDGE = """
edge:
  - {name: e, edge_mode: m.f, pre_topic: i, post_topic: o, pre_broker: %s, post_broker: 127.0.0.1}
"""


def read(broker: str, head: str = "") -> Broker:
    [edge] = parse_config((head + EDGE % broker).encode(), "c.yaml").edges
    return edge.pre.broker


def refused(broker: str, head: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        read(broker, head)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("mqtt://plant", {"host": "plant", "port": 1883}),
        ("mqtt://plant:1884/", {"host": "plant", "port": 1884}),
        ("MQTTS://plant", {"host": "plant", "port": 8883, "tls": Tls()}),
        ("mqtts://10.0.0.1:443", {"host": "10.0.0.1", "port": 443, "tls": Tls()}),
        ("'mqtts://[::1]:443'", {"host": "::1", "port": 443, "tls": Tls()}),
        ("'mqtts://[::1]'", {"host": "::1", "port": 8883, "tls": Tls()}),
        ("ws://plant", {"host": "plant", "port": 80, "transport": "websockets"}),
        (
            "wss://plant/a/b",
            {"host": "plant", "port": 443, "tls": Tls(), "transport": "websockets", "path": "/a/b"},
        ),
    ],
)
def test_what_a_url_stands_for(url: str, settings: dict[str, Any]) -> None:
    assert read(url) == Broker(**settings)
    head = f"brokers: {{other: {{host: h}}, far: {{host: {url}}}}}"
    assert read("far", head) == Broker(**settings)
    assert read(url, head) == Broker(**settings)  # beside named ones, too


def test_a_port_of_the_edge_wins() -> None:
    assert read("mqtts://plant, pre_port: 8884") == Broker("plant", 8884, tls=Tls())


@pytest.mark.parametrize(
    ("keys", "broker"),
    [
        ("tls: {ca: /ca.pem}", Broker("h", 8883, tls=Tls(ca="/ca.pem"))),
        ("port: 8884", Broker("h", 8884, tls=Tls())),
        ("transport: tcp, keepalive: 30", Broker("h", 8883, tls=Tls(), keepalive=30)),
    ],
)
def test_keys_beside_a_url(keys: str, broker: Broker) -> None:
    assert read("far", f"brokers: {{far: {{host: 'mqtts://h', {keys}}}}}") == broker


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "host: 'mqtt://h', tls: {}",
            "has `tls` beside mqtt://, which is without (write mqtts://)",
        ),
        ("host: 'ws://h', tls: {}", "(write wss://)"),
        ("host: 'mqtts://h', transport: websockets", "another `transport` than mqtts://"),
        ("host: 'wss://h/a', path: /b", "a `path` beside that of its URL"),
        ("host: 'mqtts://h:1', port: 2", "a `port` beside that of its URL"),
    ],
)
def test_keys_that_contradict_it(keys: str, message: str) -> None:
    assert message in refused("far", f"brokers: {{far: {{{keys}}}}}")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"mqtts://me:{PASSWORD}@plant", "`username` and `password_file` are keys"),
        (f"mqtts://{PASSWORD}@plant", "without user name and password"),
        (f"ws://plant/mqtt?token={PASSWORD}", "a query belongs into `path`"),
        (f"ws://plant#{PASSWORD}", "must be a URL as in mqtts://host:8883"),
        ("ssl://plant", "not ssl:// (did you mean `mqtts`?)"),
        ("tcp://plant", "(did you mean `mqtt`?)"),
        ("http://plant", "(did you mean `ws`?)"),
        ("ftp://plant", "must start with one of mqtt://, mqtts://, ws://, wss://"),
        ("mqtt://plant/a", "mqtt:// has no path"),
        ("mqtt://plant:0", "a port from 1 to 65535"),
        ("mqtt://plant:70000", "must be a URL as in"),
        ("'mqtt://plant:'", "must be a URL as in"),
        ("'mqtt://'", "its host must"),
        ("mqtt://a_b!c", "its host must be a host name or an IP address"),
        ("'://plant'", "must be a URL as in"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_what_is_refused(url: str, message: str, named: bool) -> None:
    found = refused("far", f"brokers: {{far: {{host: {url}}}}}") if named else refused(url)
    assert message in found
    assert PASSWORD not in found


def test_a_file_by_a_relative_path(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    tls = "{ca: ca.pem, cert: c, key: k, key_password_file: p, alpn: mqtt, min_version: 1.3}"
    head = f"brokers: {{far: {{host: 'mqtts://h', tls: {tls}}}}}"
    [edge] = parse_config((head + EDGE % "far").encode(), str(file)).edges
    names = {"ca": "ca.pem", "cert": "c", "key": "k", "key_password_file": "p"}
    files = {key: str(tmp_path / name) for key, name in names.items()}
    assert edge.pre.broker.tls == Tls(**files, alpn=("mqtt",), min_version="1.3")  # type: ignore[arg-type]
    kinds = ("ca", "cert", "key", "key_password")
    assert list(edge.credential_files) == [f"pre.{kind}" for kind in kinds]


def test_a_password_of_no_key() -> None:
    head = "brokers: {far: {host: h, tls: {key_password_file: p}}}"
    assert "tls.key_password_file but no tls.cert" in refused("far", head)
