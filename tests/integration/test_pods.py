"""What a pod runs, run here: arguments and settings of the manifests, with the kubelet's part."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.app import Running, Up, run_pyboot
from support.broker import Broker, free_port
from support.certificates import Authority
from support.client import Plant
from support.poll import until
from unit.kubernetes.rendered import expand, find, pod_of

from pyboot_svc.bench.threads import gil_enabled

MODELS = """
import re
import time

def backtracking(payload):
    # One call of C code that keeps the GIL.
    re.match("(a+)+$", "a" * 60 + "b")

def named(payload, context):
    return {"instance": context.instance, "payload": payload}

class Slow:
    def __init__(self):
        time.sleep(1)
    def __call__(self, payload):
        while payload == "hang":
            pass
        return payload
"""
Track = Callable[[Running], Running]


class Cluster:
    """Renders a configuration and runs pods of it, the broker's Service being 127.0.0.1."""

    def __init__(self, folder: Path, broker: Broker, track: Track) -> None:
        self._folder = folder
        self._broker = broker
        self._track = track
        self.reports_port = free_port()
        self._secrets = folder / "secrets"
        # The folder that has what the Secret with the master's certificate has.
        self._tls: Path | None = None

    def secure(self, folder: Path) -> None:
        self._tls = folder

    def render(self, *edges: str) -> list[dict[str, Any]]:
        self._folder.mkdir(exist_ok=True)
        (self._folder / "my_models.py").write_text(MODELS)
        port = self._broker.port
        defaults = (
            f"{{pre_broker: broker.svc, pre_port: {port}, "
            f"post_broker: broker.svc, post_port: {port}}}"
        )
        file = self._folder / "config.yaml"
        lines = "".join(f"  - {edge}\n" for edge in edges)
        file.write_text(f"model_path: .\ndefaults: {defaults}\nedge:\n{lines}")
        more = ["--report-to", f"127.0.0.1:{self.reports_port}", "--tokens", str(self._secrets)]
        if self._tls is not None:
            more += ["--tls-secret", "pyboot-tls"]
        ended = run_pyboot("render", "kubernetes", "--config", str(file), *more)
        assert ended.returncode == 0, ended.stderr
        return list(yaml.safe_load_all(ended.stdout))

    def start(self, found: list[dict[str, Any]], kind: str, model: str, pod: str) -> Pod:
        """Do what the kubelet does for a pod of this name."""
        folder = self._folder / pod
        models = folder / "run" / "models"
        models.mkdir(parents=True)
        [(name, text)] = find(found, "ConfigMap", model)["data"].items()
        (models / name).write_text(text.replace("broker.svc", "127.0.0.1"))
        [container] = pod_of(find(found, kind, model))["containers"]
        arguments = [expand(argument, {"PYBOOT_POD": pod}) for argument in container["args"]]
        port = free_port()
        arguments[arguments.index("--probes-listen") + 1] = f"127.0.0.1:{port}"
        spec = pod_of(find(found, kind, model))
        arguments[arguments.index("--token") + 1] = str(self._token(spec, pod))
        self._mount_tls(spec, arguments, "--report-tls")
        folders = ("--run-dir", str(folder / "run"), "--state-dir", str(folder / "state"))
        running = Running(folder, *arguments, *folders)
        self._track(running)
        return Pod(running, container, port)

    def _token(self, spec: dict[str, Any], pod: str) -> Path:
        """What is mounted of the Secret; there is nothing else of it in the pod."""
        [volume] = [one for one in spec["volumes"] if one["name"] == "token"]
        [mount] = [m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "token"]
        path = mount.get("subPath") or expand(mount["subPathExpr"], {"PYBOOT_POD": pod})
        [key] = [one["key"] for one in volume["secret"]["items"] if one["path"] == path]
        return self._secrets / "tokens" / str(key)

    def _mount_tls(self, spec: dict[str, Any], arguments: list[str], option: str) -> None:
        """Those keys of the Secret that the pod names."""
        volumes = [one["secret"]["items"] for one in spec["volumes"] if one["name"] == "tls"]
        assert len(volumes) == (option in arguments) == (self._tls is not None)
        for items in volumes:
            folder = self._folder / f"mounted{option}"
            folder.mkdir(exist_ok=True)
            for item in items:
                shutil.copy(f"{self._tls}/{item['key']}", folder / item["path"])
            arguments[arguments.index(option) + 1] = str(folder)

    def master(self, found: list[dict[str, Any]]) -> Up:
        file = self._folder / "master.yaml"
        file.write_text(find(found, "ConfigMap")["data"]["config.yaml"])
        options = ("--run-dir", str(self._folder / "master"))
        spec = pod_of(find(found, "Deployment"))
        [container] = spec["containers"]
        reports = container["args"][container["args"].index("--reports-listen") :][:-2]
        plain = "" if self._tls else "tcp://"
        assert reports[1] == f"{plain}0.0.0.0:5890"
        reports[1] = f"127.0.0.1:{self.reports_port}"
        reports[reports.index("--tokens") + 1] = str(self._secrets / "tokens.json")
        self._mount_tls(spec, reports, "--reports-tls")
        up = Up(self._folder, file, *options, *reports, command="master", ready=False)
        self._track(up)
        return up


