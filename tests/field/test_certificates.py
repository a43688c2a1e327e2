"""Authorities that people make themselves, as mosquitto's manual says it, are good enough.

From Python 3.13 on, certificates are verified by RFC 5280 to the letter unless one asks not to be:
"CA cert does not include key usage extension", while mosquitto's own clients get through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.app import Up
from support.broker import Broker
from support.certificates import PlainAuthority

MODELS = """
def same(payload):
    return payload
"""


@pytest.fixture
def authority(tmp_path: Path) -> PlainAuthority:
    return PlainAuthority(tmp_path)


@pytest.fixture
def secure(tmp_path: Path, authority: PlainAuthority) -> Iterator[Broker]:
    own = authority.issue("localhost")
    lines = (
        f"listener {{port}} 127.0.0.1\nallow_anonymous true\ncafile {authority.ca}\n"
        f"certfile {own.cert}\nkeyfile {own.key}\n"
    )
    running = Broker(tmp_path / "secure", lines).start()
    yield running
    running.stop()


@pytest.fixture
def start(
    secure: Broker,
    authority: PlainAuthority,
    write_config: Callable[..., Path],
    up: Callable[..., Up],
) -> Callable[..., Up]:
    def begin(more: str = "", *, ready: bool = True) -> Up:
        head = f"brokers:\n  secure: {{host: localhost, tls: {{ca: {authority.ca}{more}}}}}\n"
        edge = (
            f"{{name: m, edge_mode: my_models.same, pre_broker: secure, pre_port: {secure.port}, "
            f"pre_topic: t/in, post_broker: secure, post_port: {secure.port}, post_topic: t/out}}"
        )
        return up(write_config(edge, models=MODELS, head=head), ready=ready)

    return begin


def test_the_usual_self_made_authority_is_trusted(start: Callable[..., Up]) -> None:
    start()


def test_who_wants_it_strict_gets_it(start: Callable[..., Up]) -> None:
    start(", strict: true", ready=False).wait_log(
        "its certificate is not trusted: CA cert does not include key usage extension"
    )
