"""Every key of the configuration file: its type, its default and what it is for.

A default stands in `settings`: a key that names none here has that of its section's dataclass, and
is required where that has none. The reference of the configuration is written from these tables.
"""

from __future__ import annotations

import re
from typing import Any

from pyboot_svc.config.broker_url import BrokerHost, with_url
from pyboot_svc.config.collector_url import CollectorUrl
from pyboot_svc.config.document import Node, Problems
from pyboot_svc.config.host_types import (
    AbsolutePath,
    Bytes,
    CpuList,
    DevicePath,
    Duration,
    Environment,
    Percent,
    Seconds,
    SecretFiles,
    Size,
)
from pyboot_svc.config.sections import Key, Section
from pyboot_svc.config.settings import (
    DEAD_LETTER_TOPIC,
    DEFAULT_MODEL_PATH,
    DEFAULT_QOS,
    DEFAULT_RETAIN,
    BatchLimits,
    Broker,
    Config,
    DeadLetters,
    Edge,
    Kubernetes,
    Limits,
    OnError,
    QueueLimits,
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
from pyboot_svc.config.types import (
    Boolean,
    BothWays,
    Choice,
    CodecName,
    FilePath,
    Fraction,
    Host,
    Integer,
    Invalid,
    ListOf,
    Name,
    NullOr,
    OneOrMany,
    Plain,
    ResultTopic,
    Sharing,
    StatusTopic,
    Text,
    Topic,
    TopicFilter,
    ValueType,
    WebAuth,
    shown,
)
from pyboot_svc.identity import MODEL_PATTERN, NAME_MAX_LENGTH, NAME_PATTERN

_PLAIN_PORT, _TLS_PORT = (usual_port("tcp", secure=secure) for secure in (False, True))
_WEB_PORTS = " or ".join(str(usual_port("websockets", secure=secure)) for secure in (False, True))
_USUAL_PORTS = f"{_PLAIN_PORT}; {_TLS_PORT} with `tls`; {_WEB_PORTS} with `websockets`"
_PORT_OF_BROKER = f"its port; without it the named broker's, or {_PLAIN_PORT}"
_MODEL_PATH = ", ".join(f"`{folder}`" for folder in DEFAULT_MODEL_PATH)
MAX_INSTANCES = 10_000
MAX_THREADS = 256
MAX_QUEUE = 1_000_000
PORT = Integer(1, 65_535)
ERROR_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
# Who belongs to one has the disks, memory or passwords, or can start what runs as root.
MIGHTY_GROUPS = frozenset(
    {
        *("root", "sudo", "wheel", "admin", "staff", "shadow", "disk", "kmem", "mem"),
        *("docker", "lxd", "lxc", "incus", "incus-admin", "libvirt", "podman"),
    }
)
GROUP = Text(re.compile(r"[a-z_][a-z0-9_-]{0,30}"), "the name of a group")
CLIENT_ID = Text(re.compile("[!-~]{1,128}"), "up to 128 characters of ASCII without spaces")
PROTOCOL_NAME = Text(re.compile("[!-~]{1,255}"), "the name of a protocol, as in mqtt")
NAME = Name(
    NAME_PATTERN,
    "letters, digits, `_`, `.` and `-`, without `.` or `-` in front",
    NAME_MAX_LENGTH,
)

TLS = Section(
    Tls,
    {
        "ca": Key(FilePath(), "CA certificates to trust; by default the system's"),
        "cert": Key(FilePath(), "client certificate"),
        "key": Key(FilePath(), "its private key, if not in `cert`"),
        "key_password_file": Key(FilePath(), "file whose first line is the password of the key"),
        "server_name": Key(
            Host(), "name that the broker's certificate is for; by default its `host`"
        ),
        "alpn": Key(
            OneOrMany(PROTOCOL_NAME), "application protocol to ask for, e.g. x-amzn-mqtt-ca", ()
        ),
        "min_version": Key(
            Choice("1.2", "1.3"), "oldest version of TLS to accept; by default the system's"
        ),
        "strict": Key(Boolean(), "the broker's certificates must keep to RFC 5280 in full"),
    },
)

BROKER = Section(
    Broker,
    {
        "host": Key(
            BrokerHost(),
            "name or address, or a URL: `mqtts://host:port`, `mqtt://`, `ws://`, `wss://host/path`",
        ),
        "port": Key(PORT, _USUAL_PORTS, None),
        "username": Key(
            Text(re.compile(".{1,16000}"), "at most 16,000 characters long"), "user name"
        ),
        "password_file": Key(FilePath(), "file whose first line is the password"),
        "tls": Key(TLS, "encrypt the connection; `tls: {}` trusts the system's CAs", None),
        "keepalive": Key(Integer(5, 65_535), "keep-alive interval in seconds"),
        "protocol": Key(Choice("5", "3.1.1"), "MQTT version"),
        "transport": Key(Choice("tcp", "websockets"), "transport that carries MQTT"),
        "path": Key(Text(), "path of the URL, for `websockets`"),
        "client_id": Key(
            CLIENT_ID,
            "client id of the one connection that uses this entry; see `client_id_prefix`",
        ),
        "client_id_prefix": Key(
            CLIENT_ID, "client ids are this, NAME-N, and for results `-post` at the end"
        ),
    },
)

QUEUE = Section(
    QueueLimits,
    {
        "pre": Key(Integer(1, MAX_QUEUE), "maximum number of queued inputs"),
        "post": Key(Integer(1, MAX_QUEUE), "maximum number of queued results"),
        "bytes": Key(Bytes(), "maximum size of the inputs and results held in memory, e.g. 64M"),
        "overflow": Key(
            Choice("drop_oldest", "drop_newest"),
            "which QoS 0 inputs are dropped when `pre` or `bytes` is full",
        ),
    },
)

BATCH = Section(
    BatchLimits,
    {
        "max_size": Key(Integer(1, 10_000), "maximum number of messages per call"),
        "max_wait_ms": Key(
            Integer(0, 60_000), "how long to wait for a full batch, in milliseconds"
        ),
    },
)

SPOOL = Section(
    SpoolLimits,
    {
        "max_bytes": Key(Bytes(), "maximum size on disk of all that an instance keeps, e.g. 256M"),
        "max_age": Key(
            Integer(1, 10 * 365 * 86_400),
            "seconds after which a result is dropped, counted while the host is up",
        ),
        "on_full": Key(
            Choice("block", "drop_oldest"), "stop taking input, or drop the oldest results"
        ),
    },
)

ON_ERROR = Section(
    OnError,
    {
        "retry": Key(
            ListOf(Text(ERROR_NAME, "the name of an exception, as in OSError")),
            "exceptions that a repetition may help against, e.g. `[OSError, requests.Timeout]`",
        ),
        "retries": Key(Integer(0, 100), "how often to repeat such a call"),
        "backoff": Key(Seconds(0, 3600), "seconds before the first repetition; doubled each time"),
        "then": Key(Choice("dead_letter", "drop"), "where the message goes after the last attempt"),
    },
)

STATUS = Section(
    StatusOptions,
    {
        "topic": Key(
            StatusTopic(),
            "where: online, draining or offline, as JSON, on the post broker; with `{instance}`",
        ),
        "home_assistant": Key(Boolean(), "also tell Home Assistant which numbers the results have"),
    },
)

TRACING = Section(
    Tracing,
    {
        "otlp": Key(
            CollectorUrl(),
            "the collector, e.g. http://127.0.0.1:4318; without it `OTEL_EXPORTER_OTLP_ENDPOINT` "
            "says where",
        ),
        "sample": Key(
            Fraction(),
            "of how many messages that come without a trace, e.g. 0.01; without it "
            "`OTEL_TRACES_SAMPLER` says, or it is all",
        ),
    },
)

DEAD_LETTER = Section(
    DeadLetters,
    {
        "topic": Key(
            Topic(),
            f"where dead letters are published; by default `{DEAD_LETTER_TOPIC}/NAME`",
            None,
        ),
        "keep": Key(Integer(0, 1_000_000), "how many to keep locally, for `pyboot dead`"),
        "max_bytes": Key(
            Bytes(), "maximum size of them on disk; at most a quarter of `spool.max_bytes`"
        ),
        "publish": Key(Boolean(), "also publish them on the post broker"),
        "traceback": Key(
            Boolean(),
            "whether what is published tells where in the model an error was raised; by default "
            "where the post broker is the pre broker, too",
            None,
        ),
    },
)

SPARKPLUG_OPTIONS = Section(
    SparkplugOptions,
    {
        "rebirth_on": Key(
            ListOf(Choice("unknown_alias", "seq_gap")),
            "ask an edge node for its births when an alias is unknown, or a message is missing",
        ),
    },
)

LIMITS = Section(
    Limits,
    {
        "memory": Key(Size(), "memory limit, e.g. 512M"),
        "cpu": Key(Percent(), "CPU limit, e.g. 80% of one core; 200% is two cores"),
        "tasks": Key(Integer(8, 100_000), "maximum number of threads and processes"),
        "nice": Key(Integer(-20, 19), "scheduling priority; 19 is the lowest"),
        "cpus": Key(CpuList(), 'CPU cores to run on, e.g. "0-1"; also sets OMP_NUM_THREADS'),
    },
)

SANDBOX = Section(
    Sandbox,
    {
        "write": Key(ListOf(AbsolutePath()), "folders that the model may write to"),
        "devices": Key(ListOf(DevicePath()), "devices that it may use, e.g. /dev/ttyUSB0"),
        "groups": Key(ListOf(GROUP), "groups whose files it may use, e.g. dialout"),
        "jit": Key(Boolean(), "allow code generated at run time, as by numba"),
        "network": Key(Boolean(), "allow network access beyond the brokers"),
        "privileged": Key(Boolean(), "allow groups that are as good as root, e.g. disk, docker"),
    },
)

KUBERNETES = Section(
    Kubernetes,
    {
        "deployment": Key(
            Boolean(), "interchangeable pods; needs `share` and `pre_qos: 0`, keeps no state"
        ),
        "most": Key(Integer(1, MAX_INSTANCES), "maximum number of pods to scale a deployment to"),
        "threshold": Key(Integer(1, MAX_QUEUE), "number of queued inputs per pod to scale by"),
    },
)

EDGE = Section(
    Edge,
    {
        "name": Key(NAME, "name of the model's units, metrics and sessions"),
        "instance": Key(Integer(1, MAX_INSTANCES), "number of processes"),
        "pre_broker": Key(
            BrokerHost(), "where input comes from: a host, a URL, or one of `brokers`"
        ),
        "pre_port": Key(PORT, _PORT_OF_BROKER, None),
        "pre_topic": Key(
            OneOrMany(TopicFilter()),
            "topic to subscribe to, or a list; `+` and `#` are allowed",
        ),
        "pre_qos": Key(
            Integer(0, 2), "quality of service of the input; 2 is subscribed as 1", DEFAULT_QOS
        ),
        "edge_mode": Key(
            Text(MODEL_PATTERN, "a dotted path to a function, as in package.module.function"),
            "the model: `{package}.{module}.{function}`",
        ),
        "python": Key(
            FilePath(),
            "Python environment of the model: the folder of a virtual environment, or an "
            "interpreter; by default pyboot's own",
        ),
        "post_broker": Key(BrokerHost(), "where results go: a host, a URL, or one of `brokers`"),
        "post_port": Key(PORT, _PORT_OF_BROKER, None),
        "post_topic": Key(
            ResultTopic(),
            "topic to publish to; `{key}` is of the result, `{topic[1]}` of the input",
        ),
        "post_qos": Key(Integer(0, 2), "quality of service of the results", DEFAULT_QOS),
        "post_retain": Key(
            Boolean(), "the broker keeps the last result for new subscribers", DEFAULT_RETAIN
        ),
        "post_expiry": Key(
            Integer(1, 2**32 - 1),
            "seconds after which the broker drops a result that was not delivered (MQTT 5)",
            None,
        ),
        "post_content_type": Key(
            Text(), "content type of the results, e.g. application/json (MQTT 5)", None
        ),
        "loop": Key(Boolean(), "allow results or dead letters to come back as input"),
        "share": Key(
            Sharing(),
            "instances share the input; with `false` each gets all of it, with `{by: device}` what "
            "has the same key goes to the same one",
        ),
        "threads": Key(Integer(1, MAX_THREADS), "model threads in each process"),
        "concurrency": Key(
            Integer(1, 1000), "calls that a thread makes at once, of a model that is an `async def`"
        ),
        "every": Key(
            Duration(0.1, 86_400), "call the model's `tick(context)` that often, as in 5s or 1m"
        ),
        "retained": Key(
            Choice("process", "ignore"), "what was published before the model subscribed"
        ),
        "codec": Key(
            BothWays(CodecName()),
            "format of payloads: json, raw (bytes), text, csv, msgpack, cbor, sparkplug_b, or one "
            "that a package brings; `{in: raw, out: json}` where they differ",
        ),
        "compression": Key(
            BothWays(Choice("gzip", "zlib", "zstd")),
            "how payloads are compressed: gzip, zlib or zstd; `{in: gzip}` for one way",
            None,
        ),
        "sparkplug": Key(SPARKPLUG_OPTIONS, "for `codec: sparkplug_b`", None),
        "nan": Key(
            NullOr("null", "error", "keep"),
            "NaN and infinity, in input and results: as null, as an error, or kept",
        ),
        "model_timeout": Key(Integer(1, 86_400), "seconds after which a call counts as hung"),
        "batch": Key(BATCH, "call the model with a list; it returns one of the same length"),
        "data_plane": Key(
            Choice("bulk", "plain"), "handle packets in bulk, or one by one (for comparison)"
        ),
        "max_linger_us": Key(
            Integer(0, 100_000),
            "longest wait of a read for more messages at high rates, in microseconds; 0: none",
        ),
        "max_message": Key(
            Bytes(256 * 1024**2),
            "largest payload that is accepted; a larger one becomes a dead letter",
        ),
        "queue": Key(QUEUE, "bounds of what is held in memory", None),
        "spool": Key(SPOOL, "results on disk while the post broker is away", None),
        "on_error": Key(ON_ERROR, "what happens when the model fails on a message", None),
        "dead_letter": Key(DEAD_LETTER, "messages that were given up", None),
        "status": Key(STATUS, "a retained message of each instance that says whether it is online"),
        "tracing": Key(TRACING, "spans of messages for OpenTelemetry (`pyboot-svc[otel]`)", None),
        "limits": Key(LIMITS, "limits that the service manager enforces", None),
        "environment": Key(Environment(), "environment variables", None),
        "sandbox": Key(SANDBOX, "exceptions from the sandbox", None),
        "kubernetes": Key(KUBERNETES, "settings for `pyboot render kubernetes`", None),
        "secrets": Key(
            SecretFiles(),
            'files of secrets by name, as in `{API_KEY: api.key}`; `context.secret("API_KEY")`',
            None,
        ),
        "options": Key(Plain(), "free-form settings, the model's `context.options`", None),
    },
)

WEB_TLS = Section(
    WebTls,
    {
        "cert": Key(FilePath(), "its certificate, followed by those of its authorities"),
        "key": Key(FilePath(), "its private key, if not in `cert`"),
    },
)

WEB = Section(
    WebAddress,
    {
        "host": Key(Host(), "address to listen at"),
        "port": Key(Integer(0, 65_535), "port to listen at; 0 picks a free one"),
        "tls": Key(WEB_TLS, "serve HTTPS; files that change are read again", None),
        "auth": Key(
            WebAuth(),
            "who may read it: `{file: FILE}` of `pyboot web password`, or `none` for everybody; "
            "needed where other hosts reach it",
        ),
        "socket": Key(FilePath(), "UNIX socket to listen at instead"),
    },
)


# Where the JSON Schema keeps what an edge and the defaults have in common.
EDGE_REFERENCE = "#/definitions/edge"


class RawEdges(ValueType):
    """The raw items of the list; the loader reads them, with the defaults below each."""

    def read(self, node: Node, path: str, problems: Problems) -> list[Node]:
        if not isinstance(node.value, list):
            raise Invalid(f"must be a list, not {shown(node.value)}", "each item starts with `- `")
        items: list[Node] = node.value
        return items

    def json_schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"$ref": EDGE_REFERENCE}}


