"""All manifests of a configuration, by the file that each would stand in."""

from __future__ import annotations

from collections.abc import Iterator

from pyboot_svc.address import is_loopback
from pyboot_svc.config import Config, Edge
from pyboot_svc.config.collector_url import collector_address
from pyboot_svc.errors import ConfigError, Problem
from pyboot_svc.kubernetes.cluster import MASTER, Cluster, Manifest
from pyboot_svc.kubernetes.credentials import credential_keys
from pyboot_svc.kubernetes.master import render_master
from pyboot_svc.kubernetes.names import object_name
from pyboot_svc.kubernetes.worker import render_worker

# Of 1 MiB, with room for the object around it.
_LARGEST_CONFIG_MAP = 1_000_000
_OPENED = {
    "write": "mount a volume there by a patch of your own",
    "devices": "have a device plugin hand it to the pod",
    "groups": "give the pod their numbers as supplementalGroups by a patch of your own",
}


def render(cluster: Cluster, config: Config, source: str, file: str) -> dict[str, list[Manifest]]:
    """`source` is the configuration's text, `file` its name, for errors.

    Raises ConfigError with everything that pods can't do.
    """
    problems = list(_problems(cluster, config, file))
    if problems:
        raise ConfigError(problems)
    keys = credential_keys(config)
    made = {MASTER: render_master(cluster, source)}
    for index, edge in enumerate(config.edges):
        made[object_name(edge.name)] = render_worker(cluster, config, index, keys)
    _check_sizes(made, file)
    return made


def _check_sizes(made: dict[str, list[Manifest]], file: str) -> None:
    data = [text for group in made.values() for text in group[0]["data"].values()]
    if any(len(text.encode()) > _LARGEST_CONFIG_MAP for text in data):
        message = "it, or the settings of one model, are more than the 1 MiB of a ConfigMap"
        raise ConfigError([Problem(file, 0, 0, "", message, "divide it")])


def _problems(cluster: Cluster, config: Config, file: str) -> Iterator[Problem]:
    names: dict[str, str] = {}
    for index, edge in enumerate(config.edges):
        path = f"edge[{index}]"
        other = names.setdefault(object_name(edge.name), edge.name)
        if other != edge.name:
            message = f"`{edge.name}` and `{other}` would have the same name in Kubernetes"
            yield Problem(file, 0, 0, f"{path}.name", message, "rename one of them")
        for key, hint in _OPENED.items():
            if getattr(edge.sandbox, key):
                message = "can't be given to a pod"
                hint = f"leave it out for Kubernetes, and {hint}"
                yield Problem(file, 0, 0, f"{path}.sandbox.{key}", message, hint)
        if not cluster.kubeedge:
            yield from _lonely(edge, path, file)


def _lonely(edge: Edge, path: str, file: str) -> Iterator[Problem]:
    for role, endpoint in (("pre", edge.pre), ("post", edge.post)):
        host = endpoint.broker.host
        if is_loopback(host):
            message = f"{host} is the pod itself, where there is no broker"
            hint = "name its Service, as in mosquitto.default.svc; with --kubeedge it is the node"
            yield Problem(file, 0, 0, f"{path}.{role}_broker", message, hint)
    if edge.tracing is not None and edge.tracing.otlp is not None:
        host, _ = collector_address(edge.tracing.otlp, {})
        if is_loopback(host):
            message = f"{host} is the pod itself, where there is no collector"
            hint = "name its Service, as in http://collector.default.svc:4318"
            yield Problem(file, 0, 0, f"{path}.tracing.otlp", message, hint)
