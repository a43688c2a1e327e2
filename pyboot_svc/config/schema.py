"""Every key of the configuration file: its type, its default and what it is for.

The reference in the README is written from these tables.
"""

from __future__ import annotations

import re
from typing import Any

from pyboot_svc.config.document import Node, Problems
from pyboot_svc.config.host_types import (
    AbsolutePath,
    CpuList,
    DevicePath,
    Environment,
    Percent,
    Seconds,
    Size,
)
from pyboot_svc.config.types import (
    Boolean,
    Choice,
    FilePath,
    Host,
    Integer,
    Invalid,
    Key,
    ListOf,
    Name,
    OneOrMany,
    Plain,
    Section,
    Text,
    Topic,
    TopicFilter,
    ValueType,
    shown,
)
from pyboot_svc.identity import MODEL_PATTERN, NAME_MAX_LENGTH, NAME_PATTERN

MAX_INSTANCES = 10_000
MAX_THREADS = 256
MAX_QUEUE = 1_000_000
PORT = Integer(1, 65_535)
GROUP = Text(re.compile(r"[a-z_][a-z0-9_-]{0,30}"), "the name of a group")
NAME = Name(
    NAME_PATTERN,
    "letters, digits, `_`, `.` and `-`, without `.` or `-` in front",
    NAME_MAX_LENGTH,
)

TLS = Section(
    {
        "ca": Key(FilePath(), "CA certificates to trust; by default the system's", None),
        "cert": Key(FilePath(), "client certificate", None),
        "key": Key(FilePath(), "its private key, if not in `cert`", None),
        "strict": Key(Boolean(), "the broker's certificates must keep to RFC 5280 in full", False),
    }
)

BROKER = Section(
    {
        "host": Key(Host(), "name or address"),
        "port": Key(PORT, "1883; 8883 with `tls`; 80 or 443 with `websockets`", None),
        "username": Key(Text(), "user name", None),
        "password_file": Key(FilePath(), "file whose first line is the password", None),
        "tls": Key(TLS, "encrypt the connection; `tls: {}` trusts the system's CAs", None),
        "keepalive": Key(Integer(5, 65_535), "keep-alive interval in seconds", 60),
        "protocol": Key(Choice("5", "3.1.1"), "MQTT version", "5"),
        "transport": Key(Choice("tcp", "websockets"), "transport that carries MQTT", "tcp"),
        "path": Key(Text(), "path of the URL, for `websockets`", "/mqtt"),
    }
)

QUEUE = Section(
    {
        "pre": Key(Integer(1, MAX_QUEUE), "maximum number of queued inputs", 10_000),
        "post": Key(Integer(1, MAX_QUEUE), "maximum number of queued results", 10_000),
        "bytes": Key(
            Size(), "maximum size of the inputs and results held in memory, e.g. 64M", "64M"
        ),
        "overflow": Key(
            Choice("drop_oldest", "drop_newest"),
            "which QoS 0 inputs are dropped when `pre` or `bytes` is full",
            "drop_oldest",
        ),
    }
)

BATCH = Section(
    {
        "max_size": Key(Integer(1, 10_000), "maximum number of messages per call", 256),
        "max_wait_ms": Key(
            Integer(0, 60_000), "how long to wait for a full batch, in milliseconds", 0
        ),
    }
)

SPOOL = Section(
    {
        "max_bytes": Key(
            Size(), "maximum size on disk of all that an instance keeps, e.g. 256M", "256M"
        ),
        "max_age": Key(
            Integer(1, 10 * 365 * 86_400),
            "seconds after which one is dropped, counted while the host runs",
            None,
        ),
        "on_full": Key(
            Choice("block", "drop_oldest"), "stop taking input, or drop the oldest results", "block"
        ),
    }
)

ON_ERROR = Section(
    {
        "retries": Key(Integer(0, 100), "how often to repeat a call that raised", 3),
        "backoff": Key(
            Seconds(0, 3600), "seconds before the first repetition; doubled each time", 0.1
        ),
        "then": Key(
            Choice("dead_letter", "drop"),
            "where the message goes after the last attempt",
            "dead_letter",
        ),
    }
)

DEAD_LETTER = Section(
    {
        "topic": Key(
            Topic(), "where dead letters are published; by default `pyboot/dead/NAME`", None
        ),
        "keep": Key(Integer(0, 1_000_000), "how many to keep locally, for `pyboot dead`", 1000),
        "max_bytes": Key(
            Size(), "maximum size of them on disk; at most a quarter of `spool.max_bytes`", "64M"
        ),
    }
)

LIMITS = Section(
    {
        "memory": Key(Size(), "memory limit, e.g. 512M", None),
        "cpu": Key(Percent(), "CPU limit, e.g. 80% of one core; 200% is two cores", None),
        "tasks": Key(Integer(8, 100_000), "maximum number of threads and processes", None),
        "nice": Key(Integer(-20, 19), "scheduling priority; 19 is the lowest", None),
        "cpus": Key(CpuList(), 'CPU cores to run on, e.g. "0-1"; also sets OMP_NUM_THREADS', None),
    }
)

