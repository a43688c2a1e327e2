"""How results are published: what it takes MQTT 5 for is refused with less."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyboot_svc.config import Config, ResultOptions
from pyboot_svc.config.compiled import load_compiled, write_compiled
from pyboot_svc.config.loader import load_config
from pyboot_svc.errors import ConfigError

TEMPLATES = """
edge:
  - name: e
    edge_mode: m.f
    pre_broker: 127.0.0.1
    pre_topic: {pre}
    post_broker: 127.0.0.1
    post_topic: {post!r}
"""
EDGE = """
brokers:
  old: {{host: plant, protocol: 3.1.1}}
edge:
  - name: e
    edge_mode: m.f
    pre_broker: old
    pre_topic: i
    post_broker: {broker}
    post_topic: o
    {more}
"""


def load(folder: Path, more: str, broker: str = "127.0.0.1") -> Config:
    file = folder / "config.yaml"
    file.write_text(EDGE.format(more=more, broker=broker))
    return load_config(file)


@pytest.mark.parametrize(
    ("more", "options"),
    [
        ("threads: 1", ResultOptions()),
        ("post_retain: true", ResultOptions(retain=True)),
        ("post_expiry: 60\n    post_content_type: a/b", ResultOptions(False, 60, "a/b")),
    ],
)
def test_options(tmp_path: Path, more: str, options: ResultOptions) -> None:
    [instance] = load(tmp_path, more).instances()
    assert instance.edge.results == options
    write_compiled(instance, tmp_path)
    assert load_compiled(tmp_path / "instances" / "e-1.json") == instance


def test_retained_by_any_version(tmp_path: Path) -> None:
    [instance] = load(tmp_path, "post_retain: true", "old").instances()
    assert instance.edge.results.retain


@pytest.mark.parametrize("more", ["post_expiry: 60", "post_content_type: a/b"])
def test_what_needs_mqtt_5(tmp_path: Path, more: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, more, "old")
    [problem] = caught.value.problems
    key = more.partition(":")[0]
    assert (problem.path, problem.message) == (f"edge[0].{key}", f"`{key}` needs MQTT 5")
    assert problem.hint == "leave it out, or set `protocol: 5` for plant"
    assert problem.line == 11


@pytest.mark.parametrize(
    ("broker", "host"), [("127.0.0.1", "plant"), ("old", "plant")], ids=["pre", "both"]
)
def test_answers_need_mqtt_5_on_both_sides(tmp_path: Path, broker: str, host: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        EDGE.format(more="", broker=broker).replace("post_topic: o", "post_topic: '{response}'")
    )
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    [problem] = caught.value.problems
    assert problem.message == "`post_topic: '{response}'` needs MQTT 5 on both sides"
    assert problem.hint == f"set `protocol: 5` for {host}"


def problems(folder: Path, pre: str, post: str) -> list[str]:
    file = folder / "config.yaml"
    file.write_text(TEMPLATES.format(pre=pre, post=post))
    try:
        load_config(file)
    except ConfigError as error:
        return [f"{problem.path}: {problem.message}" for problem in error.problems]
    return []


@pytest.mark.parametrize("post", ["plant/{device}/mean", "out/{topic[1]}", "{a.b}-{c}"])
def test_a_topic_can_be_a_template(tmp_path: Path, post: str) -> None:
    assert problems(tmp_path, "plant/+/temperature", post) == []


@pytest.mark.parametrize("post", ["a/{", "a/}b", "a/{}", "a/{topic[x]}", "{ a }"])
def test_braces_that_are_no_field(tmp_path: Path, post: str) -> None:
    [problem] = problems(tmp_path, "plant/+/temperature", post)
    assert problem.startswith("edge[0].post_topic: is no topic: ")


@pytest.mark.parametrize(
    ("pre", "post"),
    [("plant/#", "plant/{device}/mean"), ("plant/x/mean", "plant/{device}/mean"), ("+", "{a}")],
)
def test_a_template_that_may_come_in_again(tmp_path: Path, pre: str, post: str) -> None:
    [problem] = problems(tmp_path, pre, post)
    assert "each result would come in again" in problem
