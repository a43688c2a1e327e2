"""What a model is made of, by its files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyboot_svc.model.fingerprint import code_of, fingerprint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "mean.py": "import helper, os\nfrom shared.parts import one\nimport json\n",
        "helper.py": "import helper_of_helper\n",
        "helper_of_helper.py": "import mean\n",
        "shared/__init__.py": "",
        "shared/parts.py": "one = 1\n",
        "shared/table.csv": "1,2\n",
        "stranger.py": "",
        "weights.bin": "w",
    }
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return tmp_path


def code(folder: Path, edge_mode: str = "mean.model", **options: Any) -> dict[str, str]:
    return code_of(edge_mode, [str(folder)], options)


def test_a_module_with_all_that_it_imports_of_the_model_path(folder: Path) -> None:
    found = code(folder)
    assert sorted(found) == [
        "helper.py",
        "helper_of_helper.py",
        "mean.py",
        "shared/__init__.py",
        "shared/parts.py",
        "shared/table.csv",
    ]


def test_a_package_with_all_that_is_in_it(folder: Path) -> None:
    (folder / "shared" / "__pycache__").mkdir()
    (folder / "shared" / "__pycache__" / "parts.cpython-311.pyc").touch()
    found = code(folder, "shared.parts.one")
    assert sorted(found) == ["shared/__init__.py", "shared/parts.py", "shared/table.csv"]


def test_files_that_options_name(folder: Path) -> None:
    found = code(folder, "stranger.f", weights="weights.bin", more=[{"of": "absent.bin"}], n=5)
    assert sorted(found) == ["stranger.py", "weights.bin"]
    outside = code(folder, "stranger.f", weights=str(folder / "weights.bin"))
    assert str(folder / "weights.bin") in outside


@pytest.mark.parametrize("name", ["mean.py", "helper_of_helper.py", "shared/table.csv"])
def test_a_change_of_any_of_them_is_seen(folder: Path, name: str) -> None:
    before = code(folder)
    with (folder / name).open("a") as file:
        file.write("# more\n")
    after = code(folder)
    assert {key for key in after if after[key] != before[key]} == {name}
    assert fingerprint(after) != fingerprint(before)


def test_others_are_none_of_its_business(folder: Path) -> None:
    before = code(folder)
    (folder / "stranger.py").write_text("# more\n")
    os.utime(folder / "mean.py", (1, 1))
    assert code(folder) == before


def test_what_is_elsewhere_has_no_files_here(folder: Path) -> None:
    assert code(folder, "json.loads") == {}
    assert fingerprint({}) == ""


def test_files_of_a_model_that_comes_with_pyboot(folder: Path) -> None:
    assert list(code(folder, "json.loads", file="weights.bin")) == ["weights.bin"]
    missing = str(folder / "missing")
    found = code_of("json.loads", [missing, str(folder)], {"file": "weights.bin"})
    assert list(found) == ["weights.bin"]


@pytest.mark.parametrize("name", ["w.bin", "w" * 200, "w" * 128], ids=["short", "long", "128"])
def test_weights_beside_an_onnx_file(folder: Path, name: str) -> None:
    onnx = pytest.importorskip("onnx", reason="it has no wheel for this Python")
    np = pytest.importorskip("numpy")
    weights = onnx.numpy_helper.from_array(np.ones(4, np.float32), "W")
    graph = onnx.helper.make_graph([], "graph", [], [], [weights])
    model = onnx.helper.make_model(graph)
    parts = folder / "parts"
    parts.mkdir()
    onnx.save_model(
        model, parts / "m.onnx", save_as_external_data=True, location=name, size_threshold=0
    )
    before = code(folder, "json.loads", file="parts/m.onnx")
    assert sorted(before) == ["parts/m.onnx", f"parts/{name}"]
    (parts / name).write_bytes(b"more")
    assert code(folder, "json.loads", file="parts/m.onnx") != before
    (parts / name).unlink()
    assert list(code(folder, "json.loads", file="parts/m.onnx")) == ["parts/m.onnx"]


def test_a_file_that_is_no_python_or_can_not_be_read(folder: Path) -> None:
    (folder / "broken.py").write_bytes(b"def (\xff")
    assert list(code(folder, "broken.f")) == ["broken.py"]


def test_options_that_are_no_names_of_files(folder: Path) -> None:
    assert list(code(folder, "stranger.f", a="x" * 5000, b="\0", c="", d="shared")) == [
        "stranger.py"
    ]


def test_a_large_file_is_told_by_size_and_time(folder: Path) -> None:
    with (folder / "weights.bin").open("wb") as file:
        file.truncate(17 * 1024**2)
    before = code(folder, "stranger.f", weights="weights.bin")
    os.utime(folder / "weights.bin", (1, 1))
    assert code(folder, "stranger.f", weights="weights.bin") != before
