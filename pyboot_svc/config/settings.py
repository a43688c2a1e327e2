"""The configuration as the rest of pyboot sees it: immutable, complete, already checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from pyboot_svc.address import format_address
from pyboot_svc.errors import UsageError
from pyboot_svc.identity import InstanceId

DEFAULT_CONFIG_FILE = Path("/etc/pyboot/config.yaml")
# A numerical library that starts more threads than it has cores only gets slower.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_MIB = 1024**2
_STATE_BYTES = 64 * _MIB
DEFAULT_QOS = 0
DEFAULT_RETAIN = False
DEFAULT_CODEC = "json"
DEFAULT_TRANSPORT = "tcp"
DEFAULT_CLIENT_ID_PREFIX = "pyboot-"
DEFAULT_MAX_MESSAGE = 2 * _MIB
DEFAULT_WEB_PORT = 5888
DEAD_LETTER_TOPIC = "pyboot/dead"
DEFAULT_MODEL_PATH = ("/etc/pyboot/models", "/var/lib/pyboot/models")


class Tls(NamedTuple):
    """How a connection is secured; without `ca` the system's authorities are trusted.

    `strict`: the broker's certificates keep to RFC 5280 to the letter.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    key_password_file: str | None = None
    server_name: str | None = None
    alpn: tuple[str, ...] = ()
    min_version: str | None = None
    strict: bool = False

    @property
    def files(self) -> dict[str, str]:
        """Those that are given, by what `credential_name` calls them."""
        named = {
            "ca": self.ca,
            "cert": self.cert,
            "key": self.key,
            "key_password": self.key_password_file,
        }
        return {kind: file for kind, file in named.items() if file is not None}

    def with_files(self, files: Mapping[str, str]) -> Tls:
        """The same with other paths for `files`."""
        return self._replace(
            ca=files.get("ca", self.ca),
            cert=files.get("cert", self.cert),
            key=files.get("key", self.key),
            key_password_file=files.get("key_password", self.key_password_file),
        )


def usual_port(transport: str, *, secure: bool) -> int:
    """Where a broker listens that doesn't say where."""
    if transport == "websockets":
        return 443 if secure else 80
    return 8883 if secure else 1883


class Broker(NamedTuple):
    """How to reach one broker. The password stays in its file: only the path stands here."""

    host: str
    port: int = usual_port(DEFAULT_TRANSPORT, secure=False)
    username: str | None = None
    password_file: str | None = None
    tls: Tls | None = None
    keepalive: int = 60
    protocol: str = "5"
    transport: str = DEFAULT_TRANSPORT
    path: str = "/mqtt"
    # Of one connection alone; without it, each has one of its own behind the prefix.
    client_id: str | None = None
    client_id_prefix: str = DEFAULT_CLIENT_ID_PREFIX

    @property
    def address(self) -> str:
        return format_address(self.host, self.port)

    def client_id_of(self, identity: InstanceId, role: str) -> str:
        """Of an instance's connection for its input (`pre`) or for its results (`post`)."""
        end = "-post" if role == "post" else ""
        return self.client_id or f"{self.client_id_prefix}{identity}{end}"


# Of what is for the model, where `pre` and `post` are for connections.
SECRET_ROLE = "secret"


def credential_name(role: str, kind: str) -> str:
    """Under what name a secret file reaches a worker: `pre.password`, `post.key`, …"""
    return f"{role}.{kind}"


class Endpoint(NamedTuple):
    """A topic on a broker: where input comes from, or where results go."""

    broker: Broker
    topic: str
    qos: int = DEFAULT_QOS
    # Others that input comes from.
    more: tuple[str, ...] = ()

    @property
    def topics(self) -> tuple[str, ...]:
        return (self.topic, *self.more)


class ResultOptions(NamedTuple):
    """How results are published, beside topic and QoS.

    `expiry`, in seconds, and `content_type` are for MQTT 5.
    """

    retain: bool = DEFAULT_RETAIN
    expiry: int | None = None
    content_type: str | None = None


DEFAULT_RESULTS = ResultOptions()

# Entry points by which packages bring codecs.
CODEC_GROUP = "pyboot.codecs"


SPARKPLUG = "sparkplug_b"

# In the topic of an instance's status: its name.
INSTANCE = "{instance}"


