"""Reads a configuration file: every error of it at once, or a `Config`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from pyboot_svc.address import is_ip_address
from pyboot_svc.config.broker_url import settings_of
from pyboot_svc.config.client_ids import refuse_shared_client_ids
from pyboot_svc.config.document import Node, Problems, parse_document
from pyboot_svc.config.loops import Placed, covers, refuse_loops, same_broker_key
from pyboot_svc.config.schema import EDGE, FILE, MIGHTY_GROUPS, WEB
from pyboot_svc.config.sections import overlay
from pyboot_svc.config.settings import (
    DEAD_LETTER_TOPIC,
    DEFAULT_CODEC,
    DEFAULT_CONFIG_FILE,
    DEFAULT_MODEL_PATH,
    DEFAULT_TRANSPORT,
    SPARKPLUG,
    BatchLimits,
    Broker,
    Config,
    DeadLetters,
    Edge,
    Endpoint,
    Kubernetes,
    Limits,
    OnError,
    QueueLimits,
    ResultOptions,
    Sandbox,
    SparkplugOptions,
    SpoolLimits,
    StatusOptions,
    Tls,
    Tracing,
    WebAddress,
    WebTls,
    usual_port,
)
from pyboot_svc.config.types import CodecName, Invalid, suggestion
from pyboot_svc.environments.libraries import entered
from pyboot_svc.errors import ConfigError, Problem, in_words
from pyboot_svc.files import read_all
from pyboot_svc.topics import RESPONSE

_PLAIN_KEYS = (
    "name",
    "edge_mode",
    "python",
    "instance",
    "threads",
    "concurrency",
    "every",
    "retained",
    "nan",
    "model_timeout",
    "data_plane",
    "max_linger_us",
    "loop",
    "max_message",
)


# What `pyboot init` calls it.
_IN_A_PROJECT = Path("config.yaml")


# Far more than any has.
_MOST_BYTES = 16 * 1024**2


def load_config(file: Path, *, model_path: Sequence[str] = ()) -> Config:
    """Read `file`; folders of `model_path` are searched before those that it names.

    Raises ConfigError with every problem of the file.
    """
    return parse_config(read_config(file), str(file), model_path=model_path)


def read_config(file: Path) -> bytes:
    """The file's bytes; raises ConfigError when there are none."""
    try:
        return read_all(file, _MOST_BYTES)
    except OSError as error:
        message = f"can't be read: {in_words(error)}"
        if file == DEFAULT_CONFIG_FILE and isinstance(error, FileNotFoundError):
            here = _IN_A_PROJECT if os.path.isfile(_IN_A_PROJECT) else "FILE"
            message += f"; name the configuration with -c {here}"
        raise ConfigError([Problem(str(file), 0, 0, "", message)]) from error


def parse_config(data: bytes, file: str, *, model_path: Sequence[str] = ()) -> Config:
    """Like `load_config`, from the file's bytes; `file` names it in errors."""
    problems = Problems(file)
    root = parse_document(data, problems)
    try:
        values = {} if root.broken else FILE.read(root, "", problems)
    except Invalid as error:
        problems.add(root, "", f"the file {error.message}", "it starts with `edge:`")
        values = {}
    edges = _Edges(values.get("brokers") or {}, values.get("defaults"), problems)
    config = Config(
        edges=edges.read_all(values.get("edge", [])),
        app_name=values.get("app_name", ""),
        description=values.get("description", ""),
        web=_web(values.get("web"), root, problems),
        model_path=(*model_path, *values.get("model_path", ()), *DEFAULT_MODEL_PATH),
    )
    problems.raise_if_any()
    return config


def _web(values: Mapping[str, Any] | None, root: Node, problems: Problems) -> WebAddress:
    if not values or WEB.keys.keys() - values.keys():
        return WebAddress()
    tls = values["tls"]
    if tls is not None and "cert" not in tls:
        return WebAddress()
    web = WebAddress(**{**values, "tls": WebTls(**tls) if tls is not None else None})
    if web.trouble:
        problems.add(root.value["web"].node, "web.host", web.trouble)
    return web


