"""The properties of PUBLISH packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pyboot_svc.worker.properties import PublishProperties, decode_properties, encode_length

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=300)
some = st.builds(
    PublishProperties,
    expiry=st.none() | st.integers(0, 2**32 - 1),
    content_type=st.none() | texts,
    response_topic=st.none() | texts.filter(lambda text: not set(text) & set("+#")),
    correlation=st.none() | st.binary(max_size=300),
    user=st.lists(st.tuples(texts, texts), max_size=4).map(tuple),
)


@given(some)
def test_what_is_encoded_is_decoded(properties: PublishProperties) -> None:
    assert decode_properties(properties.encode()) == properties


@given(some)
def test_paho_reads_the_same(properties: PublishProperties) -> None:
    encoded = properties.encode()
    found = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    found.unpack(encode_length(len(encoded)) + encoded)  # type: ignore[no-untyped-call]
    assert getattr(found, "MessageExpiryInterval", None) == properties.expiry
    assert getattr(found, "ContentType", None) == properties.content_type
    assert getattr(found, "ResponseTopic", None) == properties.response_topic
    assert getattr(found, "CorrelationData", None) == properties.correlation
    assert tuple(map(tuple, getattr(found, "UserProperty", ()))) == properties.user


def test_of_others_it_takes_no_notice() -> None:
    own = PublishProperties(content_type="a/b", user=(("k", "v"),)).encode()
    # Payload format, a subscription identifier of three bytes, a topic alias.
    assert decode_properties(b"\x01\x01\x0b\x80\x80\x01\x23\0\x05" + own) == PublishProperties(
        content_type="a/b", user=(("k", "v"),)
    )


@pytest.mark.parametrize(
    "rest",
    [b"\x26\0\x05ab", b"\x03\0\x02\xff\xff", b"\x99\0\0", b"\x02\0", b"\x0b\x80", b"\x26\0\x01a"],
)
def test_what_stands_before_a_malformed_one_is_good(rest: bytes) -> None:
    properties = PublishProperties(response_topic="a/b")
    assert decode_properties(properties.encode() + rest) == properties


@given(st.binary(max_size=100))
def test_no_bytes_are_too_bad(encoded: bytes) -> None:
    decode_properties(encoded)
