"""What is known and said about the link to a broker."""

from __future__ import annotations

import logging
import socket
import ssl
import time

import pytest

from pyboot_svc.worker.mqtt.link.opening import NoAnswer
from pyboot_svc.worker.mqtt.link.status import StatusReporter, explain


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def test_from_the_first_attempt_to_a_connection_lost(said: pytest.LogCaptureFixture) -> None:
    before = time.time()
    link = StatusReporter("pre", "10.0.0.1:1883")
    assert (link.status.address, link.status.state) == ("10.0.0.1:1883", "connecting")
    link.attempt()
    link.connected()
    assert (link.status.state, link.status.reason, link.status.connects) == ("connected", "", 1)
    link.lost("connection lost")
    assert (link.status.state, link.status.reason) == ("unreachable", "connection lost")
    assert before <= link.status.since <= time.time()
    assert [record.getMessage() for record in said.records] == [
        "pre broker 10.0.0.1:1883: connected",
        "pre broker 10.0.0.1:1883: connection lost; retrying",
    ]


def test_a_doubt_about_a_link_that_stays_up_is_said_once(said: pytest.LogCaptureFixture) -> None:
    link = StatusReporter("pre", "b:1")
    link.connected()
    for _ in range(3):
        link.doubt("no answer to SUBSCRIBE within 25 s")
    assert link.status.state == "connected"
    assert link.status.reason == "no answer to SUBSCRIBE within 25 s"
    link.doubt("")
    assert link.status.reason == ""
    assert [record.getMessage() for record in said.records if record.levelname == "WARNING"] == [
        "pre broker b:1: no answer to SUBSCRIBE within 25 s; other data moves, so it is waited for"
    ]


def test_each_reason_is_said_once_until_the_link_is_up_again(
    said: pytest.LogCaptureFixture,
) -> None:
    link = StatusReporter("post", "b:1")
    for reason in ["no answer", "unknown host b"] * 10:
        link.attempt()
        link.lost(reason)
        assert link.status.reason == reason
    assert len(said.records) == 2
    link.connected()
    link.lost("no answer")
    assert len(said.records) == 4


def test_reasons_that_differ_each_time_are_not_said_for_ever(
    said: pytest.LogCaptureFixture,
) -> None:
    link = StatusReporter("post", "b:1")
    for number in range(100):
        link.lost(f"the broker refused: Server busy (request {number})")
    assert len(said.records) == 20
    assert link.status.reason.endswith("(request 99)")


def test_what_is_refused_at_each_connection_is_said_once(said: pytest.LogCaptureFixture) -> None:
    link = StatusReporter("pre", "b:1")
    for _ in range(10):
        link.connected()
        link.lost("the subscription to t was refused", refused=True)
    assert [record.getMessage() for record in said.records] == [
        "pre broker b:1: connected",
        "pre broker b:1: the subscription to t was refused; retrying",
    ]
    link.connected()
    link.lost("connection lost")
    link.connected()
    link.lost("the subscription to t was refused", refused=True)
    assert len(said.records) == 5


def test_attempts_and_since_count_from_when_it_became_unreachable() -> None:
    link = StatusReporter("post", "b:1")
    link.attempt()
    link.connected()
    link.lost("connection lost")
    since = link.status.since
    for _ in range(3):
        link.attempt()
        link.lost("no answer")
    assert (link.status.attempts, link.status.since) == (3, since)


def test_connections_are_counted_and_end_the_reason() -> None:
    link = StatusReporter("pre", "b:1")
    for _ in range(3):
        link.attempt()
        link.lost("no answer")
        link.connected()
    assert (link.status.connects, link.status.reason) == (3, "")


def test_status_as_a_document() -> None:
    document = StatusReporter("pre", "b:1").status._asdict()
    since = document.pop("since")
    assert isinstance(since, float)
    assert document == {
        "address": "b:1", "state": "connecting", "reason": "", "attempts": 0, "connects": 0,
        "takeovers": 0,
    }  # fmt: skip


def real_refusal() -> Exception:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        # Bound and not listening: nobody else can take it, and nobody answers.
        with pytest.raises(OSError) as caught:  # noqa: PT011
            socket.create_connection(("127.0.0.1", port), timeout=5)
        return caught.value


def untrusted() -> Exception:
    error = ssl.SSLCertVerificationError(1, "verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (real_refusal(), "connection refused (is a broker listening there?)"),
        (socket.gaierror(-2, "Name or service not known"), "unknown host plant"),
        (
            socket.gaierror(socket.EAI_AGAIN, "x"),
            "the name server did not answer (looking up plant)",
        ),
        (socket.gaierror(socket.EAI_FAIL, "broken"), "the look-up of plant failed: broken"),
        (UnicodeError("label too long"), "unknown host plant"),
        (TimeoutError("timed out"), "no answer"),
        (NoAnswer("no answer to CONNECT"), "no answer to CONNECT"),
        (untrusted(), "its certificate is not trusted: self-signed certificate"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] x"), "TLS failed: wrong version number"),
        (ssl.SSLError(1, "something else"), "something else"),
        (ConnectionResetError(104, "reset"), "it ended the handshake"),
        (OSError(113, "No route to host"), "No route to host"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_errors_in_a_users_words(error: Exception, words: str) -> None:
    assert words in explain(error, "plant")


def test_takeovers_are_counted() -> None:
    link = StatusReporter("pre", "b:1")
    for _ in range(2):
        link.taken_over()
        link.lost("another client took over the session")
    assert link.status.takeovers == 2
