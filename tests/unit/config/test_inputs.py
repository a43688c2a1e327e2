"""Where input comes from: several topics, and how instances share them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyboot_svc.config import Edge
from pyboot_svc.config.compiled import load_compiled, write_compiled
from pyboot_svc.config.loader import parse_config
from pyboot_svc.config.loops import covers, matches
from pyboot_svc.errors import ConfigError

EDGE = """
edge:
  - name: e
    edge_mode: m.f
    pre_broker: 127.0.0.1
    pre_topic: {topic}
    post_broker: 127.0.0.1
    post_topic: out
    instance: 2
    share: {share}
"""


def parse(topic: str = "in", share: str = "true") -> Edge:
    text = EDGE.format(topic=topic, share=share)
    return parse_config(text.encode(), "config.yaml").edges[0]


def problems(topic: str = "in", share: str = "true") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(topic, share)
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("written", "topics"),
    [("a/+", ("a/+",)), ("[a/+]", ("a/+",)), ("[a/+, b/#, c]", ("a/+", "b/#", "c"))],
)
def test_topics(written: str, topics: tuple[str, ...], tmp_path: Path) -> None:
    edge = parse(written)
    assert edge.pre.topics == topics
    text = EDGE.format(topic=written, share="true")
    [instance, _] = parse_config(text.encode(), "config.yaml").instances()
    write_compiled(instance, tmp_path)
    assert load_compiled(tmp_path / "instances" / "e-1.json") == instance


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[]", "edge[0].pre_topic: must name at least one topic"),
        (
            "[a/+, a/b]",
            "edge[0].pre_topic: a/+ and a/b have topics in common: those would come twice",
        ),
        ("[a, a]", "edge[0].pre_topic: a and a have topics in common: those would come twice"),
        ("[a, b+]", "edge[0].pre_topic[1]: + must be a whole level of the topic, as in a/+/b: b+"),
        ("[a, out]", "edge[0].post_topic: `post_topic` out lies within `pre_topic` a or out"),
    ],
)
def test_topics_that_are_none(written: str, said: str) -> None:
    assert any(problem.startswith(said) for problem in problems(written)), problems(written)


def test_of_topics_that_are_all_wrong_nothing_else_is_said() -> None:
    assert len(problems("[b+, $share/g/a]")) == 2


@pytest.mark.parametrize(
    ("written", "share", "partition"),
    [
        ("true", True, None),
        ("false", False, None),
        ("{by: device}", True, "device"),
        ("{by: 'topic[2]'}", True, "topic[2]"),
    ],
)
def test_sharing(written: str, share: bool, partition: str | None) -> None:
    edge = parse(share=written)
    assert (edge.share, edge.partition) == (share, partition)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{}", "edge[0].share: must be true, false or {by: KEY}"),
        ("{by: a, of: b}", "edge[0].share: must be true, false or {by: KEY}"),
        ("{by: 'a b'}", "edge[0].share: is no key: a b is neither a key nor topic[1]"),
        ("{by: }", "edge[0].share: must"),
        ("5", "edge[0].share: must be true or false, not 5"),
    ],
)
def test_sharing_that_is_none(written: str, said: str) -> None:
    assert problems(share=written)[0].startswith(said)


levels = st.lists(st.sampled_from(["a", "b", "+", "$SYS"]), min_size=1, max_size=4)
filters = st.tuples(levels, st.booleans()).map(
    lambda drawn: "/".join([*drawn[0], "#"] if drawn[1] else drawn[0])
)
topics = st.lists(st.sampled_from(["a", "b", "$SYS"]), min_size=1, max_size=5).map("/".join)


@given(filters, filters, topics)
def test_filters_that_match_one_topic_cover_one_another(one: str, other: str, topic: str) -> None:
    if matches(one, topic) and matches(other, topic):
        assert covers(one, other)
        assert covers(other, one)


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        ("a/#", "a", True),
        ("+/b", "a/+", True),
        ("a/+/c", "a/b", False),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("a/b/#", "a/c/#", False),
    ],
)
def test_what_filters_have_in_common(one: str, other: str, common: bool) -> None:
    assert (covers(one, other), covers(other, one)) == (common, common)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("codec: csv", ("csv", None, None, None)),
        ("codec: {in: raw}", ("raw", "json", None, None)),
        ("codec: {out: text}", ("json", "text", None, None)),
        ("codec: {in: cbor, out: cbor}", ("cbor", None, None, None)),
        ("compression: gzip", ("json", None, "gzip", "gzip")),
        ("compression: {in: zlib}", ("json", None, "zlib", None)),
        ("compression: {out: zstd}", ("json", None, None, "zstd")),
    ],
)
def test_formats(written: str, found: tuple[str | None, ...], tmp_path: Path) -> None:
    text = EDGE.format(topic="in", share="true") + f"    {written}\n"
    config = parse_config(text.encode(), "config.yaml")
    edge = config.edges[0]
    assert (edge.codec, edge.codec_out, edge.compression, edge.compression_out) == found
    instance = next(iter(config.instances()))
    write_compiled(instance, tmp_path)
    assert load_compiled(tmp_path / "instances" / "e-1.json") == instance


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("codec: {in: jsn}", "edge[0].codec.in"),
        ("codec: {from: json}", "edge[0].codec"),
        ("compression: {in: lz4}", "edge[0].compression.in"),
        ("compression: {}", "edge[0].compression"),
    ],
)
def test_formats_that_are_none(written: str, path: str) -> None:
    text = EDGE.format(topic="in", share="true") + f"    {written}\n"
    with pytest.raises(ConfigError) as caught:
        parse_config(text.encode(), "config.yaml")
    assert caught.value.problems[0].path == path


def test_pods_that_are_interchangeable_have_no_part_of_their_own() -> None:
    text = EDGE.format(topic="in", share="{by: device}") + "    kubernetes: {deployment: true}\n"
    with pytest.raises(ConfigError) as caught:
        parse_config(text.encode(), "config.yaml")
    [problem] = caught.value.problems
    assert problem.message == "`deployment` needs `share: true` and `pre_qos: 0`"


def test_a_codec_that_only_the_models_environment_may_have() -> None:
    """It is known there alone; `check --models` looks."""
    apart = parse("in\n    codec: upper\n    python: /srv/venv")
    assert (apart.codec, apart.python) == ("upper", "/srv/venv")
    (here,) = problems("in\n    codec: upper")
    assert here.startswith("edge[0].codec: must be one of json, ")
