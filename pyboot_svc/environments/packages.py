"""What is installed in a Python environment, by what pip has written there: it is not run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pyboot_svc.environments.interpreter import EnvironmentUnusable, Interpreter, find_interpreter

try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

_DIGEST_BYTES = 4
# Of more, those beyond are not looked at.
_MOST_PACKAGES = 2000
_PYTHON = "python"
_UNUSABLE = "unusable"


def packages_of(python: str | None) -> dict[str, str]:
    """Versions by name, with a digest of the list of files; and Python's own.

    Empty for None, pyboot's own environment: its updates are no matter of the model's.
    """
    if python is None:
        return {}
    try:
        found = find_interpreter(python)
        return {_PYTHON: found.release, **dict(_installed(found))}
    except (EnvironmentUnusable, OSError):
        return {_PYTHON: _UNUSABLE}


def package_changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """In words: `numpy 1.26.4 → 2.0.0`; Python itself comes first."""
    names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    ordered = sorted(names, key=lambda name: (name != _PYTHON, name.lower()))
    return tuple(_in_words(name, before.get(name, ""), after.get(name, "")) for name in ordered)


def _in_words(name: str, before: str, after: str) -> str:
    old, new = before.partition(" ")[0], after.partition(" ")[0]
    if not old:
        return f"{name} {new} added"
    if not new:
        return f"{name} {old} removed"
    return f"{name} {new} (other files)" if old == new else f"{name} {old} → {new}"


def _installed(interpreter: Interpreter) -> Iterator[tuple[str, str]]:
    """Each once: of two with the same name, the one that is imported."""
    seen: set[str] = set()
    for folder in _site_folders(interpreter):
        for info in sorted(folder.glob("*.dist-info")):
            name, _, version = info.name.removesuffix(".dist-info").partition("-")
            if name not in seen and len(seen) < _MOST_PACKAGES:
                seen.add(name)
                yield name, f"{version} {_digest(info / 'RECORD')}".rstrip()


def _site_folders(interpreter: Interpreter) -> list[Path]:
    """As sys.path has them; Debian's Python has names of its own for them."""
    number = ".".join(map(str, interpreter.version))
    roots = [interpreter.prefix]
    if interpreter.shares_packages:
        roots += [Path("/usr/local")] if interpreter.base == Path("/usr") else []
        roots.append(interpreter.base)
    names = (
        f"lib/python{number}/site-packages",
        f"lib64/python{number}/site-packages",
        f"lib/python{number}/dist-packages",
        "lib/python3/dist-packages",
    )
    folders = [(root / name).resolve() for root in roots for name in names]
    return [folder for folder in dict.fromkeys(folders) if os.path.isdir(folder)]


def _digest(record: Path) -> str:
    """A wheel that was made anew has the old version and other files."""
    try:
        return blake2b(record.read_bytes(), digest_size=_DIGEST_BYTES).hexdigest()
    except OSError:
        return ""