SANDBOX = Section(
    {
        "write": Key(ListOf(AbsolutePath()), "folders that the model may write to", ()),
        "devices": Key(ListOf(DevicePath()), "devices that it may use, e.g. /dev/ttyUSB0", ()),
        "groups": Key(ListOf(GROUP), "groups whose files it may use, e.g. dialout", ()),
        "jit": Key(Boolean(), "allow code generated at run time, as by numba", False),
        "network": Key(Boolean(), "allow network access beyond the brokers", False),
    }
)

KUBERNETES = Section(
    {
        "deployment": Key(
            Boolean(), "interchangeable pods; needs `share` and `pre_qos: 0`, keeps no state", False
        ),
        "most": Key(
            Integer(1, MAX_INSTANCES), "maximum number of pods to scale a deployment to", None
        ),
        "threshold": Key(
            Integer(1, MAX_QUEUE), "number of queued inputs per pod to scale by", 1000
        ),
    }
)

EDGE = Section(
    {
        "name": Key(NAME, "name of the model's units, metrics and sessions"),
        "instance": Key(Integer(1, MAX_INSTANCES), "number of processes", 1),
        "pre_broker": Key(Host(), "where input comes from: a host, or one of `brokers`"),
        "pre_port": Key(PORT, "its port; without it the named broker's, or 1883", None),
        "pre_topic": Key(TopicFilter(), "topic to subscribe to; `+` and `#` are allowed"),
        "pre_qos": Key(Integer(0, 2), "quality of service of the input; 2 is subscribed as 1", 0),
        "edge_mode": Key(
            Text(MODEL_PATTERN, "a dotted path to a function, as in package.module.function"),
            "the model: `{package}.{module}.{function}`",
        ),
        "post_broker": Key(Host(), "where results go: a host, or one of `brokers`"),
        "post_port": Key(PORT, "its port; without it the named broker's, or 1883", None),
        "post_topic": Key(Topic(), "topic to publish to"),
        "post_qos": Key(Integer(0, 2), "quality of service of the results", 0),
        "loop": Key(Boolean(), "allow results or dead letters to come back as input", False),
        "share": Key(
            Boolean(), "instances share the input; with `false` each gets all of it", True
        ),
        "threads": Key(Integer(1, MAX_THREADS), "model threads in each process", 1),
        "codec": Key(Choice("json", "raw"), "what the model gets: decoded JSON, or bytes", "json"),
        "model_timeout": Key(Integer(1, 86_400), "seconds after which a call counts as hung", 60),
        "batch": Key(BATCH, "call the model with a list; it returns one of the same length", None),
        "data_plane": Key(
            Choice("bulk", "plain"),
            "handle packets in bulk, or one by one (for comparison)",
            "bulk",
        ),
        "max_linger_us": Key(
            Integer(0, 100_000),
            "longest wait of a read for more messages at high rates, in microseconds; 0: none",
            3000,
        ),
        "max_message": Key(
            Size("256M"), "largest payload that is taken; larger ones are given up", "2M"
        ),
        "queue": Key(QUEUE, "bounds of what is held in memory", None),
        "spool": Key(SPOOL, "results on disk while the post broker is away", None),
        "on_error": Key(ON_ERROR, "what happens when the model fails on a message", None),
        "dead_letter": Key(DEAD_LETTER, "messages that were given up", None),
        "limits": Key(LIMITS, "limits that the service manager enforces", None),
        "environment": Key(Environment(), "environment variables", None),
        "sandbox": Key(SANDBOX, "exceptions from the sandbox", None),
        "kubernetes": Key(KUBERNETES, "settings for `pyboot render kubernetes`", None),
        "options": Key(Plain(), "free-form settings, the model's `context.options`", None),
    }
)

WEB = Section(
    {
        "host": Key(Host(), "address to listen at", "127.0.0.1"),
        "port": Key(Integer(0, 65_535), "port to listen at; 0 picks a free one", 5888),
    }
)


class RawList(ValueType):
    """The raw items of a list; whoever asked reads them."""

    def read(self, node: Node, path: str, problems: Problems) -> list[Node]:
        if not isinstance(node.value, list):
            raise Invalid(f"must be a list, not {shown(node.value)}", "each item starts with `- `")
        items: list[Node] = node.value
        return items


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
                brokers[name] = BROKER.read(entry.node, inner, problems)
            except Invalid as error:
                problems.add(entry.node, inner, error.message, error.hint)
                brokers[name] = {}  # there is one of that name, only not a right one
        return brokers


class EdgeDefaults(ValueType):
    """Checked here, and read again below every edge that inherits it."""

    def read(self, node: Node, path: str, problems: Problems) -> Node:
        EDGE.read_given(node, path, problems)
        return node


FILE = Section(
    {
        "app_name": Key(Text(), "display name of the installation", "pyboot"),
        "description": Key(Text(), "a one-line description", ""),
        "web": Key(WEB, "where the master serves the metrics", None),
        "model_path": Key(
            OneOrMany(FilePath()),
            "folders to import models from, before `/etc/pyboot/models`, `/var/lib/pyboot/models`",
            (),
        ),
        "brokers": Key(BrokersByName(), "named brokers, with their connection settings", None),
        "defaults": Key(EdgeDefaults(), "defaults for all edges", None),
        "edge": Key(RawList(), "the models"),
    }
)
