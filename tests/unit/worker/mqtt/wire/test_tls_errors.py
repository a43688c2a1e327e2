"""Errors of TLS are told apart, whether or not ssl is loaded."""

from __future__ import annotations

import ssl
import subprocess
import sys

import pytest

from pyboot_svc.worker.mqtt.wire.tls_errors import (
    cut_off_by_tls,
    explain_alert,
    explain_tls,
    is_of_tls,
    would_block,
)


def test_without_ssl_no_error_is_one_of_its() -> None:
    code = (
        "import sys; from pyboot_svc.worker.mqtt.wire import tls_errors as t; "
        "assert t.would_block() == (BlockingIOError,); "
        "assert not t.is_of_tls(OSError()); assert not t.cut_off_by_tls(EOFError()); "
        "assert 'ssl' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("error", [BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError])
def test_what_says_later(error: type[OSError]) -> None:
    assert issubclass(error, would_block())


def test_kinds() -> None:
    assert is_of_tls(ssl.SSLEOFError())
    assert cut_off_by_tls(ssl.SSLEOFError())
    assert not cut_off_by_tls(ssl.SSLError())
    assert not is_of_tls(ConnectionResetError())


def test_in_words() -> None:
    untrusted = ssl.SSLCertVerificationError(1, "certificate verify failed")
    untrusted.verify_message = "self-signed certificate"
    assert explain_tls(untrusted) == "its certificate is not trusted: self-signed certificate"
    untrusted.verify_code = 18
    assert explain_tls(untrusted) == (
        "its certificate is not trusted: self-signed certificate "
        "(it is signed by itself: trust it by `tls: {ca: FILE}`)"
    )
    alert = ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca (_ssl.c:2559)")
    assert explain_tls(alert) == (
        "TLS failed: tlsv1 alert unknown ca "
        "(it doesn't trust who signed ours: is `tls: {cert}` right?)"
    )
    assert explain_alert("[SSL: WRONG_VERSION_NUMBER] x") == "TLS failed: wrong version number"
    assert explain_tls(ssl.SSLError("odd")) == "TLS failed: ('odd',)"
