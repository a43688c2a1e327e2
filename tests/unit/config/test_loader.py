"""What a configuration means, and everything that can be wrong with it, all at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.locked import not_root

from pyboot_svc.config import (
    Broker,
    Config,
    DeadLetters,
    Edge,
    Endpoint,
    InstanceConfig,
    Kubernetes,
    OnError,
    QueueLimits,
    SpoolLimits,
    StatusOptions,
    Tls,
    Tracing,
    WebAddress,
    document,
)
from pyboot_svc.config.host_types import Environment, SecretFiles
from pyboot_svc.config.loader import load_config, parse_config
from pyboot_svc.config.schema import (
    BROKER,
    DEAD_LETTER,
    EDGE,
    FILE,
    LIMITS,
    ON_ERROR,
    QUEUE,
    SANDBOX,
    SPOOL,
    TLS,
    WEB,
    BrokersByName,
    EdgeDefaults,
)
from pyboot_svc.config.sections import Section
from pyboot_svc.config.settings import DEFAULT_MODEL_PATH, WebTls
from pyboot_svc.config.types import NullOr, Plain, ValueType
from pyboot_svc.errors import ConfigError, UsageError
from pyboot_svc.identity import InstanceId

CODECS = "must be one of json, raw, text, csv, msgpack, cbor, sparkplug_b"

ORIGINAL = """\
---
app_name: pyboot
description: pyboot for edge calc
edge:
  - name: telm_temperature        # unit edge-model@telm_temperature-1
    instance: 1
    pre_broker: 192.168.241.1
    pre_port: 1883
    pre_topic: /gridsum/test/telm/in/m1
    pre_qos: 0
    # {package}.{module}.{function}
    edge_mode: pyboot.modules.gridsum.science.industry.telemetry.telm_temperature
    post_broker: 192.168.241.1
    post_port: 1883
    post_topic: /gridsum/test/telm/out/m1
    post_qos: 0
"""

# A line an edge; what a test adds goes behind it.
MINIMAL = {
    "name": "a",
    "pre_broker": "pre.local",
    "pre_topic": "in",
    "edge_mode": "m.f",
    "post_broker": "post.local",
    "post_topic": "out",
}


def flow(values: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in values.items()) + "}"


def edge(**more: str) -> str:
    """A minimal edge with `more`, as a YAML flow mapping; an empty value takes the key out."""
    return flow({key: value for key, value in {**MINIMAL, **more}.items() if value})


def parse(text: str, file: str = "/etc/pyboot/config.yaml") -> Config:
    return parse_config(text.encode(), file)


def parse_edge(head: str = "", **more: str) -> Edge:
    return parse(f"{head}\nedge:\n- {edge(**more)}\n").edges[0]


def wrong(text: str) -> list[tuple[int, int, str, str, str]]:
    """All that is wrong: line, column, path, message, hint."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    problems = caught.value.problems
    assert {problem.file for problem in problems} == {"/etc/pyboot/config.yaml"}
    return [(p.line, p.column, p.path, p.message, p.hint) for p in problems]


def wrong_edge(head: str = "", **more: str) -> tuple[str, str]:
    """Path and message of the one thing that is wrong with an edge."""
    [(_, _, path, message, _)] = wrong(f"{head}\nedge:\n- {edge(**more)}\n")
    return path, message


# What it means


