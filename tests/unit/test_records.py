"""Named tuples have none of what a dataclass has, and a type checker doesn't see that."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyboot_svc

PACKAGE = Path(pyboot_svc.__file__).parent


def records(trees: Iterable[ast.Module]) -> Iterator[ast.ClassDef]:
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and "NamedTuple" in map(ast.unparse, node.bases):
                yield node


def fields_of(record: ast.ClassDef) -> dict[str, str]:
    """By name, what each has as its default."""
    return {
        ast.unparse(node.target): "" if node.value is None else ast.unparse(node.value)
        for node in record.body
        if isinstance(node, ast.AnnAssign)
    }


def misread(trees: list[ast.Module]) -> list[str]:
    """Where a default is a dataclass's `field(…)`, or is read off the class, which has a descriptor
    there."""
    found = {record.name: fields_of(record) for record in records(trees)}
    wrong = [
        f"{name}.{field} = {default}"
        for name, fields in found.items()
        for field, default in fields.items()
        if default.startswith("field(")
    ]
    return wrong + [
        ast.unparse(node)
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in found.get(ast.unparse(node.value), {})
    ]


def test_defaults_are_values_and_are_read_off_no_class() -> None:
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in PACKAGE.rglob("*.py")]
    assert len(list(records(trees))) > 40
    assert misread(trees) == []


def test_what_is_misread_is_found() -> None:
    source = """
class One(NamedTuple):
    clock: Clock = field(default_factory=Clock)
    count: int = 1
class Two:
    size: int = 2
most = One.count + Two.size + one.count
"""
    assert misread([ast.parse(source)]) == [
        "One.clock = field(default_factory=Clock)",
        "One.count",
    ]
