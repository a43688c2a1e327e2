"""Files of one password or token, as editors and shells leave them."""

from __future__ import annotations

import pytest

from pyboot_svc.credentials import first_line

ALIKE = (b"p\xc3\xa9 w", b"p\xc3\xa9 w\n", b"p\xc3\xa9 w\r\n", b"\xef\xbb\xbfp\xc3\xa9 w\r\nmore\n")


@pytest.mark.parametrize("data", ALIKE)
def test_neither_a_mark_nor_an_end_of_line_belongs_to_it(data: bytes) -> None:
    assert first_line(data) == "pé w"


@pytest.mark.parametrize("data", ["pé".encode("latin-1"), "pw".encode("utf-16")])
def test_what_is_no_text_is_not_quoted(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^is not UTF-8 text$") as caught:
        first_line(data)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
