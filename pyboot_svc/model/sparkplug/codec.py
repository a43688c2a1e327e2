"""Sparkplug B as a codec: with the names that hold for a payload, and the errors of codecs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyboot_svc.model.codec import Codec, PayloadError, PayloadFault
from pyboot_svc.model.sparkplug.births import HostState, PlacedPayload
from pyboot_svc.model.sparkplug.decoder import UnknownMetric, decode
from pyboot_svc.model.sparkplug.encoder import encode

_ASKED = "the edge node was asked for its births"
_UNSEEN = (
    "its birth has not come here since the start: subscribe to NBIRTH and DBIRTH, too, and "
    "`sparkplug: {rebirth_on: [unknown_alias]}` asks for them"
)


def sparkplug_b(decode_state: Callable[[bytes], Any]) -> Codec:
    """`decode_state` is for the states of host applications, which are JSON."""

    def decode_any(payload: bytes) -> Any:
        if type(payload) is HostState:
            return decode_state(payload)
        try:
            if type(payload) is PlacedPayload:
                return decode(payload, payload.names)
            return decode(payload)
        except UnknownMetric as error:
            raise PayloadError(PayloadFault.UNKNOWN_ALIAS, _advise(payload, str(error))) from None
        except ValueError as error:
            reason = f"the payload is not Sparkplug B: {error}"
            raise PayloadError(PayloadFault.NOT_DECODABLE, reason) from None

    return Codec(decode_any, _encode)


def _advise(payload: bytes, problem: str) -> str:
    if type(payload) is not PlacedPayload:
        return f"{problem}, and the topic is not one of an edge node"
    group, node = payload.node
    asked = payload.rebirths.unknown(group, node)
    return f"edge node {node} of {group}: {problem}: {_ASKED if asked else _UNSEEN}"


def _encode(result: Any) -> bytes:
    try:
        return encode(result)
    except Exception as error:  # the result's own methods may raise anything
        reason = f"the result can't be encoded as Sparkplug B: {error}"
        raise PayloadError(PayloadFault.NOT_ENCODABLE, reason) from None
