"""Client ids of a broker: made of a prefix, or given; never the same for two connections."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyboot_svc.config import Edge
from pyboot_svc.config.compiled import load_compiled, write_compiled
from pyboot_svc.config.loader import load_config, parse_config
from pyboot_svc.errors import ConfigError
from pyboot_svc.identity import InstanceId

EDGE = "edge_mode: m.f, pre_topic: i, post_topic: o"
TWO = """
brokers:
  one: {host: h, %s}
  two: {host: h, %s}
edge:
  - {name: a, EDGE, pre_broker: one, post_broker: two}
""".replace("EDGE", EDGE)


def ids(edge: Edge) -> list[str]:
    ends = (("pre", edge.pre), ("post", edge.post))
    return [end.broker.client_id_of(InstanceId(edge.name, 1), role) for role, end in ends]


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text.encode(), "c.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("one", "two", "wanted"),
    [
        ("keepalive: 30", "keepalive: 40", ["pyboot-a-1", "pyboot-a-1-post"]),
        ("client_id_prefix: p7/", "keepalive: 40", ["p7/a-1", "pyboot-a-1-post"]),
        ("client_id: thing", "client_id: thing-out", ["thing", "thing-out"]),
        ("client_id: thing", "client_id_prefix: thing", ["thing", "thinga-1-post"]),
    ],
)
def test_ids(one: str, two: str, wanted: list[str], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(TWO % (one, two))
    [instance] = load_config(tmp_path / "c.yaml").instances()
    assert ids(instance.edge) == wanted
    write_compiled(instance, tmp_path)
    assert ids(load_compiled(tmp_path / "instances" / "a-1.json").edge) == wanted


def test_one_id_for_both_connections() -> None:
    found = refused(
        TWO.replace("post_broker: two", "post_broker: one") % ("client_id: x", "port: 1")
    )
    assert "edge[0].post_broker: its client id x is that of edge[0].pre_broker" in found
    assert "client_id_prefix" in found


def test_one_id_for_several_instances() -> None:
    text = TWO % ("client_id: x", "client_id: y")
    found = refused(text.replace("pre_broker", "instance: 2, pre_broker"))
    assert "edge[0].pre_broker: the client id x is for one connection" in found
    pods = "kubernetes: {deployment: true}, pre_broker"
    assert "for one connection" in refused(text.replace("pre_broker", pods))


def test_ids_that_prefixes_make_equal() -> None:
    text = TWO % ("client_id_prefix: p-", "client_id_prefix: p-a-") + (
        f"  - {{name: a-b, {EDGE}2, pre_broker: one, post_broker: one}}\n"
        f"  - {{name: b, {EDGE}3, pre_broker: two, post_broker: one}}\n"
    )
    assert "edge[2].pre_broker: its client id p-a-b-1 is that of edge[1].pre_broker" in refused(
        text
    )


def test_brokers_of_two_ports_are_two() -> None:
    text = TWO % ("client_id: x, port: 1", "client_id: x, port: 2")
    assert len(parse_config(text.encode(), "c.yaml").edges) == 1


@pytest.mark.parametrize("name", ["''", "a b", "ä", "x" * 129])
def test_what_is_no_client_id(name: str) -> None:
    assert "client_id" in refused(TWO % (f"client_id: {name}", "port: 1"))
