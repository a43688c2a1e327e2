"""A YAML text as a tree of values that know their line and column."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import yaml

from pyboot_svc.errors import ConfigError, Problem

# libyaml's loader is ten times faster; both give the same nodes.
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_DEPTH = 32
_TOO_DEEP = f"nested deeper than {_MAX_DEPTH} levels"
_MERGE_TAG = "tag:yaml.org,2002:merge"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
# Without libyaml, messages quote what may be a password that starts with `*`, `&` or `!`.
_QUOTED_NAME = re.compile(r"(alias|anchor|handle) ['\"][^;]*")
_KINDS = MappingProxyType(
    {
        "timestamp": "a date",
        "int": "a whole number",
        "float": "a number",
        "bool": "a truth value",
        "binary": "base64",
    }
)
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


@dataclass(frozen=True, eq=False)
class Node:
    """A value and where it stands; `line` and `column` count from 1.

    `value` is a scalar, a list of nodes, or a dict of `Entry` by key; `text` is a scalar as it was
    written, `plain` if it stands without quotes. A `broken` node could not be read, and that has
    been reported: its value means nothing.
    """

    value: Any
    line: int
    column: int
    broken: bool = False
    text: str = ""
    plain: bool = False


@dataclass(frozen=True, eq=False)
class Entry:
    """One key of a mapping, with the key's own position."""

    key: Node
    node: Node


class Problems:
    """Collects what is wrong in one file, each thing once."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: dict[tuple[int, int, str], Problem] = {}

    def add(self, node: Node, path: str, message: str, hint: str = "") -> None:
        problem = Problem(self.file, node.line, node.column, path, message, hint)
        # A value that many edges inherit from `defaults` is wrong once.
        self._found.setdefault((node.line, node.column, message), problem)

    def raise_if_any(self) -> None:
        if self._found:
            raise ConfigError(list(self._found.values()))


def parse_document(data: bytes, problems: Problems) -> Node:
    """Read one YAML document; raises ConfigError when it can't be read as a whole.

    What is wrong only here and there is added to `problems`, for the rest to be checked, too.
    """
    text = _decode(data, problems)
    try:
        _check_depth(text, problems)
        root = yaml.compose(text, Loader=Loader)
    except yaml.YAMLError as error:
        problems.add(_place(error, text), "", f"broken YAML: {_reason(error)}")
        problems.raise_if_any()
    if root is None:
        return Node(None, 1, 1)
    return _Converter(problems).convert(root, "")


def has_control(text: str) -> bool:
    """Whether something in `text` would break a line, or can't be shown or sent at all."""
    return _CONTROL.search(text) is not None


