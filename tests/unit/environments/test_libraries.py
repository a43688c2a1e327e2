"""pyboot's own libraries in another interpreter: for pyboot alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyboot_svc.environments.libraries import (
    OwnLibraries,
    entered,
    own_folders,
    release_own_libraries,
)


@pytest.fixture
def lent(tmp_path: Path) -> Iterator[OwnLibraries]:
    for name in ("lent_library", "beside_it"):
        (tmp_path / f"{name}.py").write_text("place = 'lent'\n")
    finder = OwnLibraries("/srv/venv", {"lent_library": str(tmp_path)})
    sys.meta_path.insert(0, finder)
    yield finder
    sys.meta_path.remove(finder)
    sys.modules.pop("lent_library", None)


def test_nothing_else_of_the_folder_is_found(lent: OwnLibraries) -> None:
    import lent_library  # type: ignore[import-not-found]

    assert lent_library.place == "lent"
    assert entered() == "/srv/venv"
    with pytest.raises(ModuleNotFoundError):
        import beside_it  # type: ignore[import-not-found]  # noqa: F401


def test_once_released_it_is_the_environments(
    lent: OwnLibraries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lent_library

    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "lent_library.py").write_text("place = 'environment'\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    release_own_libraries()
    import lent_library as anew

    assert (lent_library.place, anew.place) == ("lent", "environment")
    assert entered() == "/srv/venv"


def test_without_any_there_is_nothing_to_release() -> None:
    before = set(sys.modules)
    release_own_libraries()
    assert entered() is None
    assert set(sys.modules) == before


def test_extensions_are_for_the_same_version_of_python_alone() -> None:
    here = own_folders((sys.version_info.major, sys.version_info.minor))
    other = own_folders((3, 99))
    assert {"paho", "sdnotify", "yaml"} == set(other)
    assert set(here) - set(other) >= {"setproctitle"}
    assert Path(other["paho"], "paho", "mqtt", "client.py").exists()
