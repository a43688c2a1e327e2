"""Finds connections that would have the same client id at one broker, which keeps one of them only:
they would throw each other out for ever."""

from __future__ import annotations

from collections.abc import Sequence

from pyboot_svc.config.document import Node, Problems
from pyboot_svc.config.loops import Placed, same_broker_key
from pyboot_svc.config.settings import DEFAULT_CLIENT_ID_PREFIX, Broker, Edge

_HINT = "set `client_id_prefix` instead, or make an entry of `brokers` for each connection"


def refuse_shared_client_ids(edges: Sequence[Placed], problems: Problems) -> None:
    """Add to `problems` each connection whose id another one before it has."""
    if not any(_is_special(broker) for placed in edges for _, broker in _brokers(placed.edge)):
        return  # by themselves, ids differ as the names of edges do
    taken: dict[tuple[tuple[str, int], str], str] = {}
    for placed in edges:
        for role, broker in _brokers(placed.edge):
            key = f"{role}_broker"
            node: Node = placed.node.value[key].node
            path = f"{placed.path}.{key}"
            if broker.client_id is not None and _has_several(placed.edge):
                message = f"the client id {broker.client_id} is for one connection, not for several"
                problems.add(node, path, f"{message} instances", _HINT)
                continue
            for identity in placed.edge.instances:
                name = broker.client_id_of(identity, role)
                other = taken.setdefault((same_broker_key(broker), name), path)
                if other != path:
                    message = f"its client id {name} is that of {other}, on the same broker"
                    problems.add(node, path, message, _HINT)
                    break


def _has_several(edge: Edge) -> bool:
    """At the same time; when a Deployment rolls, there are two for a while."""
    return edge.instance > 1 or edge.kubernetes.deployment


def _is_special(broker: Broker) -> bool:
    return broker.client_id is not None or broker.client_id_prefix != DEFAULT_CLIENT_ID_PREFIX


def _brokers(edge: Edge) -> tuple[tuple[str, Broker], ...]:
    return ("pre", edge.pre.broker), ("post", edge.post.broker)