def test_the_originals_file_loads_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(ORIGINAL)
    broker = Broker("192.168.241.1", 1883)
    assert load_config(file) == Config(
        app_name="pyboot",
        description="pyboot for edge calc",
        edges=(
            Edge(
                name="telm_temperature",
                instance=1,
                edge_mode="pyboot.modules.gridsum.science.industry.telemetry.telm_temperature",
                pre=Endpoint(broker, "/gridsum/test/telm/in/m1", 0),
                post=Endpoint(broker, "/gridsum/test/telm/out/m1", 0),
                dead_letter=DeadLetters("pyboot/dead/telm_temperature", 1000),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("app_name: pyboot", "app_name: plant", lambda c: c.app_name == "plant"),
        ("pyboot for edge calc", "text", lambda c: c.description == "text"),
        ("name: telm_temperature ", "name: other", lambda c: c.edges[0].name == "other"),
        ("instance: 1", "instance: 3", lambda c: c.edges[0].instance == 3),
        ("pre_broker: 192", "pre_broker: 10", lambda c: c.edges[0].pre.broker.host[:3] == "10."),
        ("pre_port: 1883", "pre_port: 1884", lambda c: c.edges[0].pre.broker.port == 1884),
        ("in/m1", "in/m2", lambda c: c.edges[0].pre.topic == "/gridsum/test/telm/in/m2"),
        ("pre_qos: 0", "pre_qos: 1", lambda c: c.edges[0].pre.qos == 1),
        ("telemetry.telm", "tele.telm", lambda c: ".tele." in c.edges[0].edge_mode),
        ("post_broker: 192", "post_broker: 10", lambda c: c.edges[0].post.broker.host[:3] == "10."),
        ("post_port: 1883", "post_port: 1885", lambda c: c.edges[0].post.broker.port == 1885),
        ("out/m1", "out/m2", lambda c: c.edges[0].post.topic == "/gridsum/test/telm/out/m2"),
        ("post_qos: 0", "post_qos: 2", lambda c: c.edges[0].post.qos == 2),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_key_of_the_originals_file_counts(key: str, value: str, read: Any) -> None:
    assert ORIGINAL.count(key) == 1
    assert not read(parse(ORIGINAL))
    assert read(parse(ORIGINAL.replace(key, value)))


def test_defaults_of_what_is_not_said() -> None:
    assert parse(f"edge:\n- {edge()}") == Config(
        app_name="pyboot",
        description="",
        web=WebAddress("127.0.0.1", 5888),
        model_path=("/etc/pyboot/models", "/var/lib/pyboot/models"),
        edges=(
            Edge(
                name="a",
                edge_mode="m.f",
                pre=Endpoint(Broker("pre.local", 1883), "in", 0),
                post=Endpoint(Broker("post.local", 1883), "out", 0),
                instance=1,
                share=True,
                threads=1,
                codec="json",
                model_timeout=60,
                queue=QueueLimits(10_000, 10_000, "drop_oldest"),
                spool=SpoolLimits(256 * 1024**2, None, "block"),
                on_error=OnError(3, 0.1, "dead_letter"),
                dead_letter=DeadLetters("pyboot/dead/a", 1000, traceback=False),
                options={},
            ),
        ),
    )


def test_every_key_that_can_be_said() -> None:
    text = """
app_name: plant
description: 边缘　计算
web: {host: 0.0.0.0, port: 0, tls: {cert: web.pem, key: /k}, auth: {file: who}, socket: s}
model_path: [/m/one, two]
brokers:
  north:
    host: north.local
    port: 1
    username: u
    password_file: secret
    tls: {ca: ca.pem, cert: /abs/cert.pem, key: keys/key.pem}
    keepalive: 5
    protocol: 3.1.1
    transport: websockets
    path: /ws
edge:
  - name: _A.b-1
    instance: 10000
    pre_broker: north
    pre_topic: a/+/#
    pre_qos: 2
    edge_mode: 包.模块.函数
    post_broker: ::1
    post_port: 65535
    post_topic: $x/温度
    post_qos: 1
    share: false
    threads: 256
    codec: raw
    model_timeout: 86400
    queue: {pre: 1, post: 1000000, overflow: drop_newest}
    spool: {max_bytes: 3G, max_age: 1, on_full: drop_oldest}
    on_error: {retries: 0, backoff: 2.5, then: drop}
    dead_letter: {topic: tot/温度, keep: 0, publish: false, traceback: true}
    options: {limits: [1, 2.5, {high: null}], on: true}
"""
    config = parse(text.replace("on: true", "'on': true"), "/etc/plant/config.yaml")
    tls = Tls("/etc/plant/ca.pem", "/abs/cert.pem", "/etc/plant/keys/key.pem")
    north = Broker(
        host="north.local",
        port=1,
        username="u",
        password_file="/etc/plant/secret",
        tls=tls,
        keepalive=5,
        protocol="3.1.1",
        transport="websockets",
        path="/ws",
    )
    assert config == Config(
        app_name="plant",
        description="边缘　计算",
        web=WebAddress(
            "0.0.0.0", 0, WebTls("/etc/plant/web.pem", "/k"), "/etc/plant/who", "/etc/plant/s"
        ),
        model_path=("/m/one", "/etc/plant/two", *DEFAULT_MODEL_PATH),
        edges=(
            Edge(
                name="_A.b-1",
                instance=10_000,
                pre=Endpoint(north, "a/+/#", 2),
                edge_mode="包.模块.函数",
                post=Endpoint(Broker("::1", 65_535), "$x/温度", 1),
                share=False,
                threads=256,
                codec="raw",
                model_timeout=86_400,
                queue=QueueLimits(1, 1_000_000, "drop_newest"),
                spool=SpoolLimits(3 * 1024**3, 1, "drop_oldest"),
                on_error=OnError(0, 2.5, "drop"),
                dead_letter=DeadLetters("tot/温度", 0, publish=False, traceback=True),
                options={"limits": [1, 2.5, {"high": None}], "on": True},
            ),
        ),
    )


def test_edges_keep_their_order_and_count_instances_from_1() -> None:
    config = parse(f"edge:\n- {edge(name='b', instance='2')}\n- {edge()}")
    identities = [str(instance.identity) for instance in config.instances()]
    assert identities == ["b-1", "b-2", "a-1"]
    assert config.instance(InstanceId("b", 2)) == InstanceConfig(
        InstanceId("b", 2), config.edges[0], config.model_path
    )


@pytest.mark.parametrize("absent", [InstanceId("b", 1), InstanceId("a", 2)])
def test_an_instance_that_is_not_configured(absent: InstanceId) -> None:
    with pytest.raises(UsageError, match=f"{absent} is not configured; configured: a-1"):
        parse(f"edge:\n- {edge()}").instance(absent)


def test_no_edge_at_all() -> None:
    assert list(parse("edge: []").instances()) == []


@pytest.mark.parametrize(
    "web",
    [
        "{host: 10.0.0.1}",
        "{host: '::'}",
        "{host: plant.example, tls: {cert: c}}",
        "{host: 0.0.0.0, auth: {file: who}}",
    ],
)
def test_a_web_that_other_hosts_reach_says_who_may_read_it(web: str) -> None:
    [(line, _, path, message, _)] = wrong(f"edge: []\nweb: {web}")
    assert (line, path) == (2, "web.host")
    for way in ("tls: {cert: FILE, key: FILE}", "pyboot web password", "auth: none", "127.0.0.1"):
        assert way in message


@pytest.mark.parametrize(
    "web",
    [
        "{host: 0.0.0.0, auth: none}",
        "{host: 0.0.0.0, tls: {cert: c}, auth: {file: who}}",
        "{host: localhost}",
        "{host: 127.0.0.2, auth: {file: who}}",
        "{host: 0.0.0.0, socket: s}",
    ],
)
def test_a_web_may_listen_so(web: str) -> None:
    assert parse(f"edge: []\nweb: {web}").web.trouble == ""


@pytest.mark.parametrize("auth", ["null", "yes", "{}", "{file: a, x: b}", "[none]"])
def test_who_may_read_the_web_is_said_in_one_of_two_ways(auth: str) -> None:
    [(_, _, path, message, hint)] = wrong(f"edge: []\nweb: {{auth: {auth}}}")
    assert (path, message) == ("web.auth", "must be none or {file: FILE}")
    assert "pyboot web password" in hint


def test_web_alone_with_one_key() -> None:
    assert parse("web: {port: 80}\nedge: []").web == WebAddress("127.0.0.1", 80)
    assert parse("web: {host: '::1'}\nedge: []").web == WebAddress("::1", 5888)
    assert parse("web: {}\nedge: []").web == WebAddress()


def test_defaults_reach_every_edge_that_says_nothing_else() -> None:
    config = parse("""
defaults: {pre_broker: d, post_broker: d, edge_mode: m.f, pre_qos: 1, threads: 2, post_topic: out}
edge:
- {name: a, pre_topic: in}
- {name: b, pre_topic: in, pre_qos: 0, pre_broker: own.local, threads: 4}
""")
    first, second = config.edges
    assert (first.pre.broker.host, first.pre.qos, first.threads) == ("d", 1, 2)
    assert (second.pre.broker.host, second.pre.qos, second.threads) == ("own.local", 0, 4)
    assert second.post == first.post == Endpoint(Broker("d"), "out")


def test_defaults_merge_section_by_section() -> None:
    defaults = "defaults: {queue: {pre: 5, post: 6}, options: {a: {x: 1, y: 2}, b: [1, 2], c: 3}}"
    merged = parse_edge(defaults, queue="{post: 7}", options="{a: {y: 9, z: 8}, b: [3], d: 4}")
    assert merged.queue == QueueLimits(5, 7)
    assert merged.options == {"a": {"x": 1, "y": 9, "z": 8}, "b": [3], "c": 3, "d": 4}
    assert parse_edge("defaults: {queue: {pre: 5}}").queue == QueueLimits(5, 10_000)
    assert parse_edge(queue="{pre: 5}").queue == QueueLimits(5, 10_000)


def test_one_edges_own_settings_do_not_leak_into_the_next() -> None:
    config = parse(f"""
defaults: {{options: {{a: {{x: 1}}}}}}
edge:
- {edge(options="{a: {x: 2, y: 3}, b: 4}")}
- {edge(name="b")}
""")
    assert config.edges[1].options == {"a": {"x": 1}}


@pytest.mark.parametrize(
    ("settings", "port"),
    [
        ("", 1883),
        ("tls: {}", 8883),
        ("transport: websockets", 80),
        ("transport: websockets, tls: {}", 443),
        ("transport: websockets, tls: {}, port: 9001", 9001),
        ("tls: {}, port: 1883", 1883),
    ],
)
def test_port_of_a_named_broker(settings: str, port: int) -> None:
    head = f"brokers: {{plant: {{host: h, {settings}}}}}"
    assert parse_edge(head, pre_broker="plant").pre.broker.port == port
    overruled = parse_edge(head, pre_broker="plant", pre_port="7777", post_broker="plant")
    assert (overruled.pre.broker.port, overruled.post.broker.port) == (7777, port)


def test_a_named_broker_gives_all_its_settings() -> None:
    head = "brokers: {plant: {host: h, username: u, tls: {}, keepalive: 9, protocol: 5}}"
    assert parse_edge(head, pre_broker="plant").pre.broker == Broker(
        "h", 8883, username="u", tls=Tls(), keepalive=9, protocol="5"
    )


def test_a_name_goes_before_a_host() -> None:
    head = "brokers: {pre.local: {host: elsewhere}}"
    assert parse_edge(head).pre.broker.host == "elsewhere"


@pytest.mark.parametrize("host", ["h.local", "localhost", "10.0.0.1", "'::1'", "'fe80::1%eth0'"])
def test_a_host_beside_named_brokers(host: str) -> None:
    read = parse_edge("brokers: {plant: {host: h}}", pre_broker=host).pre.broker.host
    assert read == host.strip("'")


def test_a_bare_word_is_a_host_when_no_broker_is_named() -> None:
    assert parse_edge(pre_broker="plant").pre.broker.host == "plant"


def test_the_address_of_an_ipv6_broker_has_brackets() -> None:
    assert parse_edge(pre_broker="'::1'").pre.broker.address == "[::1]:1883"


@pytest.mark.parametrize(("said", "read"), [("5", "5"), ("'5'", "5"), ("3.1.1", "3.1.1")])
def test_protocol(said: str, read: str) -> None:
    head = f"brokers: {{plant: {{host: h, protocol: {said}}}}}"
    assert parse_edge(head, pre_broker="plant").pre.broker.protocol == read


def test_relative_paths_start_at_the_files_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    head = "model_path: models\nbrokers: {p: {host: h, username: u, password_file: secret}}"
    (folder / "c.yaml").write_text(f"{head}\nedge:\n- {edge(pre_broker='p')}")
    monkeypatch.chdir(tmp_path)
    for file in (folder / "c.yaml", Path("conf/c.yaml")):
        config = load_config(file)
        assert config.model_path[0] == str(folder / "models")
        assert config.edges[0].pre.broker.password_file == str(folder / "secret")


def test_the_command_lines_model_path_goes_first(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("model_path: [/c, /b]\nedge: []")
    assert load_config(file, model_path=["/z", "/a"]).model_path == (
        *("/z", "/a"),
        *("/c", "/b"),
        *("/etc/pyboot/models", "/var/lib/pyboot/models"),
    )


def test_anchors_aliases_and_merges() -> None:
    config = parse("""
edge:
- &first
  name: a
  pre_broker: &host h.local
  pre_topic: in
  edge_mode: m.f
  post_broker: *host
  post_topic: out
  queue: &queue {pre: 5}
- <<: *first
  name: b
  pre_topic: in/b
- {<<: *first, name: c, queue: {<<: *queue, post: 6}}
""")
    assert [edge.name for edge in config.edges] == ["a", "b", "c"]
    assert [edge.pre.topic for edge in config.edges] == ["in", "in/b", "in"]
    assert {edge.post.broker.host for edge in config.edges} == {"h.local"}
    assert [edge.queue for edge in config.edges] == [
        QueueLimits(5),
        QueueLimits(5),
        QueueLimits(5, 6),
    ]


@pytest.mark.parametrize(
    "topic", ["#", "+", "+/+", "a/+/b", "a/#", "/", "a//b", "$SYS/#", "温度/#"]
)
def test_filters_that_can_be_subscribed_to(topic: str) -> None:
    assert parse_edge(pre_topic=f"'{topic}'").pre.topic == topic


@pytest.mark.parametrize(
    ("said", "size"),
    [("5", 5), ("1K", 1024), ("7M", 7 * 1024**2), ("2G", 2 * 1024**3), ("1T", 1024**4)],
)
def test_bytes_of_the_spool(said: str, size: int) -> None:
    assert parse_edge(spool=f"{{max_bytes: {said}}}").spool == SpoolLimits(max_bytes=size)


def test_what_is_held_in_memory_is_bounded_in_bytes() -> None:
    edge = parse_edge()
    assert (edge.max_message, edge.queue.bytes) == (2 * 1024**2, 64 * 1024**2)
    edge = parse_edge(max_message="5K", queue="{bytes: 1G}")
    assert (edge.max_message, edge.queue) == (5 * 1024, QueueLimits(bytes=1024**3))


@pytest.mark.parametrize(
    ("post", "letters", "told"),
    [
        ("127.0.0.1", "", True),
        ("other.example", "", False),
        ("127.0.0.1", "{traceback: false}", False),
        ("other.example", "{traceback: true}", True),
    ],
    ids=["same", "other", "same-but-no", "other-but-yes"],
)
def test_where_an_error_was_raised_is_told_to_the_broker_of_the_inputs(
    post: str, letters: str, told: bool
) -> None:
    read = parse_edge(pre_broker="localhost", post_broker=post, dead_letter=letters)
    assert read.dead_letter.traceback is told


def test_the_default_topic_of_dead_letters_has_the_edges_name() -> None:
    head = "defaults: {dead_letter: {keep: 5}}"
    assert parse_edge(head, name="pump").dead_letter == DeadLetters(
        "pyboot/dead/pump", 5, traceback=False
    )


@pytest.mark.parametrize("section", ["spool", "on_error", "dead_letter", "queue"])
def test_an_empty_section_is_one_that_is_not_said(section: str) -> None:
    assert parse_edge(**{section: "{}"}) == parse_edge()


def test_a_configuration_is_frozen() -> None:
    config = parse(f"edge:\n- {edge()}")
    for frozen, name in ((config, "edges"), (config.edges[0], "name"), (config.web, "port")):
        with pytest.raises(AttributeError):
            setattr(frozen, name, None)


# What can be wrong


@pytest.mark.parametrize("text", ["", "# nothing", "---", "~", "text", "5", "[]", "- edge: []"])
def test_not_a_mapping(text: str) -> None:
    [(line, _, path, message, hint)] = wrong(text)
    assert (line >= 1, path, hint) == (True, "", "it starts with `edge:`")
    assert message.startswith("the file must be a mapping, not ")


@pytest.mark.parametrize(
    ("text", "line", "path", "hint"),
    [
        ("edges: []\nedge: []", 1, "edges", "did you mean `edge`?"),
        ("edge: []\nzzz: 1", 2, "zzz", ""),
        ("edge: []\nweb:\n  prot: 1", 3, "web.prot", "did you mean `port`?"),
        (f"edge:\n- {edge(pre_qs='1')}", 2, "edge[0].pre_qs", "did you mean `pre_qos`?"),
        (f"edge:\n- {edge(CODEC='raw')}", 2, "edge[0].CODEC", "did you mean `codec`?"),
        (f"edge:\n- {edge(queue='{preq: 1}')}", 2, "edge[0].queue.preq", "did you mean `pre`?"),
        ("defaults: {thread: 1}\nedge: []", 1, "defaults.thread", "did you mean `threads`?"),
        (
            "brokers: {p: {host: h, user: u}}\nedge: []",
            *(1, "brokers.p.user", "did you mean `username`?"),
        ),
        (
            "brokers: {p: {host: h, tls: {certificate: c}}}\nedge: []",
            *(1, "brokers.p.tls.certificate", ""),
        ),
        ("{edge: [], app_name:x}", 1, "app_name", "put a space after the colon"),
    ],
)
def test_unknown_key(text: str, line: int, path: str, hint: str) -> None:
    found = [item for item in wrong(text) if item[3].startswith("unknown key")]
    name = path.rpartition(".")[2]
    assert [(item[0], *item[2:]) for item in found] == [(line, path, f"unknown key `{name}`", hint)]


@pytest.mark.parametrize("key", list(MINIMAL))
def test_missing_key_of_an_edge(key: str) -> None:
    assert wrong_edge(**{key: ""}) == ("edge[0]", f"the key `{key}` is missing")


def test_other_missing_keys() -> None:
    assert wrong("app_name: x\n") == [(1, 1, "", "the key `edge` is missing", "")]
    assert wrong("edge: []\nbrokers:\n  p: {port: 1}") == [
        (3, 6, "brokers.p", "the key `host` is missing", "")
    ]


def every_key() -> Iterator[tuple[str, ValueType]]:
    """Path and type of every key, as the tables list them."""
    sections = {"": FILE, "web": WEB, "brokers.p": BROKER, "brokers.p.tls": TLS}
    sections |= {"defaults": EDGE, "edge[0]": EDGE, "edge[0].queue": QUEUE}
    sections |= {"edge[0].limits": LIMITS, "edge[0].sandbox": SANDBOX, "edge[0].spool": SPOOL}
    sections |= {"edge[0].on_error": ON_ERROR, "edge[0].dead_letter": DEAD_LETTER}
    for path, section in sections.items():
        for name, key in section.keys.items():
            yield (f"{path}.{name}" if path else name), key.type


def at_path(path: str, value: str) -> str:
    """A file in which the key at `path` has the value `value`, and which is right otherwise."""
    parts = path.split(".")
    own = flow({parts[-1]: value})
    match parts[:-1]:
        case []:
            return f"{parts[-1]}: {value}\n" + ("" if path == "edge" else "edge: []\n")
        case ["edge[0]"]:
            return f"edge:\n- {edge(**{parts[-1]: value})}\n"
        case ["edge[0]", section]:
            return f"edge:\n- {edge(**{section: own})}\n"
        case ["brokers", name]:
            rest = {"host": "h", "username": "u", parts[-1]: value}
            return f"brokers: {{{name}: {flow(rest)}}}\nedge: []\n"
        case ["brokers", name, "tls"]:
            return f"brokers: {{{name}: {{host: h, tls: {own}}}}}\nedge: []\n"
        case [section]:
            return f"{section}: {own}\nedge: []\n"
    raise AssertionError(path)


def reads_a_mapping(value_type: ValueType) -> bool:
    plain = Plain | Environment | SecretFiles
    return isinstance(value_type, Section | plain | BrokersByName | EdgeDefaults)


@pytest.mark.parametrize(
    ("path", "value_type"), list(every_key()), ids=lambda value: str(value)[:40]
)
def test_wrong_type_for_every_key(path: str, value_type: ValueType) -> None:
    mapping, text = "{x: 1}", "some text"
    values = [text if reads_a_mapping(value_type) else mapping, "2024-01-01"]
    if not isinstance(value_type, NullOr):
        values.append("~")
    for value in values:
        found = [item for item in wrong(at_path(path, value)) if item[2] == path]
        assert len(found) == 1, value
        line, column, _, message, _ = found[0]
        written = at_path(path, value).splitlines()[line - 1]
        assert written[column - 1 :].startswith(value), value
        assert message.startswith("must be "), value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("edge[0].instance", "0", "must be a whole number from 1 to 10000, not 0"),
        ("edge[0].instance", "-1", "must be a whole number from 1 to 10000, not -1"),
        ("edge[0].instance", "1.0", "must be a whole number from 1 to 10000, not 1.0"),
        ("edge[0].instance", "true", "must be a whole number from 1 to 10000, not true"),
        ("edge[0].instance", "'1'", "must be a whole number from 1 to 10000, not '1'"),
        ("edge[0].instance", "10001", "must be a whole number from 1 to 10000, not 10001"),
        ("edge[0].pre_qos", "3", "must be a whole number from 0 to 2, not 3"),
        ("edge[0].post_qos", "-1", "must be a whole number from 0 to 2, not -1"),
        ("edge[0].pre_port", "70000", "must be a whole number from 1 to 65535, not 70000"),
        ("edge[0].post_port", "0", "must be a whole number from 1 to 65535, not 0"),
        ("edge[0].threads", "257", "must be a whole number from 1 to 256, not 257"),
        ("web.port", "65536", "must be a whole number from 0 to 65535, not 65536"),
        ("brokers.p.keepalive", "4", "must be a whole number from 5 to 65535, not 4"),
        ("edge[0].queue.pre", "0", "must be a whole number from 1 to 1000000, not 0"),
        ("edge[0].queue.bytes", "64 MB", "must be a size, as in 512M, not '64 MB'"),
        ("edge[0].max_message", "257M", "must be a size up to 256M, not '257M'"),
        ("edge[0].queue.overflow", "drop", "must be one of drop_oldest, drop_newest, not 'drop'"),
        ("edge[0].model_timeout", "0", "must be a whole number from 1 to 86400, not 0"),
        ("edge[0].spool.max_bytes", "0", "must be a size, as in 512M, not 0"),
        ("edge[0].spool.max_bytes", "1.5G", "must be a size, as in 512M, not '1.5G'"),
        ("edge[0].spool.max_age", "0", "must be a whole number from 1 to 315360000, not 0"),
        ("edge[0].spool.on_full", "drop", "must be one of block, drop_oldest, not 'drop'"),
        ("edge[0].on_error.retries", "101", "must be a whole number from 0 to 100, not 101"),
        ("edge[0].on_error.backoff", "-0.1", "must be seconds from 0 to 3600, not -0.1"),
        ("edge[0].on_error.backoff", "3600.5", "must be seconds from 0 to 3600, not 3600.5"),
        ("edge[0].on_error.backoff", ".nan", "must be seconds from 0 to 3600, not nan"),
        ("edge[0].on_error.backoff", "true", "must be seconds from 0 to 3600, not true"),
        ("edge[0].on_error.then", "retry", "must be one of dead_letter, drop, not 'retry'"),
        ("edge[0].dead_letter.keep", "-1", "must be a whole number from 0 to 1000000, not -1"),
        ("edge[0].pre_port", "9" * 60, f"must be a whole number from 1 to 65535, not {'9' * 37}…"),
        ("edge[0].share", "'yes'", "must be true or false, not 'yes'"),
        ("edge[0].share", "1", "must be true or false, not 1"),
        ("edge[0].codec", "jsn", f"{CODECS}, not 'jsn'"),
        ("edge[0].codec", "true", f"{CODECS}, not true"),
        ("edge[0].codec", "{}", "must be a name, or {in: …, out: …}"),
        ("edge[0].compression", "lz4", "must be one of gzip, zlib, zstd, not 'lz4'"),
        ("brokers.p.protocol", "4", "must be one of 5, 3.1.1, not 4"),
        ("brokers.p.protocol", "5.0", "must be one of 5, 3.1.1, not 5.0"),
        ("app_name", "''", "must not be empty"),
        ("app_name", '"a\\nb"', "must not contain control characters"),
        ("app_name", "5", "must be text, not 5"),
        ("app_name", "yes", "must be text, not true"),
        ("edge[0].pre_topic", "''", "must not be empty"),
        ("edge[0].post_topic", "''", "must not be empty"),
        ("edge[0].pre_topic", '"a\\0"', "must not contain control characters"),
        ("edge[0].pre_topic", "x" * 65_001, "must not be longer than 65000 bytes"),
        ("edge[0].post_topic", "温" * 21_667, "must not be longer than 65000 bytes"),
        ("edge[0].pre_broker", "''", "must not be empty"),
        ("edge[0].pre_broker", "10.1", "must be text, not 10.1"),
        ("edge[0].pre_broker", "a b", "must be a host name or an IP address, not 'a b'"),
        ("edge[0].pre_broker", "-h", "must be a host name or an IP address, not '-h'"),
        ("edge[0].pre_broker", "h:1883", "must be a host name or an IP address, not 'h:1883'"),
        ("edge[0].pre_broker", "mqtt://h/a", "must end with host and port: mqtt:// has no path"),
        ("brokers.p.host", "h/x", "must be a host name or an IP address, not 'h/x'"),
        ("model_path", "''", "must not be empty"),
        ("model_path", "5", "must be text, not 5"),
        ("app_name", "2024-01-01", "must be text, not 2024-01-01"),
        ("app_name", "!!binary aGk=", "must be text, not binary data"),
    ],
    ids=lambda value: value[:30],
)
def test_a_value_out_of_its_range(path: str, value: str, message: str) -> None:
    places = [(item[2], item[3]) for item in wrong(at_path(path, value))]
    assert places == [(path, message)]


@pytest.mark.parametrize("value", ["#", "#x", "", "# all of them"])
def test_a_topic_that_yaml_takes_for_a_comment(value: str) -> None:
    text = f"edge:\n- name: a\n  edge_mode: m.f\n  pre_broker: h\n  pre_topic: {value}\n"
    text += "  post_broker: h\n  post_topic: t\n"
    [(line, _, path, message, hint)] = wrong(text)
    assert (line, path, message) == (5, "edge[0].pre_topic", "must be text, not nothing")
    assert hint == "text that begins with # needs quotes"
    assert wrong("app_name: ~\nedge: []")[0][4] == "put it in quotes"


@pytest.mark.parametrize(
    "topic", ["+", "#", "a/+/b", "a/#", "a+", "a#b"], ids=lambda topic: topic.replace("/", "_")
)
def test_wildcards_in_a_topic_to_publish_to(topic: str) -> None:
    path, message = wrong_edge(post_topic=f"'{topic}'")
    assert path == "edge[0].post_topic"
    assert message.startswith("must not have the wildcards + and #")
    assert topic in message


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("a+", "+ must be a whole level of the topic, as in a/+/b: a+"),
        ("a/b+/c", "+ must be a whole level of the topic, as in a/+/b: a/b+/c"),
        ("++", "+ must be a whole level of the topic, as in a/+/b: ++"),
        ("#/a", "# must be the last level of the topic, as in a/#: #/a"),
        ("a#", "# must be the last level of the topic, as in a/#: a#"),
        ("a/##", "# must be the last level of the topic, as in a/#: a/##"),
        ("#/#", "# must be the last level of the topic, as in a/#: #/#"),
        ("$share/group/a", "must not start with $share/"),
    ],
)
def test_bad_filters(topic: str, message: str) -> None:
    assert wrong_edge(pre_topic=f"'{topic}'") == ("edge[0].pre_topic", message)


