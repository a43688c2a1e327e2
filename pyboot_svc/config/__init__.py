"""The configuration: YAML in, frozen dataclasses out. Nothing else in pyboot reads YAML.

document     YAML as a tree of values that know their line; yaml_traps: scalars that YAML misreads
schema       every key: its type, its default, what it is for
sections     mappings of keys; types: the types of value, each with its check; host_types: those
             about the host
loader       a file as a `Config`, or every error of it; loops: results that come in again
settings     the frozen dataclasses, with the defaults: what the rest of pyboot sees
compiled     one instance's part as a JSON file, which a worker reads without YAML
dump         YAML out
"""

from pyboot_svc.config.settings import (
    BatchLimits,
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
    "BatchLimits",
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
