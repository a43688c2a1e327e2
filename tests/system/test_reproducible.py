"""What is in dist/ can be built again elsewhere, byte for byte, and says what it is made of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.bills import problems

pytestmark = pytest.mark.systemd

ROOT = Path(__file__).parents[2]
DIST = Path(os.environ.get("PYBOOT_DIST", ROOT / "dist"))
KINDS = {"deb": "pyboot-svc_*.deb", "rpm": "pyboot-svc-*.noarch.rpm", "wheel": "pyboot_svc-*.whl"}
# Another hour, place and habit than those of whoever built what is in dist/.
ELSEWHERE = {"TZ": "Pacific/Chatham", "LC_ALL": "C", "PYTHON": sys.executable}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The same source in another folder, without git; and its time."""
    folder = tmp_path_factory.mktemp("elsewhere") / "somebody's source"
    script = ROOT / "packaging" / "source.sh"
    done = subprocess.run([script, folder], stdout=subprocess.PIPE, check=True, timeout=60)
    return folder, done.stdout.decode().strip()


def built_again(kind: str, elsewhere: tuple[Path, str], folder: Path) -> Path:
    source, epoch = elsewhere
    options = ["--nocheck"] if kind == "rpm" else []
    temporary = folder / "temporary"
    temporary.mkdir()
    subprocess.run(
        [source / "packaging" / f"build-{kind}.sh", folder / "built", *options],
        check=True,
        timeout=200,
        stdout=subprocess.DEVNULL,
        env={**os.environ, **ELSEWHERE, "SOURCE_DATE_EPOCH": epoch, "TMPDIR": str(temporary)},
        umask=0o077,
    )
    return folder / "built"


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_build_elsewhere_gives_the_same_bytes(
    kind: str, elsewhere: tuple[Path, str], tmp_path: Path
) -> None:
    again = built_again(kind, elsewhere, tmp_path)
    patterns = [KINDS[kind], f"{KINDS[kind]}.cdx.json"]
    patterns += ["pyboot_svc-*.tar.gz"] if kind == "wheel" else []
    for pattern in patterns:
        [first], [second] = DIST.glob(pattern), again.glob(pattern)
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes(), f"{first} isn't of this tree: make {kind}"


@pytest.mark.parametrize("kind", KINDS)
def test_each_package_has_a_bill_of_materials_beside_it(kind: str) -> None:
    [file] = DIST.glob(f"{KINDS[kind]}.cdx.json")
    assert problems(file.read_text()) == ""
    names = {component["name"].lower() for component in json.loads(file.read_text())["components"]}
    prefix = "" if kind == "wheel" else "python3-"
    assert {f"{prefix}paho-mqtt", f"{prefix}cheroot", f"{prefix}sdnotify"} <= names
    assert not any("(" in name or "$" in name or not name for name in names)
