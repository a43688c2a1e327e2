"""What proves to the master who reports, and to workers who the master is: by reference, too.

One Secret has the tokens, each mounted into the one pod whose it is, and their hashes, which the
master alone has. Another, of the type `tls`, has the master's certificate, if there is one.
"""

from __future__ import annotations

from pyboot_svc.config import Edge
from pyboot_svc.kubernetes.cluster import Cluster, Manifest, mount
from pyboot_svc.kubernetes.names import object_name
from pyboot_svc.metrics.tokens import HASHES, shared_name

_READ_BY_GROUP = 0o440
_OWN = "/run/secrets/pyboot-token"
_HASHES = "/run/secrets/pyboot-tokens"
_TLS = "/run/secrets/pyboot-tls"
_ANY = "any"


def token_holders(edge: Edge) -> list[str]:
    """The Secret's keys for a model's pods: those that come and go share one."""
    if edge.kubernetes.deployment:
        return [shared_name(edge.name)]
    return [str(identity) for identity in edge.instances]


def token_volume(cluster: Cluster, edge: Edge) -> Manifest:
    """The model's tokens, each under the name of its pod."""
    pods = (
        [_ANY]
        if edge.kubernetes.deployment
        else [f"{object_name(edge.name)}-{number}" for number in range(edge.instance)]
    )
    items = dict(zip(token_holders(edge), pods, strict=True))
    return _secret("token", cluster.token_secret, items)


def token_mount(edge: Edge, pod: str) -> Manifest:
    """Of that volume the pod's own alone; `pod` is the variable with its name."""
    place = {"subPath": _ANY} if edge.kubernetes.deployment else {"subPathExpr": f"$({pod})"}
    return {**mount("token", _OWN, read_only=True), **place}


def worker_options(cluster: Cluster) -> dict[str, str]:
    tls = {} if cluster.tls_secret is None else {"--report-tls": _TLS}
    return {"--report-to": cluster.report_to, **tls, "--token": _OWN}


def hashes_volume(cluster: Cluster) -> Manifest:
    return _secret("tokens", cluster.token_secret, {HASHES: HASHES})


def hashes_mount() -> Manifest:
    return mount("tokens", _HASHES, read_only=True)


def master_options(cluster: Cluster, listen: str) -> dict[str, str]:
    where = {"--reports-listen": f"{'tcp://' if cluster.tls_secret is None else ''}{listen}"}
    tls = {} if cluster.tls_secret is None else {"--reports-tls": _TLS}
    return {**where, **tls, "--tokens": f"{_HASHES}/{HASHES}"}


def tls_volume(cluster: Cluster, *keys: str) -> list[Manifest]:
    """These of it: the private key is the master's."""
    if cluster.tls_secret is None:
        return []
    return [_secret("tls", cluster.tls_secret, {key: key for key in keys})]


def tls_mount(cluster: Cluster) -> list[Manifest]:
    return [] if cluster.tls_secret is None else [mount("tls", _TLS, read_only=True)]


def _secret(volume: str, name: str, items: dict[str, str]) -> Manifest:
    listed = [{"key": key, "path": path} for key, path in items.items()]
    secret = {"secretName": name, "defaultMode": _READ_BY_GROUP, "items": listed}
    return {"name": volume, "secret": secret}