class BrokersByName(ValueType):
    def read(self, node: Node, path: str, problems: Problems) -> dict[str, Any]:
        if not isinstance(node.value, dict):
            raise Invalid(f"must be a mapping of names to brokers, not {shown(node.value)}")
        brokers: dict[str, Any] = {}
        for name, entry in node.value.items():
            inner = f"{path}.{name}"
            if entry.node.broken:
                brokers[name] = {}
                continue
            try:
                NAME.read(entry.key, inner, problems)
                brokers[name] = _broker(entry.node, inner, problems)
            except Invalid as error:
                problems.add(entry.node, inner, error.message, error.hint)
                brokers[name] = {}  # there is one of that name, only not a right one
        return brokers

    def json_schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "propertyNames": NAME.json_schema(),
            "additionalProperties": BROKER.json_schema(),
        }


def _broker(node: Node, path: str, problems: Problems) -> dict[str, Any]:
    settings = BROKER.read(node, path, problems)
    return with_url(settings, node.value) if "host" in settings else settings


class EdgeDefaults(ValueType):
    """Checked here, and read again below every edge that inherits it."""

    def read(self, node: Node, path: str, problems: Problems) -> Node:
        EDGE.read_given(node, path, problems)
        return node

    def json_schema(self) -> dict[str, Any]:
        return {"$ref": EDGE_REFERENCE}


FILE = Section(
    Config,
    {
        "app_name": Key(Text(), "display name of the installation"),
        "description": Key(Text(), "a one-line description"),
        "web": Key(WEB, "where the master serves the metrics", None),
        "model_path": Key(
            OneOrMany(FilePath()),
            f"folders to import models from, before {_MODEL_PATH}",
            (),
        ),
        "brokers": Key(BrokersByName(), "named brokers, with their connection settings", None),
        "defaults": Key(EdgeDefaults(), "defaults for all edges", None),
        "edge": Key(RawEdges(), "the models"),
    },
)
