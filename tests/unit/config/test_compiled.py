"""One instance as a file: the same comes back, and something else is refused."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.locked import not_root

from pyboot_svc.config import Edge, Endpoint, InstanceConfig
from pyboot_svc.config.compiled import (
    compiled_file,
    load_compiled,
    render_compiled,
    write_compiled,
)
from pyboot_svc.config.loader import load_config, parse_config
from pyboot_svc.config.settings import Broker
from pyboot_svc.errors import ConfigError
from pyboot_svc.identity import InstanceId

EDGE = "pre_broker: p, post_broker: o.local, pre_topic: in/#, post_topic: out, edge_mode: m.f"
PLAIN_BROKER = "brokers: {p: {host: h}}"

CONFIGS = {
    "minimal": f"{PLAIN_BROKER}\nedge: [{{name: a, {EDGE}}}]",
    "instances": f"{PLAIN_BROKER}\nedge: [{{name: a-b, instance: 3, {EDGE}}}, {{name: b, {EDGE}}}]",
    "tls": f"brokers: {{p: {{host: h, tls: {{}}}}}}\nedge: [{{name: a, {EDGE}}}]",
    "client certificate": "brokers: {p: {host: h, tls: {ca: a, cert: b, key: c}}}\n"
    f"edge: [{{name: a, {EDGE}}}]",
    "login": "brokers: {p: {host: h, username: ü, password_file: f}}\n"
    f"edge: [{{name: a, {EDGE}}}]",
    "websockets": "brokers: {p: {host: '::1', transport: websockets, path: /ws, protocol: 3.1.1}}\n"
    f"edge: [{{name: a, {EDGE}}}]",
    "edge settings": f"{PLAIN_BROKER}\nedge:\n- {{name: a, {EDGE}, pre_port: 1, post_port: 2, "
    "pre_qos: 1, post_qos: 2, share: false, threads: 4, codec: raw, queue: {pre: 1, post: 2}}",
    "delivery": f"{PLAIN_BROKER}\nedge:\n- {{name: a, {EDGE}, model_timeout: 7, "
    "spool: {max_bytes: 5K, max_age: 3, on_full: drop_oldest}, "
    "on_error: {retries: 0, backoff: 0.25, then: drop}, dead_letter: {topic: t, keep: 0}, "
    "max_message: 7K, queue: {pre: 5, post: 6, bytes: 9M, overflow: drop_newest}}",
    "options": f"{PLAIN_BROKER}\nedge:\n- {{name: a, {EDGE}, options: "
    "{t: '温 \\ \"', i: 123456789012345678901234567890, f: -0.1, e: 1.0e+300, b: true, n: ~, "
    "l: [[], {}, [1]], 'key with . and \"': ''}}",
    "defaults": f"{PLAIN_BROKER}\nmodel_path: [x, /y]\n"
    f"defaults: {{{EDGE}, options: {{a: {{b: 1}}}}}}\n"
    "edge: [{name: a, options: {a: {c: 2}}}, {name: b}]",
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def instance(options: dict[str, Any] | None = None) -> InstanceConfig:
    endpoint = Endpoint(Broker("h"), "t")
    edge = Edge("a", "m.f", endpoint, endpoint, options=options or {})
    return InstanceConfig(InstanceId("a", 1), edge)


def refused(file: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_compiled(file)
    [problem] = caught.value.problems
    assert problem.file == str(file)
    assert "run `pyboot apply` again" in problem.message
    return problem.message


@pytest.mark.parametrize("name", list(CONFIGS))
def test_the_same_comes_back(tmp_path: Path, name: str) -> None:
    source = tmp_path / "config.yaml"
    source.write_text(CONFIGS[name], encoding="utf-8")
    instances = list(load_config(source).instances())
    assert instances
    for written in instances:
        write_compiled(written, tmp_path / "run")
    for written in instances:
        read = load_compiled(compiled_file(tmp_path / "run", written.identity))
        assert read == written
        assert read.edge.instances == written.edge.instances


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_any_options_come_back(tmp_path_factory: pytest.TempPathFactory, options: Any) -> None:
    folder = tmp_path_factory.getbasetemp()
    written = instance(options)
    write_compiled(written, folder)
    assert load_compiled(compiled_file(folder, written.identity)) == written


def test_where_it_lies(tmp_path: Path) -> None:
    write_compiled(instance(), tmp_path)
    assert [file.name for file in (tmp_path / "instances").iterdir()] == ["a-1.json"]
    assert compiled_file(Path("/run/pyboot"), InstanceId("telm_temperature", 1)) == Path(
        "/run/pyboot/instances/telm_temperature-1.json"
    )


def test_the_same_instance_gives_the_same_text() -> None:
    """So that `apply` can tell by the text that nothing changed."""
    first, second = ({"b": 1, "a": {"d": 2, "c": 3}}, {"a": {"c": 3, "d": 2}, "b": 1})
    assert render_compiled(instance(first)) == render_compiled(instance(second))
    assert render_compiled(instance(first)) != render_compiled(instance())


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """A reader that has the old one open still reads it to its end."""
    write_compiled(instance({"a": 1}), tmp_path)
    file = compiled_file(tmp_path, InstanceId("a", 1))
    with file.open() as reader:
        write_compiled(instance({"a": 2}), tmp_path)
        assert json.load(reader)["edge"]["options"] == {"a": 1}
    assert load_compiled(file).edge.options == {"a": 2}
    assert stat.S_ISREG(file.stat().st_mode)


def test_no_password_gets_into_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    source = tmp_path / "config.yaml"
    source.write_text(
        "brokers: {p: {host: h, username: u, password_file: secret}}\n"
        f"edge: [{{name: a, {EDGE}}}]"
    )
    config = load_config(source)
    [only] = config.instances()
    assert str(tmp_path / "secret") in render_compiled(only)
    for text in (render_compiled(only), repr(config), str(config), repr(only)):
        assert "hunter2" not in text


def document() -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(render_compiled(instance({"a": 1})))
    return decoded


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    whole = render_compiled(instance()).rstrip()
    file = tmp_path / "a-1.json"
    for length in range(0, len(whole), 7):
        file.write_text(whole[:length])
        assert "is not a compiled configuration" in refused(file)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\x00" * 4096, b"\xff\xfe", b"null", b"5", b'"text"', b"[]", b"{}", b"edge: []"),
        *(b'{"format": 1}', b'{"format": {}}', b"[" * 100_000, b"9" * 5000),
        json.dumps({"format": 1, "identity": [], "edge": [], "model_path": []}).encode(),
    ],
    ids=lambda data: repr(data)[:20],
)
def test_something_else_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "a-1.json"
    file.write_bytes(data)
    assert "is not a compiled configuration" in refused(file)


@pytest.mark.parametrize("number", [0, 2, "1", None])
def test_another_format_is_refused(tmp_path: Path, number: Any) -> None:
    file = tmp_path / "a-1.json"
    file.write_text(json.dumps({**document(), "format": number}))
    assert f"format {number}, not 1" in refused(file)


def places(value: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Every mapping of a document (but the free options) with each of its keys."""
    for key, inner in value.items():
        yield value, key
        if isinstance(inner, dict) and key != "options":
            yield from places(inner)


