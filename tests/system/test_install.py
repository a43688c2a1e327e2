"""From `apt install` to the first result."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from fleet import MODELS, config, edge
from machine import Machine
from support.poll import until

pytestmark = pytest.mark.systemd

ROOT = Path(__file__).parents[2]
UNIT = "edge-model@telm_temperature-1.service"


def test_installation_starts_the_master_and_the_configured_instance(machine: Machine) -> None:
    machine.wait_active("pyboot.service", "pyboot.socket", "edge-model.target", UNIT)
    answer = machine.ask(
        "/gridsum/test/telm/in/m1",
        "/gridsum/test/telm/out/m1",
        '{"device": "pump-7", "value": 212, "unit": "F"}',
    )
    assert '"value":100.0' in answer


def test_status_curl_and_journal_tell_the_story(machine: Machine) -> None:
    machine.wait_active("pyboot.service", UNIT)
    until(lambda: "ready; in" in machine.show(UNIT, "StatusText"), "figures in the status")
    assert "pre_queue 0" in machine.sh(f"systemctl status {UNIT}")
    assert machine.get("/queue_size_metrics") == {
        "queue_size_metrics": [
            {"sub_process_name": "sub_process_telm_temperature_1", "pre_queue": 0, "post_queue": 0}
        ]
    }
    assert "subscribed to /gridsum/test/telm/in/m1" in machine.journal("-u", UNIT)


def test_the_units_are_verified_without_a_word(machine: Machine) -> None:
    done = machine.run(
        "systemd-analyze",
        "verify",
        *(
            f"/usr/lib/systemd/system/{name}"
            for name in ("pyboot.service", "pyboot.socket", "edge-model@.service")
        ),
        "/usr/lib/systemd/system/edge-model.target",
        "/usr/lib/systemd/system/edge-model.slice",
    )
    assert done.stdout + done.stderr == ""


def test_no_unit_is_rated_above_what_the_documentation_says(
    machine: Machine, configure: Callable[..., None]
) -> None:
    rated = re.findall(
        r"^\| (?:… with `sandbox: (.*)`|`(\S+)\.service`.*) \| (\d\.\d) \|$",
        (ROOT / "docs" / "hardening.md").read_text(),
        re.MULTILINE,
    )
    units = {"edge-model@NAME-N": "edge-model@plain-1", "pyboot": "pyboot"}
    edges, most = [edge("plain")], {}
    for number, (opened, unit, rating) in enumerate(rated):
        if opened:
            edges.append({**edge(f"opened{number}"), "sandbox": yaml.safe_load(opened)})
        most[units.get(unit, f"edge-model@opened{number}-1")] = float(rating)
    configure(config(*edges), MODELS)
    machine.wait_active(*(f"{unit}.service" for unit in most))
    assert len(most) == 7
    for unit, rating in most.items():
        # The threshold is ten times the rating; the exit code says whether it was exceeded.
        threshold = f"--threshold={rating * 10:.0f}"
        machine.run("systemd-analyze", "security", threshold, f"{unit}.service")


def test_the_documentation_is_there(machine: Machine) -> None:
    folder = "/usr/share/doc/pyboot-svc"
    assert set(machine.sh(f"ls {folder}/docs").split()) == {
        file.name
        for file in (ROOT / "docs").iterdir()
        if file.suffix in (".md", ".json", ".svg", ".png")
    }
    for page in ("README.md", "examples/README.md", "docs/README.md"):
        assert machine.read(f"{folder}/{page}") == (ROOT / page).read_text()
    for example in ("mean", "alarm"):
        assert f"{example}/config.yaml" in machine.sh(f"cd {folder}/examples; ls {example}/*")


def test_man_pages_completion_and_schema_are_there(machine: Machine) -> None:
    assert "edge-model@" in machine.sh("man pyboot 2>/dev/null")
    assert "pre_broker" in machine.sh("man pyboot.yaml 2>/dev/null")
    assert '"pre_broker"' in machine.read("/usr/share/pyboot/config.schema.json")
    assert "PybootMasterAway" in machine.read("/usr/share/pyboot/alerts.yml")
    assert '"panels"' in machine.read("/usr/share/pyboot/grafana/pyboot.json")
    script = (
        "source /usr/share/bash-completion/bash_completion; "
        "_comp_load pyboot 2>/dev/null || __load_completion pyboot; "
        "COMP_WORDS=(pyboot st); COMP_CWORD=1; COMP_LINE='pyboot st'; COMP_POINT=9; "
        '_pyboot; echo "${COMPREPLY[@]}"'
    )
    assert machine.run("bash", "-c", script).stdout.split() == ["status"]
