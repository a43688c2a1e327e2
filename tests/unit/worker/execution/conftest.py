"""A runner, and a gate that opens at the test's end at the latest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.workshop import ONCE, Function, Workshop

from pyboot_svc.config import OnError


@pytest.fixture
def shop(tmp_path: Path) -> Callable[..., Workshop]:
    def make(
        model: Function, on_error: OnError = ONCE, timeout: float = 60, **settings: Any
    ) -> Workshop:
        return Workshop(tmp_path, model, on_error, timeout, **settings)

    return make


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()
