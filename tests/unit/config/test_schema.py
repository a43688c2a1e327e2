"""A default stands once: in `settings`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pyboot_svc
from pyboot_svc.config import schema, settings
from pyboot_svc.config.sections import Section

PACKAGE = Path(pyboot_svc.__file__).parent
SECTIONS = {name: value for name, value in vars(schema).items() if isinstance(value, Section)}
RECORDS = [value for value in vars(settings).values() if hasattr(value, "_field_defaults")]
# What no reader could tell from any other.
COMMON = (None, True, False, 0, 1, "", ())


def test_every_section_has_its_keys_defaults_from_its_record() -> None:
    assert schema.QUEUE.keys["pre"].default == settings.QueueLimits().pre
    assert schema.SPOOL.keys["max_bytes"].default == settings.SpoolLimits().max_bytes
    assert schema.EDGE.keys["name"].required
    assert schema.BROKER.keys["host"].required


@pytest.mark.parametrize("name", SECTIONS)
def test_the_schema_repeats_no_default(name: str) -> None:
    """`None` is for what is only known once the rest was read."""
    tree = ast.parse((PACKAGE / "config" / "schema.py").read_text(encoding="utf-8"))
    [section] = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    ]
    given = [
        ast.unparse(call.args[2])
        for call in ast.walk(section)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Key" and len(call.args) > 2
    ]
    assert set(given) <= {"None", "()", "DEFAULT_QOS", "DEFAULT_RETAIN"}


def test_no_other_module_repeats_a_default() -> None:
    known: dict[str, set[Any]] = {}
    for record in RECORDS:
        for name, default in record._field_defaults.items():
            if default not in COMMON and default != {}:
                known.setdefault(name, set()).add(default)
    assert len(known) > 15
    repeated = [
        f"{file.relative_to(PACKAGE)}: {name} = {value}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if file != PACKAGE / "config" / "settings.py"
        for name, value in given_values(ast.parse(file.read_text(encoding="utf-8")))
        if value in known.get(name, ())
    ]
    assert repeated == []


def given_values(tree: ast.Module) -> Iterator[tuple[str, object]]:
    """What parameters have as defaults, and fields and constants as values, where that is plain."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arguments):
            named = [*node.posonlyargs, *node.args][::-1]
            pairs = [*zip(named, node.defaults[::-1], strict=False)]
            pairs += [(a, d) for a, d in zip(node.kwonlyargs, node.kw_defaults, strict=True) if d]
            values = [(argument.arg, default) for argument, default in pairs]
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            values = [(ast.unparse(node.target), node.value)]
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            values = [(ast.unparse(node.targets[0]), node.value)]
        else:
            continue
        for name, value in values:
            with_value = plain(value)
            if with_value is not None:
                yield name.lower().lstrip("_").removeprefix("default_"), with_value


def plain(node: ast.expr) -> object:
    """A number or a text, products of numbers too; None for anything else."""
    names = {name for name in ast.walk(node) if isinstance(name, ast.Name | ast.Call)}
    if names or not isinstance(node, ast.Constant | ast.BinOp):
        return None
    return eval(compile(ast.Expression(node), "default", "eval"))