class SparkplugOptions(NamedTuple):
    """For what reasons an edge node is asked for its births again: `unknown_alias`, `seq_gap`."""

    rebirth_on: tuple[str, ...] = ()


class BatchLimits(NamedTuple):
    """How many messages a model gets by one call, and how long it waits for them."""

    max_size: int = 256
    max_wait_ms: int = 0


class QueueLimits(NamedTuple):
    """The most messages that wait before (`pre`) and after (`post`) the model, and the most bytes
    of inputs and results from arrival to end."""

    pre: int = 10_000
    post: int = 10_000
    overflow: str = "drop_oldest"
    bytes: int = 64 * _MIB


class SpoolLimits(NamedTuple):
    """How much may lie on disk, and for how long results may wait there, in seconds.

    `max_bytes` is for all that an instance keeps: results, dead letters, damaged files put aside.
    """

    max_bytes: int = 256 * _MIB
    max_age: int | None = None
    on_full: str = "block"


class OnError(NamedTuple):
    """How often a call that raised is repeated, and where the message goes then."""

    retries: int = 3
    backoff: float = 0.1
    then: str = "dead_letter"
    retry: tuple[str, ...] = ("OSError",)


class DeadLetters(NamedTuple):
    """Where messages that were given up are published, and how many are kept locally: the newest,
    as far as they take no more than `max_bytes` of the disk. `traceback`: those that are published
    tell where in the model an error was raised."""

    topic: str
    keep: int = 1000
    max_bytes: int = 64 * _MIB
    publish: bool = True
    traceback: bool = True


class StatusOptions(NamedTuple):
    """Where each instance says that it is online, in a retained message; with `home_assistant` also
    what of its results that can show."""

    topic: str = f"pyboot/status/{INSTANCE}"
    home_assistant: bool = False

    def topic_of(self, identity: InstanceId) -> str:
        return self.topic.replace(INSTANCE, str(identity))


class Tracing(NamedTuple):
    """Spans for OpenTelemetry: the base URL of the collector, and of how many of the messages that
    come without a trace there are some, from 0 to 1; None: as its own variables say."""

    otlp: str | None = None
    sample: float | None = None


class Limits(NamedTuple):
    """What the service manager holds the process to, in its own notation; None: no limit."""

    memory: str | None = None
    cpu: str | None = None
    tasks: int | None = None
    nice: int | None = None
    cpus: str | None = None


class Sandbox(NamedTuple):
    """What is opened of the sandbox."""

    write: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    jit: bool = False
    network: bool = False
    privileged: bool = False


class Kubernetes(NamedTuple):
    """How pods run it: with names and disks of their own, or interchangeable (`deployment`).

    `most`: scaled up to so many, by `threshold` waiting messages a pod; None: not scaled.
    """

    deployment: bool = False
    most: int | None = None
    threshold: int = 1000


