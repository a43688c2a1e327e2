"""A document is one line, whatever is in it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyboot_svc.sockets.lines import decode_line, encode_line

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), values))
def test_a_document_is_one_line_and_comes_back(document: dict[str, object]) -> None:
    line = encode_line(document)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_line(line[:-1]) == document


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"[]",
        b"1",
        b"null",
        b'"a"',
        b'{"a":',
        b"{} {}",
        b"\xff\xfe\x00",
        b"[" * 60_000,
    ],
)
def test_what_is_no_object_is_refused_with_one_text(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"^a line that is not a JSON object$"):
        decode_line(line)
