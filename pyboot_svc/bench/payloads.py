"""The values of golden cases as payloads: inputs as they come, results as they are sent."""

from __future__ import annotations

import json
from typing import Any

from pyboot_svc.config import Edge
from pyboot_svc.model.codec import PayloadError
from pyboot_svc.model.formats import codec_of
from pyboot_svc.model.plain import Nan

# What comes out of these may be JSON all the same, which is easier to compare.
_LOOSE = ("raw", "text")


class CasePayloads:
    """By the edge's codecs and compressions; raises ModelError for what is missing."""

    def __init__(self, edge: Edge) -> None:
        self._in, self._out = edge.codec, edge.codec_out or edge.codec
        incoming = edge._replace(codec_out=None, compression_out=edge.compression, nan=Nan.KEEP)
        outgoing = edge._replace(codec=self._out, codec_out=None, compression=edge.compression_out)
        self._encode = codec_of(incoming).encode
        self._decode = codec_of(outgoing).decode

    def write(self, value: Any) -> bytes:
        """Of `codec: raw`, a text stands for its bytes; raises PayloadError."""
        return self._encode(
            value.encode() if self._in == "raw" and isinstance(value, str) else value
        )

    def read(self, result: bytes) -> Any:
        """What a result says, or the result itself as text where that can't be read."""
        try:
            value = self._decode(bytes(result))
            if self._out not in _LOOSE:
                return value
            return json.loads(value)
        except (PayloadError, ValueError):
            return shown(result)


def shown(result: bytes) -> str:
    return result.decode("utf-8", "backslashreplace")