@pytest.mark.parametrize(
    "name",
    ["a b", ".a", "-a", "a/b", "ä", "a@b", "../x", "a%i", "a\\\\x2d", "a;b", "a:b", "a$b", "温度"],
)
def test_a_name_that_cannot_be_a_unit(name: str) -> None:
    path, message = wrong_edge(name=f'"{name}"')
    assert path == "edge[0].name"
    assert message.startswith("must be letters, digits, ")


def test_a_name_too_long_for_a_unit() -> None:
    assert parse_edge(name="a" * 200).name == "a" * 200
    assert wrong_edge(name="a" * 201)[1] == "must not be longer than 200 characters"


@pytest.mark.parametrize(
    "mode",
    ["f", ".f", "m.", "m..f", "m f.g", "m-x.f", "m.f()", "m:f", "1.f", "'{package}.{module}.{f}'"],
)
def test_a_path_that_names_no_function(mode: str) -> None:
    path, message = wrong_edge(edge_mode=mode)
    assert path == "edge[0].edge_mode"
    assert message.startswith(("must be a dotted path to a function", "must be text"))


def test_wildcards_in_the_topic_of_dead_letters() -> None:
    path, message = wrong_edge(dead_letter="{topic: dead/#}")
    assert path == "edge[0].dead_letter.topic"
    assert message.startswith("must not have the wildcards + and #")