PLACES = [key for _, key in places(document())]


@pytest.mark.parametrize("index", range(len(PLACES)), ids=PLACES)
def test_a_key_that_pyboot_never_wrote_is_refused(tmp_path: Path, index: int) -> None:
    damaged = document()
    mapping, key = list(places(damaged))[index]
    mapping[f"{key}_"] = mapping.pop(key)
    file = tmp_path / "a-1.json"
    file.write_text(json.dumps(damaged))
    refused(file)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, len(PLACES) - 1), json_values)
def test_any_value_at_any_place(
    tmp_path_factory: pytest.TempPathFactory, index: int, value: Any
) -> None:
    """Not checked again value by value, but never another error than ConfigError."""
    damaged = document()
    mapping, key = list(places(damaged))[index]
    mapping[key] = value
    file = tmp_path_factory.getbasetemp() / "damaged.json"
    file.write_text(json.dumps(damaged))
    try:
        read = load_compiled(file)
    except ConfigError:
        return
    assert isinstance(read.edge.pre.broker, Broker)


def test_file_absent(tmp_path: Path) -> None:
    assert "can't be read: No such file" in refused(tmp_path / "a-1.json")


def test_file_is_a_directory(tmp_path: Path) -> None:
    assert "can't be read: Is a directory" in refused(tmp_path)


def test_file_whose_reading_fails() -> None:
    assert "can't be read: Input/output error" in refused(Path("/proc/self/mem"))


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A file that nobody may read: not even root, who is somebody else during the test."""
    write_compiled(instance(), tmp_path)
    file = compiled_file(tmp_path, InstanceId("a", 1))
    file.chmod(0)
    with not_root():
        yield file


def test_file_that_may_not_be_read(locked: Path) -> None:
    with pytest.raises(ConfigError, match="it is for its owner alone; run this by sudo"):
        load_compiled(locked)


def test_a_bad_edit_of_the_configuration_leaves_it_alone(tmp_path: Path) -> None:
    config = parse_config(CONFIGS["minimal"].encode(), "/c.yaml")
    [only] = config.instances()
    write_compiled(only, tmp_path)
    with pytest.raises(ConfigError):
        parse_config(b"edge: [", "/c.yaml")
    assert load_compiled(compiled_file(tmp_path, only.identity)) == only
