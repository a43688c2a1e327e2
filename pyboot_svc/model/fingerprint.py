"""What a model is made of, by its files: their digests tell when its code has changed.

Nothing is imported: imports are read from the source, as far as they lead to the model path.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyboot_svc.model.loader import working_folder

try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

_DIGEST_BYTES = 8
# Larger ones are told by size and time: weights of gigabytes aren't read at each apply.
_MOST_READ_BYTES = 16 * 1024**2
# In protobuf: key and value of external data, the value's length in up to two bytes.
_LOCATION = re.compile(rb"\n\x08location\x12([\x80-\xff]?[\x01-\x7f])")
# Of a package, and what it takes along; of more, only the first by name are looked at.
_MOST_FILES = 2000


def code_of(
    edge_mode: str, model_path: Sequence[str], options: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Digests of the files that a model is made of, by their names: its module or package, what
    that imports of the model path, and files that `options` name, with the weights of ONNX files
    that lie beside them. Empty for one that is elsewhere and names none."""
    files = files_of(edge_mode, model_path, options or {})
    return {name: _digest(file) for name, file in files.items()}


def files_of(
    edge_mode: str, model_path: Sequence[str], options: Mapping[str, Any]
) -> dict[str, Path]:
    """The files themselves, by the same names."""
    found: dict[str, Path] = {}
    folders = [Path(name).absolute() for name in model_path]
    for folder, file in _sources(edge_mode.partition(".")[0], folders):
        found[str(file.relative_to(folder))] = file
    home = working_folder(edge_mode, model_path)
    for text in _texts(options):
        file = home / text
        if _is_file(file):
            found[text] = file
            for name in _weights(file) if file.suffix == ".onnx" else ():
                if _is_file(file.parent / name):
                    found[str(Path(text).parent / name)] = file.parent / name
    return found


def source_files(edge_mode: str, model_path: Sequence[str]) -> list[Path]:
    """The files of its module or package, and of what that imports of the model path."""
    folders = [Path(name).absolute() for name in model_path]
    return [file for _, file in _sources(edge_mode.partition(".")[0], folders)]


def fingerprint(code: Mapping[str, str]) -> str:
    """One short text for all of them; empty for none."""
    if not code:
        return ""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(code.items()))
    return blake2b(lines.encode(errors="surrogateescape"), digest_size=_DIGEST_BYTES).hexdigest()


def _sources(top: str, folders: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Each with the folder of the model path that it is in."""
    waiting, seen, count = [top], {top}, 0
    while waiting:
        name = waiting.pop()
        folder = next((f for f in folders if _is_file(f / f"{name}.py") or _is_dir(f / name)), None)
        if folder is None:
            continue
        single = folder / f"{name}.py"
        for file in sorted((folder / name).rglob("*")) if _is_dir(folder / name) else [single]:
            if not _is_file(file) or "__pycache__" in file.parts or count >= _MOST_FILES:
                continue
            count += 1
            yield folder, file
            for imported in _imports(file) if file.suffix == ".py" else ():
                if imported not in seen:
                    seen.add(imported)
                    waiting.append(imported)


def _imports(file: Path) -> Iterator[str]:
    """The first names of what it imports; those that it imports by name alone aren't seen."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return  # whoever imports it says what is wrong
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value and "\0" not in value:
            yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _weights(file: Path) -> Iterator[str]:
    """The files that an ONNX file leaves its tensors in: their names are entries `location`."""
    try:
        content = file.read_bytes() if file.stat().st_size <= _MOST_READ_BYTES else b""
    except OSError:
        return
    for entry in _LOCATION.finditer(content):
        low, high = entry[1][0] & 0x7F, entry[1][1:]
        size = low + (high[0] << 7 if high else 0)
        yield content[entry.end() : entry.end() + size].decode(errors="surrogateescape")


def _digest(file: Path) -> str:
    try:
        stat = file.stat()
        if stat.st_size > _MOST_READ_BYTES:
            return f"{stat.st_size}-{stat.st_mtime_ns}"
        return blake2b(file.read_bytes(), digest_size=_DIGEST_BYTES).hexdigest()
    except OSError:
        return "unreadable"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that is closed
        return False


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