class Pod:
    def __init__(self, running: Running, container: dict[str, Any], port: int) -> None:
        self.running = running
        self._container = container
        self._port = port

    def probe(self, name: str) -> int:
        """The status of a probe as the manifest has it; 0 when nobody answers."""
        path = self._container[name]["httpGet"]["path"]
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def wait_probe(self, name: str, status: int) -> None:
        until(lambda: self.probe(name) == status, f"{name} gives {status}")


@pytest.fixture
def cluster(tmp_path: Path, broker: Broker, track: Track) -> Cluster:
    return Cluster(tmp_path / "cluster", broker, track)


def test_pods_of_a_stateful_set_share_the_work_and_report_to_the_master(
    cluster: Cluster, plant: Plant, topic: str
) -> None:
    found = cluster.render(
        f"{{name: na_Med, edge_mode: my_models.named, instance: 2, pre_qos: 1, "
        f"pre_topic: {topic}/in, post_topic: {topic}/out}}"
    )
    master = cluster.master(found)
    name = find(found, "StatefulSet", "na_Med")["metadata"]["name"]
    pods = [cluster.start(found, "StatefulSet", "na_Med", f"{name}-{n}") for n in (0, 1)]
    for pod in pods:
        pod.wait_probe("readinessProbe", 200)
        assert pod.probe("livenessProbe") == pod.probe("startupProbe") == 200
    master.wait_ready()
    plant.subscribe(f"{topic}/out")
    plant.publish_all(f"{topic}/in", list(range(100)), qos=1)
    results = plant.wait_for(100)
    assert {result["instance"] for result in results} == {"na_Med-1", "na_Med-2"}
    assert sorted(result["payload"] for result in results) == list(range(100))
    assert master.get("/queue_size_metrics")[1] == {
        "queue_size_metrics": [
            {"sub_process_name": f"sub_process_na_Med_{n}", "pre_queue": 0, "post_queue": 0}
            for n in (1, 2)
        ]
    }
    assert 'pyboot_up{model="na_Med",instance="2"} 1\n' in master.get("/metrics")[1]
    assert pods[1].running.stop() == 0
    until(lambda: master.instance("na_Med-2")["state"] == "absent", "it is missed")


