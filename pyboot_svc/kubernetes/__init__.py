"""Kubernetes: the configuration as manifests. Rendering is pure: data structures in, YAML out.

No value of the configuration is ever put into YAML as text; what Kubernetes itself would expand,
`$(…)` in arguments and variables, is escaped.
"""

from pyboot_svc.kubernetes.cluster import Cluster
from pyboot_svc.kubernetes.render import render

__all__ = ["Cluster", "render"]
