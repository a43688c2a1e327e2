"""Results or dead letters that come in again as input: one message would become 10,000."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub
from support.client import Plant
from support.poll import until
from support.workers import Workers

from pyboot_svc.config.loader import parse_config
from pyboot_svc.config.loops import matches
from pyboot_svc.errors import ConfigError, Problem
from pyboot_svc.topics import may_become

LEVEL = st.sampled_from(["", "a", "b", "$x", "+"])
ORIGINAL = "/gridsum/test/telm/in/m1", "/gridsum/test/telm/out/m1"


def edge(name: str, pre: str, post: str, more: str = "") -> str:
    hosts = "" if "pre_broker" in more else "pre_broker: a, post_broker: a, "
    return (
        f"  - {{name: {name}, edge_mode: m.f, pre_topic: '{pre}', post_topic: '{post}', "
        f"{hosts}{more}}}\n"
    )


def found(*edges: str, head: str = "") -> list[Problem]:
    try:
        parse_config(f"{head}\nedge:\n{''.join(edges)}".encode(), "config.yaml")
    except ConfigError as error:
        return list(error.problems)
    return []


def hosts(pre: str, post: str, more: str = "") -> str:
    return f"pre_broker: '{pre}', post_broker: '{post}', {more}"


@pytest.mark.parametrize(
    ("pre", "post"),
    [
        ("plant/#", "plant/mean"),
        ("plant/#", "plant"),
        ("plant/mean", "plant/mean"),
        ("plant/+", "plant/"),
        ("+/mean", "/mean"),
        ("+", "mean"),
        ("/#", "/"),
        ("$edge/#", "$edge/mean"),
        ("$queue/plant/#", "plant/mean"),
        ("$queue/+", "mean"),
        ("$queue/mean", "$queue/mean"),
        ("$exclusive/plant/mean", "plant/mean"),
        ("plant/#", "plant/{device}"),
        ("plant/raw", "plant/{device}"),
        ("plant/+", "plant/dev{id}"),
        ("plant/dev7", "plant/dev{id}"),
        ("plant/raw", "plant/{a}aw"),
        ("plant/raw/1", "{site}/r{a}/{topic[1]}"),
        ("+/raw", "{site}/raw"),
        ("$edge/raw/#", "$edge/r{a}w"),
    ],
)
def test_a_result_that_comes_in_again_is_refused(pre: str, post: str) -> None:
    [problem] = found(edge("m", pre, post))
    assert problem.path == "edge[0].post_topic"
    for named in ("`post_topic`", "`pre_topic`", f"`post_topic` {post} ", f"`pre_topic` {pre} "):
        assert named in problem.message
    assert "loop: true" in problem.hint
    assert found(edge("m", pre, post, "loop: true")) == []


def test_both_results_and_dead_letters_within_everything() -> None:
    letters, results = found(edge("m", "#", "plant/mean"))
    assert results.path == "edge[0].post_topic"
    assert letters.path == "edge[0].pre_topic"  # the default stands nowhere
    assert "`dead_letter.topic` pyboot/dead/m lies within `pre_topic` #" in letters.message


def test_dead_letters_alone() -> None:
    [problem] = found(edge("m", "plant/+", "out", "dead_letter: {topic: plant/dead}"))
    assert problem.path == "edge[0].dead_letter.topic"
    assert found(edge("m", "pyboot/#", "out"))
    assert not found(edge("m", "pyboot/#", "out", "on_error: {then: drop}"))


@pytest.mark.parametrize(
    ("pre", "post"),
    [
        ("plant/+", "plant"),
        ("plant/+", "plant/a/b"),
        ("plant/#", "Plant/mean"),
        ("plant/#", "plants/mean"),
        ("+/mean", "mean"),
        ("+/+", "$plant/mean"),
        ("plant", "plant/"),
        ("$queue/plant/+", "plant/mean/1"),
        ("$queue", "plant"),
        ("$exclusive/plant/in", "plant/out"),
        ("plant/raw", "plant/dev{id}"),
        ("plant/dev", "plant/dev{id}"),
        ("plant/raw", "plant/{id}raw"),
        ("plant/raw", "plant/r{a}a{b}w"),
        ("plant/raw", "plant/{a}/raw"),
        ("plant/a/raw", "plant/{a}"),
        ("$edge/raw", "{a}/raw"),
        ("+/raw", "$edge{a}/raw"),
        ORIGINAL,
    ],
)
def test_what_does_not_match_is_let_through(pre: str, post: str) -> None:
    assert found(edge("m", pre, post)) == []


def test_a_leading_wildcard_gets_no_topic_with_a_dollar() -> None:
    assert found(edge("m", "#", "$plant/mean", "dead_letter: {topic: $dead}")) == []


@pytest.mark.parametrize(
    ("pre", "post"),
    [
        ("localhost", "127.0.0.1"),
        ("::1", "LOCALHOST"),
        ("ip6-localhost", "localhost"),
        ("broker.example", "Broker.Example."),
        ("10.0.0.1", "::ffff:10.0.0.1"),
        ("2001:db8::1", "2001:DB8:0::1"),
    ],
)
def test_one_broker_under_two_names(pre: str, post: str) -> None:
    assert len(found(edge("m", "p/#", "p/mean", hosts(pre, post)))) == 1


@pytest.mark.parametrize(
    "more",
    [
        hosts("broker.example", "other.example"),
        hosts("127.0.0.1", "127.0.0.1", "post_port: 1884"),
        hosts("10.0.0.1", "10.0.0.2"),
    ],
)
def test_two_brokers_make_no_loop(more: str) -> None:
    assert found(edge("m", "p/#", "p/mean", more)) == []


def test_named_brokers_are_compared_by_where_they_are() -> None:
    head = "brokers: {one: {host: localhost}, two: {host: 127.0.0.1, port: 1883}}"
    assert len(found(edge("m", "p/#", "p/mean", hosts("one", "two")), head=head)) == 1


def test_a_chain_is_no_loop() -> None:
    assert found(edge("a", "in", "x/1"), edge("b", "x/#", "y"), edge("c", "y", "z")) == []
    assert found(edge("a", "in", "out"), edge("alarms", "pyboot/dead/a", "alarms")) == []


def test_edges_that_feed_one_another_are_refused_once() -> None:
    circle = (edge("a", "in/#", "x/1"), edge("b", "x/+", "y"), edge("c", "y", "in/again"))
    [problem] = found(*circle)
    assert problem.path == "edge[0].post_topic"
    for step in (
        "`post_topic` x/1 of a lies within `pre_topic` x/+ of b",
        "`post_topic` y of b lies within `pre_topic` y of c",
        "`post_topic` in/again of c lies within `pre_topic` in/# of a",
    ):
        assert step in problem.message
    assert found(*circle[:2], edge("c", "y", "in/again", "loop: true")) == []


def test_a_circle_by_way_of_dead_letters() -> None:
    [problem] = found(edge("a", "in", "out"), edge("mend", "pyboot/dead/a", "in"))
    assert problem.path == "edge[0].pre_topic"
    assert "`dead_letter.topic` pyboot/dead/a of a lies within `pre_topic`" in problem.message
    # Who takes all dead letters takes its own, too.
    assert len(found(edge("a", "in", "out"), edge("mend", "pyboot/dead/#", "in"))) == 2


def test_defaults_can_allow_it() -> None:
    assert found(edge("m", "#", "out"), head="defaults: {loop: true}") == []


@given(
    st.lists(LEVEL, min_size=1, max_size=4),
    st.lists(LEVEL, min_size=1, max_size=4),
    st.booleans(),
)
def test_matching_is_that_of_other_clients(levels: list[str], names: list[str], rest: bool) -> None:
    topic = "/".join(name.replace("+", "c") for name in names)
    topic_filter = "/".join([*levels, "#"] if rest else levels)
    if not topic or not topic_filter:
        return
    assert matches(topic_filter, topic) == topic_matches_sub(topic_filter, topic)


@given(
    st.lists(st.sampled_from(["", "a", "ab", "b"]), min_size=1, max_size=4),
    st.text("ab", max_size=8),
)
def test_what_a_level_of_a_template_can_become(literals: list[str], name: str) -> None:
    """A field is filled in by one character or more."""
    pattern = ".+".join(map(re.escape, literals))
    expected = re.fullmatch(pattern, name) is not None
    assert may_become("{x}".join(literals), name) == expected


def test_a_thousand_edges_are_checked_without_delay() -> None:
    edges = [edge(f"m{n}", f"in/+/{n}", f"out/{n}") for n in range(1000)]
    assert found(*edges) == []
    assert len(found(*edges, edge("last", "out/#", "in/x/7"))) == 1
    templates = [edge(f"m{n}", f"in/+/{n}", f"out/{{device}}/{n}") for n in range(1000)]
    assert found(*templates) == []


def test_a_loop_that_is_meant_comes_to_its_end(
    write_config: Callable[..., Path], workers: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    models = "def down(payload): return payload - 1 if payload else None\n"
    own = (
        f"{{name: m, edge_mode: my_models.down, pre_topic: {topic}, post_topic: {topic}, "
        "loop: true}"
    )
    app = workers(write_config(own, models=models))
    plant.subscribe(topic)
    plant.publish(topic, 20)
    plant.wait_for(21)
    until(lambda: app.instance("m-1")["counters"]["nothing_to_publish"] == 1, "the end")
    assert plant.payloads() == list(range(20, -1, -1))
