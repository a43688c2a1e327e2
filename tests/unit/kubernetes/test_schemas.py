"""The examples' manifests, checked against the schemas of several versions of Kubernetes."""

from __future__ import annotations

import pytest
import yaml
from unit.kubernetes.rendered import CLUSTERS, render_example

# No distribution has it: where packages run the tests, the golden files have to do.
kubernetes_validate = pytest.importorskip("kubernetes_validate")

# The first whose schemas are there, the one where all that is used is stable, and the last.
VERSIONS = ("1.25", "1.28", "1.31", kubernetes_validate.latest_version())
# Of operators: their schemas are not Kubernetes'.
FOREIGN = {"ServiceMonitor", "ScaledObject"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", CLUSTERS)
def test_manifests_follow_the_schemas(name: str, version: str) -> None:
    checked = set()
    for manifest in yaml.safe_load_all(render_example(name)):
        if manifest["kind"] not in FOREIGN:
            kubernetes_validate.validate(manifest, version, strict=True)
            checked.add(manifest["kind"])
    assert {"StatefulSet", "Deployment", "ConfigMap", "Service", "PodDisruptionBudget"} <= checked


def test_the_check_finds_what_is_wrong() -> None:
    manifest = next(iter(yaml.safe_load_all(render_example("config"))))
    manifest["dta"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[0], strict=True)
