"""The tests look at what they test from outside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent.parent
ALLOWED = {
    *("_exit", "_current_frames"),  # their official names in os and sys
    *("_replace", "_asdict", "_fields", "_field_defaults"),  # and those of named tuples
    # paho has no other way to tell what it would write: our encoder is held against it.
    *("_sock", "_packet_queue", "_send_publish"),
}


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def reached_into(source: ast.AST) -> Iterator[tuple[int, str]]:
    """Private names of others that are used, imported or set by name."""
    for node in ast.walk(source):
        if isinstance(node, ast.Attribute) and private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, one.name) for one in node.names if private(one.name))
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setattr":
            for argument in node.args:
                name = argument.value if isinstance(argument, ast.Constant) else ""
                if isinstance(name, str) and private(name.rpartition(".")[2]):
                    yield node.lineno, name


def test_no_test_uses_what_is_private() -> None:
    found = [
        f"{path.relative_to(TESTS)}:{line}: {name}"
        for path in sorted(TESTS.rglob("*.py"))
        for line, name in reached_into(ast.parse(path.read_text()))
        if name not in ALLOWED
    ]
    assert found == []


def test_what_is_private_is_found() -> None:
    source = "a._b\nfrom c import _d\npatch.setattr('e._f', 1)\nself._g\nh.__name__\nc.i"
    assert sorted(name for _, name in reached_into(ast.parse(source))) == [
        *("_b", "_d", "e._f"),
    ]
