"""The examples' manifests, to the letter.

After a change that is meant: PYBOOT_GOLDEN=write pytest tests/unit/kubernetes/test_golden.py
"""

from __future__ import annotations

import os
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from unit.kubernetes.rendered import EXAMPLES, render_text

from pyboot_svc.kubernetes import Cluster

GOLDEN = Path(__file__).parent / "golden"
CLUSTERS = {
    "config": Cluster("pyboot-svc:1"),
    "config-options": Cluster(
        "registry.example/plant@sha256:0123",
        namespace="plant",
        secret="plant-secrets",
        storage_class="fast",
        drain_seconds=7.5,
        master=("192.0.2.1", 5890),
        service_monitor=True,
        prometheus="http://prometheus.monitoring.svc:9090",
    ),
    "kubeedge": Cluster("pyboot-svc:1", kubeedge=True, master=("master.example", 30890)),
}
# The first whose schemas are there, the one where all that is used is stable, and the last.
VERSIONS = ("1.25", "1.28", "1.31", kubernetes_validate.latest_version())
# Of operators: their schemas are not Kubernetes'.
FOREIGN = {"ServiceMonitor", "ScaledObject"}


def rendered(name: str) -> str:
    source = (EXAMPLES / f"{name.partition('-')[0]}.yaml").read_text()
    return render_text(source, CLUSTERS[name])


@pytest.mark.parametrize("name", CLUSTERS)
def test_manifests_are_those_that_are_kept(name: str) -> None:
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("PYBOOT_GOLDEN") == "write":
        file.write_text(rendered(name))
    assert rendered(name) == file.read_text(), "is that meant? " + str(__doc__).splitlines()[2]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", CLUSTERS)
def test_manifests_follow_the_schemas(name: str, version: str) -> None:
    checked = set()
    for manifest in yaml.safe_load_all(rendered(name)):
        if manifest["kind"] not in FOREIGN:
            kubernetes_validate.validate(manifest, version, strict=True)
            checked.add(manifest["kind"])
    assert {"StatefulSet", "Deployment", "ConfigMap", "Service", "PodDisruptionBudget"} <= checked


def test_the_check_finds_what_is_wrong() -> None:
    manifest = next(iter(yaml.safe_load_all(rendered("config"))))
    manifest["dta"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[0], strict=True)
