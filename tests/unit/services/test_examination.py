"""Whether a model's code can be loaded, whoever tries."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.environment import add_package, make_environment, packages_folder

from pyboot_svc.services.examination import trouble_of

FINE = """
import os
class Model:
    made = 0
    def __init__(self, context):
        raise OSError("only on the device")
    def __call__(self, payload): return payload
class Bare: ...
class Owner:
    def predict(self, payload): return payload
owner = Owner()
def f(payload): return payload
print("noise", end="")
number = 5
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fine.py").write_text(FINE)
    return tmp_path


def trouble(folder: Path, edge_mode: str, **variables: str) -> str | None:
    return trouble_of(edge_mode, [str(folder)], variables, as_root=True)


@pytest.mark.parametrize(
    "edge_mode",
    ["fine.f", "fine.Model", "fine.owner.predict", "fine.Owner.predict", "json.loads"],
)
def test_what_can_be_loaded(folder: Path, edge_mode: str) -> None:
    assert trouble(folder, edge_mode) is None


@pytest.mark.parametrize(
    ("edge_mode", "said"),
    [
        ("fine.g", "module fine has no 'g'"),
        ("fine.number", "fine.number is an int, not a function"),
        ("fine.Bare", "fine.Bare is a class without __call__"),
        ("fien.f", "there is no module 'fien'"),
        ("fine.owner.predct", "fine.owner has no 'predct'; did you mean 'predict'?"),
    ],
)
def test_what_can_not(folder: Path, edge_mode: str, said: str) -> None:
    found = trouble(folder, edge_mode)
    assert found is not None
    assert found.startswith(said)


@pytest.mark.parametrize(
    ("code", "certain"),
    [
        ("def f(payload) return 1", True),
        ("f = undefined", True),
        ("import no_such_library", True),
        ("def f(a, b, c): ...", True),
        ("raise OSError('only on the device')", False),
        ("open('/no/such/device')", False),
        ("import sys; sys.exit(3)", False),
        ("import os; os._exit(3)", False),
        ("import os; os.kill(os.getpid(), 9)", False),
    ],
)
def test_what_depends_on_the_place_is_for_the_unit_to_find_out(
    folder: Path, code: str, certain: bool
) -> None:
    (folder / "given.py").write_text(f"{code}\n")
    assert (trouble(folder, "given.f") is not None) == certain


def test_what_nobody_can_read_may_be_as_it_should(folder: Path) -> None:
    """Neither this folder, as root, nor perhaps the interpreter."""
    (folder / "given.py").write_text("def f(payload): ...\n")
    folder.chmod(0o700)
    assert trouble_of("given.f", [str(folder)], {}) is None


def test_it_has_the_models_variables(folder: Path) -> None:
    (folder / "given.py").write_text(
        "import os\nif os.environ.get('A') != '1': undefined\nf = print\n"
    )
    assert trouble(folder, "given.f", A="1") is None
    assert trouble(folder, "given.f") is not None


def test_it_is_tried_in_the_models_environment(folder: Path, tmp_path: Path) -> None:
    environment = make_environment(tmp_path / "venv")
    add_package(packages_folder(environment), "stand_in", "1")
    (folder / "given.py").write_text("import stand_in\ndef f(payload): ...\n")
    python = str(environment)
    assert trouble_of("given.f", [str(folder)], {}, python, as_root=True) is None
    assert "No module named 'stand_in'" in (trouble(folder, "given.f") or "")
    absent = trouble_of("given.g", [str(folder)], {}, python, as_root=True)
    assert absent is not None
    assert absent.startswith("module given has no 'g'")


def test_without_its_environment_it_can_not_be_loaded(folder: Path) -> None:
    found = trouble_of("fine.f", [str(folder)], {}, "/no/such", as_root=True)
    assert found is not None
    assert found.startswith("python: there is no /no/such")


@pytest.mark.parametrize(
    ("code", "certain"),
    [
        ("def f(payload) return 1", True),
        ("1 / 0", True),
        ("import sys; sys.exit(3)", True),
        ("open('/dev/no-such-device')", False),
        ("import os; os._exit(3)", False),
        ("import os; os.environ['HOME']; f = print", False),
    ],
)
def test_in_the_workers_own_surroundings_more_is_certain(
    folder: Path, code: str, certain: bool
) -> None:
    (folder / "given.py").write_text(f"{code}\n")
    assert (trouble_of("given.f", [str(folder)], {}, here=True) is not None) == certain
