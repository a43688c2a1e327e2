"""The JSON Schema of the configuration: right configurations pass it, the usual slips don't."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pyboot_svc.config.loader import parse_config
from pyboot_svc.errors import ConfigError

# No package needs it: where packages run the tests, others have.
jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "etc" / "config.schema.json").read_text())
EDGE = "name: a, pre_broker: h, pre_topic: i, edge_mode: m.f, post_broker: h, post_topic: o"
SHIPPED = (
    ROOT / "etc" / "config.yaml",
    ROOT / "docs" / "demo" / "config.yaml",
    *sorted((ROOT / "packaging" / "kubernetes").glob("*.yaml")),
    *sorted((ROOT / "examples").rglob("config*.yaml")),
)
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))


def documented() -> list[Any]:
    """The configurations that stand in the documentation."""
    blocks = [
        pytest.param(block, id=f"{page.name}-{number}")
        for page in PAGES
        for number, block in enumerate(
            re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
        )
        if "\nedge:" in f"\n{block}"
    ]
    assert blocks
    return blocks


def problems(text: str) -> list[str]:
    validator = jsonschema.Draft7Validator(SCHEMA)
    return [error.message for error in validator.iter_errors(yaml.safe_load(text))]


def test_it_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_shipped_passes(file: Path) -> None:
    assert problems(file.read_text()) == []


@pytest.mark.parametrize("block", documented())
def test_what_is_documented_passes(block: str) -> None:
    assert problems(block) == []


@pytest.mark.parametrize(
    "more",
    [
        "instance: 3, pre_qos: 1, share: false, threads: 4, codec: raw",
        "max_message: 1M, queue: {bytes: 1000}, spool: {max_bytes: 1G, max_age: 60}",
        "on_error: {backoff: 0.5, retries: 0, then: drop}, batch: {}",
        "limits: {memory: 512M, cpu: 80%, cpus: 0, nice: -5}",
        'limits: {cpus: "0-1,4"}, environment: {TZ: UTC, N: 5}',
        "sandbox: {write: [/srv], devices: [/dev/ttyS0], groups: [dialout]}",
        "options: {anything: [1, {a: null}]}",
    ],
)
def test_what_the_loader_takes_passes(more: str) -> None:
    text = f"edge: [{{{EDGE}, {more}}}]"
    parse_config(text.encode(), "config.yaml")
    assert problems(text) == []


@pytest.mark.parametrize(
    "text",
    [
        f"brokers: {{h: {{host: h, protocol: 5, tls: {{}}}}}}\nmodel_path: .\nedge: [{{{EDGE}}}]",
        f"web: {{port: 0}}\nmodel_path: [a, b]\nedge: [{{{EDGE}}}]",
        "defaults: {pre_broker: h, post_broker: h, edge_mode: m.f}\n"
        "edge: [{name: a, pre_topic: i, post_topic: o}]",
        "edge: []",
    ],
)
def test_what_the_loader_takes_at_the_top_passes(text: str) -> None:
    parse_config(text.encode(), "config.yaml")
    assert problems(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "edges: []",
        "web: {prt: 1}\nedge: []",
        "brokers: {p: {}}\nedge: []",
        "brokers: {'a b': {host: h}}\nedge: []",
        "edge: [{name: a}]",
        "defaults: {pre_broker: h}\nedge: [{name: a, pre_topic: i, post_topic: o}]",
        "defaults: {instances: 2}\nedge: []",
        *(
            f"edge: [{{{EDGE}, {more}}}]"
            for more in (
                "instances: 2",
                "instance: 0",
                "instance: two",
                "pre_qos: 3",
                "share: 1",
                "compression: xml",
                "pre_topic: $share/a/b",
                "post_topic: a/+",
                "max_message: 1X",
                "limits: {cpu: 80}",
                "limits: {cpus: a-b}",
                "environment: {1A: x}",
                "environment: {A: [x]}",
                "sandbox: {write: srv}",
                "sandbox: {write: [srv]}",
                "sandbox: {devices: [/srv]}",
                "on_error: {backoff: -1}",
                "edge_mode: model",
                "options: 5",
            )
        ),
    ],
)
def test_usual_slips_are_found_by_both(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(text.encode(), "config.yaml")
    assert problems(text) != []
