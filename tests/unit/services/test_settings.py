"""An instance's settings for OpenRC: what a shell makes of them is what the configuration says."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pyboot_svc.config.loader import load_config
from pyboot_svc.services.settings import render_settings

# What `edge-model-run` does with them, and shows.
_READ = """
em_credential() { printf 'credential=%s=%s\\0' "$1" "$2"; }
em_tasks=most
set --
. "$0"
printf '%s\\0' "nice=$em_nice" "cpus=$em_cpus" "groups=$em_groups" "tasks=$em_tasks" \
    "cgroup=$em_cgroup" "$@"
"""
AWKWARD = {
    "LINES": "one\ntwo\n$(touch broken)\n",
    "QUOTES": "'single' \"double\" \\ `touch broken`",
    "DOLLAR": "$HOME ${PATH} $$",
    "COMMENT": "; # no comment",
    "SPACES": "  around\t",
    "UNICODE": "Größe ≥ 5 µm",
    "EMPTY": "",
}


def read(tmp_path: Path, **more: Any) -> list[str]:
    """What a shell has after it read the settings of an edge."""
    local = {"pre_broker": "h", "post_broker": "h", "pre_topic": "i", "post_topic": "o"}
    edge = {"name": "m", "edge_mode": "m.f", **local, **more}
    file = tmp_path / "config.yaml"
    file.write_text(
        yaml.safe_dump({"edge": [edge]}, allow_unicode=True, sort_keys=False), encoding="utf-8"
    )
    (instance,) = load_config(file).instances()
    settings = tmp_path / "settings"
    settings.write_text(render_settings(instance.identity, instance.edge), encoding="utf-8")
    done = subprocess.run(
        ["sh", "-eu", "-c", _READ, str(settings)],
        capture_output=True,
        check=True,
        cwd=tmp_path,
        timeout=20,
    )
    assert done.stderr == b""
    *found, _ = done.stdout.decode().split("\0")
    return found


def test_without_limits_there_are_none(tmp_path: Path) -> None:
    assert read(tmp_path) == ["nice=0", "cpus=", "groups=", "tasks=most", "cgroup="]


def test_limits(tmp_path: Path) -> None:
    limits = {"memory": "200M", "cpu": "80%", "tasks": 64, "nice": 5, "cpus": "0-1"}
    found = read(tmp_path, limits=limits, sandbox={"groups": ["dialout", "video"]})
    assert found[:4] == ["nice=5", "cpus=0-1", "groups=dialout,video", "tasks=64"]
    assert found[4].removeprefix("cgroup=").splitlines() == [
        "memory.max 200M",
        "cpu.max 80000 100000",
        "pids.max 64",
        "cpuset.cpus 0-1",
    ]


def test_variables_arrive_literally(tmp_path: Path) -> None:
    found = read(tmp_path, environment=AWKWARD)
    assert found[5:] == [f"{name}={value}" for name, value in AWKWARD.items()]
    assert not (tmp_path / "broken").exists()


@pytest.mark.parametrize("name", ["plain", "a b $HOME 'c' \"d\" ;#"])
def test_credentials_are_named_by_their_files(tmp_path: Path, name: str) -> None:
    password = tmp_path / name
    password.write_text("hunter2")
    file = tmp_path / "config.yaml"
    broker = {"host": "h", "username": "u", "password_file": str(password)}
    edge = {"name": "m", "edge_mode": "m.f", "pre_broker": "b", "post_broker": "b"}
    secrets = {"KEY": f"{password}2"}
    edges = [edge | {"pre_topic": "i", "post_topic": "o", "secrets": secrets}]
    file.write_text(yaml.safe_dump({"brokers": {"b": broker}, "edge": edges}))
    (instance,) = load_config(file).instances()
    text = render_settings(instance.identity, instance.edge)
    (tmp_path / "settings").write_text(text)
    done = subprocess.run(
        ["sh", "-eu", "-c", _READ, str(tmp_path / "settings")],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    credentials = [item for item in done.stdout.split("\0") if item.startswith("credential=")]
    assert f"credential=pre.password={password}" in credentials
    assert f"credential=secret.KEY={password}2" in credentials
    assert "hunter2" not in text
