"""One model: a StatefulSet, or a Deployment, and what belongs to it."""

from __future__ import annotations

from math import ceil

from pyboot_svc.address import format_address
from pyboot_svc.config import Config, Edge, InstanceConfig, Limits
from pyboot_svc.config.compiled import render_compiled
from pyboot_svc.kubernetes.cluster import (
    FIRST_NODE_PORT,
    PROBE_PORT,
    Cluster,
    Manifest,
    container_security,
    labels,
    literal,
    memory_volume,
    mount,
    pod_security,
    selector,
    versioned,
)
from pyboot_svc.kubernetes.credentials import (
    credential_mount,
    credential_volume,
    with_mounted_files,
)
from pyboot_svc.kubernetes.names import object_name
from pyboot_svc.kubernetes.network import worker_policy
from pyboot_svc.kubernetes.tokens import (
    tls_mount,
    tls_volume,
    token_mount,
    token_volume,
    worker_options,
)

_STATE_DIR = "/var/lib/edge-model"
_RUN_DIR = "/run/pyboot"
_POD = "PYBOOT_POD"
# Beyond the worker's own deadline: the connections' goodbyes, and what a slow disk takes.
_GRACE_SECONDS = 15
# A model that takes longer to load than half an hour hangs, as under systemd.
_START_PROBES, _START_SECONDS = 900, 2
# A worker that stalls has nothing more to say, least of all when it holds the GIL.
_STALLED_GRACE_SECONDS = 5
_LEAST_MEMORY = "64Mi"
_LEAST_CPU = "10m"
_MIB = 1024**2


def render_worker(
    cluster: Cluster, config: Config, index: int, keys: dict[str, str]
) -> list[Manifest]:
    """All objects of the model that is the configuration's edge number `index`."""
    edge = config.edges[index]
    name = object_name(edge.name)
    settings = _settings(cluster, config, edge, name)
    port = FIRST_NODE_PORT + index if cluster.kubeedge else PROBE_PORT
    pod = _pod(cluster, edge, name, settings["metadata"]["name"], port, keys)
    made = [settings]
    if edge.kubernetes.deployment:
        made.append(_deployment(cluster, edge, name, pod))
    else:
        made += [_headless_service(cluster, name), _stateful_set(cluster, edge, name, pod)]
    made.append(_disruption_budget(cluster, name))
    if not cluster.kubeedge:  # which have their node's network
        made.append(worker_policy(cluster, name, edge))
    if edge.kubernetes.most is not None and cluster.prometheus is not None:
        made.append(_scaled_object(cluster, edge, name, cluster.prometheus))
    for manifest in made:
        # The name itself, which labels and objects' names can't hold.
        manifest["metadata"]["annotations"] = {"pyboot/model": edge.name}
    return made


def _settings(cluster: Cluster, config: Config, edge: Edge, name: str) -> Manifest:
    """What the model's workers read; they put their own instance into it."""
    if edge.kubernetes.deployment:
        # Also a single one shares: at a roll there are two for a while.
        edge = edge._replace(instance=max(edge.instance, edge.kubernetes.most or 0, 2))
    mounted = with_mounted_files(edge)
    text = render_compiled(InstanceConfig(edge.instances[0], mounted, config.model_path))
    return cluster.object(
        "v1",
        "ConfigMap",
        versioned(name, text),
        name,
        immutable=True,
        data={f"{edge.name}.json": text},
    )


def _stateful_set(cluster: Cluster, edge: Edge, name: str, pod: Manifest) -> Manifest:
    claim: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": _state_size(edge)}},
    }
    if cluster.storage_class is not None:
        claim["storageClassName"] = cluster.storage_class
    spec = {
        "serviceName": name,
        "replicas": edge.instance,
        # How they start; updates go one by one in any case, each when the one before is ready.
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate"},
        "selector": {"matchLabels": selector(name)},
        "template": pod,
        "volumeClaimTemplates": [{"metadata": {"name": "state"}, "spec": claim}],
    }
    return cluster.object("apps/v1", "StatefulSet", name, name, spec=spec)


def _deployment(cluster: Cluster, edge: Edge, name: str, pod: Manifest) -> Manifest:
    limit = {"sizeLimit": _state_size(edge)}
    pod["spec"]["volumes"].append({"name": "state", "emptyDir": limit})
    spec: Manifest = {
        "selector": {"matchLabels": selector(name)},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        },
        "template": pod,
    }
    if edge.kubernetes.most is None or cluster.prometheus is None:
        spec["replicas"] = edge.instance  # else it is the scaler's
    return cluster.object("apps/v1", "Deployment", name, name, spec=spec)


def _headless_service(cluster: Cluster, name: str) -> Manifest:
    """What a StatefulSet must name; nothing listens there for anybody."""
    spec = {"clusterIP": "None", "selector": selector(name)}
    return cluster.object("v1", "Service", name, name, spec=spec)


def _disruption_budget(cluster: Cluster, name: str) -> Manifest:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": selector(name)}}
    return cluster.object("policy/v1", "PodDisruptionBudget", name, name, spec=spec)


