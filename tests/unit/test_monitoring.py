"""The dashboard and the alert rules speak of metrics that there are, as Prometheus has it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from support.promtool import promtool

from pyboot_svc.metrics.figures import FIGURES, INFO, MASTERS, READY, UP

ROOT = Path(__file__).parents[2]
RULES = ROOT / "packaging/prometheus/alerts.yml"
DASHBOARD = json.loads((ROOT / "packaging/grafana/pyboot.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]] + [
    variable["query"] for variable in DASHBOARD["templating"]["list"]
]
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def existing() -> set[str]:
    """The names of all series."""
    found = {UP.prometheus, READY.prometheus, INFO.prometheus}
    for meaning in (figure.meaning for figure in (*FIGURES, *MASTERS)):
        found.add(meaning.prometheus)
        if meaning.bounds:
            found |= {f"{meaning.prometheus}_{part}" for part in ("bucket", "sum", "count")}
    return found


@pytest.mark.parametrize(
    "texts", [EXPRESSIONS, [rule["expr"] for rule in ALERTS]], ids=["dashboard", "alerts"]
)
def test_no_metric_is_named_that_does_not_exist(texts: list[str]) -> None:
    named = {name for text in texts for name in re.findall(r"pyboot_\w+", text)}
    assert len(named) >= 10
    assert named <= existing()


def test_panels_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        across = range(place["x"], place["x"] + place["w"])
        cells = {(x, y) for x in across for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24
        assert taken.isdisjoint(cells), panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_each_alert_says_what_is_wrong_and_what_to_do() -> None:
    page = (ROOT / "docs/monitoring.md").read_text()
    for rule in ALERTS:
        assert rule["annotations"].keys() == {"summary", "description"}
        assert f"`{rule['alert']}`" in page
    cases = (ROOT / "tests/unit/alerts.yml").read_text()
    assert [rule["alert"] for rule in ALERTS if cases.count(rule["alert"]) < 2] == []


def test_prometheus_takes_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    expressions = [text for text in EXPRESSIONS if text.startswith(("sum", "rate", "hist", "pyb"))]
    plain = [text.replace("$__rate_interval", "5m") for text in expressions]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(plain)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    found = promtool("check", "rules", str(file))
    assert found.returncode == 0, found.stderr
    assert len(rules) >= 20


def test_the_rules_on_recorded_series(tmp_path: Path) -> None:
    cases = tmp_path / "cases.yml"
    cases.write_text((ROOT / "tests/unit/alerts.yml").read_text().replace("RULES", str(RULES)))
    found = promtool("test", "rules", str(cases))
    assert found.returncode == 0, found.stdout + found.stderr


def test_rules_that_never_fire_are_noticed(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(re.sub(r"for: \w+", "for: 9h", RULES.read_text()))
    cases = tmp_path / "cases.yml"
    cases.write_text((ROOT / "tests/unit/alerts.yml").read_text().replace("RULES", str(rules)))
    assert promtool("test", "rules", str(cases)).returncode != 0
