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
        "pyboot: the Secret pyboot-tokens holds the workers' tokens: --tokens DIR makes them",
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


def test_tokens_are_made_once_and_stay_out_of_the_manifests(config: str, tmp_path: Path) -> None:
    folder = tmp_path / "tokens here"
    command = ("render", "kubernetes", "--config", config, "--namespace", "ns")
    ended = run_pyboot(*command, "--tokens", str(folder))
    assert ended.returncode == 0
    assert (
        "create this Secret, or renew it: kubectl create secret generic pyboot-tokens "
        f"--namespace=ns '--from-file={folder}/tokens' '--from-file={folder}/tokens.json' "
        "--dry-run=client --output=yaml | kubectl apply --server-side -f -\n"
    ) in ended.stderr
    made = {file.name: file.read_text() for file in (folder / "tokens").iterdir()}
    assert made.keys() == {key for key in keys_of(ended.stdout) if key != "tokens.json"}
    assert not any(token.strip() in ended.stdout for token in made.values())
    again = run_pyboot(*command, "--tokens", str(folder))
    assert again.stdout == ended.stdout == run_pyboot(*command).stdout
    assert {file.name: file.read_text() for file in (folder / "tokens").iterdir()} == made


def keys_of(manifests: str) -> set[str]:
    """What the manifests want of the Secret with the tokens."""
    found: set[str] = set()
    for manifest in yaml.safe_load_all(manifests):
        pod = manifest.get("spec", {}).get("template", {}).get("spec", {})
        secrets = [volume["secret"] for volume in pod.get("volumes", ()) if "secret" in volume]
        for secret in secrets:
            if secret["secretName"] == "pyboot-tokens":
                found |= {item["key"] for item in secret["items"]}
    return found


def test_what_is_still_to_do_for_reports_is_said(config: str, tmp_path: Path) -> None:
    ended = run_pyboot("render", "kubernetes", "--config", config, "--report-to", "h:1")
    assert "the Secret pyboot-tokens holds the workers' tokens: --tokens DIR makes" in ended.stderr
    assert "reports go to tcp://h:1 in plain text: --tls-secret NAME secures them" in ended.stderr
    (tmp_path / "file").touch()
    ended = run_pyboot("render", "kubernetes", "--config", config, "--tokens", f"{tmp_path}/file")
    assert ended.returncode == 69
    assert "file/tokens can't be written" in ended.stderr
