"""The life of the package on a machine: upgrade, reinstallation, removal, purge."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from fleet import Stream, config, edge, pids, set_up, unit, units, wait_active
from machine import Machine
from newer import NEWER, newer_source
from support.poll import until

pytestmark = pytest.mark.systemd

NAME = "pyboot-svc"
PAIR = ("pair-1", "pair-2")
EDITED = config(edge("pair", instance=2))
# What others keep of a package that is gone: logs, and the .deb files that were installed.
NOT_OURS = re.compile(r"/var/log/|/var/tmp/[^/]+\.deb$")


@pytest.fixture(scope="module")
def newer_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same source as a later version."""
    folder = tmp_path_factory.mktemp("newer")
    source = newer_source(folder)
    build = [source / "packaging" / "build-deb.sh", folder]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL, timeout=100)
    return folder / f"pyboot-svc_{NEWER}_all.deb"


@pytest.fixture(autouse=True)
def installed(machine: Machine, package: Path) -> None:
    """Each test starts with the package installed, and two instances at work."""
    shown = machine.run("dpkg-query", "-Wf", "${db:Status-Abbrev}${Version}", NAME, check=False)
    if shown.stdout != f"ii {package.name.split('_')[1]}":
        machine.run("dpkg", "--purge", NAME)
        machine.install(package)
    set_up(machine, EDITED)
    machine.run("systemctl", "reload-or-restart", "pyboot")
    wait_active(machine, *PAIR)


def apt_get(machine: Machine, *arguments: str) -> None:
    machine.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", *arguments)


def loaded_units(machine: Machine) -> str:
    return machine.sh("systemctl list-units --plain --no-legend 'pyboot*' 'edge-model*'")


def versions(machine: Machine) -> dict[str, str]:
    """What each worker said in its hello and says in its snapshot."""
    rows = machine.get("/api/instances")["instances"]
    return {row["instance"]: row.get("version", "") for row in rows}


def test_lintian_finds_neither_errors_nor_warnings(package: Path) -> None:
    done = subprocess.run(
        ["lintian", "--fail-on", "error,warning", package],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_reinstalling_the_same_version_touches_no_worker(machine: Machine, package: Path) -> None:
    before = pids(machine, *PAIR)
    machine.control("stop", "pair-2")
    apt_get(machine, "install", "--reinstall", f"/var/tmp/{package.name}")
    machine.wait_active("pyboot.service")
    assert pids(machine, *PAIR) == {**before, "pair-2": 0}
    machine.control("start", "pair-2")
    assert machine.read("/etc/pyboot/config.yaml") == EDITED


def test_an_upgrade_rolls_the_workers_keeps_the_configuration_and_loses_nothing(
    machine: Machine, newer_package: Path
) -> None:
    old, before = versions(machine), pids(machine, *PAIR)
    stream = Stream(machine, "pair")
    machine.install(newer_package)
    machine.wait_active("pyboot.service", "pyboot.socket", "edge-model.target", *map(unit, PAIR))
    until(lambda: versions(machine) == dict.fromkeys(PAIR, NEWER), "all have the new version")
    stream.flows_on()
    assert stream.finish() == []
    assert NEWER not in old.values()
    assert all(pid != before[name] for name, pid in pids(machine, *PAIR).items())
    assert machine.read("/etc/pyboot/config.yaml") == EDITED
    assert machine.run("pyboot", "plan").returncode == 0


def test_an_upgrade_starts_nothing_that_somebody_stopped(
    machine: Machine, newer_package: Path
) -> None:
    machine.control("stop", "pair-2")
    machine.install(newer_package)
    until(lambda: versions(machine).get("pair-1") == NEWER, "the other one has the new version")
    machine.wait_active("pyboot.service", unit("pair-1"))
    assert machine.state("pair-2") == "inactive"
    assert machine.run("pyboot", "plan").returncode == 0
    machine.control("start", "pair-2")
    wait_active(machine, "pair-2")
    until(lambda: versions(machine) == dict.fromkeys(PAIR, NEWER), "both have the new version")


def test_removal_stops_everything_and_keeps_the_configuration(
    machine: Machine, package: Path
) -> None:
    apt_get(machine, "remove", NAME)
    assert loaded_units(machine) == ""
    last = machine.journal("-u", unit("pair-1")).splitlines()[-1]
    assert last.startswith("Stopped edge-model@pair-1.service")
    assert machine.run("pgrep", "-f", "^(edge-model|pyboot): ", check=False).stdout == ""
    assert machine.read("/etc/pyboot/config.yaml") == EDITED

    machine.install(package)
    machine.wait_active("pyboot.service", "pyboot.socket")
    wait_active(machine, *PAIR)
    assert set(units(machine)) == set(PAIR)


def test_purge_leaves_nothing(machine: Machine) -> None:
    machine.write("/var/lib/pyboot/models/mine.py", "")
    apt_get(machine, "purge", NAME)
    assert loaded_units(machine) == ""
    folders = "/run /etc /usr /opt /home /root /srv /tmp /var"
    ours = "-name '*pyboot*' -o -name '*edge-model*' -o -lname '*edge-model*'"
    found = machine.sh(f"find {folders} {ours}").splitlines()
    assert [path for path in found if not NOT_OURS.match(path)] == []
    for database in ("passwd", "group"):
        assert machine.run("getent", database, "pyboot", check=False).stdout == ""
    assert machine.run("dpkg-query", "-W", NAME, check=False).stdout == ""