def _decode(data: bytes, problems: Problems) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        place = Node(None, before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
        problems.add(place, "", f"not UTF-8 text: byte 0x{data[error.start]:02x}")
        problems.raise_if_any()
        raise AssertionError from error


def _check_depth(text: str, problems: Problems) -> None:
    """Refuse deep nesting while it is still a flat stream: composing it is recursive, in C."""
    depth = 0
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            problems.add(_at(event), "", _TOO_DEEP)
            problems.raise_if_any()


def _at(marked: Any) -> Node:
    return Node(None, marked.start_mark.line + 1, marked.start_mark.column + 1)


def _place(error: yaml.YAMLError, text: str) -> Node:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        return Node(None, mark.line + 1, mark.column + 1)
    position = getattr(error, "position", 0) or 0
    if Loader is not yaml.SafeLoader:  # libyaml counts bytes
        position = len(text.encode()[:position].decode(errors="ignore"))
    before = text[:position]
    return Node(None, before.count("\n") + 1, len(before) - before.rfind("\n"))


def _reason(error: yaml.YAMLError) -> str:
    if "maximum nesting depth" in str(error):  # newer versions of libyaml have a limit, too
        return _TOO_DEEP
    if "single document" in str(error):
        return "another document begins here; remove its `---`"
    parts = (getattr(error, "problem", None), getattr(error, "context", None))
    text = " ".join(_QUOTED_NAME.sub(r"\1", part) for part in parts if part)
    return text or getattr(error, "reason", "unreadable")


class _Converter:
    """Turns yaml's nodes into ours: scalars constructed safely, merges applied, keys unique."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._scalars: Any = yaml.SafeLoader("")
        self._done: dict[int, Node] = {}
        self._open: set[int] = set()

    def convert(self, raw: Any, path: str) -> Node:
        # By identity: an alias is the same node again, converted once however often it is used.
        if id(raw) in self._done:
            return self._done[id(raw)]
        if id(raw) in self._open:
            return self._wrong(raw, path, "refers to itself")
        self._open.add(id(raw))
        node = self._node(raw, path)
        self._open.discard(id(raw))
        self._done[id(raw)] = node
        return node

    def _node(self, raw: Any, path: str) -> Node:
        value: Any
        if isinstance(raw, yaml.ScalarNode):
            return self._scalar(raw, path)
        if raw.tag not in _PLAIN_TAGS:
            return self._wrong_tag(raw, path)
        if isinstance(raw, yaml.SequenceNode):
            value = [self.convert(item, f"{path}[{i}]") for i, item in enumerate(raw.value)]
        else:
            value = self._mapping(raw, path)
        return replace(_at(raw), value=value)

    def _scalar(self, raw: yaml.ScalarNode, path: str) -> Node:
        if raw.tag not in self._scalars.yaml_constructors:
            return self._wrong_tag(raw, path)
        try:
            value = self._scalars.construct_object(raw)
            str(value)  # a number of thousands of digits is made, but never shown
        except Exception:  # each tag's constructor has its own ways to fail on odd text
            kind = raw.tag.rpartition(":")[2]
            message = f"looks like {_KINDS.get(kind, kind)}, and can't be read as one"
            return self._wrong(raw, path, message, "" if raw.style else "put text in quotes")
        return replace(_at(raw), value=value, text=raw.value, plain=not raw.style)

    def _mapping(self, raw: Any, path: str) -> dict[str, Entry]:
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for raw_key, raw_value in raw.value:
            if raw_key.tag == _MERGE_TAG:
                merged = {**self._merged(raw_value, path), **merged}
                continue
            key = self.convert(raw_key, path)
            if key.broken:
                continue
            if not isinstance(key.value, str):
                hint = "put it in quotes"
                self._problems.add(key, path, "a key must be text", hint)
                continue
            if has_control(key.value):
                self._problems.add(key, path, "a key must not contain control characters")
                continue
            inner = f"{path}.{key.value}" if path else key.value
            if key.value in own:
                first = own[key.value].key.line
                self._problems.add(key, inner, f"appears twice, first in line {first}")
            own[key.value] = Entry(key, self.convert(raw_value, inner))
        return {**merged, **own}

    def _merged(self, raw: Any, path: str) -> dict[str, Entry]:
        sources = raw.value if isinstance(raw, yaml.SequenceNode) else [raw]
        merged: dict[str, Entry] = {}
        for source in sources:
            node = self.convert(source, path)
            if node.broken:
                continue
            if not isinstance(node.value, dict):
                self._problems.add(node, path, "`<<` needs a mapping")
                continue
            merged = {**node.value, **merged}
        return merged

    def _wrong(self, raw: Any, path: str, message: str, hint: str = "") -> Node:
        node = replace(_at(raw), broken=True)
        self._problems.add(node, path, message, hint)
        return node

    def _wrong_tag(self, raw: Any, path: str) -> Node:
        # The tag stays unsaid: it may be a password that starts with `!` and lacks its quotes.
        hint = "put text that starts with ! in quotes, and text that is `=` alone"
        return self._wrong(raw, path, "has a tag that is not allowed", hint)
