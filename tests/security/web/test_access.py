"""Who asks by another name, without a login, in the clear, or from another page."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import Up, run_pyboot
from support.certificates import Authority
from support.poll import until

PATHS = ("/", "/metrics", "/api/instances", "/queue_size_metrics", "/nowhere")


def request(
    connection: http.client.HTTPConnection, path: str, **headers: str
) -> tuple[int, http.client.HTTPMessage, str]:
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    finally:
        connection.close()


def plain(master: Up) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(master.url.partition("//")[2], timeout=20)


@pytest.mark.parametrize(
    "name", ["evil.example", "evil.example:5888", "localhost.evil", "10.0.0.1"]
)
def test_a_page_that_took_our_address_reads_nothing(
    start_master: Callable[..., Up], name: str
) -> None:
    master = start_master()
    for path in PATHS:
        status, headers, body = request(plain(master), path, Host=name)
        assert (status, "good-1" in body) == (421, False), path
        assert "Access-Control-Allow-Origin" not in headers
    for own in ("localhost", "LOCALHOST:1", "127.0.0.1:5888", "[::1]:5888"):
        assert request(plain(master), "/metrics", Host=own)[0] == 200


def test_each_answer_keeps_other_pages_out(start_master: Callable[..., Up]) -> None:
    master = start_master()
    for path in PATHS:
        headers = request(plain(master), path)[1]
        policy = headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        for directive in ("default-src 'none'", "frame-ancestors", "base-uri", "form-action"):
            assert directive in policy
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.fixture
def who(tmp_path: Path) -> tuple[Path, str]:
    """The file of those who may read: ada, with the password secret, and a token."""
    file = tmp_path / "who"
    made = run_pyboot("web", "password", "--file", str(file))
    assert made.returncode == 0, made.stderr
    assert file.stat().st_mode & 0o007 == 0
    added = run_pyboot("web", "password", "--file", str(file), "--user", "ada", input="secret\n")
    assert added.returncode == 0, added.stderr
    return file, made.stdout.strip()


def test_without_a_login_nothing_is_read_but_how_it_is(
    start_master: Callable[..., Up], who: tuple[Path, str]
) -> None:
    file, token = who
    master = start_master(head=f"web: {{auth: {{file: {file}}}}}")
    right = base64.b64encode(b"ada:secret").decode()
    wrong = base64.b64encode(b"ada:Secret").decode()
    for path in PATHS:
        for login in ({}, {"Authorization": f"Basic {wrong}"}, {"Authorization": "Bearer x"}):
            status, headers, body = request(plain(master), path, **login)
            assert (status, "good-1" in body) == (401, False), path
            assert headers["WWW-Authenticate"].startswith("Basic ")
    for header in (f"Basic {right}", f"Bearer {token}"):
        assert "good-1" in request(plain(master), "/api/instances", Authorization=header)[2]
    assert request(plain(master), "/healthz")[0] == 200
    status, _, body = request(plain(master), "/readyz")
    assert (status, json.loads(body)) == (503, {"ready": False})
    _, _, body = request(plain(master), "/readyz", Authorization=f"Bearer {token}")
    assert json.loads(body)["reasons"]
    assert token not in master.log


def test_status_shows_its_token(
    start_master: Callable[..., Up], who: tuple[Path, str], tmp_path: Path
) -> None:
    file, token = who
    master = start_master(head=f"web: {{auth: {{file: {file}}}}}")
    listen = ("--config", str(tmp_path / "config.yaml"), "--listen", master.url.partition("//")[2])
    refused = run_pyboot("status", *listen)
    assert (refused.returncode, "--token-file" in refused.stderr) == (69, True)
    (tmp_path / "token").write_text(token + "\n")
    shown = run_pyboot("status", *listen, "--token-file", str(tmp_path / "token"))
    assert (shown.returncode, "good-1" in shown.stdout) == (0, True), shown.stderr
    missing = run_pyboot("top", *listen, "--token-file", str(tmp_path / "nowhere"))
    assert (missing.returncode, "can't be read" in missing.stderr) == (64, True)


def test_where_other_hosts_reach_it_nothing_is_open_unsaid(
    start_master: Callable[..., Up], tmp_path: Path
) -> None:
    start_master().stop()
    config, listen = str(tmp_path / "config.yaml"), ("--listen", "0.0.0.0:0")
    refused = run_pyboot("master", "-c", config, "--run-dir", str(tmp_path / "run"), *listen)
    assert (refused.returncode, "auth: none" in refused.stderr) == (78, True)
    Path(config).write_text("web: {host: 0.0.0.0}\nedge: []\n")
    checked = run_pyboot("check", "-c", config)
    assert (checked.returncode, "auth: none" in checked.stdout) == (78, True)


def test_https_and_a_certificate_that_changes(
    start_master: Callable[..., Up], who: tuple[Path, str], tmp_path: Path
) -> None:
    file, token = who
    authority = Authority(tmp_path, "authority")
    first, second = (authority.issue(name, "IP:127.0.0.1") for name in ("first", "second"))
    cert, key = tmp_path / "web.pem", tmp_path / "web.key"
    shutil.copy(first.cert, cert)
    shutil.copy(first.key, key)
    tls = f"tls: {{cert: {cert}, key: {key}}}"
    master = start_master(head=f"web: {{{tls}, auth: {{file: {file}}}}}")
    host, _, port = master.url.removeprefix("https://").rpartition(":")
    trusting = ssl.create_default_context(cafile=str(authority.ca))

    def shown() -> bytes:
        with socket.create_connection((host, int(port)), 20) as peer:
            peer.settimeout(20)
            with trusting.wrap_socket(peer, server_hostname=host) as secured:
                found = secured.getpeercert(binary_form=True)
                assert found
                return found

    secure = http.client.HTTPSConnection(host, int(port), timeout=20, context=trusting)
    assert request(secure, "/metrics", Authorization=f"Bearer {token}")[0] == 200
    (tmp_path / "token").write_text(token)
    status = ("status", "-c", str(tmp_path / "config.yaml"), "--listen", f"{host}:{port}")
    told = run_pyboot(*status, "--token-file", str(tmp_path / "token"))
    assert (told.returncode, "good-1" in told.stdout) == (0, True), told.stderr
    with socket.create_connection((host, int(port)), 20) as clear:
        clear.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            assert b"HTTP/1.1 200" not in clear.recv(1000)
        except ConnectionResetError:
            pass
    before = shown()
    cert.write_text("half a certificate")
    until(lambda: "the old one stays" in master.log or not shown(), "the bad one is noticed")
    assert shown() == before
    shutil.copy(second.key, key)
    shutil.copy(second.cert, cert)
    until(lambda: shown() != before, "the new one is shown")


def test_idle_handshakes_keep_nobody_out(start_master: Callable[..., Up], tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    made = authority.issue("web", "IP:127.0.0.1")
    master = start_master(head=f"web: {{tls: {{cert: {made.cert}, key: {made.key}}}}}")
    host, _, port = master.url.removeprefix("https://").rpartition(":")
    idle = [socket.create_connection((host, int(port)), 20) for _ in range(300)]
    try:
        for peer in idle[::2]:
            peer.sendall(b"\x16\x03\x01")
        trusting = ssl.create_default_context(cafile=str(authority.ca))
        secure = http.client.HTTPSConnection(host, int(port), timeout=20, context=trusting)
        assert request(secure, "/healthz")[0] == 200
    finally:
        for peer in idle:
            peer.close()


def test_at_a_unix_socket_the_file_says_who(
    start_master: Callable[..., Up], tmp_path: Path
) -> None:
    path = tmp_path / "web.sock"
    master = start_master(head=f"web: {{socket: {path}}}", listen=False)
    assert master.url == f"unix:{path}"
    assert path.stat().st_mode & 0o777 == 0o660
    told = run_pyboot("status", "-c", str(tmp_path / "config.yaml"))
    assert (told.returncode, "good-1" in told.stdout) == (0, True), told.stderr
    assert master.stop() == 0
    assert not path.exists()