def test_two_edges_of_one_name() -> None:
    text = f"edge:\n- {edge()}\n- {edge(name='b')}\n- {edge()}\n- {edge()}"
    message = "there is another edge named `a` in line 2"
    assert wrong(text) == [
        (4, 10, "edge[2].name", message, ""),
        (5, 10, "edge[3].name", message, ""),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"edge:\n- &e {edge()}\n- {{<<: *e, pre_topic: other}}", 3),
        (f"edge:\n- &e {edge()}\n- *e", 2),
        (f"edge:\n- {edge(name='&n a')}\n- {edge(name='*n')}", 3),
        (f"defaults: {{name: a}}\nedge:\n- {edge(name='')}\n- {edge(name='')}", 4),
        (f"defaults: {{name: a}}\nedge:\n- {edge()}\n- {edge(name='')}", 1),
    ],
)
def test_two_edges_of_one_inherited_name(text: str, line: int) -> None:
    [(found, _, path, message, _)] = wrong(text)
    assert (found, path) == (line, "edge[1].name")
    assert message.startswith("there is another edge named `a` in line ")


def test_two_edges_of_one_name_among_other_errors() -> None:
    text = f"edge:\n- {edge(pre_qos='9')}\n- {edge(post_qos='9')}"
    paths = [item[2] for item in wrong(text)]
    assert paths == ["edge[0].pre_qos", "edge[1].name", "edge[1].post_qos"]


