"""Mappings with known keys, and how one mapping is laid over another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import setitem
from typing import Any

from pyboot_svc.config.document import Entry, Node, Problems
from pyboot_svc.config.types import MAX_DEPTH, Invalid, ValueType, shown, suggestion

_Overlaid = dict[tuple[int, int], Node]


@dataclass(frozen=True)
class Key:
    """One key of a section; a key without a default is required.

    Where none is given, it is that of the field of the same name of the section's record.
    """

    type: ValueType
    doc: str
    default: Any = ...

    @property
    def required(self) -> bool:
        return self.default is ...

    def json_schema(self) -> dict[str, Any]:
        schema = {"description": self.doc.replace("`", ""), **self.type.json_schema()}
        if self.required or self.default in (None, (), ""):
            return schema
        written = self.type.written(self.default)
        # A number of bytes is written 64M; all else is what it is.
        same = written.lower() == str(self.default).lower()
        return {**schema, "default": self.default if same else written}


class Section(ValueType):
    """A mapping with known keys. Reading it gives the values by key, defaults filled in."""

    def __init__(self, settings: type[Any], keys: Mapping[str, Key]) -> None:
        """`settings`: the NamedTuple that is made of it."""
        defaults = settings._field_defaults
        self.keys = {
            name: replace(key, default=defaults.get(name, ...)) if key.required else key
            for name, key in keys.items()
        }

    def read(self, node: Node, path: str, problems: Problems) -> dict[str, Any]:
        given = self.read_given(node, path, problems)
        for name, key in self.keys.items():
            if name in node.value:
                continue
            if key.required:
                problems.add(node, path, f"the key `{name}` is missing")
            else:
                given[name] = key.default
        return given

    def read_given(self, node: Node, path: str, problems: Problems) -> dict[str, Any]:
        """Only the keys that are there and right."""
        if not isinstance(node.value, dict):
            raise Invalid(f"must be a mapping, not {shown(node.value)}")
        values: dict[str, Any] = {}
        for name, entry in node.value.items():
            # In `{key:value}`, YAML takes all of it for the key; the value may be a password.
            word, colon, _ = name.partition(":")
            inner = f"{path}.{word}" if path else word
            key = self.keys.get(name)
            if key is None:
                hint = "put a space after the colon" if colon else suggestion(name, self.keys)
                problems.add(entry.key, inner, f"unknown key `{word}`", hint)
                continue
            key.type.read_into(partial(setitem, values, name), entry.node, inner, problems)
        return values

    def json_schema(self) -> dict[str, Any]:
        required = [name for name, key in self.keys.items() if key.required]
        schema = self.json_schema_of_given()
        return {**schema, "required": required} if required else schema

    def json_schema_of_given(self) -> dict[str, Any]:
        """Where what is missing may be said elsewhere."""
        properties = {name: key.json_schema() for name, key in self.keys.items()}
        return {"type": "object", "properties": properties, "additionalProperties": False}


def overlay(base: Node, top: Node, depth: int = 0, done: _Overlaid | None = None) -> Node:
    """The mapping `top` with what it lacks taken from `base`, section by section."""
    done = {} if done is None else done
    if not (isinstance(base.value, dict) and isinstance(top.value, dict)) or depth > MAX_DEPTH:
        return top
    # Each pair once: aliases can bring the same two together any number of times.
    if (id(base), id(top)) not in done:
        entries: dict[str, Entry] = dict(base.value)
        for name, entry in top.value.items():
            if name in entries:
                node = overlay(entries[name].node, entry.node, depth + 1, done)
                entry = Entry(entry.key, node)
            entries[name] = entry
        done[id(base), id(top)] = Node(entries, top.line, top.column)
    return done[id(base), id(top)]
