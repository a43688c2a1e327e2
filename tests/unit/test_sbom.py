"""Bills of materials are CycloneDX's, and name what pyproject.toml leads to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sbom
from support.bills import problems

ROOT = Path(__file__).resolve().parents[2]
LOCK = """\
here==1.0 ; python_full_version < '3.12' \\
    --hash=sha256:00 \\
    --hash=sha256:01
    # via pyboot-svc (pyproject.toml)
below==2.0 \\
    --hash=sha256:02
    # via
    #   -c requirements/test.txt
    #   here
builder==3.0 \\
    --hash=sha256:03
    # via -r requirements/build.in
"""


def test_a_lock_file_tells_what_wants_what_and_not_what_only_builds() -> None:
    assert sbom.locked(LOCK) == [
        sbom.Locked("here", "1.0", ["00", "01"], ["pyboot-svc (pyproject.toml)"]),
        sbom.Locked("below", "2.0", ["02"], ["here"]),
    ]


def run(*arguments: str, epoch: str = "1000000000") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "packaging" / "sbom.py", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "SOURCE_DATE_EPOCH": epoch},
    )


def test_a_wheels_bill_names_its_libraries_with_versions(tmp_path: Path) -> None:
    wheel = tmp_path / "pyboot_svc-1.2.3-py3-none-any.whl"
    wheel.write_bytes(b"")
    assert run("wheel", str(wheel)).returncode == 0
    text = (tmp_path / f"{wheel.name}.cdx.json").read_text()
    assert problems(text) == ""
    bill = json.loads(text)
    assert bill["metadata"]["component"]["version"] == "1.2.3"
    assert bill["metadata"]["timestamp"] == "2001-09-09T01:46:40Z"
    wanted = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    names = [ref.split("/")[1].split("@")[0] for ref in wanted["pkg:pypi/pyboot-svc@1.2.3"]]
    assert {"cherrypy", "paho-mqtt", "pyyaml"} <= {*names}
    assert "wheel" not in {component["name"] for component in bill["components"]}

    run("wheel", str(wheel))
    assert (tmp_path / f"{wheel.name}.cdx.json").read_text() == text


def test_an_images_bill_names_its_packages() -> None:
    bill = sbom.image("1.2.3", [("python3", "3.13.5-1", "amd64"), ("tini", "0.19.0-3", "amd64")])
    assert problems(json.dumps(bill)) == ""
    assert [(one["name"], one["version"]) for one in bill["components"]] == [
        ("python3", "3.13.5-1"),
        ("tini", "0.19.0-3"),
    ]


@pytest.mark.parametrize("arguments", [(), ("wheel",), ("egg", "FILE")], ids=["none", "one", "egg"])
def test_other_arguments_are_answered_with_the_usage(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 64
    assert "sbom.py wheel|deb|rpm FILE" in done.stderr