class _Edges:
    """Builds the edges, with the named brokers and the defaults at hand."""

    def __init__(
        self, brokers: Mapping[str, Mapping[str, Any]], defaults: Node | None, problems: Problems
    ) -> None:
        self._brokers = brokers
        self._defaults = defaults
        self._problems = problems

    def read_all(self, nodes: Sequence[Node]) -> tuple[Edge, ...]:
        merged = [overlay(self._defaults, node) if self._defaults else node for node in nodes]
        read = [
            Placed(edge, node, path)
            for index, node in enumerate(merged)
            for path in [f"edge[{index}]"]
            if (edge := self._read(node, path)) is not None
        ]
        self._check_names(merged)
        refuse_loops(read, self._problems)
        refuse_shared_client_ids(read, self._problems)
        return tuple(placed.edge for placed in read)

    def _read(self, node: Node, path: str) -> Edge | None:
        if node.broken:
            return None
        try:
            values = EDGE.read(node, path, self._problems)
        except Invalid as error:
            self._problems.add(node, path, error.message, error.hint)
            return None
        self._check_codecs(values, node, path)
        pre = self._endpoint(values, node, path, "pre")
        post = self._endpoint(values, node, path, "post")
        if pre is None or post is None or EDGE.keys.keys() - values.keys():
            return None
        batch = values["batch"]
        return Edge(
            **{key: values[key] for key in _PLAIN_KEYS},
            **_formats(values["codec"], values["compression"]),
            sparkplug=self._sparkplug(values, node, path),
            share=bool(values["share"]),
            partition=values["share"] if isinstance(values["share"], str) else None,
            pre=pre,
            post=post,
            results=self._results(values, (pre, post), node, path),
            batch=BatchLimits(**batch) if batch is not None else None,
            queue=QueueLimits(**(values["queue"] or {})),
            spool=SpoolLimits(**(values["spool"] or {})),
            on_error=OnError(**(values["on_error"] or {})),
            dead_letter=_dead_letter(
                values["name"], values["dead_letter"] or {}, at_home=_same(pre.broker, post.broker)
            ),
            status=self._status(values, post, node, path),
            tracing=Tracing(**values["tracing"]) if values["tracing"] is not None else None,
            limits=Limits(**(values["limits"] or {})),
            environment=values["environment"] or {},
            sandbox=self._sandbox(values, node, path),
            kubernetes=self._kubernetes(values, node, path),
            options=values["options"] or {},
            secrets=values["secrets"] or {},
        )

    def _check_codecs(self, values: Mapping[str, Any], node: Node, path: str) -> None:
        """What is installed in an environment that a model has of its own is known there."""
        given = node.value.get("codec")
        if given is None or values.get("codec") is None or values.get("python") != entered():
            return
        places = {f"{path}.codec": given.node}
        if isinstance(given.node.value, dict):
            places = {f"{path}.codec.{way}": one.node for way, one in given.node.value.items()}
        for place, named in places.items():
            if isinstance(named.value, str):
                try:
                    CodecName().check(named.value)
                except Invalid as error:
                    self._problems.add(named, place, error.message, error.hint)

    def _results(
        self, values: Mapping[str, Any], ends: tuple[Endpoint, Endpoint], node: Node, path: str
    ) -> ResultOptions:
        _, post = ends
        if post.topic == RESPONSE:
            for end in ends:
                if end.broker.protocol != "5":
                    place = node.value["post_topic"].node
                    hint = f"set `protocol: 5` for {end.broker.host}"
                    message = f"`post_topic: {RESPONSE!r}` needs MQTT 5 on both sides"
                    self._problems.add(place, f"{path}.post_topic", message, hint)
                    break
        given = {key: values[f"post_{key}"] for key in ("retain", "expiry", "content_type")}
        for key in ("expiry", "content_type"):
            if given[key] is not None and post.broker.protocol != "5":
                name = f"post_{key}"
                place = node.value[name].node if name in node.value else node
                hint = f"leave it out, or set `protocol: 5` for {post.broker.host}"
                self._problems.add(place, f"{path}.{name}", f"`{name}` needs MQTT 5", hint)
        return ResultOptions(**given)

    def _sparkplug(self, values: Mapping[str, Any], node: Node, path: str) -> SparkplugOptions:
        """What doesn't go together with payloads that need others, or with any but those."""
        formats = _formats(values["codec"], values["compression"])
        given, share = values["sparkplug"], values["share"]
        wrong: dict[str, tuple[str, str]] = {}
        if formats["codec"] != SPARKPLUG:
            if given is not None:
                hint = f"set `codec: {SPARKPLUG}`, or leave it out"
                wrong["sparkplug"] = f"is for input of `codec: {SPARKPLUG}`", hint
        else:
            if isinstance(share, str) and not share.startswith("topic["):
                hint = 'an edge node and its births stay together by `share: {by: "topic[3]"}`'
                wrong["share"] = "must be by a level of the topic, with Sparkplug B", hint
            if formats["compression"] is not None:
                hint = "`compression: {out: …}` is for results alone"
                wrong["compression"] = "is not for input of Sparkplug B", hint
        for key, (message, hint) in wrong.items():
            place = node.value[key].node if key in node.value else node
            self._problems.add(place, f"{path}.{key}", message, hint)
        return SparkplugOptions(**(given or {}))

    def _status(
        self, values: Mapping[str, Any], post: Endpoint, node: Node, path: str
    ) -> StatusOptions | None:
        if values["status"] is None:
            return None
        status = StatusOptions(**values["status"])
        codec, compression = values["codec"], values["compression"]
        formats = _formats(codec, compression)
        plain = (formats["codec_out"] or formats["codec"]) == "json"
        packed = formats["compression_out"] is not None or formats["compression"] is not None
        if status.home_assistant and ("{" in post.topic or packed or not plain):
            message = "needs results in JSON at one topic, without compression"
            hint = "leave it out, or set a `post_topic` without {…} and `codec: {out: json}`"
            place = node.value["status"].node
            self._problems.add(place, f"{path}.status.home_assistant", message, hint)
        return status

    def _sandbox(self, values: Mapping[str, Any], node: Node, path: str) -> Sandbox:
        given = values["sandbox"] or {}
        mighty = [name for name in given.get("groups", ()) if name in MIGHTY_GROUPS]
        if mighty and not given.get("privileged"):
            self._problems.add(
                node.value["sandbox"].node,
                f"{path}.sandbox.groups",
                f"who belongs to {', '.join(mighty)} can do all that root can",
                "leave it out, or set `privileged: true` beside it if the model may",
            )
        return Sandbox(**given)

    def _kubernetes(self, values: Mapping[str, Any], node: Node, path: str) -> Kubernetes:
        given = values["kubernetes"] or {}
        place = node.value["kubernetes"].node if given else node
        inner = f"{path}.kubernetes"
        if given.get("most") is not None and not given.get("deployment"):
            hint = "or leave out `most`: pods with sessions of their own are not scaled"
            self._problems.add(place, inner, "`most` needs `deployment: true`", hint)
        if given.get("deployment") and (values["share"] is not True or values["pre_qos"] > 0):
            # What the broker holds for a session, and what lies in a spool, would go with the pod.
            hint = "without `deployment` its pods keep their sessions and disks"
            message = "`deployment` needs `share: true` and `pre_qos: 0`"
            self._problems.add(place, inner, message, hint)
        return Kubernetes(**given)

    def _endpoint(
        self, values: Mapping[str, Any], node: Node, path: str, side: str
    ) -> Endpoint | None:
        name, topic, qos = (values.get(f"{side}_{key}") for key in ("broker", "topic", "qos"))
        if name is None:
            return None
        key = f"{side}_broker"
        settings = self._broker(name, node.value[key].node, f"{path}.{key}")
        if settings is None or topic is None or qos is None:
            return None
        broker = _broker(settings, values.get(f"{side}_port"))
        if side == "post":
            return Endpoint(broker, topic, qos)
        if not topic:
            place = node.value["pre_topic"].node
            if not place.value:  # else each of them is a problem of its own
                self._problems.add(place, f"{path}.pre_topic", "must name at least one topic")
            return None
        for first, second in combinations(topic, 2):
            if covers(first, second) or covers(second, first):
                place = node.value["pre_topic"].node
                message = f"{first} and {second} have topics in common: those would come twice"
                self._problems.add(place, f"{path}.pre_topic", message, "leave one of them out")
        return Endpoint(broker, topic[0], qos, tuple(topic[1:]))

    def _broker(self, name: str, node: Node, path: str) -> Mapping[str, Any] | None:
        """The settings of a named broker, or of the host that `name` is."""
        if name in self._brokers:
            settings = self._brokers[name]
            self._check_credentials(settings, node, path)
            return settings if "host" in settings else None
        a_word = not ("." in name or "://" in name or name == "localhost" or is_ip_address(name))
        if self._brokers and a_word:
            # Beside named brokers, a bare word is far more often a slip than a host.
            known = ", ".join(sorted(self._brokers))
            hint = suggestion(name, self._brokers) or (
                "write a host of one word with a dot at its end, or add it to `brokers`"
            )
            message = f"there is no broker named `{name}`; the named ones are: {known}"
            self._problems.add(node, path, message, hint)
            return None
        return settings_of(name)

    def _check_credentials(self, settings: Mapping[str, Any], node: Node, path: str) -> None:
        if settings.get("password_file") and not settings.get("username"):
            self._problems.add(node, path, "its broker has a password_file but no username")
        tls = settings.get("tls") or {}
        if tls.get("key") and not tls.get("cert"):
            self._problems.add(node, path, "its broker has a tls.key but no tls.cert")
        if tls.get("key_password_file") and not tls.get("cert"):
            message = "its broker has a tls.key_password_file but no tls.cert"
            self._problems.add(node, path, message)

    def _check_names(self, nodes: Sequence[Node]) -> None:
        seen: dict[str, Node] = {}
        for index, node in enumerate(nodes):
            entry = node.value.get("name") if isinstance(node.value, dict) else None
            if entry is None or not isinstance(entry.node.value, str):
                continue
            name = entry.node.value
            if name in seen:
                first = seen[name]
                # A name from `defaults` or from an alias is the same node again.
                place = node if entry.node is first else entry.node
                message = f"there is another edge named `{name}` in line {first.line}"
                self._problems.add(place, f"edge[{index}].name", message)
            else:
                seen[name] = entry.node


