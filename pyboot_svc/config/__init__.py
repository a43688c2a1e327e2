"""The configuration: YAML in, frozen dataclasses out. Nothing else in pyboot reads YAML."""

from pyboot_svc.config.schema import (
    Broker,
    Config,
    Edge,
    Endpoint,
    InstanceConfig,
    Limits,
    QueueLimits,
    Sandbox,
    Tls,
    WebAddress,
)

__all__ = [
    "Broker",
    "Config",
    "Edge",
    "Endpoint",
    "InstanceConfig",
    "Limits",
    "QueueLimits",
    "Sandbox",
    "Tls",
    "WebAddress",
]
