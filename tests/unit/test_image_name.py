"""The image has one name everywhere, and is built by an engine that answers."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from pyboot_svc import __version__
from pyboot_svc.cli import main

ROOT = Path(__file__).parents[2]
IMAGE = f"pyboot-svc:{__version__}"
DEAD = "exit 1"
ALIVE = 'echo "$0 $*" >>"$CALLS"'
# docker's client tells its own version, and fails at all that needs the daemon.
CLIENT = '[ "$1" = --version ] || { echo "Cannot connect to the Docker daemon" >&2; exit 1; }'

# What the script itself needs, source.sh included.
PROGRAMS = (
    *("chmod", "date", "dirname", "find", "git", "head", "mkdir", "mktemp", "realpath", "rm"),
    *("sed", "sh", "tar", "timeout", "touch"),
)


def build(tmp_path: Path, **engines: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run build-image.sh where only these engines are; gives how it went, and the build's call."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).symlink_to(f"/usr/bin/{name}")
    for name, script in engines.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    calls = tmp_path / "calls"
    calls.touch()
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "packaging" / "build-image.sh"), IMAGE],
        env={"PATH": str(programs), "CALLS": str(calls)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    built = [line for line in calls.read_text().splitlines() if " build " in line]
    return done, os.path.basename(built[0]) if built else ""


@pytest.mark.parametrize(
    ("engines", "chosen"),
    [
        ({"docker": ALIVE, "podman": ALIVE}, "docker"),
        ({"docker": CLIENT, "podman": ALIVE}, "podman"),
        ({"docker": CLIENT, "podman": DEAD, "buildah": ALIVE}, "buildah"),
        ({"buildah": ALIVE}, "buildah"),
    ],
)
def test_the_first_engine_that_answers_builds(
    tmp_path: Path, engines: dict[str, str], chosen: str
) -> None:
    done, _ = build(tmp_path, **engines)
    assert done.returncode == 0, done.stderr
    [call] = [line for line in (tmp_path / "calls").read_text().splitlines() if " build " in line]
    assert call.startswith(f"{tmp_path}/bin/{chosen} build ")
    assert f"--tag {IMAGE} " in call
    # docker has no such option.
    assert ("--timestamp" in call) == (chosen != "docker")


def test_engines_that_do_not_answer_are_named(tmp_path: Path) -> None:
    done, built = build(tmp_path, docker=CLIENT)
    assert (done.returncode, built) == (1, "")
    assert "none of docker, podman and buildah answers (installed: docker)" in done.stderr


def test_one_name_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = subprocess.run(
        ["make", "-n", "images"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert f"packaging/build-image.sh {IMAGE} " in made.stdout
    assert f"image: {IMAGE}\n" in (ROOT / "packaging/container/compose.yaml").read_text()
    config = tmp_path / "config.yaml"
    edge = "{name: m, edge_mode: a.b, pre_broker: h, pre_topic: i, post_broker: h, post_topic: o}"
    config.write_text(f"edge:\n- {edge}\n")
    assert main(["render", "kubernetes", "--config", str(config)]) == 0
    assert f"image: {IMAGE}\n" in capsys.readouterr().out.replace('"', "").replace("'", "")
    for file in (*ROOT.glob("docs/*.md"), *ROOT.glob("packaging/*/*.yaml"), ROOT / "README.md"):
        for found in re.findall(
            r"(?:FROM|image:) (pyboot\S*)|(pyboot-svc:[\w.]+)", file.read_text()
        ):
            assert "".join(found) == IMAGE, file
