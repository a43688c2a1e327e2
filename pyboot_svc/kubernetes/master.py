"""The master: one pod that all workers report to, and a Service in front of it."""

from __future__ import annotations

from pyboot_svc.kubernetes.cluster import (
    MASTER,
    REPORTS_PORT,
    WEB_PORT,
    Cluster,
    Manifest,
    container_security,
    labels,
    memory_volume,
    mount,
    pod_security,
    selector,
    versioned,
)
from pyboot_svc.kubernetes.network import master_policy
from pyboot_svc.kubernetes.tokens import (
    hashes_mount,
    hashes_volume,
    master_options,
    tls_mount,
    tls_volume,
)

_CONFIG_DIR = "/etc/pyboot"
_CONFIG_FILE = "config.yaml"


def render_master(cluster: Cluster, source: str) -> list[Manifest]:
    """`source` is the configuration's text, which the master reads as it stands."""
    settings = cluster.object(
        "v1",
        "ConfigMap",
        versioned(MASTER, source),
        MASTER,
        immutable=True,
        data={_CONFIG_FILE: source},
    )
    made = [
        settings,
        _deployment(cluster, settings["metadata"]["name"]),
        _service(cluster),
        master_policy(cluster),
    ]
    return [*made, _service_monitor(cluster)] if cluster.service_monitor else made


def _deployment(cluster: Cluster, settings: str) -> Manifest:
    spec = {
        "replicas": 1,
        # Never two, between which the workers would be divided.
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": selector(MASTER)},
        "template": {
            "metadata": {"labels": labels(MASTER)},
            "spec": {
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "securityContext": pod_security(),
                "containers": [_container(cluster)],
                "volumes": [
                    memory_volume("run", "16Mi"),
                    memory_volume("tmp", "16Mi"),
                    {"name": "settings", "configMap": {"name": settings}},
                    hashes_volume(cluster),
                    *tls_volume(cluster, "tls.crt", "tls.key"),
                ],
            },
        },
    }
    return cluster.object("apps/v1", "Deployment", MASTER, MASTER, spec=spec)


def _container(cluster: Cluster) -> Manifest:
    # Not /readyz, which is about the workers: they report through the Service, which would leave
    # out a master that is not ready.
    reports = master_options(cluster, f"0.0.0.0:{REPORTS_PORT}")
    probe = {"httpGet": {"path": "/healthz", "port": "web"}, "timeoutSeconds": 5}
    return {
        "name": "master",
        "image": cluster.image,
        "command": ["pyboot"],
        "args": [
            "master",
            "--config",
            f"{_CONFIG_DIR}/{_CONFIG_FILE}",
            "--listen",
            f"0.0.0.0:{WEB_PORT}",
            # Whoever is in the cluster may read it, unless the configuration says who may.
            "--web-auth",
            "none",
            *(word for option in reports.items() for word in option),
            "--log-format",
            "json",
        ],
        "env": [{"name": "HOME", "value": "/tmp"}],
        "ports": [
            {"name": "web", "containerPort": WEB_PORT},
            {"name": "reports", "containerPort": REPORTS_PORT},
        ],
        "readinessProbe": {**probe, "periodSeconds": 5},
        "livenessProbe": {**probe, "periodSeconds": 10, "failureThreshold": 3},
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            mount("settings", _CONFIG_DIR, read_only=True),
            mount("run", "/run/pyboot"),
            mount("tmp", "/tmp"),
            hashes_mount(),
            *tls_mount(cluster),
        ],
    }


def _service(cluster: Cluster) -> Manifest:
    spec = {
        "selector": selector(MASTER),
        "ports": [
            {"name": "web", "port": WEB_PORT, "targetPort": "web"},
            {"name": "reports", "port": REPORTS_PORT, "targetPort": "reports"},
        ],
    }
    return cluster.object("v1", "Service", MASTER, MASTER, spec=spec)


def _service_monitor(cluster: Cluster) -> Manifest:
    spec = {
        "selector": {"matchLabels": selector(MASTER)},
        "endpoints": [
            # The label `instance` is the worker's number, not the master's address.
            {"port": "web", "path": "/metrics", "interval": "30s", "honorLabels": True}
        ],
    }
    return cluster.object("monitoring.coreos.com/v1", "ServiceMonitor", MASTER, MASTER, spec=spec)
