"""Brokers that go by certificates and client ids, as those of clouds do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.broker import Broker
from support.certificates import Authority
from support.poll import until
from support.workers import Workers

MODELS = """
def same(payload):
    return payload
"""
# As AWS IoT Core and Azure Event Grid are set up: certificates of clients, ids of one kind only.
LINES = """
listener {{port}} 127.0.0.1
cafile {ca}
certfile {server.cert}
keyfile {server.key}
require_certificate true
use_identity_as_username true
clientid_prefixes plant7-
"""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def cloud(tmp_path: Path, authority: Authority) -> Iterator[Broker]:
    server = authority.issue("server", "DNS:cloud.example")
    broker = Broker(tmp_path / "cloud", LINES.format(ca=authority.ca, server=server)).start()
    yield broker
    broker.stop()


@pytest.fixture
def start(
    cloud: Broker,
    authority: Authority,
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
) -> Callable[..., Workers]:
    own = authority.issue("plant7", "DNS:plant7")
    tls = f"{{ca: {authority.ca}, cert: {own.cert}, key: {own.key}, server_name: cloud.example}}"

    def begin(more: str, *, ready: bool) -> Workers:
        head = f"brokers:\n  cloud: {{host: mqtts://127.0.0.1, tls: {tls}, {more}}}\n"
        edge = (
            f"{{name: m, edge_mode: my_models.same, pre_broker: cloud, pre_port: {cloud.port}, "
            f"pre_topic: t/in, post_broker: cloud, post_port: {cloud.port}, post_topic: t/out}}"
        )
        return workers(write_config(edge, models=MODELS, head=head), ready=ready)

    return begin


def test_both_connections_have_ids_of_the_kind_that_is_allowed(
    cloud: Broker, start: Callable[..., Workers]
) -> None:
    app = start("client_id_prefix: plant7-", ready=True)
    until(
        lambda: (
            {link["state"] for link in app.instance("m-1")["brokers"].values()} == {"connected"}
        ),
        "both are connected",
    )
    log = cloud.log.read_text()
    assert " as plant7-m-1 " in log
    assert " as plant7-m-1-post " in log


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_refusal_names_the_id(protocol: str, start: Callable[..., Workers]) -> None:
    app = start(f"protocol: {protocol}", ready=False)
    app.wait_log("(client id pyboot-m-1)")
    app.wait_log("(client id pyboot-m-1-post)")
