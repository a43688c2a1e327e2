"""`pyboot init`: the project that it writes works at once."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.app import PYBOOT, Up, run_pyboot
from support.broker import Broker
from support.client import Plant


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "pumps"
    done = run_pyboot("init", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(
        f"Go on with: pyboot try mean -c {folder}/config.yaml --lines {folder}/messages\n"
    )
    return folder


def test_its_readme_is_right(project: Path) -> None:
    for line in (project / "README.md").read_text().splitlines():
        command = line.partition("#")[0].split()
        if command[:1] == ["pyboot"] and command[1] != "up":
            done = subprocess.run(
                [*PYBOOT, *command[1:]], cwd=project, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
            if command[1] == "try":
                tried = done.stdout
    assert done.stdout.endswith("1 of 1 cases passed\n")
    assert tried.splitlines() == [
        'plant/mean {"device":"pump-1","mean":21.5,"count":1}',
        'plant/mean {"device":"pump-2","mean":40.0,"count":1}',
        'plant/mean {"device":"pump-1","mean":22.0,"count":2}',
        "nothing",
    ]


def test_what_it_says_next_can_be_pasted(tmp_path: Path) -> None:
    done = run_pyboot("init", str(tmp_path / "Pumpen für A"))
    said = done.stdout.splitlines()[-1].removeprefix("Go on with: pyboot ")
    done = run_pyboot(*shlex.split(said))
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 4), done.stderr


def test_its_test_passes(project: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_up_runs_it(project: Path, broker: Broker, tmp_path: Path) -> None:
    config = project / "config.yaml"
    here = f"127.0.0.1, pre_port: {broker.port}, post_port: {broker.port}"
    text = config.read_text().replace("    post_broker: 127.0.0.1\n", "")
    edges = text.replace("    pre_broker: 127.0.0.1\n", "")
    defaults = f"defaults: {{pre_broker: 127.0.0.1, post_broker: {here}}}\n"
    config.write_text(edges.replace("edge:\n", f"{defaults}edge:\n"))
    started = Up(tmp_path / "up", config)
    try:
        with Plant(broker.port) as plant:
            plant.subscribe("plant/mean")
            plant.publish("plant/pump-1/temperature", {"device": "pump-1", "temperature": 21.5})
            assert plant.wait_for(1) == [{"device": "pump-1", "mean": 21.5, "count": 1}]
    finally:
        started.close()


def test_nothing_is_overwritten(project: Path, tmp_path: Path) -> None:
    before = (project / "config.yaml").read_text()
    done = run_pyboot("init", str(project))
    assert (done.returncode, "is not empty; name a new folder" in done.stderr) == (64, True)
    assert (project / "config.yaml").read_text() == before
    file = tmp_path / "file"
    file.write_text("")
    done = run_pyboot("init", str(file))
    assert (done.returncode, "can't be written: File exists" in done.stderr) == (69, True)
