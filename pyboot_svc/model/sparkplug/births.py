"""The names that edge nodes give to aliases when they are born, for the data that comes after.

Names are looked up when a message arrives, and go with it: whatever is born before the model gets
to it changes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, cast

from pyboot_svc.model.sparkplug.decoder import NO_NAMES, Names, decode, sequence_number
from pyboot_svc.model.sparkplug.rebirths import NoRebirths, Rebirths
from pyboot_svc.model.sparkplug.topic import STATE, Route, route_of

# What is remembered of all edge nodes together, in bytes as estimated; and of topics.
MOST_BYTES = 64 * 1024**2
_NAME_BYTES, _NODE_BYTES = 300, 1000
_MOST_TOPICS, _LONGEST_TOPIC = 10_000, 1000
_SEQUENCE = 256
_BIRTHS = ("NBIRTH", "DBIRTH")
# Of an edge node, one after the other; its own birth may begin anywhere.
_NUMBERED = ("DBIRTH", "NDATA", "DDATA", "DDEATH")

Node = tuple[str, str]


class PlacedPayload(bytes):
    """A payload with the names that held when it arrived, and who can be asked for others."""

    names: Names
    node: Node
    rebirths: Rebirths | NoRebirths


class HostState(bytes):
    """The state of a host application, which is JSON."""


class _EdgeNode:
    """What is known of one: names by device, the latest `seq`, and its session's `bdSeq`.

    `connection` is the one by which nothing of it was missed.
    """

    def __init__(self, connection: int, seq: int | None) -> None:
        self.connection = connection
        self.seq = seq
        self.names: dict[str, Names] = {}
        self.session: Any = None

    @property
    def size(self) -> int:
        return _NODE_BYTES + sum(map(_size, self.names.items()))


class Births:
    """Of all edge nodes whose messages come here. Who calls it does so from one thread at a time.

    When they take more than `most_bytes`, the edge node that was silent for longest is forgotten.
    """

    def __init__(
        self, rebirths: Rebirths | NoRebirths | None = None, most_bytes: int = MOST_BYTES
    ) -> None:
        self._rebirths = rebirths or NoRebirths()
        self._most_bytes = most_bytes
        self._nodes: OrderedDict[Node, _EdgeNode] = OrderedDict()
        self._size = 0
        self._connection = 0
        self._routes: dict[str, Route | None] = {}

    def reconnected(self) -> None:
        """Of what was published just before, births included, something may be missing."""
        self._connection += 1

    def arrived(self, topic: str, payload: bytes, *, kept: bool = False) -> bytes:
        """The payload with what is known of its metrics; a birth or a death is remembered.

        `kept`: the broker would have kept it, and what came before it, for a connection that was
        lost.
        """
        route = self._route(topic)
        if route is None or route.kind == STATE:
            return payload if route is None else HostState(payload)
        if route.kind in _NUMBERED:
            self._follow(route, payload, kept)
        if route.kind in _BIRTHS:
            self._born(route, payload)
        elif route.kind == "NDEATH":
            self._died(route, payload)
        placed = self._placed(route, payload)
        if route.kind == "DDEATH":
            self._forget_device(route)
        return placed

    def again(self, topic: str, payload: bytes) -> bytes:
        """The same for a message of former times: what it says of births is no longer true."""
        route = self._route(topic)
        if route is None or route.kind == STATE:
            return payload if route is None else HostState(payload)
        return self._placed(route, payload)

    def _route(self, topic: str) -> Route | None:
        if len(topic) > _LONGEST_TOPIC:
            return route_of(topic)
        try:
            return self._routes[topic]
        except KeyError:
            if len(self._routes) >= _MOST_TOPICS:
                self._routes.clear()
            route = self._routes[topic] = route_of(topic)
            return route

    def _placed(self, route: Route, payload: bytes) -> PlacedPayload:
        key = (route.group, route.node)
        node = self._nodes.get(key)
        placed = PlacedPayload(payload)
        placed.node, placed.rebirths, placed.names = key, self._rebirths, NO_NAMES
        if node is not None:
            self._nodes.move_to_end(key)
            placed.names = node.names.get(route.device, NO_NAMES)
        return placed

    def _born(self, route: Route, payload: bytes) -> None:
        key = (route.group, route.node)
        if route.kind == "NBIRTH":  # what was known of it and of its devices ends
            self._forget(key)
        try:
            found = decode(payload)
        except ValueError:
            return  # it becomes a dead letter
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = _EdgeNode(self._connection, found.get("seq"))
            self._size += node.size
        if route.kind == "NBIRTH":
            node.session = _session(found)
        self._forget_device(route)
        names = node.names[route.device] = _names(found)
        self._size += _size((route.device, names))
        while self._size > self._most_bytes and len(self._nodes) > 1:
            self._forget(next(iter(self._nodes)))

    def _died(self, route: Route, payload: bytes) -> None:
        """The last will of a session that has a successor comes late, and says nothing of it."""
        key = (route.group, route.node)
        node = self._nodes.get(key)
        if node is None:
            return
        try:
            session = _session(decode(payload))
        except ValueError:
            return
        if None in (session, node.session) or session == node.session:
            self._forget(key)

    def _forget(self, key: Node) -> None:
        node = self._nodes.pop(key, None)
        if node is not None:
            self._size -= node.size

    def _forget_device(self, route: Route) -> None:
        node = self._nodes.get((route.group, route.node))
        if node is not None and route.device in node.names:
            self._size -= _size((route.device, node.names.pop(route.device)))

    def _follow(self, route: Route, payload: bytes, kept: bool) -> None:
        """All that an edge node publishes after its birth is numbered in a row, by 0 to 255.

        After a lost connection that tells whether it was born anew meanwhile: names from before
        might be wrong then.
        """
        key = (route.group, route.node)
        node = self._nodes.get(key)
        if node is None:
            return
        seq, last = sequence_number(payload), node.seq
        doubtful = node.connection != self._connection and not kept
        if seq is not None and seq == last and not doubtful:  # one that was delivered twice
            return
        node.seq = seq
        in_row = None not in (seq, last) and seq == (cast(int, last) + 1) % _SEQUENCE
        if doubtful:
            if not in_row:
                self._forget(key)
            node.connection = self._connection
        if not in_row and None not in (seq, last):
            self._rebirths.gap(*key)


def _names(birth: dict[str, Any]) -> Names:
    by_alias, datatypes = {}, {}
    for metric in birth["metrics"]:
        name, datatype = metric["name"], metric.get("datatype", "")
        if "alias" in metric:
            by_alias[metric["alias"]] = (name, datatype)
        datatypes[name] = datatype
    return Names(by_alias, datatypes)


def _size(device: tuple[str, Names]) -> int:
    """Of a device's names, with its own; many aliases may be of one name."""
    name, names = device
    count = max(len(names.by_alias), len(names.datatypes))
    return _NODE_BYTES + len(name) + _NAME_BYTES * count + sum(map(len, names.datatypes))


def _session(found: dict[str, Any]) -> Any:
    """The number of the session that a birth and a death of an edge node are of."""
    return next((one["value"] for one in found["metrics"] if one["name"] == "bdSeq"), None)
