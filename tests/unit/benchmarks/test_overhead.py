"""What watches the worker, and how its cost is told from phases with and without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contest import Invalid
from benchmarks.overhead import Phase, at_full_rate, evaluate
from benchmarks.switched import Changed, Switch
from benchmarks.toolbox import HERE


class Meter:
    def count(self, more: int) -> int:
        return more

    def show(self) -> str:
        return "shown"


@pytest.fixture
def meter() -> type:
    return type("Meter", (), {name: vars(Meter)[name] for name in ("count", "show")})


def none(*args: Any, **kwargs: Any) -> None:
    pass


def test_what_is_put_under_the_switch_follows_it(meter: Any) -> None:
    switch = Switch()
    switch.put(meter, {"count": none}, {"show"})
    assert (meter().count(3), meter().show()) == (3, "shown")
    switch.on = False
    assert (meter().count(more=3), meter().show()) == (None, "shown")


@pytest.mark.parametrize("silenced", [["count", "gone"], []])
def test_a_class_with_other_names_is_not_measured(meter: Any, silenced: list[str]) -> None:
    with pytest.raises(Changed, match=r"Meter has changed .*switched\.py"):
        Switch().put(meter, dict.fromkeys(silenced, none), {"show"})


def test_a_method_that_is_gone_is_not_measured(meter: Any) -> None:
    with pytest.raises(Changed, match=r"Meter\._gone is gone"):
        Switch().replace(meter, "_gone", none)


def test_the_worker_has_the_parts_that_are_switched(tmp_path: Path) -> None:
    command = [sys.executable, "-P", str(HERE / "switched.py"), str(tmp_path / "phases"), "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_share_is_the_median_of_the_pairs_and_what_is_seldom() -> None:
    usual = (Phase(1000, 20, 10), Phase(900, 20, 10))
    found = evaluate([usual] * 9 + [(Phase(1000, 20, 10), Phase(5000, 20, 10))])
    assert found.cpu == 0.1
    assert found.share == pytest.approx(0.1 + 0.02)
    assert found.error == 0


def test_phases_below_the_full_rate_count_for_nothing() -> None:
    full, idle = (Phase(9, 0, 100), Phase(9, 0, 90)), (Phase(9, 0, 100), Phase(9, 0, 3))
    assert at_full_rate([full] * 20 + [idle]) == [full] * 20
    with pytest.raises(Invalid, match="0 pairs"):
        at_full_rate([])
