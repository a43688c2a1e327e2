"""A starter of another package, installed as users install it, at work in `pyboot up`."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import Running, Up

from pyboot_svc.errors import ExitCode

MODULE = """
import logging

from pyboot_svc.starter import Starter

log = logging.getLogger("plant_addon")


class Between(Starter):
    priority = 150  # behind the workers, before the web

    def init(self, context):
        log.info("addon: init with %s", context.config.app_name)

    def setup(self, context):
        log.info("addon: setup, hub %s, web %s", context.hub is not None, context.web)

    def start(self, context):
        log.info("addon: start")

    def stop(self, context):
        log.info("addon: stop")


class Early(Starter):
    priority = -1

    def Init(self, context):
        log.info("early: Init, config %s", context.config)

    def Stop(self, context):
        log.info("early: Stop")
"""
ENTRY_POINTS = """\
[pyboot.starters]
between = plant_addon:Between
early = plant_addon:Early
"""


def build_wheel(folder: Path, module: str) -> Path:
    """A wheel by hand: a build backend is not to be had everywhere, and needs the network."""
    info = "plant_addon-1.0.dist-info"
    files = {
        "plant_addon.py": module,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: plant-addon\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": ENTRY_POINTS,
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    wheel = folder / "plant_addon-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name, text)
    return wheel


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Installs a package with pip, into a folder on PYTHONPATH."""

    def run(module: str) -> None:
        target = tmp_path / "site"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        wheel = build_wheel(tmp_path, module)
        subprocess.run(
            [*pip, "--no-index", "--no-deps", "--target", str(target), str(wheel)],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        monkeypatch.setenv("PYTHONPATH", str(target))

    return run


@pytest.fixture
def config(write_config: Callable[..., Path], topic: str) -> Path:
    return write_config(
        f"{{name: echo, edge_mode: my_models.echo, pre_topic: {topic}, post_topic: {topic}/out}}",
        models="def echo(payload):\n    return payload\n",
        head="app_name: plant",
    )


def test_its_phases_run_in_the_order_of_its_priority(
    install: Callable[[str], None], config: Path, up: Callable[..., Up]
) -> None:
    install(MODULE)
    master = up(config)
    assert master.stop() == ExitCode.OK
    said = [line.partition(" INFO ")[2] for line in master.log.splitlines()]
    parts = [
        "early: Init, config None",
        "addon: init with plant",
        "addon: setup, hub True, web None",
        "addon: start",
        f"plant is up: {master.url}",
        "stopping",
        "addon: stop",
        "echo-1: stopping: finishing work in progress",
        "early: Stop",
    ]
    assert [line for line in said if line in parts] == parts


def test_one_that_cannot_be_used_ends_the_master_for_good(
    install: Callable[[str], None],
    config: Path,
    tmp_path: Path,
    track: Callable[[Running], Running],
) -> None:
    install("import no_such_module")
    master = track(Running(tmp_path / "up", "up", "--config", str(config)))
    assert master.process.wait(20) == ExitCode.CONFIG
    assert "starter 'between' of plant-addon (plant_addon:Between) can't be loaded" in master.log
    assert "No module named 'no_such_module'" in master.log