class Edge(NamedTuple):
    """One model: what it reads, which Python object computes, where its results go."""

    name: str
    edge_mode: str
    pre: Endpoint
    post: Endpoint
    results: ResultOptions = DEFAULT_RESULTS
    instance: int = 1
    share: bool = True
    # By what key of a message an instance knows its own, where each gets all of them.
    partition: str | None = None
    threads: int = 1
    concurrency: int = 1
    every: float | None = None
    retained: str = "process"
    codec: str = DEFAULT_CODEC
    # Of results, where it is another one.
    codec_out: str | None = None
    compression: str | None = None
    compression_out: str | None = None
    sparkplug: SparkplugOptions = SparkplugOptions()
    nan: str = "null"
    model_timeout: int = 60
    data_plane: str = "bulk"
    max_linger_us: int = 3000
    loop: bool = False
    max_message: int = DEFAULT_MAX_MESSAGE
    batch: BatchLimits | None = None
    queue: QueueLimits = QueueLimits()
    spool: SpoolLimits = SpoolLimits()
    on_error: OnError = OnError()
    dead_letter: DeadLetters = DeadLetters(DEAD_LETTER_TOPIC)
    status: StatusOptions | None = None
    tracing: Tracing | None = None
    limits: Limits = Limits()
    environment: Mapping[str, str] = _NOTHING
    # The Python environment that the model runs in; None: pyboot's own.
    python: str | None = None
    sandbox: Sandbox = Sandbox()
    kubernetes: Kubernetes = Kubernetes()
    options: Mapping[str, Any] = _NOTHING
    # Files by the names that the model knows them by.
    secrets: Mapping[str, str] = _NOTHING

    @property
    def variables(self) -> dict[str, str]:
        """The process's environment variables: what `limits` implies, then `environment`."""
        implied: dict[str, str] = {}
        if self.limits.cpus is not None:
            implied = dict.fromkeys(_THREAD_VARIABLES, str(_count_cpus(self.limits.cpus)))
        return {**implied, **self.environment}

    @property
    def credential_files(self) -> dict[str, str]:
        """The files that the brokers' connections and the model need, by `credential_name`."""
        files: dict[str, str] = {}
        for role, broker in (("pre", self.pre.broker), ("post", self.post.broker)):
            if broker.password_file is not None:
                files[credential_name(role, "password")] = broker.password_file
            for kind, file in (broker.tls or Tls()).files.items():
                files[credential_name(role, kind)] = file
        return {**files, **self.secret_files}

    @property
    def secret_files(self) -> dict[str, str]:
        """Those that the model needs, by `credential_name`."""
        return {credential_name(SECRET_ROLE, name): file for name, file in self.secrets.items()}

    @property
    def volume_bytes(self) -> int:
        """What the volume of an instance's state directory needs: the budget, as much again while
        what can be read of a damaged file is carried over, and some for `context.state`."""
        return 2 * self.spool.max_bytes + _STATE_BYTES

    @property
    def instances(self) -> tuple[InstanceId, ...]:
        return tuple(InstanceId(self.name, number) for number in range(1, self.instance + 1))


class WebTls(NamedTuple):
    """The web's certificate, with those between it and its authority, and its private key."""

    cert: str
    key: str | None = None


# Said in so many words, anybody may read the web.
NO_AUTH = "none"


class WebAddress(NamedTuple):
    """Where the master listens, and who may ask there; port 0 takes any that is free.

    `auth`: the file of those who may, NO_AUTH, or None where nothing is said. With a `socket` it
    listens there instead.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_WEB_PORT
    tls: WebTls | None = None
    auth: str | None = None
    socket: str | None = None

    def __str__(self) -> str:
        return self.socket or format_address(self.host, self.port)

    @property
    def url(self) -> str:
        if self.socket is not None:
            return f"unix:{self.socket}"
        return f"{'https' if self.tls else 'http'}://{self}"

    @property
    def loopback(self) -> bool:
        """Whether other hosts can't reach it."""
        return (
            self.socket is not None
            or self.host in ("localhost", "::1")
            or self.host.startswith("127.")
        )

    @property
    def trouble(self) -> str:
        """Why nobody should listen like this, and what to do; empty when all is well."""
        if self.loopback or self.auth == NO_AUTH or (self.tls and self.auth):
            return ""
        secured = "`web: {tls: {cert: FILE, key: FILE}, auth: {file: FILE}}`"
        return (
            f"{self.host} is reached from other hosts: write {secured} (`pyboot web password` "
            "makes that file), or `web: {auth: none}` if everybody who reaches it may read it, or "
            "listen at 127.0.0.1"
        )


class InstanceConfig(NamedTuple):
    """All that one worker needs to know."""

    identity: InstanceId
    edge: Edge
    model_path: tuple[str, ...] = DEFAULT_MODEL_PATH


class Config(NamedTuple):
    """The whole file."""

    edges: tuple[Edge, ...]
    app_name: str = "pyboot"
    description: str = ""
    web: WebAddress = WebAddress()
    model_path: tuple[str, ...] = DEFAULT_MODEL_PATH

    def instances(self) -> Iterator[InstanceConfig]:
        for edge in self.edges:
            for identity in edge.instances:
                yield InstanceConfig(identity, edge, self.model_path)

    def instance(self, wanted: InstanceId) -> InstanceConfig:
        for instance in self.instances():
            if instance.identity == wanted:
                return instance
        known = ", ".join(str(instance.identity) for instance in self.instances()) or "none"
        raise UsageError(f"{wanted} is not configured; configured: {known}")


def _count_cpus(cpus: str) -> int:
    """How many cores a list such as `0-1,4` names."""
    cores: set[int] = set()
    for part in cpus.split(","):
        first, _, last = part.partition("-")
        cores.update(range(int(first), int(last or first) + 1))
    return len(cores)
