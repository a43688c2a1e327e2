"""The configuration: YAML in, immutable records out. Nothing else in pyboot reads YAML.

loader       a file as a `Config`, or every error of it at once
document     YAML as a tree of values that know their line and column
yaml_traps   scalars that YAML reads as something else than people do
schema       every key: its type, its default, what it is for
sections     mappings with known keys, and how one is laid over another
types        the types of value, each with its check and its message
broker_url   a broker as a URL
collector_url where the spans of OpenTelemetry go
host_types   the types by which an edge asks the host for something
loops        finds models whose results or dead letters come in again as input
advice       what is right, and may be regretted
certificates when those of a file begin and end
client_ids   no two connections have the same id
settings     immutable records, with the defaults: what the rest of pyboot sees
compiled     one instance's part as a JSON file, which a worker reads without YAML
dump         YAML out
"""

from pyboot_svc.config.settings import (
    DEFAULT_RESULTS,
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
    ResultOptions,
    Sandbox,
    SparkplugOptions,
    SpoolLimits,
    StatusOptions,
    Tls,
    Tracing,
    WebAddress,
)

__all__ = [
    "DEFAULT_RESULTS",
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
    "ResultOptions",
    "Sandbox",
    "SparkplugOptions",
    "SpoolLimits",
    "StatusOptions",
    "Tls",
    "Tracing",
    "WebAddress",
]
