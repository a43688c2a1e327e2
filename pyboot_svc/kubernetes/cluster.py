"""What the command line says of the cluster, and what all manifests have in common."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from pyboot_svc.address import Address, format_address
from pyboot_svc.config.settings import DEFAULT_WEB_PORT

Manifest = dict[str, Any]

WEB_PORT = DEFAULT_WEB_PORT
PROBE_PORT = 5889
REPORTS_PORT = 5890
# With the node's network each model needs a port of its own there.
FIRST_NODE_PORT = 25_900
MASTER = "pyboot"
# Whoever the image's user is: no user of this number owns anything.
_USER = 10_001


@dataclass(frozen=True)
class Cluster:
    """Where the manifests go. `master` is the address that workers report to, from their pods."""

    image: str
    namespace: str | None = None
    secret: str = "pyboot-credentials"
    token_secret: str = "pyboot-tokens"
    # Of the type `tls`: the master's certificate, and whose it is. None: reports go in plain.
    tls_secret: str | None = None
    storage_class: str | None = None
    drain_seconds: float = 20.0
    master: Address | None = None
    kubeedge: bool = False
    service_monitor: bool = False
    prometheus: str | None = None

    @property
    def report_to(self) -> str:
        plain = "tcp://" if self.tls_secret is None else ""
        return plain + format_address(*(self.master or (MASTER, REPORTS_PORT)))

    def object(self, api: str, kind: str, name: str, component: str, **rest: Any) -> Manifest:
        """One manifest, with the labels that all have."""
        metadata: Manifest = {"name": name, "labels": labels(component)}
        if self.namespace is not None:
            metadata["namespace"] = self.namespace
        return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}


def labels(component: str) -> dict[str, str]:
    return {**selector(component), "app.kubernetes.io/part-of": MASTER}


def selector(component: str) -> dict[str, str]:
    """What finds the pods of a model, or of the master: names are given once."""
    role = "master" if component == MASTER else "worker"
    return {"app.kubernetes.io/component": role, "app.kubernetes.io/instance": component}


def all_workers() -> dict[str, str]:
    return {"app.kubernetes.io/component": "worker", "app.kubernetes.io/part-of": MASTER}


def literal(text: str) -> str:
    """`text` as an argument or a variable that Kubernetes leaves as it is."""
    return text.replace("$", "$$")


def versioned(name: str, content: str) -> str:
    """A name that changes with the content: what runs goes on with what it was started with."""
    return f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:10]}"


def pod_security() -> Manifest:
    return {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "runAsGroup": _USER,
        "fsGroup": _USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def memory_volume(name: str, size: str) -> Manifest:
    return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": size}}


def mount(name: str, path: str, *, read_only: bool = False) -> Manifest:
    return {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}
