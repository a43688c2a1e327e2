"""What somebody wants to see of the messages that pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_LONGEST_FILTER = 65_535


class Wish(NamedTuple):
    """Those whose topics match `topic`, a filter as MQTT has it; with `errors`, failed ones."""

    topic: str | None = None
    errors: bool = False

    def document(self) -> dict[str, Any]:
        """As it goes over the socket."""
        return {"topic": self.topic, "errors": self.errors}


def read_wish(document: Mapping[str, Any]) -> Wish:
    """Of what came over the socket; raises ValueError when that is none."""
    topic, errors = document.get("topic"), document.get("errors", False)
    well = topic is None or (isinstance(topic, str) and 0 < len(topic) <= _LONGEST_FILTER)
    if not well or not isinstance(errors, bool):
        raise ValueError("that is no wish to see messages")
    return Wish(topic, errors)
