"""Finds models whose results or dead letters come in again as input, for ever, one after the other.

One message would become thousands a second. `loop: true` says that it is meant to be so.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise, zip_longest
from typing import NamedTuple

from pyboot_svc.config.document import Node, Problems
from pyboot_svc.config.settings import Broker, Edge
from pyboot_svc.topics import RESPONSE, may_become

_HERE = frozenset(
    ("localhost", "localhost.localdomain", "ip6-localhost", "127.0.0.1", "::1", "0.0.0.0", "::")
)
# How a filter is subscribed to in EMQX's own ways: it gets the topics behind the prefix.
_EMQX_WAYS = ("$queue/", "$exclusive/")
_HINT = "choose another topic, or set `loop: true` where the loop is meant and comes to an end"


class Placed(NamedTuple):
    """An edge, and where it stands in the file."""

    edge: Edge
    node: Node
    path: str


class _Flow(NamedTuple):
    """What one edge publishes and another one (or the same) gets."""

    source: int
    target: int
    key: str
    topic: str


@dataclass
class _Level:
    """Filters by their levels; those that end here, and those that end here with a `#`."""

    below: dict[str, _Level] = field(default_factory=dict)
    exact: list[int] = field(default_factory=list)
    all_below: list[int] = field(default_factory=list)


def refuse_loops(edges: Sequence[Placed], problems: Problems) -> None:
    """Add to `problems` each circle that no edge of it allows."""
    flows: dict[tuple[int, int], _Flow] = {}
    for flow in _flows(edges):
        if flow.source == flow.target:
            _refuse_own(edges[flow.source], flow, problems)
        else:
            flows.setdefault((flow.source, flow.target), flow)
    while (circle := _circle(flows)) is not None:
        steps = list(pairwise(circle))
        _refuse_circle(edges, [flows[step] for step in steps], problems)
        for step in steps:
            del flows[step]


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a subscription to the filter gets what is published to the topic."""
    root = _Level()
    _insert(root, topic_filter, 0)
    return next(_find(root, topic), None) is not None


def covers(one: str, other: str) -> bool:
    """Whether a message can match both filters."""
    first, second = one.split("/"), other.split("/")
    for level, (left, right) in enumerate(zip_longest(first, second)):
        if level == 0 and "$" in (str(left)[:1], str(right)[:1]) and left != right:
            return False  # a wildcard doesn't stand for `$SYS`
        if left == "#" or right == "#":
            return True
        if left is None or right is None:
            # `a/#` gets `a`, too.
            return False
        if left != right and "+" not in (left, right):
            return False
    return True


def is_this_host(host: str) -> bool:
    """Whether a host's name or address surely means the host itself."""
    name = host.lower().rstrip(".")
    try:
        return name in _HERE or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def same_broker_key(broker: Broker) -> tuple[str, int]:
    """Equal where two entries surely name one broker, however its host is written."""
    host = broker.host.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        host = str(mapped or address)
    return ("localhost" if host in _HERE else host), broker.port


def _flows(edges: Sequence[Placed]) -> Iterator[_Flow]:
    roots: defaultdict[tuple[str, int], _Level] = defaultdict(_Level)
    for number, (edge, _, _) in enumerate(edges):
        if not edge.loop:
            for topic_filter in _meanings(edge.pre.topics):
                _insert(roots[same_broker_key(edge.pre.broker)], topic_filter, number)
    for number, (edge, _, _) in enumerate(edges):
        root = roots.get(same_broker_key(edge.post.broker))
        if root is None or edge.loop:
            continue
        # Where requests ask for their answers is not said here; an answer is no request.
        published = [] if edge.post.topic == RESPONSE else [("post_topic", edge.post.topic)]
        if edge.on_error.then != "drop" and edge.dead_letter.publish:
            published.append(("dead_letter.topic", edge.dead_letter.topic))
        for key, topic in published:
            for target in _find(root, topic):
                yield _Flow(number, target, key, topic)


def _meanings(filters: Iterable[str]) -> Iterator[str]:
    """The filters, and what EMQX takes some of them for: which broker it is, isn't known here."""
    for topic_filter in filters:
        yield topic_filter
        for prefix in _EMQX_WAYS:
            if topic_filter.startswith(prefix):
                yield topic_filter.removeprefix(prefix)


def _insert(root: _Level, topic_filter: str, number: int) -> None:
    level = root
    *first, last = topic_filter.split("/")
    for name in first if last == "#" else [*first, last]:
        level = level.below.setdefault(name, _Level())
    (level.all_below if last == "#" else level.exact).append(number)


def _find(root: _Level, topic: str) -> Iterator[int]:
    """The numbers of all filters that match; MQTT 5, section 4.7."""
    names = topic.split("/")
    waiting = [(root, 0)]
    while waiting:
        level, depth = waiting.pop()
        # A filter that starts with a wildcard doesn't get topics that start with `$`.
        reserved = depth == 0 and topic.startswith("$")
        if not reserved:
            yield from level.all_below
        if depth == len(names):
            yield from level.exact
            continue
        found = _matching(level, names[depth], first=depth == 0)
        waiting += [(level.below[name], depth + 1) for name in found]


def _matching(level: _Level, name: str, *, first: bool) -> set[str]:
    """What stands next in filters of topics whose next level is `name`, which may be a template."""
    found = {name} & level.below.keys()
    if "{" in name:
        found = {below for below in level.below if may_become(name, below)}
        if first and not name.startswith("$"):  # nor does what is filled in
            found = {below for below in found if not below.startswith("$")}
    if not (first and name.startswith("$")):
        found |= {"+"} & level.below.keys()
    return found


def _circle(flows: dict[tuple[int, int], _Flow]) -> list[int] | None:
    """Edges that feed one another, the first one again at the end."""
    order: TopologicalSorter[int] = TopologicalSorter()
    for source, target in flows:
        order.add(target, source)
    try:
        order.prepare()
    except CycleError as error:
        circle: list[int] = error.args[1]
        return circle
    return None


def _refuse_own(placed: Placed, flow: _Flow, problems: Problems) -> None:
    what = "result" if flow.key == "post_topic" else "dead letter"
    message = (
        f"`{flow.key}` {flow.topic} lies within `pre_topic` {_filters(placed)} "
        f"on the same broker: each {what} would come in again"
    )
    node, path = _place(placed, flow.key)
    problems.add(node, path, message, _HINT)


def _refuse_circle(edges: Sequence[Placed], flows: Sequence[_Flow], problems: Problems) -> None:
    first = min(range(len(flows)), key=lambda number: flows[number].source)
    flows = [*flows[first:], *flows[:first]]
    steps = ", ".join(
        f"`{flow.key}` {flow.topic} of {edges[flow.source].edge.name} lies within "
        f"`pre_topic` {_filters(edges[flow.target])} of {edges[flow.target].edge.name}"
        for flow in flows
    )
    node, path = _place(edges[flows[0].source], flows[0].key)
    problems.add(node, path, f"messages would go in a circle: {steps}", _HINT)


def _filters(placed: Placed) -> str:
    return " or ".join(placed.edge.pre.topics)


def _place(placed: Placed, key: str) -> tuple[Node, str]:
    """Where a key stands; where its default is what counts, that is the edge's `pre_topic`."""
    node = placed.node
    for name in key.split("."):
        entry = node.value.get(name) if isinstance(node.value, dict) else None
        if entry is None:
            return placed.node.value["pre_topic"].node, f"{placed.path}.pre_topic"
        node = entry.node
    return node, f"{placed.path}.{key}"
