"""Who may talk to whom: NetworkPolicies as strict as the units' IPAddressAllow=."""

from __future__ import annotations

import ipaddress

from pyboot_svc.config import Edge
from pyboot_svc.config.collector_url import collector_address
from pyboot_svc.kubernetes.cluster import (
    MASTER,
    REPORTS_PORT,
    WEB_PORT,
    Cluster,
    Manifest,
    all_workers,
    selector,
)

_DNS = {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}


def worker_policy(cluster: Cluster, name: str, edge: Edge) -> Manifest:
    """Nobody reaches a worker (but its node, for the probes); it reaches its brokers, and a
    collector of spans, if their addresses are literal: a name can mean any address."""
    spec: Manifest = {
        "podSelector": {"matchLabels": selector(name)},
        "policyTypes": ["Ingress"],
        "ingress": [],
    }
    egress = _egress(cluster, edge)
    if egress is not None:
        spec["policyTypes"] = ["Ingress", "Egress"]
        spec["egress"] = egress
    return cluster.object("networking.k8s.io/v1", "NetworkPolicy", name, name, spec=spec)


def master_policy(cluster: Cluster) -> Manifest:
    spec = {
        "podSelector": {"matchLabels": selector(MASTER)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"ports": [_tcp(WEB_PORT)]},
            {
                # Nobody vouches for who reports: workers only.
                "from": [{"podSelector": {"matchLabels": all_workers()}}],
                "ports": [_tcp(REPORTS_PORT)],
            },
        ],
        "egress": [],
    }
    return cluster.object("networking.k8s.io/v1", "NetworkPolicy", MASTER, MASTER, spec=spec)


def _egress(cluster: Cluster, edge: Edge) -> list[Manifest] | None:
    targets = [(role.broker.host, role.broker.port) for role in (edge.pre, edge.post)]
    if edge.tracing is not None:
        targets.append(collector_address(edge.tracing.otlp, edge.environment))
    if cluster.master is not None:
        targets.append(cluster.master)
    blocks = {_block(host): port for host, port in targets}
    if edge.sandbox.network or None in blocks:
        return None
    ports = sorted({(_block(host) or "", port) for host, port in targets})
    rules: list[Manifest] = [
        {"to": [{"ipBlock": {"cidr": block}}], "ports": [_tcp(port)]} for block, port in ports
    ]
    if cluster.master is None:
        to_master = {"podSelector": {"matchLabels": selector(MASTER)}}
        rules += [{"to": [to_master], "ports": [_tcp(REPORTS_PORT)]}, dict(_DNS)]
    return rules


def _block(host: str) -> str | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return f"{address}/{address.max_prefixlen}"


def _tcp(port: int) -> Manifest:
    return {"protocol": "TCP", "port": port}
