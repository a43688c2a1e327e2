"""Starters of other packages, found by real package metadata."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyboot_svc.errors import ExitCode, StarterError
from pyboot_svc.starter.registry import registered_starters

Register = Callable[..., None]

MODULE = """
from pyboot_svc.starter import Starter

class Good(Starter):
    priority = 150

class Better(Good):
    priority = 50

class Original:
    priority = 10
    def Init(self, context): pass
    def Setup(self, context): pass
    def Start(self, context): pass
    def Stop(self, context): pass

class Raises(Starter):
    def __init__(self):
        raise RuntimeError("no licence")

class Leaves(Starter):
    def __init__(self):
        raise SystemExit(3)

class WantsMore(Starter):
    def __init__(self, setting):
        pass

class WithoutPriority:
    def init(self, context): pass
    setup = start = stop = init

class TextPriority(Starter):
    priority = "high"

class WithoutPhases:
    priority = 1

class OnePhaseShort(Original):
    Stop = None

NOTHING = None
"""


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Register]:
    """Lays out an installed package `plant-addon` with these entry points, and modules."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def make(*entries: str, **modules: str) -> None:
        info = tmp_path / "plant_addon-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plant-addon\nVersion: 1.0\n")
        lines = "\n".join(["[pyboot.starters]", *entries])
        (info / "entry_points.txt").write_text(f"{lines}\n")
        for name, text in {"plant_addon": MODULE, **modules}.items():
            (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()

    yield make
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refusal() -> str:
    with pytest.raises(StarterError) as caught:
        registered_starters()
    assert caught.value.exit_code == ExitCode.CONFIG
    return str(caught.value)


def test_without_entry_points_there_are_none() -> None:
    assert registered_starters() == []


def test_an_instance_of_each_is_made(register: Register) -> None:
    register("b = plant_addon:Good", "a = plant_addon:Better", "c = plant_addon:Original")
    made = registered_starters()
    assert [type(starter).__name__ for starter in made] == ["Better", "Good", "Original"]
    assert [starter.priority for starter in made] == [50, 150, 10]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("absent_addon:Good", "ModuleNotFoundError: No module named 'absent_addon'"),
        ("plant_addon:Absent", "AttributeError: "),
        ("broken_addon:Good", "ZeroDivisionError: "),
        ("leaving_addon:Good", "SystemExit: 3"),
        ("plant_addon:Raises", "RuntimeError: no licence"),
        ("plant_addon:Leaves", "SystemExit: 3"),
        ("plant_addon:WantsMore", "TypeError: "),
        ("plant_addon:NOTHING", "TypeError: "),
    ],
)
def test_one_that_cannot_be_loaded_says_which_and_why(
    register: Register, value: str, reason: str
) -> None:
    register(f"x = {value}", broken_addon="1 / 0", leaving_addon="import sys\nsys.exit(3)")
    said = refusal()
    assert said.startswith(f"starter 'x' of plant-addon ({value}) can't be loaded: {reason}")


@pytest.mark.parametrize("name", ["WithoutPriority", "TextPriority", "WithoutPhases",
                                  "OnePhaseShort"])  # fmt: skip
def test_what_is_no_starter_is_refused(register: Register, name: str) -> None:
    register(f"x = plant_addon:{name}")
    assert refusal() == (
        f"starter 'x' of plant-addon (plant_addon:{name}) is not a starter: "
        "derive it from pyboot_svc.starter.Starter"
    )
