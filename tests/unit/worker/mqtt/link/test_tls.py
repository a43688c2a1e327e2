"""The TLS layer on a real server: what it offers and takes, and what it says of the rest."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.certificates import Authority, Certificate

from pyboot_svc.config import Tls
from pyboot_svc.worker.mqtt.link.opening import Deadline
from pyboot_svc.worker.mqtt.link.status import explain
from pyboot_svc.worker.mqtt.link.tls import name_of, secure, tls_context

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


class Server:
    """Takes one connection by TLS, and notes what its client offers."""

    def __init__(self, own: Certificate, *alpn: str, ca: Path | None = None) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(own.cert, own.key)
        self._context.sni_callback = self._note_name
        if alpn:
            self._context.set_alpn_protocols(list(alpn))
        if ca is not None:
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._context.load_verify_locations(ca)
            self._context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.name = self.protocol = self.version = ""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(10)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def connect(self, tls: Tls, host: str) -> None:
        """As a worker does; raises what it would tell of."""
        try:
            sock = socket.create_connection(self._listener.getsockname(), timeout=10)
            secure(sock, tls_context(tls, host), name_of(tls, host), Deadline()).close()
        finally:
            self._thread.join()

    def close(self) -> None:
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        with suppress(OSError):
            taken, _ = self._listener.accept()
            taken.settimeout(10)
            with taken, self._context.wrap_socket(taken, server_side=True) as connection:
                self.protocol = connection.selected_alpn_protocol() or ""
                self.version = connection.version() or ""

    def _note_name(self, sock: object, name: str | None, context: ssl.SSLContext) -> None:
        self.name = name or ""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    with ExitStack() as stack:

        def begin(own: Certificate, *alpn: str, ca: Path | None = None) -> Server:
            server = Server(own, *alpn, ca=ca)
            stack.callback(server.close)
            return server

        yield begin


def failure(server: Server, tls: Tls, host: str) -> str:
    with pytest.raises(OSError) as caught:  # noqa: PT011 # ssl has many of them
        server.connect(tls, host)
    return explain(caught.value, host)


@pytest.mark.parametrize(
    ("host", "tls", "named"),
    [
        ("broker.example", Tls(), "broker.example"),
        ("broker.example.", Tls(), "broker.example"),
        ("127.0.0.1", Tls(server_name="broker.example"), "broker.example"),
        ("other.example", Tls(server_name="broker.example"), "broker.example"),
    ],
    ids=["name", "dot", "address", "other-name"],
)
def test_the_name_that_is_asked_for(
    host: str, tls: Tls, named: str, authority: Authority, serve: Callable[..., Server]
) -> None:
    server = serve(authority.issue("broker", "DNS:broker.example"))
    server.connect(tls.with_files({"ca": str(authority.ca)}), host)
    assert server.name == named


@pytest.mark.parametrize(("alpn", "agreed"), [(("x-amzn-mqtt-ca",), "x-amzn-mqtt-ca"), ((), "")])
def test_the_protocol_that_is_offered(
    alpn: tuple[str, ...], agreed: str, authority: Authority, serve: Callable[..., Server]
) -> None:
    server = serve(authority.issue("broker", "DNS:plant"), "mqtt", "x-amzn-mqtt-ca")
    server.connect(Tls(ca=str(authority.ca), alpn=alpn), "plant")
    assert server.protocol == agreed


def test_the_version_that_is_the_oldest(authority: Authority, serve: Callable[..., Server]) -> None:
    own = authority.issue("broker", "DNS:plant")
    server = serve(own)
    server.connect(Tls(ca=str(authority.ca), min_version="1.3"), "plant")
    assert server.version == "TLSv1.3"
    server = serve(own, ca=authority.ca)  # which has TLS 1.2 at most
    found = failure(server, Tls(ca=str(authority.ca), min_version="1.3"), "plant")
    assert "other versions of TLS, see `tls: {min_version}`" in found


def test_a_certificate_of_ours_that_is_wanted(
    authority: Authority, serve: Callable[..., Server]
) -> None:
    own, ca = authority.issue("broker", "DNS:plant"), str(authority.ca)
    mine = authority.issue("client", "DNS:client")
    serve(own, ca=authority.ca).connect(Tls(ca, str(mine.cert), str(mine.key)), "plant")
    found = failure(serve(own, ca=authority.ca), Tls(ca), "plant")
    assert found.startswith("TLS failed: ")


@pytest.mark.parametrize(
    ("begin", "end", "what", "hint"),
    [
        (NOW - 9 * DAY, NOW - DAY, "certificate has expired", "the broker needs a new one"),
        (NOW + DAY, NOW + 9 * DAY, "certificate is not yet valid", "set the clock"),
    ],
    ids=["expired", "early"],
)
def test_a_certificate_of_another_time(
    begin: datetime,
    end: datetime,
    what: str,
    hint: str,
    authority: Authority,
    serve: Callable[..., Server],
) -> None:
    server = serve(authority.issue_dated("broker", "DNS:plant", begin, end))
    found = failure(server, Tls(ca=str(authority.ca)), "plant")
    assert found.startswith(f"its certificate is not trusted: {what} (")
    assert hint in found
    assert f"This host's clock says {NOW:%Y-}" in found


def test_a_certificate_that_nobody_vouches_for(
    tmp_path: Path, authority: Authority, serve: Callable[..., Server]
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "other")
    server = serve(authority.issue("broker", "DNS:plant"))
    found = failure(server, Tls(ca=str(other.ca)), "plant")
    assert "name the authority that signed it: `tls: {ca: FILE}`" in found


@pytest.mark.parametrize("host", ["other", "127.0.0.1"])
def test_a_certificate_of_another_name(
    host: str, authority: Authority, serve: Callable[..., Server]
) -> None:
    server = serve(authority.issue("broker", "DNS:plant"))
    found = failure(server, Tls(ca=str(authority.ca)), host)
    assert "mismatch" in found
    assert "`tls: {server_name: NAME}`" in found
