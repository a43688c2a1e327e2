"""Finds the starters that other packages registered."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from pyboot_svc.errors import StarterError
from pyboot_svc.starter.base import PHASES, Starter

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
    except (Exception, SystemExit) as error:  # a module may even call sys.exit
        raise StarterError(f"{name} can't be loaded: {type(error).__name__}: {error}") from error
    if not _is_starter(starter):
        raise StarterError(f"{name} is not a starter: derive it from pyboot_svc.starter.Starter")
    return starter  # type: ignore[no-any-return]


def _is_starter(found: object) -> bool:
    """By what it can do: the original's starters derive from a class of their own."""
    return isinstance(getattr(found, "priority", None), int) and all(
        callable(getattr(found, phase.capitalize(), None) or getattr(found, phase, None))
        for phase in PHASES
    )
