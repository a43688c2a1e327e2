"""Kubernetes: the configuration as manifests. Rendering is pure: data structures in, YAML out.

No value of the configuration is ever put into YAML as text; what Kubernetes itself would expand,
`$(…)` in arguments and variables, is escaped.

render        all manifests, by file
worker        one model: a StatefulSet or a Deployment; master: a pod and its Service
credentials   Secrets, by reference; network: who may talk to whom
cluster       what the command line says of the cluster; names: those that Kubernetes takes
"""

from pyboot_svc.kubernetes.cluster import Cluster
from pyboot_svc.kubernetes.render import render

__all__ = ["Cluster", "render"]