def test_pods_report_over_tls_without_the_masters_key(
    cluster: Cluster, tmp_path: Path, topic: str
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    authority = Authority(tmp_path, "cluster")
    shutil.copy(authority.ca, secret / "ca.crt")
    made = authority.issue("pyboot", "IP:127.0.0.1")
    made.key.rename(secret / "tls.key")
    made.cert.rename(secret / "tls.crt")
    cluster.secure(secret)
    found = cluster.render(
        f"{{name: named, edge_mode: my_models.named, "
        f"pre_topic: {topic}/in, post_topic: {topic}/out}}"
    )
    master = cluster.master(found)
    cluster.start(found, "StatefulSet", "named", "edge-model-named-0")
    master.wait_ready()
    assert master.instance("named-1")["state"] == "ready"


def test_pods_of_a_deployment_share_the_work_and_come_and_go(
    cluster: Cluster, plant: Plant, topic: str
) -> None:
    found = cluster.render(
        f"{{name: named, edge_mode: my_models.named, kubernetes: {{deployment: true}}, "
        f"pre_topic: {topic}/in, post_topic: {topic}/out}}"
    )
    master = cluster.master(found)
    assert master.get("/readyz")[0] == 200
    names = [f"edge-model-named-7c9d-{end}" for end in ("bbbbb", "24567")]
    pods = [cluster.start(found, "Deployment", "named", name) for name in names]
    for pod in pods:
        pod.wait_probe("readinessProbe", 200)
    plant.subscribe(f"{topic}/out")
    plant.publish_all(f"{topic}/in", list(range(100)))
    results = plant.wait_for(100)
    assert len({result["instance"] for result in results}) == 2
    assert sorted(result["payload"] for result in results) == list(range(100))

    def shown() -> list[str]:
        rows = master.get("/queue_size_metrics")[1]["queue_size_metrics"]
        return sorted(row["sub_process_name"] for row in rows)

    until(lambda: len(shown()) == 2, "both are shown")
    assert pods[1].running.stop() == 0
    until(lambda: shown() == ["sub_process_named_1"], "one is shown")


def test_probes_tell_loading_waiting_and_stalled_apart(
    cluster: Cluster, plant: Plant, topic: str
) -> None:
    found = cluster.render(
        f"{{name: slow, edge_mode: my_models.Slow, model_timeout: 1, "
        f"pre_topic: {topic}/in, post_topic: {topic}/out, post_port: {free_port()}}}"
    )
    pod = cluster.start(found, "StatefulSet", "slow", "edge-model-slow-0")
    pod.wait_probe("startupProbe", 503)
    assert pod.probe("livenessProbe") == 200
    pod.wait_probe("startupProbe", 200)
    # Its post broker is away: it can't do its work, and a restart would not help.
    assert pod.probe("readinessProbe") == 503
    assert pod.probe("livenessProbe") == 200
    pod.running.wait_log("subscribed to")
    plant.publish(f"{topic}/in", "hang")
    pod.wait_probe("livenessProbe", 503)
    pod.running.wait_log("Timeout (0:00:10)!", 40)
    pod.running.wait_log("in __call__")
    assert pod.running.log.count("Thread 0x") >= 3


@pytest.mark.skipif(not gil_enabled(), reason="there is no GIL to hold")
def test_a_held_gil_is_silence_and_leaves_every_stack(
    cluster: Cluster, plant: Plant, topic: str
) -> None:
    found = cluster.render(
        f"{{name: held, edge_mode: my_models.backtracking, "
        f"pre_topic: {topic}/in, post_topic: {topic}/out}}"
    )
    pod = cluster.start(found, "StatefulSet", "held", "edge-model-held-0")
    pod.wait_probe("readinessProbe", 200)
    plant.publish(f"{topic}/in", 1)
    pod.wait_probe("livenessProbe", 0)
    pod.running.wait_log("Timeout (0:00:10)!", 40)
    pod.running.wait_log("in backtracking", 40)
    # What the kubelet does next: SIGTERM, which nobody hears, and SIGKILL.
    pod.running.process.kill()


def test_an_instance_is_taken_away_with_its_session(
    cluster: Cluster, tmp_path: Path, topic: str
) -> None:
    found = cluster.render(
        f"{{name: named, edge_mode: my_models.named, instance: 2, pre_qos: 1, "
        f"pre_topic: {topic}/in, post_topic: {topic}/out}}"
    )
    pod = cluster.start(found, "StatefulSet", "named", "edge-model-named-1")
    pod.wait_probe("readinessProbe", 200)
    compiled = tmp_path / "cluster" / "edge-model-named-1" / "run" / "instances" / "named-2.json"
    assert json.loads(compiled.read_text())["identity"] == {"model": "named", "number": 2}
    compiled.with_suffix(".retired").touch()  # as docs/kubernetes.md has it done
    assert pod.running.stop() == 0
    assert "no longer configured: ending its session" in pod.running.log


def test_a_run_dir_that_cannot_be_written_is_said(cluster: Cluster, tmp_path: Path) -> None:
    found = cluster.render("{name: m, edge_mode: my_models.named, pre_topic: a, post_topic: b}")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m.json").write_text(find(found, "ConfigMap", "m")["data"]["m.json"])
    (tmp_path / "instances").touch()
    ended = run_pyboot("worker", "m", "--pod", "edge-model-m-0", "--run-dir", str(tmp_path))
    assert ended.returncode == 69
    assert f"{tmp_path} can't be written: " in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a", "--pod", "x"), "'x' is not a pod of a StatefulSet or Deployment of a model 'a'"),
        (("a", "--pod", "x-0"), "models/a.json: can't be read: No such file or directory"),
    ],
)
def test_a_pod_that_cannot_be_says_why(arguments: tuple[str, ...], said: str) -> None:
    ended = run_pyboot("worker", *arguments, "--run-dir", "/nonexistent")
    assert ended.returncode in (64, 78)
    assert said in ended.stderr
