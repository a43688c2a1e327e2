"""`pyboot render kubernetes` as a user runs it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from support.app import run_pyboot

CONFIG = """
brokers: {plant: {host: broker.svc, username: u, password_file: "the password"}}
defaults: {pre_broker: plant, post_broker: plant, edge_mode: m.f}
edge:
- {name: Pump.7, pre_topic: a, post_topic: b, limits: {nice: 5, tasks: 9, cpus: 0-1}}
- {name: plain, pre_topic: a, post_topic: b, kubernetes: {deployment: true, most: 4}}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    return str(file)


def test_manifests_on_standard_output_and_advice_beside(config: str, tmp_path: Path) -> None:
    ended = run_pyboot("render", "kubernetes", "--config", config, "--namespace", "ns")
    assert ended.returncode == 0
    found = list(yaml.safe_load_all(ended.stdout))
    assert {manifest["metadata"]["namespace"] for manifest in found} == {"ns"}
    assert ended.stderr.splitlines() == [
        "pyboot: Pump.7: pods have no limits.tasks, limits.nice, limits.cpus: left out",
        "pyboot: plain: not scaled: name KEDA's Prometheus with --prometheus URL",
        "pyboot: create this Secret: kubectl create secret generic pyboot-credentials "
        f"--namespace=ns '--from-file=the-password={tmp_path}/the password'",
    ]


def test_an_image_by_its_digest(config: str) -> None:
    image = f"registry.example/plant@sha256:{'0a' * 32}"
    ended = run_pyboot("render", "kubernetes", "--config", config, "--image", image)
    images = re.findall(r"\bimage: *(\S+)", ended.stdout)
    assert len(images) == 3
    assert {name.strip("\"'") for name in images} == {image}


def test_files_for_kubectl_apply_k(config: str, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "deep"
    ended = run_pyboot("render", "kubernetes", "--config", config, "--output", str(folder))
    assert (ended.returncode, ended.stdout) == (0, "")
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert listed[0] == "pyboot.yaml"
    assert {"kustomization.yaml", *listed} == {file.name for file in folder.iterdir()}
    files = (yaml.safe_load_all((folder / name).read_text()) for name in listed)
    printed = run_pyboot("render", "kubernetes", "--config", config).stdout
    assert [m for documents in files for m in documents] == list(yaml.safe_load_all(printed))


def test_a_folder_that_cannot_be_written(config: str) -> None:
    ended = run_pyboot("render", "kubernetes", "--config", config, "--output", "/proc/no")
    assert ended.returncode == 69
    assert "/proc/no can't be written" in ended.stderr


def test_a_broken_configuration(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("edge: [{name: a}]")
    ended = run_pyboot("render", "kubernetes", "--config", str(file))
    assert (ended.returncode, ended.stdout) == (78, "")
    assert "the key `pre_broker` is missing" in ended.stderr
    ended = run_pyboot("render", "kubernetes", "--config", str(tmp_path / "absent"))
    assert ended.returncode == 78
    assert "can't be read: No such file or directory" in ended.stderr


def test_a_target_is_wanted() -> None:
    assert run_pyboot("render").returncode == 64