def _scaled_object(cluster: Cluster, edge: Edge, name: str, prometheus: str) -> Manifest:
    trigger = {
        "serverAddress": prometheus,
        "query": f'sum(pyboot_pre_queue_messages{{model="{edge.name}"}})',
        "threshold": str(edge.kubernetes.threshold),
    }
    spec = {
        "scaleTargetRef": {"name": name},
        "minReplicaCount": edge.instance,
        "maxReplicaCount": edge.kubernetes.most,
        "triggers": [{"type": "prometheus", "metadata": trigger}],
    }
    return cluster.object("keda.sh/v1alpha1", "ScaledObject", name, name, spec=spec)


def _pod(
    cluster: Cluster, edge: Edge, name: str, settings: str, port: int, keys: dict[str, str]
) -> Manifest:
    spec: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": ceil(cluster.drain_seconds) + _GRACE_SECONDS,
        "securityContext": pod_security(),
        "containers": [_container(cluster, edge, port)],
        "volumes": [
            memory_volume("run", "16Mi"),
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            {"name": "settings", "configMap": {"name": settings}},
            *credential_volume(cluster, edge, keys),
            token_volume(cluster, edge),
            *tls_volume(cluster, "ca.crt"),
        ],
        **(_on_the_edge(name) if cluster.kubeedge else _spread(name)),
    }
    return {"metadata": {"labels": labels(name)}, "spec": spec}


def _spread(name: str) -> Manifest:
    return {
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(name)},
            }
        ]
    }


def _on_the_edge(name: str) -> Manifest:
    """KubeEdge: on edge nodes, each pod with its node's own broker at 127.0.0.1, and for as long
    as the node is cut off from the cloud."""
    tolerated = {
        "node-role.kubernetes.io/edge": "NoSchedule",
        "node.kubernetes.io/unreachable": "NoExecute",
        "node.kubernetes.io/not-ready": "NoExecute",
    }
    one_a_node = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": selector(name)},
    }
    return {
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "nodeSelector": {"node-role.kubernetes.io/edge": ""},
        "tolerations": [
            {"key": key, "operator": "Exists", "effect": effect}
            for key, effect in tolerated.items()
        ],
        "affinity": {
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [one_a_node]}
        },
    }


def _container(cluster: Cluster, edge: Edge, port: int) -> Manifest:
    host = "127.0.0.1" if cluster.kubeedge else "0.0.0.0"
    arguments = {
        "--drain-seconds": f"{cluster.drain_seconds:g}",
        "--probes-listen": format_address(host, port),
        **worker_options(cluster),
        "--log-format": "json",
    }
    options = [word for pair in arguments.items() for word in pair]
    return {
        "name": "worker",
        "image": cluster.image,
        "command": ["pyboot"],
        "args": ["worker", edge.name, "--pod", f"$({_POD})", *map(literal, options)],
        "env": _environment(edge),
        "ports": [_port(cluster, port)],
        "startupProbe": {
            **_probe(cluster, "/startz"),
            "periodSeconds": _START_SECONDS,
            "failureThreshold": _START_PROBES,
        },
        "readinessProbe": {**_probe(cluster, "/readyz"), "periodSeconds": 5},
        "livenessProbe": {
            **_probe(cluster, "/healthz"),
            "periodSeconds": 10,
            "failureThreshold": 3,
            "terminationGracePeriodSeconds": _STALLED_GRACE_SECONDS,
        },
        "resources": _resources(edge.limits),
        "securityContext": container_security(),
        # What `kubectl describe pod` shows of one that failed.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            mount("state", _STATE_DIR),
            mount("run", _RUN_DIR),
            mount("settings", f"{_RUN_DIR}/models", read_only=True),
            mount("tmp", "/tmp"),
            *credential_mount(edge),
            token_mount(edge, _POD),
            *tls_mount(cluster),
        ],
    }


def _environment(edge: Edge) -> list[Manifest]:
    variables = {"HOME": _STATE_DIR, **edge.variables}
    variables.pop(_POD, None)
    plain: list[Manifest] = [{"name": k, "value": literal(v)} for k, v in variables.items()]
    return [*plain, {"name": _POD, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]


def _port(cluster: Cluster, port: int) -> Manifest:
    # On the node's network, the scheduler has to know that the port is taken.
    taken = {"hostPort": port} if cluster.kubeedge else {}
    return {"name": "probes", "containerPort": port, **taken}


def _probe(cluster: Cluster, path: str) -> Manifest:
    host = {"host": "127.0.0.1"} if cluster.kubeedge else {}
    return {"httpGet": {"path": path, "port": "probes", **host}, "timeoutSeconds": 5}


def _resources(limits: Limits) -> Manifest:
    bounds = {}
    requests = {"cpu": _LEAST_CPU, "memory": _LEAST_MEMORY}
    if limits.memory is not None:
        bounds["memory"] = requests["memory"] = _quantity(limits.memory)
    if limits.cpu is not None:
        bounds["cpu"] = f"{int(limits.cpu.removesuffix('%')) * 10}m"
    return {"requests": requests, **({"limits": bounds} if bounds else {})}


def _quantity(size: str) -> str:
    """512M of ours, powers of 1024, is 512Mi of theirs."""
    return f"{size}i" if size[-1] in "KMGT" else size


def _state_size(edge: Edge) -> str:
    return f"{ceil(edge.volume_bytes / _MIB)}Mi"


def unsayable_limits(edge: Edge) -> list[str]:
    """The limits that a pod can't be given."""
    limits: Limits = edge.limits
    return [key for key in ("tasks", "nice", "cpus") if getattr(limits, key) is not None]
