"""What a model becomes, by what its configuration says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from unit.kubernetes.rendered import expand, find, manifests, pod_of

from pyboot_svc.config.compiled import load_compiled
from pyboot_svc.errors import ConfigError
from pyboot_svc.kubernetes import Cluster

KEYS = "pre_topic: in, post_topic: out, edge_mode: m.f"
CLUSTER = Cluster("i", prometheus="http://prometheus")


def config(more: str = "", hosts: str = "pre_broker: a.svc, post_broker: b.svc") -> str:
    return f"edge:\n- {{name: m, {KEYS}, {hosts}{', ' if more else ''}{more}}}\n"


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [manifest["kind"] for manifest in found if manifest["metadata"].get("annotations")]


def container(found: list[dict[str, Any]], kind: str = "StatefulSet") -> dict[str, Any]:
    made: dict[str, Any] = pod_of(find(found, kind, "m"))["containers"][0]
    return made


def test_a_model_has_pods_with_names_and_disks_of_their_own() -> None:
    found = manifests(config("instance: 3, spool: {max_bytes: 100M}"))
    assert kinds(found) == [
        *("ConfigMap", "Service", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy")
    ]
    spec = find(found, "StatefulSet", "m")["spec"]
    assert spec["replicas"] == 3
    [claim] = spec["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"] == {"storage": "264Mi"}
    assert spec["serviceName"] == find(found, "Service", "m")["metadata"]["name"]


@pytest.mark.parametrize(
    ("section", "cluster", "replicas", "instances"),
    [
        ("{deployment: true}", CLUSTER, 1, 2),
        ("{deployment: true, most: 9}", Cluster("i"), 1, 9),
        ("{deployment: true, most: 9}", CLUSTER, None, 9),
    ],
)
def test_a_deployment_shares_its_input_even_when_it_is_one_pod(
    section: str, cluster: Cluster, replicas: int | None, instances: int, tmp_path: Path
) -> None:
    found = manifests(config(f"kubernetes: {section}"), cluster)
    spec = find(found, "Deployment", "m")["spec"]
    assert spec.get("replicas") == replicas
    assert "StatefulSet" not in kinds(found)
    (tmp_path / "m.json").write_text(find(found, "ConfigMap", "m")["data"]["m.json"])
    assert load_compiled(tmp_path / "m.json").edge.instance == instances
    scaled = "ScaledObject" in kinds(found)
    assert scaled == (replicas is None)
    if scaled:
        scaler = find(found, "ScaledObject", "m")["spec"]
        assert (scaler["minReplicaCount"], scaler["maxReplicaCount"]) == (1, 9)
        [trigger] = scaler["triggers"]
        assert trigger["metadata"]["query"] == 'sum(pyboot_pre_queue_messages{model="m"})'


@pytest.mark.parametrize(
    ("limits", "resources"),
    [
        ("{}", {"requests": {"cpu": "10m", "memory": "64Mi"}}),
        (
            "{memory: 512M, cpu: 150%}",
            {
                "requests": {"cpu": "10m", "memory": "512Mi"},
                "limits": {"memory": "512Mi", "cpu": "1500m"},
            },
        ),
        (
            "{memory: 1000000}",
            {
                "requests": {"cpu": "10m", "memory": "1000000"},
                "limits": {"memory": "1000000"},
            },
        ),
    ],
)
def test_limits_become_resources(limits: str, resources: dict[str, Any]) -> None:
    assert container(manifests(config(f"limits: {limits}")))["resources"] == resources


def test_a_change_of_the_configuration_is_a_change_of_the_pods() -> None:
    def settings(more: str) -> str:
        found = manifests(config(more))
        name: str = find(found, "ConfigMap", "m")["metadata"]["name"]
        assert {"name": "settings", "configMap": {"name": name}} in pod_of(
            find(found, "StatefulSet", "m")
        )["volumes"]
        return name

    assert settings("") == settings("") != settings("threads: 2")
    assert settings("kubernetes: {threshold: 5}") == settings("")


def test_secrets_are_references() -> None:
    head = "brokers: {p: {host: h, username: u, password_file: p.password, tls: {key: k, cert: c}}}"
    secrets = "secrets: {KEY: api.key}"
    found = manifests(f"{head}\n{config(hosts=f'pre_broker: p, post_broker: b.svc, {secrets}')}")
    [volume] = volumes(found, "StatefulSet", "credentials")
    assert volume["secret"]["secretName"] == "pyboot-credentials"
    assert volume["secret"]["items"] == [
        {"key": "p.password", "path": "pre.password"},
        {"key": "c", "path": "pre.cert"},
        {"key": "k", "path": "pre.key"},
        {"key": "api.key", "path": "secret.KEY"},
    ]
    text = find(found, "ConfigMap", "m")["data"]["m.json"]
    assert "/etc/pyboot/credentials/pre.password" in text
    assert "/etc/pyboot/credentials/secret.KEY" in text
    assert "Secret" not in {manifest["kind"] for manifest in found}


def volumes(found: list[dict[str, Any]], kind: str, name: str) -> list[dict[str, Any]]:
    model = None if kind == "master" else "m"
    pod = pod_of(find(found, "Deployment" if kind == "master" else kind, model))
    return [volume for volume in pod["volumes"] if volume["name"] == name]


def test_each_pod_has_the_token_of_its_own_instance_and_the_master_hashes() -> None:
    found = manifests(config("instance: 2"))
    [volume] = volumes(found, "StatefulSet", "token")
    assert volume["secret"]["secretName"] == "pyboot-tokens"
    assert volume["secret"]["items"] == [
        {"key": "m-1", "path": "edge-model-m-0"},
        {"key": "m-2", "path": "edge-model-m-1"},
    ]
    worker = container(found)
    [place] = [one for one in worker["volumeMounts"] if one["name"] == "token"]
    assert expand(place["subPathExpr"], {"PYBOOT_POD": "edge-model-m-1"}) == "edge-model-m-1"
    assert place["mountPath"] == worker["args"][worker["args"].index("--token") + 1]
    [hashes] = volumes(found, "master", "tokens")
    assert hashes["secret"]["items"] == [{"key": "tokens.json", "path": "tokens.json"}]
    assert "Secret" not in {manifest["kind"] for manifest in found}


def test_pods_that_come_and_go_share_a_token() -> None:
    found = manifests(config("kubernetes: {deployment: true}"))
    [volume] = volumes(found, "Deployment", "token")
    assert volume["secret"]["items"] == [{"key": "m-any", "path": "any"}]
    [place] = [m for m in container(found, "Deployment")["volumeMounts"] if m["name"] == "token"]
    assert place["subPath"] == "any"


def test_reports_are_plain_in_so_many_words_or_over_tls() -> None:
    plain, secured = manifests(config()), manifests(config(), Cluster("i", tls_secret="t"))

    def arguments(found: list[dict[str, Any]]) -> tuple[str, str]:
        worker, master = container(found)["args"], pod_of(find(found, "Deployment"))
        return " ".join(worker), " ".join(master["containers"][0]["args"])

    for told, option in zip(arguments(plain), ("--report-to", "--reports-listen"), strict=True):
        assert f"{option} tcp://" in told
        assert "-tls" not in told
    worker, master = arguments(secured)
    assert "--report-to pyboot:5890 --report-tls /run/secrets/pyboot-tls" in worker
    assert "--reports-listen 0.0.0.0:5890 --reports-tls /run/secrets/pyboot-tls" in master
    keys = {
        kind: [item["key"] for item in volumes(secured, kind, "tls")[0]["secret"]["items"]]
        for kind in ("StatefulSet", "master")
    }
    # A worker has no key of the master's.
    assert keys == {"StatefulSet": ["ca.crt"], "master": ["tls.crt", "tls.key"]}
    assert volumes(plain, "StatefulSet", "tls") == volumes(plain, "master", "tls") == []


@pytest.mark.parametrize(
    ("hosts", "blocks"),
    [
        ("pre_broker: 10.0.0.1, post_broker: '2001:db8::1'", {"10.0.0.1/32", "2001:db8::1/128"}),
        ("pre_broker: 10.0.0.1, post_broker: 10.0.0.1, post_port: 8883", {"10.0.0.1/32"}),
        ("pre_broker: 10.0.0.1, post_broker: b.svc", None),
        (
            "pre_broker: 10.0.0.1, post_broker: 10.0.0.1, tracing: {otlp: 'http://10.0.0.3:4318'}",
            {"10.0.0.1/32", "10.0.0.3/32"},
        ),
        ("pre_broker: 10.0.0.1, post_broker: 10.0.0.1, tracing: {}", None),
        ("pre_broker: 10.0.0.1, post_broker: 10.0.0.2, sandbox: {network: true}", None),
    ],
)
def test_a_worker_reaches_its_brokers_only_if_their_addresses_are_known(
    hosts: str, blocks: set[str] | None
) -> None:
    spec = find(manifests(config(hosts=hosts)), "NetworkPolicy", "m")["spec"]
    assert spec["ingress"] == []
    found = {
        to["ipBlock"]["cidr"]
        for rule in spec.get("egress", [])
        for to in rule.get("to", [])
        if "ipBlock" in to
    }
    assert found == (blocks or set())
    assert ("Egress" in spec["policyTypes"]) == (blocks is not None)


def test_on_the_edge_each_pod_has_its_nodes_network_and_models_have_ports_of_their_own() -> None:
    local = "pre_broker: 127.0.0.1, post_broker: 127.0.0.1"
    text = config(hosts=local) + f"- {{name: n, {KEYS}, {local}}}\n"
    found = manifests(text, Cluster("i", kubeedge=True))
    ports = {}
    for model in ("m", "n"):
        pod = pod_of(find(found, "StatefulSet", model))
        assert pod["hostNetwork"] is True
        assert pod["nodeSelector"] == {"node-role.kubernetes.io/edge": ""}
        [worker] = pod["containers"]
        [port] = worker["ports"]
        assert f"127.0.0.1:{port['hostPort']}" in worker["args"]
        assert worker["livenessProbe"]["httpGet"]["host"] == "127.0.0.1"
        ports[model] = port["hostPort"]
    assert ports["m"] != ports["n"]
    assert "hostNetwork" not in pod_of(find(found, "Deployment"))


def test_pods_are_as_confined_as_units() -> None:
    found = manifests(config("kubernetes: {deployment: true}"))
    pods = [pod_of(manifest) for manifest in found if manifest["kind"] == "Deployment"]
    assert len(pods) == 2
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        [only] = pod["containers"]
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not any("hostPath" in volume for volume in pod["volumes"])


def test_a_pod_has_longer_to_end_than_its_worker_to_drain() -> None:
    found = manifests(config(), Cluster("i", drain_seconds=42.5))
    pod = pod_of(find(found, "StatefulSet", "m"))
    assert pod["terminationGracePeriodSeconds"] > 42.5
    arguments = pod["containers"][0]["args"]
    assert arguments[arguments.index("--drain-seconds") + 1] == "42.5"


def test_everything_that_pods_cannot_do_is_said_at_once() -> None:
    sandbox = "sandbox: {write: [/srv], devices: [/dev/ttyUSB0], groups: [dialout]}"
    hosts = "pre_broker: localhost, post_broker: '::1', tracing: {otlp: 'http://127.0.0.1:4318'}"
    with pytest.raises(ConfigError) as caught:
        manifests(config(sandbox, hosts))
    assert [problem.path for problem in caught.value.problems] == [
        "edge[0].sandbox.write",
        "edge[0].sandbox.devices",
        "edge[0].sandbox.groups",
        "edge[0].pre_broker",
        "edge[0].post_broker",
        "edge[0].tracing.otlp",
    ]
    assert all(problem.hint for problem in caught.value.problems)
    assert "::1 is the pod itself" in str(caught.value)


def test_what_no_config_map_can_hold_is_an_error() -> None:
    with pytest.raises(ConfigError, match="more than the 1 MiB of a ConfigMap"):
        manifests(config() + "# " + "x" * 1_100_000)
    with pytest.raises(ConfigError, match="more than the 1 MiB of a ConfigMap"):
        manifests(
            config("options: {k: [" + ",".join(['"ä"'] * 9000) + '], v: "' + "x" * 990_000 + '"}')
        )
