"""YAML to a tree that knows its lines: anchors, merges, and all that is wrong in the form."""

from __future__ import annotations

from typing import Any

import pytest

from pyboot_svc.config.document import Node, Problems, has_control, parse_document
from pyboot_svc.errors import ConfigError, Problem


def parse(text: str | bytes) -> Node:
    """The tree of a text in which nothing is wrong."""
    problems = Problems("c.yaml")
    root = parse_document(text if isinstance(text, bytes) else text.encode(), problems)
    problems.raise_if_any()
    return root


def found(text: str | bytes) -> list[tuple[int, int, str, str]]:
    """All that is wrong: line, column, path, message."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return [(p.line, p.column, p.path, p.message) for p in caught.value.problems]


def plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: plain(entry.node) for key, entry in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1\nb: [x, 2.5, yes, ~]", {"a": 1, "b": ["x", 2.5, True, None]}),
        ("{a: 'it''s', b: \"\\u6e29\"}", {"a": "it's", "b": "温"}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("a: 0x10\nb: 1_000\nc: '1'", {"a": 16, "b": 1000, "c": "1"}),
        ("---\na: 1\n...\n", {"a": 1}),
        ("%YAML 1.1\n---\na: 1", {"a": 1}),
        ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ("\ufeffa: 1", {"a": 1}),
        ("a: !!str 5", {"a": "5"}),
        ("'<<': 1", {"<<": 1}),
        ("", None),
        ("# a comment", None),
    ],
)
def test_values(text: str, value: Any) -> None:
    assert plain(parse(text)) == value


def test_every_value_and_key_knows_its_place() -> None:
    root = parse("# comment\na: 1\nlist:\n  - x\n  - {deep:   y}\n")
    first, second = root.value["list"].node.value
    places = [root, root.value["a"].key, root.value["a"].node, first, second.value["deep"].node]
    assert [(node.line, node.column) for node in places] == [
        (2, 1),
        (2, 1),
        (2, 4),
        (4, 5),
        (5, 14),
    ]


def test_columns_count_characters_not_bytes() -> None:
    assert parse("温度: 1").value["温度"].node.column == 5


def test_an_alias_is_the_same_node() -> None:
    root = parse("a: &x {k: 1}\nb: *x")
    assert root.value["a"].node is root.value["b"].node


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{<<: *x, c: 3}", {"a": 1, "b": 2, "c": 3}),
        ("{c: 3, a: 9, <<: *x}", {"a": 9, "b": 2, "c": 3}),
        ("{<<: *x, a: 9}", {"a": 9, "b": 2}),
        ("{<<: [*y, *x]}", {"a": 5, "b": 2}),  # of several, the earlier one
        ("{<<: [*x, *y]}", {"a": 1, "b": 2}),
        ("{<<: {d: 4}}", {"d": 4}),
        ("{<<: {<<: *x, d: 4}}", {"a": 1, "b": 2, "d": 4}),
        ("{<<: []}", {}),
    ],
)
def test_merges(text: str, value: Any) -> None:
    root = parse(f"x: &x {{a: 1, b: 2}}\ny: &y {{a: 5}}\nmerged: {text}")
    assert plain(root)["merged"] == value


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a: 1\n b: 2", 2, 3),
        ("a: [1, 2\n", 2, 1),
        ("a: {b: 1\nc: 2", 2, 2),
        ("a: 'open", 1, 9),
        ("a: b: c", 1, 5),
        ("\ta: 1", 1, 1),
        ("a: @b", 1, 4),
        ("a: *nowhere", 1, 4),
        ("a: !nowhere!b 1", 1, 4),
        ("a: 1\n---\nb: 2", 2, 1),
        ("- a\nb: 1", 2, 1),
        ("%YAML 9.9\n---\na: 1", 1, 1),
        ("a: \x07", 1, 4),
        ("# 温度温度温度\nb: 1\na: \x07\n# more\n", 3, 4),
    ],
)
def test_broken_yaml(text: str, line: int, column: int) -> None:
    [(*place, path, message)] = found(text)
    assert message.startswith("broken YAML: ")
    assert "None" not in message
    assert (*place, path) == (line, column, "")


def test_a_second_document_is_said_as_such() -> None:
    assert found("a: 1\n---\nb: 2") == [
        (2, 1, "", "broken YAML: another document begins here; remove its `---`")
    ]


@pytest.mark.parametrize(
    ("value", "hint"),
    [("2026-13-01", "put text in quotes"), ("0x_", "put text in quotes"), ('!!int "x"', "")],
)
def test_what_helps_where_text_looks_like_something_else(value: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"a: {value}")
    assert [problem.hint for problem in caught.value.problems] == [hint]


@pytest.mark.parametrize(
    ("data", "line", "column", "byte"),
    [
        (b"\xff", 1, 1, "0xff"),
        (b"a: 1\nb: \xe9t\xe9\n", 2, 4, "0xe9"),
        ("a: 1".encode("utf-16"), 1, 1, "0xff"),
        (b"a: \xed\xa0\x80", 1, 4, "0xed"),
        (b"a: \xc3", 1, 4, "0xc3"),
    ],
)
def test_not_utf8(data: bytes, line: int, column: int, byte: str) -> None:
    assert found(data) == [(line, column, "", f"not UTF-8 text: byte {byte}")]


@pytest.mark.parametrize(
    ("text", "line", "column", "path"),
    [
        ("a: 1\na: 2", 2, 1, "a"),
        ("a: {b: 1, c: 2, b: 1}", 1, 17, "a.b"),
        ("a:\n  - b: 1\n    'b': 2", 3, 5, "a[0].b"),
    ],
)
def test_duplicate_key(text: str, line: int, column: int, path: str) -> None:
    [(*place, message)] = found(text)
    assert place == [line, column, path]
    assert message.startswith("appears twice, first in line ")


@pytest.mark.parametrize(
    "key", ["1", "1.5", "true", "~", "2024-01-01", "[a]", "{a: 1}", "!!binary aGk="]
)
def test_a_key_that_is_not_text(key: str) -> None:
    assert found(f"a: {{? {key} : 1, b: 2}}") == [(1, 7, "a", "a key must be text")]


def test_a_key_with_control_characters() -> None:
    assert found('a: {"b\\nc": 1}') == [(1, 5, "a", "a key must not contain control characters")]


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system [exit 3]",
        "!!python/object:os.PathLike {}",
        "!!python/name:os.system ''",
        "!!python/tuple [1]",
        "!!python/none x",
        "!own 1",
        "!own [1]",
        "!own {a: 1}",
        "!!set {a, b}",
        "!!omap [a: 1]",
    ],
)
def test_a_tag_that_is_not_allowed(value: str) -> None:
    assert found(f"a: {{b: {value}}}") == [(1, 8, "a.b", "has a tag that is not allowed")]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("!!int five", "a whole number"),
        ("!!float x", "a number"),
        ("!!bool maybe", "a truth value"),
        ("!!binary é", "base64"),
        ("!!timestamp now", "a date"),
        ("2024-13-01", "a date"),
        ("2024-02-30 25:00:00", "a date"),
        ("1" * 5000, "a whole number"),
        ("0x" + "f" * 5000, "a whole number"),
        ("0b" + "1" * 50_000, "a whole number"),
    ],
    ids=lambda text: text[:20],
)
def test_a_value_that_its_tag_does_not_fit(value: str, kind: str) -> None:
    assert found(f"a: {value}") == [(1, 4, "a", f"looks like {kind}, and can't be read as one")]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: &x [1, *x]", (1, 4, "a[1]")),
        ("a: &x {b: {c: *x}}", (1, 4, "a.b.c")),
        ("&x {a: *x}", (1, 1, "a")),
        ("a: &x {<<: *x}", (1, 4, "a")),
        ("? &x [*x]\n: 1", (1, 3, "[0]")),
    ],
)
def test_an_alias_to_what_it_stands_in(text: str, place: tuple[int, int, str]) -> None:
    assert (*place, "refers to itself") in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "a: " + "{b: " * 1000,
        "- " * 5000 + "x",
        "? " * 5000 + "x",
        "[" * 33 + "]" * 33,
    ],
    ids=lambda text: text[:6],
)
def test_deep_nesting(text: str) -> None:
    [(line, column, _, message)] = found(text)
    assert message.endswith("nested deeper than 32 levels")
    assert (line, column > 32) == (1, True)


def test_as_deep_as_allowed() -> None:
    assert plain(parse("[" * 32 + "]" * 32)) != []


def test_a_bomb_of_aliases_is_read_in_no_more_steps_than_it_has_lines() -> None:
    lines = ["x0: &x0 [a]", *(f"x{n}: &x{n} [*x{n - 1}, *x{n - 1}]" for n in range(1, 500))]
    root = parse("\n".join(lines))
    node = root.value["x499"].node
    for _ in range(499):
        assert node.value[0] is node.value[1]
        node = node.value[0]
    assert plain(node) == ["a"]


@pytest.mark.parametrize(("text", "place"), [("{<<: 5}", (1, 6)), ("{<<: [{a: 1}, b]}", (1, 15))])
def test_a_merge_of_something_else(text: str, place: tuple[int, int]) -> None:
    assert found(text) == [(*place, "", "`<<` needs a mapping")]


def test_all_that_is_wrong_in_the_form_at_once() -> None:
    text = "a: 1\nb: !x 1\n3: c\nd: {e: 1, e: 2}\n<<: 7\n"
    assert [(line, message.split(",")[0]) for line, _, _, message in found(text)] == [
        (2, "has a tag that is not allowed"),
        (3, "a key must be text"),
        (4, "appears twice"),
        (5, "`<<` needs a mapping"),
    ]


def test_the_same_thing_is_wrong_once() -> None:
    problems = Problems("f")
    for path in ("edge[0].a", "edge[1].a"):
        problems.add(Node(None, 3, 5), path, "is wrong")
    with pytest.raises(ConfigError) as caught:
        problems.raise_if_any()
    assert caught.value.problems == (Problem("f", 3, 5, "edge[0].a", "is wrong"),)


@pytest.mark.parametrize("text", ["", "温度 🌡", "a\u3000b", "\u00e9", "a b", "\u200d"])
def test_text_without_control_characters(text: str) -> None:
    assert not has_control(text)


@pytest.mark.parametrize(
    "text", ["\n", "a\tb", "\x00", "\x1b[0m", "\x7f", "\x85", "\u2028", "\ud800"]
)
def test_control_characters(text: str) -> None:
    assert has_control(text)
