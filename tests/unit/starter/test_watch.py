"""What is taken for a saved file, and what isn't."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyboot_svc.config.loader import load_config
from pyboot_svc.starter import Settings, StarterContext
from pyboot_svc.starter.watch import WatchStarter

CONFIG = """
model_path: .
edge:
  - {name: m, edge_mode: package.model.f, options: {table: table.csv},
     pre_broker: b, pre_topic: in, post_broker: b, post_topic: out}
"""
Watch = Callable[[], Callable[[], None]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "model.py").write_text("import helper\n")
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "table.csv").write_text("1")
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def watch(folder: Path) -> Iterator[Watch]:
    """Watches from then on; gives what waits until a reload has been asked for, and done."""
    starter = WatchStarter()
    file = folder / "config.yaml"
    context = StarterContext(Settings(file, folder, folder), load_config(file))
    asked: queue.Queue[None] = queue.Queue()

    def start() -> Callable[[], None]:
        def reload() -> None:
            context.config = load_config(file)
            asked.put(None)

        context.reload = reload
        starter.init(context)
        starter.start(context)
        return lambda: asked.get(timeout=20)

    yield start
    starter.stop(context)
    assert asked.empty()


def replace(file: Path, text: str) -> None:
    draft = file.with_suffix(".new")
    draft.write_text(text)
    draft.replace(file)


@pytest.mark.parametrize(
    "name", ["config.yaml", "package/model.py", "helper.py", "table.csv", "package/data.json"]
)
def test_what_is_saved_by_a_rename(folder: Path, watch: Watch, name: str) -> None:
    changed = watch()
    replace(folder / name, CONFIG if name == "package/model.py" else f"{CONFIG}\n# changed")
    changed()


def test_the_last_of_many_steps_counts(folder: Path, watch: Watch) -> None:
    changed = watch()
    for number in range(100):
        (folder / "helper.py").write_text(f"a = {number}")
    changed()


def test_a_file_that_is_removed(folder: Path, watch: Watch) -> None:
    changed = watch()
    (folder / "package" / "model.py").unlink()
    changed()


def test_what_makes_no_difference_is_none(folder: Path, watch: Watch) -> None:
    changed = watch()
    os.utime(folder / "helper.py")
    replace(folder / "table.csv", "1")
    (folder / "unrelated.txt").touch()
    (folder / "package" / "__pycache__").mkdir()
    (folder / "package" / "__pycache__" / "model.pyc").touch()
    (folder / "helper.py").write_text("changed")
    changed()


def test_files_of_a_model_more_are_watched_too(folder: Path, watch: Watch) -> None:
    changed = watch()
    other = CONFIG.partition("edge:\n")[2].replace("name: m", "name: n")
    replace(folder / "config.yaml", CONFIG + other.replace("package.model", "another"))
    changed()
    changed()  # what was saved while it was loaded would be missed without
    (folder / "another.py").write_text("")
    changed()