def _broker(settings: Mapping[str, Any], port: int | None) -> Broker:
    tls = settings.get("tls")
    chosen = {key: value for key, value in settings.items() if value is not None and key != "tls"}
    transport = settings.get("transport", DEFAULT_TRANSPORT)
    chosen.setdefault("port", usual_port(transport, secure=tls is not None))
    if port is not None:
        chosen["port"] = port
    return Broker(**chosen, tls=Tls(**tls) if tls is not None else None)


def _formats(codec: str | tuple[str | None, str | None], compression: Any) -> dict[str, Any]:
    """The settings of the same names, of both ways."""
    arriving, leaving = codec if isinstance(codec, tuple) else (codec, codec)
    arriving = arriving or DEFAULT_CODEC
    leaving = leaving or DEFAULT_CODEC
    packed, packing = compression or (None, None)
    return {
        "codec": arriving,
        "codec_out": leaving if leaving != arriving else None,
        "compression": packed,
        "compression_out": packing,
    }


def _same(one: Broker, other: Broker) -> bool:
    return same_broker_key(one) == same_broker_key(other)


def _dead_letter(name: str, values: Mapping[str, Any], *, at_home: bool) -> DeadLetters:
    """`at_home`: they go where the inputs came from."""
    topic = values.get("topic") or f"{DEAD_LETTER_TOPIC}/{name}"
    traceback = values.get("traceback")
    traceback = at_home if traceback is None else traceback
    return DeadLetters(**{**values, "topic": topic, "traceback": traceback})
