"""Installation and upgrades by apt and dnf from a signed repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine
from newer import NEWER, newer_source
from repository import Dnf, Signer, build
from support.poll import until

# One story, told in order.
pytestmark = [pytest.mark.systemd, pytest.mark.random_order(disabled=True)]

ROOT = Path(__file__).parents[2]
DIST = Path(os.environ.get("PYBOOT_DIST", ROOT / "dist"))
HERE = "/srv/pyboot"
SOURCES = f"""\
Types: deb
URIs: file:{HERE}/apt
Suites: ./
Signed-By: /etc/apt/keyrings/pyboot.asc
"""
# The host has no network, and so no Debian to ask.
APT = (
    "DEBIAN_FRONTEND=noninteractive apt-get -y -o Dpkg::Options::=--force-confold"
    " -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/etc/apt/pyboot.d"
)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    signer = Signer(tmp_path_factory.mktemp("gpg") / "home")
    try:
        yield signer
    finally:
        signer.close()


@pytest.fixture(scope="module")
def repository(signer: Signer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With what `make test-system` has just built."""
    output = tmp_path_factory.mktemp("repository") / "made"
    done = build(str(signer.file), DIST, output)
    assert (done.returncode, done.stdout) == (0, f"{output}\n"), done.stderr
    return output


@pytest.fixture(scope="module")
def newer_repository(
    signer: Signer, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same, to which a later version was added, by a key of gpg's own keyring."""
    folder = tmp_path_factory.mktemp("newer")
    source = newer_source(folder)
    for script, *options in (("build-deb.sh",), ("build-rpm.sh", "--nocheck")):
        command = [str(source / "packaging" / script), str(folder / "dist"), *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=200)
    output = folder / "repository"
    shutil.copytree(repository, output)
    done = build("test@localhost.localdomain", folder / "dist", output, signer.home)
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="module")
def machine(image: Path, repository: Path) -> Iterator[Machine]:
    """A booted Debian that trusts the repository's key, for it alone."""
    with Machine(image) as booted:
        booted.push(repository, HERE)
        booted.push(repository / "pyboot.asc", "/etc/apt/keyrings/pyboot.asc")
        booted.write("/etc/apt/pyboot.d/pyboot.sources", SOURCES)
        booted.sh("chmod -R go=rX /srv /etc/apt/pyboot.d /etc/apt/keyrings")
        yield booted


@pytest.fixture(scope="module")
def dnf(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dnf]:
    [rpm] = (repository / "dnf").glob("*.rpm")
    query = ["rpm", "--query", "--package", str(rpm), "--requires"]
    shown = subprocess.run(query, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    # With the version that is asked for at least.
    found = (re.match(r"\(?([^\s(]+)( >= \S+)?", line) for line in shown.stdout.splitlines())
    wanted = {match[1] + (match[2] or "").replace(">", "") for match in found if match}
    wanted -= {name for name in wanted if name.startswith(("rpmlib", "config"))}
    made = Dnf(tmp_path_factory.mktemp("dnf"), repository, sorted(wanted))
    try:
        yield made
    finally:
        made.close()


def installed(machine: Machine) -> str:
    return machine.run("dpkg-query", "-Wf", "${Version}", "pyboot-svc").stdout


def test_apt_installs_it_and_it_runs(machine: Machine, package: Path) -> None:
    machine.sh(f"{APT} update --error-on=any && {APT} install pyboot-svc")
    assert installed(machine) == package.name.split("_")[1]
    machine.wait_active("pyboot.service", "edge-model@telm_temperature-1.service")


def test_apt_upgrades_to_what_is_added(machine: Machine, newer_repository: Path) -> None:
    machine.push(newer_repository, HERE)
    machine.sh(f"{APT} update --error-on=any && {APT} upgrade")
    assert installed(machine) == NEWER
    until(
        lambda: f'"{NEWER}"' in str(machine.sh("curl -s 127.0.0.1:5888/api/instances")),
        "the worker has the new version",
    )


def test_apt_takes_no_package_and_no_list_that_was_changed(
    machine: Machine, newer_repository: Path
) -> None:
    machine.sh(f"{APT} purge pyboot-svc; echo >>{HERE}/apt/pyboot-svc_{NEWER}_all.deb")
    done = machine.run("sh", "-c", f"{APT} install pyboot-svc={NEWER} 2>&1", check=False)
    assert done.returncode != 0
    assert re.search("unexpected size|mismatch", done.stdout)

    machine.push(newer_repository, HERE)
    machine.sh(f"sed -i s/pyboot/pybout/ {HERE}/apt/InRelease {HERE}/apt/Release")
    done = machine.run("sh", "-c", f"{APT} update --error-on=any 2>&1", check=False)
    assert done.returncode != 0
    assert re.search("manipulated|[Ss]ignature", done.stdout)


def test_dnf_installs_and_upgrades_it(dnf: Dnf, repository: Path, newer_repository: Path) -> None:
    done = dnf("install", "pyboot-svc")
    assert done.returncode == 0, done.stdout + done.stderr
    assert dnf.version() != NEWER

    shutil.copytree(newer_repository, repository, dirs_exist_ok=True)
    done = dnf("--refresh", "upgrade")
    assert done.returncode == 0, done.stdout + done.stderr
    assert dnf.version() == NEWER


def test_dnf_takes_no_list_that_was_changed(dnf: Dnf, repository: Path) -> None:
    metadata = repository / "dnf" / "repodata" / "repomd.xml"
    metadata.write_text(metadata.read_text().replace("<revision>", "<revision>1"))
    done = dnf("--refresh", "repoquery", "pyboot-svc")
    assert done.returncode != 0
    assert "GPG" in done.stderr


def test_without_the_key_nothing_is_made(tmp_path: Path, signer: Signer) -> None:
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    done = build("nobody@localhost.localdomain", DIST, tmp_path / "made", home)
    assert done.returncode == 1
    assert "gpg has no secret key 'nobody@localhost.localdomain'" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["gpg"]


def test_without_a_package_what_was_there_stays(tmp_path: Path, signer: Signer) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "mine").write_text("")
    done = build(str(signer.file), tmp_path / "dist", tmp_path / "made")
    assert done.returncode == 1
    assert "make deb rpm" in done.stderr
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["mine"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dist", "made"]
