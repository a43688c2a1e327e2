"""Authorities that people make themselves, as mosquitto's manual says it, are good enough.

From Python 3.13 on, certificates are verified by RFC 5280 to the letter unless one asks not to be:
"CA cert does not include key usage extension", while mosquitto's own clients get through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.broker import Broker
from support.certificates import Authority, Certificate, PlainAuthority
from support.workers import Workers

MODELS = """
def same(payload):
    return payload
"""


@pytest.fixture
def authority(tmp_path: Path) -> PlainAuthority:
    return PlainAuthority(tmp_path)


@pytest.fixture
def start(
    tmp_path: Path, write_config: Callable[..., Path], workers: Callable[..., Workers]
) -> Iterator[Callable[..., Workers]]:
    """Runs a worker whose broker shows a certificate, and is named by `host`."""
    with ExitStack() as stack:

        def begin(
            ca: Path, own: Certificate, host: str, more: str = "", ready: bool = True
        ) -> Workers:
            lines = (
                f"listener {{port}} 127.0.0.1\nallow_anonymous true\ncafile {ca}\n"
                f"certfile {own.cert}\nkeyfile {own.key}\n"
            )
            broker = Broker(tmp_path / "secure", lines).start()
            stack.callback(broker.stop)
            head = f"brokers:\n  secure: {{host: {host}, tls: {{ca: {ca}{more}}}}}\n"
            edge = (
                f"{{name: m, edge_mode: my_models.same, pre_broker: secure, "
                f"pre_port: {broker.port}, pre_topic: t/in, post_topic: t/out}}"
            )
            return workers(write_config(edge, models=MODELS, head=head), ready=ready)

        yield begin


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_usual_self_made_authority_is_trusted(
    host: str, authority: PlainAuthority, start: Callable[..., Workers]
) -> None:
    start(authority.ca, authority.issue(host), host)


def test_who_wants_it_strict_gets_it(
    authority: PlainAuthority, start: Callable[..., Workers]
) -> None:
    app = start(
        authority.ca, authority.issue("localhost"), "localhost", ", strict: true", ready=False
    )
    app.wait_log("its certificate is not trusted: CA cert does not include key usage extension")


@pytest.mark.parametrize(
    ("name", "strict"),
    [
        ("IP:127.0.0.1", ""),
        ("IP:127.0.0.1", ", strict: true"),
        ("IP:::1,IP:127.0.0.1,DNS:plant", ""),
        ("DNS:127.0.0.1", ""),  # often meant for an address, and taken by mosquitto's clients
    ],
)
def test_alternative_names_are_taken(
    name: str, strict: str, tmp_path: Path, start: Callable[..., Workers]
) -> None:
    authority = Authority(tmp_path, "authority")
    start(authority.ca, authority.issue("broker", name), "127.0.0.1", strict)


@pytest.mark.parametrize("name", ["IP:127.0.0.2", "DNS:localhost"])
def test_the_certificate_of_another_address_is_not_taken(
    name: str, tmp_path: Path, start: Callable[..., Workers]
) -> None:
    authority = Authority(tmp_path, "authority")
    # The subject says the right one, and does not count beside alternative names.
    own = authority.issue("127.0.0.1", name)
    app = start(authority.ca, own, "127.0.0.1", ready=False)
    app.wait_log("its certificate is not trusted: IP address mismatch, certificate is not valid")
    assert "subscribed to" not in app.log


def test_the_usual_certificate_of_another_address_is_not_taken(
    authority: PlainAuthority, start: Callable[..., Workers]
) -> None:
    start(authority.ca, authority.issue("127.0.0.2"), "127.0.0.1", ready=False).wait_log(
        "its certificate is not trusted: IP address mismatch, certificate is not valid for "
        "'127.0.0.1' but for 127.0.0.2 (name the host as its certificate does, or that name in "
        "`tls: {server_name: NAME}`); retrying"
    )
