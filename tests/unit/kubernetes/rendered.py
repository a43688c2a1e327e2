"""What the tests of manifests share: rendering, and Kubernetes' own reading of the result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from pyboot_svc.config.dump import dump_documents
from pyboot_svc.config.loader import parse_config
from pyboot_svc.kubernetes import Cluster, render

EXAMPLES = Path(__file__).parents[3] / "packaging" / "kubernetes"
# Where the files of an example are said to be: the same on every machine.
FOLDER = "/etc/pyboot"
CLUSTERS = {
    "config": Cluster("pyboot-svc:1"),
    "config-options": Cluster(
        "registry.example/plant@sha256:0123",
        namespace="plant",
        secret="plant-secrets",
        token_secret="plant-tokens",
        tls_secret="plant-reports",
        storage_class="fast",
        drain_seconds=7.5,
        master=("192.0.2.1", 5890),
        service_monitor=True,
        prometheus="http://prometheus.monitoring.svc:9090",
    ),
    "kubeedge": Cluster("pyboot-svc:1", kubeedge=True, master=("master.example", 30890)),
}


def render_text(text: str, cluster: Cluster | None = None) -> str:
    """The manifests of a configuration, as `pyboot render kubernetes` prints them."""
    file = f"{FOLDER}/config.yaml"
    config = parse_config(text.encode(), file)
    made = render(cluster or Cluster("pyboot-svc:1"), config, text, file)
    return dump_documents(manifest for manifests in made.values() for manifest in manifests)


def render_example(name: str) -> str:
    """What one of `CLUSTERS` gets of the example that its name begins with."""
    source = (EXAMPLES / f"{name.partition('-')[0]}.yaml").read_text()
    return render_text(source, CLUSTERS[name])


def manifests(text: str, cluster: Cluster | None = None) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(render_text(text, cluster)))


def find(found: list[dict[str, Any]], kind: str, model: str | None = None) -> dict[str, Any]:
    """The one object of that kind that belongs to a model, or to the master."""
    [wanted] = [
        manifest
        for manifest in found
        if manifest["kind"] == kind
        and manifest["metadata"].get("annotations", {}).get("pyboot/model") == model
    ]
    return wanted


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


def expand(text: str, variables: dict[str, str]) -> str:
    """What the kubelet makes of an argument or a variable: `$$` is `$`, `$(NAME)` a variable."""

    def replaced(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else variables.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", replaced, text)
