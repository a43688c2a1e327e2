"""The configuration: YAML in, frozen dataclasses out. Nothing else in pyboot reads YAML."""

from pyboot_svc.config.schema import (
    Batch,
    Broker,
    Config,
    DeadLetters,
    Edge,
    Endpoint,
    InstanceConfig,
    Kubernetes,
    Limits,
    OnError,
    QueueLimits,
    Sandbox,
    SpoolLimits,
    Tls,
    WebAddress,
)

__all__ = [
    "Batch",
    "Broker",
    "Config",
    "DeadLetters",
    "Edge",
    "Endpoint",
    "InstanceConfig",
    "Kubernetes",
    "Limits",
    "OnError",
    "QueueLimits",
    "Sandbox",
    "SpoolLimits",
    "Tls",
    "WebAddress",
]
