"""The mark of a worker that loads its model: there meanwhile, and good for a while only."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pyboot_svc.health.loading import LONGEST_LOAD_SECONDS, is_loading, loading_mark


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "mean-1.sock"


def test_it_is_there_meanwhile(socket: Path) -> None:
    def fail() -> None:
        with loading_mark(socket):
            assert is_loading(socket)
            raise LookupError

    assert not is_loading(socket)
    with pytest.raises(LookupError):
        fail()
    assert not is_loading(socket)
    assert list(socket.parent.iterdir()) == []


@pytest.mark.parametrize("begun", [-LONGEST_LOAD_SECONDS - 1, 60.0])
def test_an_old_one_or_one_of_another_boot_says_nothing(socket: Path, begun: float) -> None:
    socket.with_suffix(".loading").write_text(str(time.monotonic() + begun))
    assert not is_loading(socket)


@pytest.mark.parametrize("text", ["", "x", "nan", "\xff"])
def test_nor_does_nonsense(socket: Path, text: str) -> None:
    socket.with_suffix(".loading").write_text(text)
    assert not is_loading(socket)


def test_where_it_can_not_be_made_the_model_is_loaded_all_the_same(tmp_path: Path) -> None:
    with loading_mark(tmp_path / "absent" / "mean-1.sock"):
        pass
