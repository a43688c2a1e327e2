"""Passwords, certificates and keys: a Secret that exists already, mounted by reference."""

from __future__ import annotations

from collections.abc import Iterable

from pyboot_svc.config import Config, Edge, Endpoint
from pyboot_svc.config.settings import SECRET_ROLE, credential_name
from pyboot_svc.kubernetes.cluster import Cluster, Manifest, mount
from pyboot_svc.kubernetes.names import secret_keys

_FOLDER = "/etc/pyboot/credentials"
_READ_BY_GROUP = 0o440


def credential_keys(config: Config) -> dict[str, str]:
    """For each file that a connection or a model needs, the Secret's key that holds it."""
    return secret_keys(sorted({f for e in config.edges for f in e.credential_files.values()}))


def credential_volume(cluster: Cluster, edge: Edge, keys: dict[str, str]) -> Iterable[Manifest]:
    """Only what this model and its connections need."""
    items = [{"key": keys[file], "path": name} for name, file in edge.credential_files.items()]
    if items:
        secret = {"secretName": cluster.secret, "defaultMode": _READ_BY_GROUP, "items": items}
        yield {"name": "credentials", "secret": secret}


def credential_mount(edge: Edge) -> Iterable[Manifest]:
    if edge.credential_files:
        yield mount("credentials", _FOLDER, read_only=True)


def with_mounted_files(edge: Edge) -> Edge:
    """The edge with every secret file where its pods have it."""
    secrets = {name: _place(SECRET_ROLE, name) for name in edge.secrets}
    pre, post = _mounted("pre", edge.pre), _mounted("post", edge.post)
    return edge._replace(pre=pre, post=post, secrets=secrets)


def _place(role: str, kind: str) -> str:
    return f"{_FOLDER}/{credential_name(role, kind)}"


def _mounted(role: str, endpoint: Endpoint) -> Endpoint:
    broker, tls = endpoint.broker, endpoint.broker.tls
    if tls is not None:
        tls = tls.with_files({kind: _place(role, kind) for kind in tls.files})
    password = None if broker.password_file is None else _place(role, "password")
    return endpoint._replace(broker=broker._replace(password_file=password, tls=tls))
