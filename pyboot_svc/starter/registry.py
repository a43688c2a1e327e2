"""Finds the starters that other packages registered."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from pyboot_svc.errors import StarterError
from pyboot_svc.starter.base import Starter

GROUP = "pyboot.starters"


def registered_starters() -> list[Starter]:
    """An instance of each starter in the entry-point group `pyboot.starters`."""
    found = sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))
    return [_make(point) for point in found]


def _make(point: EntryPoint) -> Starter:
    source = f" of {point.dist.name}" if point.dist else ""
    name = f"starter {point.name!r}{source} ({point.value})"
    try:
        starter = point.load()()
    except Exception as error:
        raise StarterError(f"{name} can't be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(getattr(starter, "priority", None), int):
        raise StarterError(f"{name} is no starter: derive it from pyboot_svc.starter.Starter")
    return starter  # type: ignore[no-any-return]
