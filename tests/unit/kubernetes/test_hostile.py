"""Whatever stands in a configuration, manifests hold it as a value, and nothing else changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from unit.kubernetes.rendered import expand, pod_of

from pyboot_svc.config import Broker, Config, Edge, Endpoint, Limits, Tls
from pyboot_svc.config.dump import dump_documents
from pyboot_svc.kubernetes import Cluster, render

HOSTILE = [
    "x\n---\nkind: Secret",
    "x: {y: z}",
    "- a\n- b",
    "'\"\\",
    "{{ .Values.x }}",
    "$(PYBOOT_POD)",
    "$$(HOME)",
    "$",
    "!!python/object/apply:os.system ['true']",
    "&a *a",
    "#",
    "yes",
    "0x10",
    "1e3",
    "~",
    "",
    " leading and trailing ",
    "\ttab\n",
    "\n",
    "\n  indented\n",
    "\x85\u2028\u2029\ufeff",
    "\x00\x1b[31m",
    "a\r\nb",
    "|\n>",
    "%YAML 1.1",
    "...",
]
texts = st.sampled_from(HOSTILE) | st.text(st.characters(exclude_categories=["Cs"]))
variables = st.from_regex("[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)


def made(edge: Edge, cluster: Cluster, source: str) -> list[dict[str, Any]]:
    """The manifests, written and read again."""
    rendered = render(cluster, Config((edge,)), source, "config.yaml")
    text = dump_documents(manifest for manifests in rendered.values() for manifest in manifests)
    return list(yaml.safe_load_all(text))


def shape(value: Any) -> Any:
    """The keys and types, without the values."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value).__name__


def edge_of(text: str, environment: dict[str, str]) -> Edge:
    broker = Broker(
        "h", username=text, password_file=f"/{text}", tls=Tls(text, text, text), path=text
    )
    return Edge(
        "m",
        text,
        Endpoint(broker, text),
        Endpoint(broker, text),
        environment=environment,
        limits=Limits(memory="1G"),
        options={"key": text},
    )


@settings(deadline=None, max_examples=60)
@given(texts, texts)
@example("\n", "$")
def test_a_value_stays_a_value(text: str, other: str) -> None:
    cluster = Cluster(text, text, text, text, prometheus=text, service_monitor=True)
    plain = Cluster("i", "n", "s", "c", prometheus="p", service_monitor=True)
    # The Secret's keys are made from the file's name: theirs is a test of its own.
    found = made(edge_of(text, {"A": other}), cluster, text)
    assert shape(found[:6]) == shape(made(edge_of("x", {"A": "y"}), plain, "x")[:6])
    [workload] = [manifest for manifest in found if manifest["kind"] == "StatefulSet"]
    container = pod_of(workload)["containers"][0]
    assert container["image"] == text
    assert found[0]["data"] == {"config.yaml": text}
    settings = next(m for m in found if "m.json" in m.get("data", {}))
    assert json.loads(settings["data"]["m.json"])["edge"]["options"] == {"key": text}
    assert all(manifest["metadata"]["namespace"] == text for manifest in found)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(variables, texts, max_size=4))
@example({"PYBOOT_POD": "other-7", "HOME": "$(PYBOOT_POD)"})
@example({"A": "$(B)$$(C)$$$", "B": "b"})
def test_variables_arrive_as_they_are_written(environment: dict[str, str]) -> None:
    found = made(edge_of("x", environment), Cluster("i"), "x")
    [workload] = [manifest for manifest in found if manifest["kind"] == "StatefulSet"]
    seen: dict[str, str] = {}
    for variable in pod_of(workload)["containers"][0]["env"]:
        assert variable["name"] not in seen
        text = expand(variable["value"], seen) if "value" in variable else "pod-3"
        seen[variable["name"]] = text
    assert seen == {"HOME": "/var/lib/edge-model", **environment, "PYBOOT_POD": "pod-3"}


@pytest.mark.parametrize("text", HOSTILE)
def test_arguments_arrive_as_they_are_written(text: str) -> None:
    cluster = Cluster("i", master=(text, 1))
    edge = edge_of("x", {})._replace(name="a_B.c-1")
    found = made(edge, cluster, "x")
    [workload] = [manifest for manifest in found if manifest["kind"] == "StatefulSet"]
    arguments = pod_of(workload)["containers"][0]["args"]
    expanded = [expand(argument, {"PYBOOT_POD": "pod-3", "HOME": "/h"}) for argument in arguments]
    assert expanded[:4] == ["worker", "a_B.c-1", "--pod", "pod-3"]
    assert expanded[expanded.index("--report-to") + 1] == cluster.report_to


@given(st.recursive(texts | st.none() | st.booleans() | st.integers(), st.lists, max_leaves=8))
def test_whatever_is_written_is_read_again(value: Any) -> None:
    document = {"key": value, "list": [value, value]}
    assert list(yaml.safe_load_all(dump_documents([document, document]))) == [document, document]
