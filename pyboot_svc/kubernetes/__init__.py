"""Kubernetes: the configuration as manifests. Rendering is pure: data structures in, YAML out.

render        all manifests, by file
worker        one model: a StatefulSet or a Deployment, and what belongs to it
master        the master: one pod, and its Service
credentials   passwords, certificates and keys: a Secret, by reference
tokens        what proves who reports, and who the master is: by reference, too
network       who may talk to whom
cluster       what the command line says of the cluster, and what all manifests share
names         names that Kubernetes takes, for those that it doesn't

No value of the configuration is ever put into YAML as text; what Kubernetes itself would expand,
`$(…)` in arguments and variables, is escaped.
"""

from pyboot_svc.kubernetes.cluster import Cluster
from pyboot_svc.kubernetes.render import render

__all__ = ["Cluster", "render"]
