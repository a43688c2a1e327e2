"""The dates of certificates, as OpenSSL writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import Authority

from pyboot_svc.config.certificates import Validity, validities

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (datetime(1960, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC)),
        (datetime(2024, 2, 29, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)),
        (datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
    ids=["1960", "2024", "2000"],
)
def test_begin_and_end(begin: datetime, end: datetime, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    made = authority.issue_dated("broker", "DNS:plant", begin, end)
    [of_ca] = validities(authority.ca.read_bytes())
    assert of_ca.end - of_ca.begin == timedelta(days=2)
    chain = made.cert.read_bytes() + b"\ntext between\n" + authority.ca.read_bytes()
    assert validities(chain) == [Validity(begin, end), of_ca]
    assert validities(made.key.read_bytes()) == []


def test_one_that_is_cut_short(tmp_path: Path) -> None:
    pem = Authority(tmp_path, "authority").ca.read_bytes()
    lines = pem.splitlines()
    for count in range(1, len(lines) - 1):
        broken = b"\n".join([lines[0], *lines[1:count], lines[-1]])
        try:
            found = validities(broken)
        except ValueError:
            continue
        assert found == validities(pem)  # the dates stand in front of what is missing


@given(st.binary(max_size=200))
def test_anything_else_is_an_error_and_no_crash(data: bytes) -> None:
    import base64

    pem = b"-----BEGIN CERTIFICATE-----%s-----END CERTIFICATE-----" % base64.b64encode(data)
    try:
        validities(pem)
    except ValueError:
        pass
