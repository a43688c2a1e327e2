"""The types of value by which an edge asks the host for something: limits, paths, variables."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from pyboot_svc.config.document import Node, Problems
from pyboot_svc.config.types import FilePath, Invalid, Text, ValueType, shown

_UNSAYABLE = re.compile(r"[\0\ud800-\udfff]")
_PERCENT = re.compile("([1-9][0-9]{0,5})%")
_CPUS = re.compile("[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST_CPU_PERCENT = 100_000
_MOST_CPUS = 4096
_LONGEST_NAME = 64
_MOST_BYTES = 2**60
_SIZE = re.compile("[1-9][0-9]{0,18}[KMGT]?")
# The largest one first.
_UNITS = {"T": 1024**4, "G": 1024**3, "M": 1024**2, "K": 1024}


class Size(ValueType):
    """A number of bytes, with K, M, G or T for powers of 1024; read as text in that form."""

    def read(self, node: Node, path: str, problems: Problems) -> str:
        text = str(node.value)
        # Of a larger one systemd only says that it ignores it.
        if not _SIZE.fullmatch(text) or _in_bytes(text) > _MOST_BYTES:
            raise Invalid(f"must be a size, as in 512M, not {shown(node.value)}")
        return text

    def json_schema(self) -> dict[str, Any]:
        return _text_or_number(_SIZE, least=1)


class Bytes(ValueType):
    """The same, read as the number of bytes."""

    def __init__(self, most: int = _MOST_BYTES) -> None:
        self._most = most

    def read(self, node: Node, path: str, problems: Problems) -> int:
        size = _in_bytes(Size().read(node, path, problems))
        if size > self._most:
            most = self.written(self._most)
            raise Invalid(f"must be a size up to {most}, not {shown(node.value)}")
        return size

    def written(self, value: int) -> str:
        for unit, factor in _UNITS.items():
            if value % factor == 0:
                return f"{value // factor}{unit}"
        return str(value)

    def json_schema(self) -> dict[str, Any]:
        return Size().json_schema()


_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}


class Seconds(ValueType):
    """A number of seconds, with or without a fraction."""

    def __init__(self, least: float, most: float) -> None:
        self._least = least
        self._most = most

    def read(self, node: Node, path: str, problems: Problems) -> float:
        value = node.value
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not self._least <= value <= self._most:
            raise Invalid(f"must be seconds from {self._least} to {self._most}, not {shown(value)}")
        return float(value)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self._least, "maximum": self._most}


class Duration(ValueType):
    """Seconds as a number, or with `ms`, `s`, `m`, `h` behind it."""

    def __init__(self, least: float, most: float) -> None:
        self._least = least
        self._most = most

    def read(self, node: Node, path: str, problems: Problems) -> float:
        found = None if isinstance(node.value, bool) else _DURATION.fullmatch(str(node.value))
        value = float(found[1]) * _SECONDS[found[2]] if found else -1.0
        if not self._least <= value <= self._most:
            raise Invalid(
                f"must be a time from {self._least:g}s to {self._most:g}s, as in 5s, 500ms or 1m, "
                f"not {shown(node.value)}"
            )
        return value

    def json_schema(self) -> dict[str, Any]:
        number = {"type": "number", "minimum": self._least, "maximum": self._most}
        return {"anyOf": [number, {"type": "string", "pattern": f"^{_DURATION.pattern}$"}]}


class Percent(ValueType):
    """A percentage of one core, `%` at its end."""

    def read(self, node: Node, path: str, problems: Problems) -> str:
        found = _PERCENT.fullmatch(str(node.value))
        if not found or int(found[1]) > _MOST_CPU_PERCENT:
            raise Invalid(f"must be a percentage, as in 80%, not {shown(node.value)}")
        return str(node.value)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{_PERCENT.pattern}$"}


class CpuList(ValueType):
    """Cores by number, with commas and ranges; read as text in that form."""

    def read(self, node: Node, path: str, problems: Problems) -> str:
        text = str(node.value)
        if isinstance(node.value, bool) or not _CPUS.fullmatch(text):
            raise Invalid(f'must be a list of cores, as in "0-1,4", not {shown(node.value)}')
        for part in text.split(","):
            first, _, last = part.partition("-")
            last = last or first
            if len(part) > 10 or not int(first) <= int(last) < _MOST_CPUS:
                raise Invalid(f"has an impossible range of cores: {part}")
        return text

    def json_schema(self) -> dict[str, Any]:
        return _text_or_number(_CPUS, least=0)


class AbsolutePath(Text):
    def read(self, node: Node, path: str, problems: Problems) -> str:
        value = super().read(node, path, problems)
        if not value.startswith("/") or ".." in value.split("/"):
            raise Invalid(f"must be an absolute path without `..`, not {shown(value)}")
        return value

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^/"}


class DevicePath(AbsolutePath):
    def read(self, node: Node, path: str, problems: Problems) -> str:
        value = super().read(node, path, problems)
        if not value.startswith("/dev/"):
            raise Invalid(f"must be a path below /dev, not {shown(value)}")
        return value

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^/dev/"}


class Environment(ValueType):
    """Variables by name; numbers are taken as they are written."""

    def read(self, node: Node, path: str, problems: Problems) -> dict[str, str]:
        if not isinstance(node.value, dict):
            raise Invalid(f"must be a mapping of variables to values, not {shown(node.value)}")
        variables: dict[str, str] = {}
        for name, entry in node.value.items():
            inner = f"{path}.{name}"
            if not _VARIABLE.fullmatch(name):
                problems.add(entry.key, inner, f"{shown(name)} is not a valid variable name")
            value: Any = entry.node.value
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                hint = "put it in quotes"
                problems.add(entry.node, inner, f"must be text, not {shown(value)}", hint)
            elif _UNSAYABLE.search(entry.node.text):
                problems.add(entry.node, inner, "must not contain zero bytes or lone surrogates")
            variables[name] = entry.node.text
        return variables

    def json_schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{_VARIABLE.pattern}$"},
            "additionalProperties": {"type": ["string", "number"]},
        }


class SecretFiles(ValueType):
    """Files by the names of the secrets in them."""

    def read(self, node: Node, path: str, problems: Problems) -> dict[str, str]:
        if not isinstance(node.value, dict):
            hint = "as in {API_KEY: api.key}"
            raise Invalid(f"must be a mapping of names to files, not {shown(node.value)}", hint)
        files: dict[str, str] = {}
        for name, entry in node.value.items():
            if not _VARIABLE.fullmatch(name) or len(name) > _LONGEST_NAME:
                message = f"must be letters, digits and `_`, up to {_LONGEST_NAME} of them"
                problems.add(entry.key, path, f"{shown(name)} is no name of a secret: it {message}")
                continue
            keep = partial(files.__setitem__, name)
            FilePath().read_into(keep, entry.node, f"{path}.{name}", problems)
        return files

    def json_schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{_VARIABLE.pattern}$", "maxLength": _LONGEST_NAME},
            "additionalProperties": FilePath().json_schema(),
        }


def _text_or_number(pattern: re.Pattern[str], least: int) -> dict[str, Any]:
    """In YAML, what has digits alone is a number."""
    text = {"type": "string", "pattern": f"^({pattern.pattern})$"}
    return {"anyOf": [{"type": "integer", "minimum": least}, text]}


def _in_bytes(size: str) -> int:
    return int(size.rstrip("KMGT")) * _UNITS.get(size[-1], 1)