def test_an_unknown_named_broker() -> None:
    text = (
        f"brokers: {{plant: {{host: h}}, north: {{host: h}}}}\nedge:\n- {edge(pre_broker='plnt')}"
    )
    message = "there is no broker named `plnt`; the named ones are: north, plant"
    assert wrong(text) == [(3, 25, "edge[0].pre_broker", message, "did you mean `plant`?")]


def test_a_named_broker_that_is_wrong_is_not_also_unknown() -> None:
    for broker in ("5", "{port: 1}", "!own x", "{host: a b}"):
        head = f"brokers: {{north: {{host: h}}, plant: {broker}}}"
        path, _ = wrong_edge(head, pre_broker="plant")
        assert path.startswith("brokers.plant")


def test_a_broker_whose_name_cannot_be_one() -> None:
    [(_, _, path, message, _)] = wrong("brokers: {'a b': {host: h}}\nedge: []")
    assert path == "brokers.a b"
    assert message.startswith("must be letters")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("password_file: f", "its broker has a password_file but no username"),
        ("tls: {key: k}", "its broker has a tls.key but no tls.cert"),
    ],
)
def test_settings_that_need_each_other(settings: str, message: str) -> None:
    head = f"brokers: {{plant: {{host: h, {settings}}}}}"
    assert wrong_edge(head, pre_broker="plant") == ("edge[0].pre_broker", message)


