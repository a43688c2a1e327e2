"""The life of the .rpm on a machine: installation, first message, upgrade, erasure.

The machine is a Debian, whose rpm knows nothing of Debian's packages, hence --nodeps; what the
package requires is there all the same. `make rpm` on a Debian lays the package out for Debian's
Python (packaging/rpm/macros.debian), and so it runs here as it was built.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Stream, config, edge, pids, set_up, unit, wait_active
from machine import Machine
from newer import NEWER, newer_source
from support.poll import until

# One story, told in order.
pytestmark = [pytest.mark.systemd, pytest.mark.random_order(disabled=True)]

NAME = "pyboot-svc"
ROOT = Path(__file__).parents[2]
UNITS = ("pyboot.socket", "pyboot.service", "edge-model.target")
PAIR = ("pair-1", "pair-2")
EDITED = config(edge("pair", instance=2))
# What stays is the user's: models, state, the edited configuration under another name. Byte code
# is Python's own: what Fedora's rpmbuild packs, here root's first command has written.
KEPT = re.compile(r"/var/(log|tmp|lib/edge-model|lib/private/edge-model)|/etc/pyboot|.*\.pyc$")


@pytest.fixture(scope="session")
def rpm() -> Path:
    """The .rpm that `make test-system` has just built."""
    dist = Path(os.environ.get("PYBOOT_DIST", ROOT / "dist"))
    found = sorted(dist.glob(f"{NAME}-*.noarch.rpm"))
    assert found, "there is no .rpm in dist/: run `make rpm`"
    return found[-1]


@pytest.fixture(scope="module")
def newer_rpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("newer")
    source = newer_source(folder)
    build = [str(source / "packaging" / "build-rpm.sh"), str(folder), "--nocheck"]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL, timeout=100)
    return next(folder.glob("*.noarch.rpm"))


@pytest.fixture(scope="module")
def machine(image: Path, rpm: Path) -> Iterator[Machine]:
    """A booted Debian with the .rpm installed and switched on as the README says."""
    with Machine(image) as booted:
        run_rpm(booted, "--install", rpm)
        booted.run("systemctl", "enable", "--now", *UNITS)
        yield booted


def run_rpm(machine: Machine, action: str, package: Path, *options: str) -> None:
    machine.push(package, f"/var/tmp/{package.name}")
    done = machine.run("rpm", action, "--nodeps", *options, f"/var/tmp/{package.name}")
    assert not re.search("error|warning|fail", done.stdout + done.stderr, re.IGNORECASE)


def query(package: Path, what: str) -> list[str]:
    done = subprocess.run(
        ["rpm", "--query", "--package", what, package],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


def test_rpmlint_finds_neither_errors_nor_warnings(rpm: Path) -> None:
    recipes = ROOT / "packaging" / "rpm"
    done = subprocess.run(
        ["rpmlint", "--config", recipes / "rpmlint.toml", rpm, recipes / f"{NAME}.spec"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert re.search(" 0 errors, 0 warnings, ", done.stdout), done.stdout + done.stderr


def test_it_requires_the_packages_by_their_names_there(rpm: Path) -> None:
    required = {line.lstrip("(").split()[0] for line in query(rpm, "--requires")}
    assert required >= {
        "python3-cheroot",
        "python3-cherrypy",
        "python3-paho-mqtt",
        "python3-pyyaml",
        "python3-sdnotify",
        "python3-setproctitle",
    }
    assert query(rpm, "--configfiles") == ["/etc/pyboot/config.yaml"]


def test_it_brings_the_documentation_and_the_licence(rpm: Path) -> None:
    brought = query(rpm, "--docfiles")
    for page in ("README.md", "docs/README.md", "docs/guarantees.md", "examples/mean/config.yaml"):
        assert f"/usr/share/doc/{NAME}/{page}" in brought
    [licence] = query(rpm, "--licensefiles")
    assert re.fullmatch(f"/usr/share/licenses/{NAME}.*/LICENSE", licence)


def test_a_message_is_processed_after_the_installation(machine: Machine) -> None:
    machine.wait_active(*UNITS, unit("telm_temperature-1"))
    answer = machine.ask(
        "/gridsum/test/telm/in/m1",
        "/gridsum/test/telm/out/m1",
        '{"device": "pump-7", "value": 212, "unit": "F"}',
    )
    assert '"value":100.0' in answer
    assert machine.show("pyboot.service", "User") == "pyboot"
    assert machine.sh("rpm --verify --nodeps pyboot-svc") == ""


def test_an_upgrade_rolls_the_workers_keeps_the_configuration_and_loses_nothing(
    machine: Machine, newer_rpm: Path
) -> None:
    set_up(machine, EDITED)
    machine.run("systemctl", "reload", "pyboot")
    wait_active(machine, *PAIR)
    before = pids(machine, *PAIR)

    stream = Stream(machine, "pair")
    run_rpm(machine, "--upgrade", newer_rpm)
    until(lambda: _versions(machine) == dict.fromkeys(PAIR, NEWER), "all have the new version")
    machine.wait_active(*UNITS, *map(unit, PAIR))
    stream.flows_on()
    assert stream.finish() == []
    assert all(pid != before[name] for name, pid in pids(machine, *PAIR).items())
    assert machine.read("/etc/pyboot/config.yaml") == EDITED


def _versions(machine: Machine) -> dict[str, str]:
    rows = (machine.get("/api/instances") or {"instances": []})["instances"]
    return {row["instance"]: row.get("version", "") for row in rows}


def test_what_somebody_stopped_stays_so(machine: Machine, rpm: Path) -> None:
    """Over an upgrade, or a downgrade."""
    machine.control("stop", "pair-2")
    run_rpm(machine, "--upgrade", rpm, "--oldpackage")
    until(lambda: _versions(machine).get("pair-1") not in (NEWER, None, ""), "the other one rolled")
    machine.wait_active(*UNITS, unit("pair-1"))
    assert machine.state("pair-2") == "inactive"


def test_erasure_stops_everything_and_keeps_what_is_the_users(machine: Machine) -> None:
    machine.run("rpm", "--erase", NAME)
    shown = machine.sh("systemctl list-units --plain --no-legend 'pyboot*' 'edge-model*'")
    assert shown == ""
    last = machine.journal("-u", unit("pair-1")).splitlines()[-1]
    assert last.startswith("Stopped edge-model@pair-1.service")
    assert machine.run("pgrep", "-f", "^(edge-model|pyboot): ", check=False).stdout == ""

    folders = "/run /etc /usr /opt /home /root /srv /tmp /var"
    ours = "-name '*pyboot*' -o -name '*edge-model*' -o -lname '*edge-model*'"
    found = machine.sh(f"find {folders} {ours}").splitlines()
    assert [path for path in found if not KEPT.match(path)] == []
    assert machine.read("/etc/pyboot/config.yaml.rpmsave") == EDITED
