"""The configuration as the rest of pyboot sees it: immutable, complete, already checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyboot_svc.errors import UsageError
from pyboot_svc.identity import InstanceId

DEFAULT_CONFIG_FILE = Path("/etc/pyboot/config.yaml")
DEFAULT_MODEL_PATH = ("/etc/pyboot/models", "/var/lib/pyboot/models")


@dataclass(frozen=True)
class Tls:
    """Files that secure a connection; without `ca` the system's authorities are trusted."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class Broker:
    """How to reach one broker. The password stays in its file: only the path stands here."""

    host: str
    port: int = 1883
    username: str | None = None
    password_file: str | None = None
    tls: Tls | None = None
    keepalive: int = 60
    protocol: str = "5"
    transport: str = "tcp"
    path: str = "/mqtt"

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class Endpoint:
    """A topic on a broker: where input comes from, or where results go."""

    broker: Broker
    topic: str
    qos: int = 0


@dataclass(frozen=True)
class QueueLimits:
    """The most messages that wait before (`pre`) and after (`post`) the model."""

    pre: int = 10_000
    post: int = 10_000


@dataclass(frozen=True)
class Edge:
    """One model: what it reads, which Python object computes, where its results go."""

    name: str
    edge_mode: str
    pre: Endpoint
    post: Endpoint
    instance: int = 1
    share: bool = True
    threads: int = 1
    codec: str = "json"
    queue: QueueLimits = QueueLimits()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def instances(self) -> tuple[InstanceId, ...]:
        return tuple(InstanceId(self.name, number) for number in range(1, self.instance + 1))


@dataclass(frozen=True)
class WebAddress:
    """Where the master listens; port 0 takes any that is free."""

    host: str = "127.0.0.1"
    port: int = 5888


@dataclass(frozen=True)
class InstanceConfig:
    """All that one worker needs to know."""

    identity: InstanceId
    edge: Edge
    model_path: tuple[str, ...] = DEFAULT_MODEL_PATH


@dataclass(frozen=True)
class Config:
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
        raise UsageError(f"{wanted} is not configured; configured are: {known}")
