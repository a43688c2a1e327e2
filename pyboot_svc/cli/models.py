"""How commands take a model: as root only what is root's alone, and then without root's rights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pyboot_svc.config import Edge
from pyboot_svc.model.fingerprint import source_files
from pyboot_svc.services.trust import require_roots_own
from pyboot_svc.services.unprivileged import without_rights


def run_models(
    edges: Sequence[Edge],
    model_path: Sequence[str],
    run: Callable[[Path], int],
    state: Path = Path(),
) -> int:
    """Call `run` where it may import these models, and give its exit code.

    It is given the way to `state`, whose owner it is run as when that isn't root. Raises Untrusted
    when root is to take what others can write, and what `run` raises.
    """
    places = model_places(edges, model_path)
    require_roots_own(places)
    return without_rights(run, places, groups_of(edges), state)


def model_places(edges: Iterable[Edge], model_path: Sequence[str]) -> list[Path]:
    """The folders that models may be imported from, and their files that are known of."""
    files = [file for edge in edges for file in source_files(edge.edge_mode, model_path)]
    return list(dict.fromkeys([*map(Path, model_path), *files]))


def groups_of(edges: Iterable[Edge]) -> list[str]:
    """What a worker belongs to beside its own, where that isn't as good as root."""
    return [name for edge in edges if not edge.sandbox.privileged for name in edge.sandbox.groups]
