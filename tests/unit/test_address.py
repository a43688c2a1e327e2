"""`host:port`, read and written."""

from __future__ import annotations

import pytest

from pyboot_svc.address import Address, format_address, is_host, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:5888", ("127.0.0.1", 5888)),
        ("plant.local:0", ("plant.local", 0)),
        ("[::1]:65535", ("::1", 65535)),
        ("[fe80::1%eth0]:1883", ("fe80::1%eth0", 1883)),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert format_address(*address) == text


def test_the_brackets_may_be_missing() -> None:
    assert parse_address("::1:5888") == ("::1", 5888)


@pytest.mark.parametrize(
    "text",
    ["", "5888", ":5888", "[]:5888", "h:", "h", "h:x", "h:-1", "h:65536", "h:000080"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        parse_address(text)


@pytest.mark.parametrize(
    "text",
    ["h", "plant-7.local", "plant_7.local.", "127.0.0.1", "::1", "fe80::1%eth0", "a" * 63 + ".b"],
)
def test_hosts(text: str) -> None:
    assert is_host(text)


@pytest.mark.parametrize(
    "text",
    ["", "*", ".", "a..b", ".a", "-a", "a b", "a:1", "é.local", "a\n", "a" * 64, "a." * 130],
)
def test_what_is_no_host(text: str) -> None:
    assert not is_host(text)
