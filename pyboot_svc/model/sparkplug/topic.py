"""What a topic says of a message: `spBv1.0/GROUP/TYPE/NODE[/DEVICE]`."""

from __future__ import annotations

from typing import NamedTuple

NAMESPACE = "spBv1.0"
STATE = "STATE"
_TYPES = frozenset(
    ("NBIRTH", "NDEATH", "NDATA", "NCMD", "DBIRTH", "DDEATH", "DDATA", "DCMD"),
)


class Route(NamedTuple):
    """`device` is empty for what is the edge node's own; so is all but `kind` of a host's state."""

    group: str
    kind: str
    node: str
    device: str


def route_of(topic: str) -> Route | None:
    """None for a topic that is none of Sparkplug's."""
    levels = topic.split("/")
    if levels[0] != NAMESPACE or len(levels) < 3:
        return None
    if levels[1] == STATE:
        return Route("", STATE, "", "")
    if levels[2] not in _TYPES or not 4 <= len(levels) <= 5:
        return None
    of_device = levels[2].startswith("D")
    if of_device != (len(levels) == 5):
        return None
    return Route(levels[1], levels[2], levels[3], levels[4] if of_device else "")