@pytest.mark.parametrize(
    ("value", "path", "what"),
    [
        (".nan", "a", "nan"),
        ("[1, -.inf]", "a[1]", "-inf"),
        ("{b: [!!binary aGk=]}", "a.b[0]", "binary data"),
    ],
)
def test_options_that_json_cannot_say(value: str, path: str, what: str) -> None:
    found = wrong_edge(options=f"{{a: {value}}}")
    assert found == (f"edge[0].options.{path}", f"{what} can't be expressed in JSON")


def test_every_wrong_item_of_a_list_is_found() -> None:
    found = wrong("model_path: [a, 5, '', !own x]\nedge: []")
    assert [item[2] for item in found] == [f"model_path[{index}]" for index in (1, 2, 3)]


def bomb(levels: int, form: str) -> str:
    """Each line means the one before it twice: 2 to the power of `levels`, or nested as deep."""
    lines = ["x0: &x0 {k: 1}"]
    lines += [f"x{n}: &x{n} {form.replace('_', f'*x{n - 1}')}" for n in range(1, levels + 1)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("levels", "form"), [(60, "[_, _]"), (60, "{k: _, l: _}"), (3000, "{k: _}"), (3000, "[_]")]
)
def test_a_bomb_of_aliases_in_options(levels: int, form: str) -> None:
    more = {"options": f"{{a: *x{levels}}}"}
    too_much = "holds more than 10000 values or is nested too deeply"
    for head in ("", f"defaults: {flow(more)}"):
        text = f"{bomb(levels, form)}\n{head}\nedge:\n- {edge(**more)}"
        found = [item for item in wrong(text) if not item[2].startswith("x")]
        assert {item[3] for item in found} == {too_much}


def test_many_options_within_the_bounds() -> None:
    values = ", ".join(["1"] * 9_000)
    assert len(parse_edge(options=f"{{a: [{values}]}}").options["a"]) == 9_000


def test_an_error_in_defaults_is_reported_once() -> None:
    edges = "\n".join(f"- {edge(name=f'e{n}')}" for n in range(5))
    text = f"defaults:\n  pre_qos: 7\n  queue: {{pre: 0}}\n  treads: 2\nedge:\n{edges}"
    assert [(line, path) for line, _, path, *_ in wrong(text)] == [
        (2, "defaults.pre_qos"),
        (3, "defaults.queue.pre"),
        (4, "defaults.treads"),
    ]


