"""Messages that can't be taken as they came: too large, or with a topic that MQTT doesn't allow.

Where such a packet ends is known all the same, so that it is the message's trouble alone: it takes
its place among the others, is given up when its turn comes, and then acknowledged.
"""

from __future__ import annotations

from typing import NamedTuple

from pyboot_svc.model.codec import PayloadFault

# Of a packet beside its payload: topic and properties.
HEADROOM_BYTES = 128 * 1024
# What is kept of a payload that is too large.
HEAD_BYTES = 1024


class InvalidMessage(NamedTuple):
    """Why a message is given up without asking the model."""

    fault: PayloadFault
    text: str


class Given(NamedTuple):
    """What can be told of it, with 0 for no packet identifier."""

    topic: str
    payload: bytes
    mid: int
    reason: InvalidMessage


def topic_trouble(name: bytes) -> str | None:
    """What is wrong with a topic as it stands in a PUBLISH packet (MQTT 5, 1.5.4 and 4.7)."""
    if not name:
        return "the topic is empty"
    if b"\0" in name:
        return "the topic has a zero byte"
    if b"+" in name or b"#" in name:
        return "the topic has a wildcard"
    try:
        name.decode()
    except UnicodeDecodeError as error:
        return f"the topic is not UTF-8: {error.reason} at byte {error.start}"
    return None


def readable(name: bytes) -> str:
    """A topic for people, whatever is wrong with it."""
    return name.decode(errors="backslashreplace")


def too_large(size: int, most: int, kept: int) -> InvalidMessage:
    text = f"its payload of {size} bytes is larger than max_message, {most} bytes"
    return InvalidMessage(PayloadFault.TOO_LARGE, f"{text}; its first {kept} bytes are kept")


def examine(
    name: bytes, payload: bytes, size: int, mid: int, most: int, trouble: str = ""
) -> Given:
    """A message whose payload has `size` bytes, of which `payload` are there; `trouble` is known.

    `mid` is -1 when it needs none, which is at QoS 0.
    """
    found = [InvalidMessage(PayloadFault.MALFORMED, trouble)] if trouble else []
    about_topic = topic_trouble(name)
    if about_topic is not None:
        found.append(InvalidMessage(PayloadFault.BAD_TOPIC, about_topic))
    if mid == 0:
        text = "its packet identifier is 0: it can't be acknowledged"
        found.append(InvalidMessage(PayloadFault.MALFORMED, text))
    if size > most:
        payload = payload[:HEAD_BYTES]
        found.append(too_large(size, most, len(payload)))
    elif not found:
        text = f"its properties are larger than the {HEADROOM_BYTES} bytes that there is room for"
        payload = payload[:HEAD_BYTES]
        found.append(InvalidMessage(PayloadFault.TOO_LARGE, text))
    reason = InvalidMessage(found[0].fault, "; ".join(one.text for one in found))
    return Given(readable(name), payload, max(mid, 0), reason)


class Oversize:
    """A PUBLISH packet that is too large to be kept: its beginning, while the rest passes by."""

    def __init__(self, first: int, length: int, data: bytes) -> None:
        self.first = first
        self.length = length
        self.head = data[:HEADROOM_BYTES]
        self.left = length - len(data)

    def skip(self, data: bytes) -> bytes:
        """What comes behind its end."""
        passed = data[: self.left]
        self.left -= len(passed)
        if len(self.head) < HEADROOM_BYTES:
            self.head += passed[: HEADROOM_BYTES - len(self.head)]
        return data[len(passed) :]