def test_an_error_in_an_anchor_is_reported_once() -> None:
    text = f"edge:\n- &e {edge(pre_qos='7')}\n- {{<<: *e, name: b}}\n- {{<<: *e, name: c}}"
    assert [(line, path) for line, _, path, *_ in wrong(text)] == [(2, "edge[0].pre_qos")]


EVERYTHING_WRONG = """\
app_nam: x
description: [a]
web: {port: 70000, host: a b}
brokers:
  north: {host: h, protocol: 6, password: s3cret}
  south: {port: 0}
defaults: {threads: 0, codec: xml}
model_path: [a, 5]
edge:
  - name: a b
    instance: 0
    pre_broker: nrth
    pre_qos: 3
    pre_topic: a/#/b
    edge_mode: model
    post_broker: h.local
    post_topic: out/+
    share: maybe
    1: one
    share: false
  - text
  - name: b
    options: {x: .inf}
    queue: {pre: 0, pots: 1}
    pre_topic: !own x
  - {name: b, pre_broker: h.local, pre_topic: "", edge_mode: m.f, post_broker: h.b, post_topic: o}
3.5: y
"""


def test_all_errors_at_once_in_the_files_order() -> None:
    found = wrong(EVERYTHING_WRONG)
    assert [(line, column, path) for line, column, path, *_ in found] == [
        (1, 1, "app_nam"),
        (2, 14, "description"),
        (3, 13, "web.port"),
        (3, 26, "web.host"),
        (5, 30, "brokers.north.protocol"),
        (5, 33, "brokers.north.password"),
        (6, 10, "brokers.south"),
        (6, 17, "brokers.south.port"),
        (7, 21, "defaults.threads"),
        (7, 31, "edge[0].codec"),
        (8, 17, "model_path[1]"),
        (10, 11, "edge[0].name"),
        (11, 15, "edge[0].instance"),
        (12, 17, "edge[0].pre_broker"),
        (13, 14, "edge[0].pre_qos"),
        (14, 16, "edge[0].pre_topic"),
        (15, 16, "edge[0].edge_mode"),
        (17, 17, "edge[0].post_topic"),
        (19, 5, "edge[0]"),
        (20, 5, "edge[0].share"),
        (21, 5, "edge[1]"),
        (22, 5, "edge[2]"),
        (22, 5, "edge[2]"),
        (22, 5, "edge[2]"),
        (22, 5, "edge[2]"),
        (23, 18, "edge[2].options.x"),
        (24, 18, "edge[2].queue.pre"),
        (24, 21, "edge[2].queue.pots"),
        (25, 16, "edge[2].pre_topic"),
        (26, 12, "edge[3].name"),
        (26, 47, "edge[3].pre_topic"),
        (27, 1, ""),
    ]


def test_every_line_of_the_error_begins_with_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(EVERYTHING_WRONG)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.problems)
    assert all(line.startswith("/etc/pyboot/config.yaml:") for line in lines)


SECRET = "hunter2"


@pytest.mark.parametrize(
    "value",
    [
        *(SECRET, f"'{SECRET}'", f"[{SECRET}]", f"{{{SECRET}: 1}}", f"!{SECRET}", f"!!{SECRET} x"),
        *(
            f"!{SECRET} [a]",
            f"!<{SECRET}> a",
            f"*{SECRET}",
            f"&{SECRET} x",
            f"@{SECRET}",
            f"|{SECRET}",
        ),
        *(f"%{SECRET}", f"'{SECRET}", f'"\\q{SECRET}"', f"!{SECRET}!x y", f"a: {SECRET}: b"),
        *(
            f"!!int {SECRET}",
            f"!!timestamp {SECRET}",
            f"`{SECRET}`",
            f"{SECRET}\x07",
            f"&{SECRET} *{SECRET}",
        ),
    ],
)
@pytest.mark.parametrize("form", ["{{host: h, password: {}}}", "\n    host: h\n    password: {}"])
@pytest.mark.parametrize("loader", [document.Loader, yaml.SafeLoader])
def test_a_password_is_never_echoed(
    value: str, form: str, loader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor by yaml's own loader, which takes over where libyaml is absent."""
    monkeypatch.setattr(document, "Loader", loader)
    text = f"brokers:\n  plant: {form.format(value)}\nedge: []\n"
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.problems)


@pytest.mark.parametrize(
    "text",
    [
        f"brokers: {{plant: {{host: h, password:{SECRET}}}}}\nedge: []",
        f"brokers: {{plant: {{host: 'mqtt://user:{SECRET}@h'}}}}\nedge: []",
        f"edge:\n- {edge(pre_broker=f'user:{SECRET}@h')}",
        f"password: {SECRET}\nedge: []",
        f"defaults: {{password: {SECRET}}}\nedge: []",
        f"edge:\n- {edge(pre_password=SECRET)}",
    ],
)
def test_a_password_in_a_wrong_place_is_not_echoed_either(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.problems)


def test_the_hint_for_a_password_is_its_file() -> None:
    [(*_, hint)] = wrong("brokers: {plant: {host: h, password: x}}\nedge: []")
    assert hint == "did you mean `password_file`?"


# The file itself


def unreadable(file: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    [problem] = caught.value.problems
    assert (problem.file, problem.line) == (str(file), 0)
    assert "-c FILE" not in problem.message  # it was named so
    return problem.message


def test_a_file_without_an_end() -> None:
    with pytest.raises(ConfigError, match="/dev/zero: can't be read: it has more than 16777216 b"):
        load_config(Path("/dev/zero"))


def test_file_absent(tmp_path: Path) -> None:
    assert "No such file" in unreadable(tmp_path / "config.yaml")


def test_a_project_is_named_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And how to name another file, where none was named."""
    monkeypatch.setattr("pyboot_svc.config.loader.DEFAULT_CONFIG_FILE", tmp_path / "none")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"; name the configuration with -c FILE$"):
        load_config(tmp_path / "none")
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ConfigError, match=r"with -c config\.yaml$"):
        load_config(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"No such file or directory$"):
        load_config(tmp_path / "named")


def test_file_is_a_directory(tmp_path: Path) -> None:
    assert "Is a directory" in unreadable(tmp_path)


def test_file_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "Not a directory" in unreadable(tmp_path / "file" / "config.yaml")


def test_file_is_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").symlink_to("config.yaml")
    assert "symbolic links" in unreadable(tmp_path / "config.yaml")


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A file that nobody may read: not even root, who is somebody else during the test."""
    file = tmp_path / "config.yaml"
    file.write_text("edge: []")
    file.chmod(0)
    with not_root():
        yield file


def test_file_that_may_not_be_read(locked: Path) -> None:
    assert "Permission denied" in unreadable(locked)


def test_file_whose_reading_fails() -> None:
    assert "Input/output error" in unreadable(Path("/proc/self/mem"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kubernetes": "{most: 3}"}, "`most` needs `deployment: true`"),
        (
            {"kubernetes": "{deployment: true}", "pre_qos": "1"},
            "`deployment` needs `share: true` and `pre_qos: 0`",
        ),
        (
            {"kubernetes": "{deployment: true}", "share": "false"},
            "`deployment` needs `share: true` and `pre_qos: 0`",
        ),
    ],
)
def test_what_a_deployment_would_lose_is_an_error(changes: dict[str, str], message: str) -> None:
    [(line, _, path, said, hint)] = wrong(f"edge:\n- {edge(**changes)}")
    assert (line, path, said) == (2, "edge[0].kubernetes", message)
    assert hint


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"sparkplug": "{}"}, "sparkplug", "is for input of `codec: sparkplug_b`"),
        (
            {"codec": "{out: sparkplug_b}", "sparkplug": "{rebirth_on: [seq_gap]}"},
            "sparkplug",
            "is for input of `codec: sparkplug_b`",
        ),
        (
            {"codec": "sparkplug_b", "share": "{by: device}"},
            "share",
            "must be by a level of the topic, with Sparkplug B",
        ),
        (
            {"codec": "sparkplug_b", "compression": "gzip"},
            "compression",
            "is not for input of Sparkplug B",
        ),
    ],
    ids=["JSON", "results", "key", "compression"],
)
def test_what_does_not_go_with_sparkplug(changes: dict[str, str], path: str, message: str) -> None:
    [(line, _, found, said, hint)] = wrong(f"edge:\n- {edge(**changes)}")
    assert (line, found, said) == (2, f"edge[0].{path}", message)
    assert hint


def test_sparkplug() -> None:
    given = {"share": "{by: 'topic[3]'}", "compression": "{out: gzip}", "codec": "sparkplug_b"}
    made = parse_edge(**given, sparkplug="{rebirth_on: [unknown_alias, seq_gap]}")
    assert made.sparkplug.rebirth_on == ("unknown_alias", "seq_gap")
    assert parse_edge(**given).sparkplug.rebirth_on == ()


def test_a_deployment_that_is_scaled() -> None:
    made = parse_edge(kubernetes="{deployment: true, most: 5, threshold: 50}")
    assert made.kubernetes == Kubernetes(deployment=True, most=5, threshold=50)


def test_a_status() -> None:
    assert parse_edge().status is None
    found = parse_edge(status="{}").status
    assert found is not None
    assert found == StatusOptions("pyboot/status/{instance}", home_assistant=False)
    assert found.topic_of(InstanceId("pump", 2)) == "pyboot/status/pump-2"
    shown = parse_edge(status="{topic: 's/{instance}', home_assistant: true}").status
    assert shown == StatusOptions("s/{instance}", home_assistant=True)


def test_tracing() -> None:
    assert parse_edge().tracing is None
    assert parse_edge(tracing="{}").tracing == Tracing(None, None)
    found = parse_edge(tracing="{otlp: 'http://127.0.0.1:4318', sample: 0.01}").tracing
    assert found == Tracing("http://127.0.0.1:4318", 0.01)
    assert parse_edge(tracing="{otlp: 'https://[::1]/a', sample: 1}").tracing == Tracing(
        "https://[::1]/a", 1.0
    )


TRACING_ERRORS = {
    "no scheme": ("{otlp: '127.0.0.1:4318'}", "otlp", "must be a URL as in http://127.0.0.1:4318"),
    "another scheme": ("{otlp: 'grpc://a:4317'}", "otlp", "must be a URL as in http://127"),
    "gRPC": ("{otlp: 'http://a:4317'}", "otlp", "must not have port 4317, which is gRPC's"),
    "a port too high": ("{otlp: 'http://a:65536'}", "otlp", "must be a URL as in http://127"),
    "a query": ("{otlp: 'http://a:1/?token=1'}", "otlp", "must be a URL as in http://127"),
    "a password": ("{otlp: 'http://u:secret@a'}", "otlp", "must be a URL without user name"),
    "no host": ("{otlp: 'http://:4318'}", "otlp", "has a host that must not be empty"),
    "a host with a blank": ("{otlp: 'http://a b'}", "otlp", "has a host that must be a host name"),
    "more than all": ("{sample: 1.5}", "sample", "must be a number from 0 to 1, as in 0.01, not 1"),
    "less than none": ("{sample: -1}", "sample", "must be a number from 0 to 1, as in 0.01, not -"),
    "a percentage": (
        "{sample: 1%}",
        "sample",
        "must be a number from 0 to 1, as in 0.01, not '1%'",
    ),
    "a word": ("{sample: true}", "sample", "must be a number from 0 to 1, as in 0.01, not true"),
}


@pytest.mark.parametrize(("given", "key", "said"), TRACING_ERRORS.values(), ids=TRACING_ERRORS)
def test_what_is_no_tracing(given: str, key: str, said: str) -> None:
    [(_, _, path, message, _)] = wrong(f"edge:\n- {edge(tracing=given)}")
    assert path == f"edge[0].tracing.{key}"
    assert message.startswith(said)
    assert "secret" not in message


STATUS_ERRORS = {
    "no instance": ({"status": "{topic: pyboot/status}"}, "topic", "must have {instance}"),
    "another field": (
        {"status": "{topic: 'a/{instance}/{device}'}"},
        "topic",
        "can be filled in with {instance} alone",
    ),
    "a wildcard": ({"status": "{topic: '+/{instance}'}"}, "topic", "must not have the wildcards"),
    "many topics": (
        {"status": "{home_assistant: true}", "post_topic": "'out/{device}'"},
        "home_assistant",
        "needs results in JSON",
    ),
    "no JSON": (
        {"status": "{home_assistant: true}", "codec": "raw"},
        "home_assistant",
        "needs results in JSON",
    ),
    "packed": (
        {"status": "{home_assistant: true}", "compression": "{out: gzip}"},
        "home_assistant",
        "needs results in JSON",
    ),
}


@pytest.mark.parametrize(("changes", "key", "said"), STATUS_ERRORS.values(), ids=STATUS_ERRORS)
def test_what_is_no_status(changes: dict[str, str], key: str, said: str) -> None:
    [(_, _, path, message, hint)] = wrong(f"edge:\n- {edge(**changes)}")
    assert path == f"edge[0].status.{key}"
    assert message.startswith(said)
    assert hint or key == "topic"
