"""The types of value that a configuration key can have, each with its check and its message."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pyboot_svc.address import is_host
from pyboot_svc.config.document import Node, Problems, has_control
from pyboot_svc.config.settings import CODEC_GROUP, INSTANCE
from pyboot_svc.config.yaml_traps import free_trap, free_value, trap
from pyboot_svc.text import closest
from pyboot_svc.topics import BadTemplate, Field, TopicTemplate

_TOPIC_MAX_BYTES = 65_000
_MAX_PLAIN_NODES = 10_000
MAX_DEPTH = 32


class Invalid(Exception):
    """A value is not of its type."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ValueType(ABC):
    """Reads one value; a simple type raises Invalid, a compound one adds to `problems`."""

    @abstractmethod
    def read(self, node: Node, path: str, problems: Problems) -> Any: ...

    def written(self, value: Any) -> str:
        """A value of the type as a file says it."""
        return str(value).lower() if isinstance(value, bool) else str(value)

    @abstractmethod
    def json_schema(self) -> dict[str, Any]:
        """What JSON Schema can say of it, for editors; `read` is the judge."""

    def read_into(
        self, into: Callable[[Any], object], node: Node, path: str, problems: Problems
    ) -> None:
        """Give `into` the value, or add to `problems` what is wrong with it."""
        if node.broken:
            return
        try:
            value = self.read(node, path, problems)
            _refuse_trap(node, self)
            into(value)
        except Invalid as error:
            problems.add(node, path, error.message, error.hint)


def _refuse_trap(node: Node, value_type: ValueType) -> None:
    """Raises Invalid where YAML made something of a scalar that nobody else reads in it."""
    if isinstance(value_type, Boolean | Sharing):
        return  # `share: yes` says what it means
    found = trap(node.text, node.value) if node.plain else None
    if found is not None:
        raise Invalid(*found)


def shown(value: Any) -> str:
    """A value as it goes into a message: short, and in the words of YAML."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bytes):
        return "binary data"
    text = repr(value) if isinstance(value, str) else str(value)
    text = text.lower() if isinstance(value, bool) else text
    return text if len(text) <= 40 else text[:37] + "…"


def _as_text(node: Node) -> str:
    """What helps where a plain scalar was to be text."""
    if isinstance(node.value, dict | list):
        return ""
    # A comment, as far as YAML goes, and nothing before it: the topic of all topics.
    return "put it in quotes" if node.text else "text that begins with # needs quotes"


class Text(ValueType):
    def __init__(self, pattern: re.Pattern[str] | None = None, form: str = "") -> None:
        self._pattern = pattern
        self._form = form

    def read(self, node: Node, path: str, problems: Problems) -> str:
        value = node.value
        if not isinstance(value, str):
            raise Invalid(f"must be text, not {shown(value)}", _as_text(node))
        if not value:
            raise Invalid("must not be empty")
        if has_control(value):
            raise Invalid("must not contain control characters")
        if self._pattern is not None and not self._pattern.fullmatch(value):
            raise Invalid(f"must be {self._form}, not {shown(value)}")
        return value

    def json_schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string", "minLength": 1}
        if self._pattern is not None:
            schema["pattern"] = f"^(?:{self._pattern.pattern})$"
        return schema


class Name(Text):
    """Text with a limited length, since it becomes a part of other names."""

    def __init__(self, pattern: re.Pattern[str], form: str, most: int) -> None:
        super().__init__(pattern, form)
        self._most = most

    def read(self, node: Node, path: str, problems: Problems) -> str:
        value = super().read(node, path, problems)
        if len(value) > self._most:
            raise Invalid(f"must not be longer than {self._most} characters")
        return value

    def json_schema(self) -> dict[str, Any]:
        return {**super().json_schema(), "maxLength": self._most}


class Integer(ValueType):
    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self._most = most

    def read(self, node: Node, path: str, problems: Problems) -> int:
        value = node.value
        wanted = f"must be a whole number from {self._least} to {self._most}"
        if isinstance(value, bool) or not isinstance(value, int):
            raise Invalid(f"{wanted}, not {shown(value)}")
        if not self._least <= value <= self._most:
            raise Invalid(f"{wanted}, not {shown(value)}")
        return value

    def json_schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self._least, "maximum": self._most}


class Fraction(ValueType):
    """A number from 0 to 1."""

    def read(self, node: Node, path: str, problems: Problems) -> float:
        value = node.value
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= 1:
            raise Invalid(f"must be a number from 0 to 1, as in 0.01, not {shown(value)}")
        return float(value)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": 0, "maximum": 1}


class Boolean(ValueType):
    def read(self, node: Node, path: str, problems: Problems) -> bool:
        if not isinstance(node.value, bool):
            raise Invalid(f"must be true or false, not {shown(node.value)}")
        return node.value

    def json_schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Choice(ValueType):
    """One of a few words; a number that reads like one of them (`protocol: 5`) is that word."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def read(self, node: Node, path: str, problems: Problems) -> str:
        value = node.value
        word = str(value) if isinstance(value, str | int | float) else ""
        if word not in self._words:
            close = suggestion(word, self._words)
            raise Invalid(f"must be one of {', '.join(self._words)}, not {shown(value)}", close)
        return word

    def json_schema(self) -> dict[str, Any]:
        numbers = [int(word) for word in self._words if word.isdecimal()]
        return {"enum": [*self._words, *numbers]}


class NullOr(Choice):
    """One of a few words, of which YAML takes `null` for no value."""

    def read(self, node: Node, path: str, problems: Problems) -> str:
        return "null" if node.value is None else super().read(node, path, problems)

    def json_schema(self) -> dict[str, Any]:
        return {"enum": [*self._words, None]}


class Host(Text):
    """A host name or an IP address."""

    def read(self, node: Node, path: str, problems: Problems) -> str:
        value = super().read(node, path, problems)
        if "@" in value:
            # Not shown: what stands before the @ is likely a password.
            hint = "`username` and `password_file` are keys of one of `brokers`"
            raise Invalid("must be a host name or an IP address alone", hint)
        if not is_host(value):
            hint = "the port has a key of its own" if value.count(":") == 1 else ""
            raise Invalid(f"must be a host name or an IP address, not {shown(value)}", hint)
        return value


class Topic(Text):
    """An MQTT topic to publish to (MQTT 5, section 4.7)."""

    def read(self, node: Node, path: str, problems: Problems) -> str:
        value = super().read(node, path, problems)
        if len(value.encode()) > _TOPIC_MAX_BYTES:
            raise Invalid(f"must not be longer than {_TOPIC_MAX_BYTES} bytes")
        if "+" in value or "#" in value:
            raise Invalid(f"must not have the wildcards + and #: results go to one topic: {value}")
        return value

    def json_schema(self) -> dict[str, Any]:
        return {**super().json_schema(), "pattern": "^[^+#]*$"}


class ResultTopic(Topic):
    """A topic to publish to, or a template of one."""

    def read(self, node: Node, path: str, problems: Problems) -> str:
        value = super().read(node, path, problems)
        try:
            TopicTemplate(value)
        except BadTemplate as error:
            hint = "as in plant/{device}/mean, of a key of the result, or out/{topic[1]}"
            raise Invalid(f"is no topic: {error}", hint) from None
        return value


class StatusTopic(Topic):
    """A topic to publish to that each instance has of its own."""

    def read(self, node: Node, path: str, problems: Problems) -> str:
        value = super().read(node, path, problems)
        hint = f"as in pyboot/status/{INSTANCE}"
        if INSTANCE not in value:
            raise Invalid(f"must have {INSTANCE}: each instance has a status of its own", hint)
        if {"{", "}"} & {*value.replace(INSTANCE, "")}:
            raise Invalid(f"can be filled in with {INSTANCE} alone", hint)
        return value

    def json_schema(self) -> dict[str, Any]:
        return {**super().json_schema(), "pattern": r"^[^+#{}]*\{instance\}[^+#]*$"}


def check_filter(value: str) -> None:
    """Raises Invalid for what is no filter to subscribe to."""
    if not value:
        raise Invalid("must not be empty")
    if len(value.encode()) > _TOPIC_MAX_BYTES:
        raise Invalid(f"must not be longer than {_TOPIC_MAX_BYTES} bytes")
    if value.startswith("$share/"):
        hint = "write the filter alone: instances share it automatically, see `share`"
        raise Invalid("must not start with $share/", hint)
    levels = value.split("/")
    if any("+" in level and level != "+" for level in levels):
        raise Invalid(f"+ must be a whole level of the topic, as in a/+/b: {value}")
    if "#" in value and (levels[-1] != "#" or value.count("#") > 1):
        raise Invalid(f"# must be the last level of the topic, as in a/#: {value}")


class TopicFilter(Text):
    """An MQTT topic filter to subscribe to (MQTT 5, section 4.7)."""

    def read(self, node: Node, path: str, problems: Problems) -> str:
        value = super().read(node, path, problems)
        check_filter(value)
        return value

    def json_schema(self) -> dict[str, Any]:
        return {**super().json_schema(), "pattern": r"^(?!\$share/)"}


class CodecName(ValueType):
    """A codec of pyboot's, or of a package that is installed where the model runs."""

    NAMES = ("json", "raw", "text", "csv", "msgpack", "cbor", "sparkplug_b")

    def read(self, node: Node, path: str, problems: Problems) -> str:
        if not isinstance(node.value, str):
            raise self.unknown(node.value)
        return node.value

    def check(self, name: str) -> None:
        """Raises Invalid where it is neither pyboot's own nor brought by a package here."""
        if not (name in self.NAMES or _is_brought(name)):
            raise self.unknown(name)

    def unknown(self, name: object) -> Invalid:
        hint = suggestion(str(name), self.NAMES) or (
            f"or one that an installed package brings, by the entry-point group {CODEC_GROUP}"
        )
        return Invalid(f"must be one of {', '.join(self.NAMES)}, not {shown(name)}", hint)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "examples": [*self.NAMES]}


def _is_brought(name: str) -> bool:
    from importlib.metadata import entry_points  # which takes a while

    return bool(entry_points(group=CODEC_GROUP, name=name))


class BothWays(ValueType):
    """A value for input and results, or `{in: …, out: …}`; read as a pair, None for what isn't
    given."""

    def __init__(self, item_type: ValueType) -> None:
        self._item_type = item_type

    def read(self, node: Node, path: str, problems: Problems) -> tuple[Any, Any]:
        if not isinstance(node.value, dict):
            value = self._item_type.read(node, path, problems)
            return value, value
        if not node.value or node.value.keys() - {"in", "out"}:
            raise Invalid("must be a name, or {in: …, out: …}")
        found: dict[str, Any] = {"in": None, "out": None}
        for way, entry in node.value.items():
            keep = partial(found.__setitem__, way)
            self._item_type.read_into(keep, entry.node, f"{path}.{way}", problems)
        return found["in"], found["out"]

    def json_schema(self) -> dict[str, Any]:
        item = self._item_type.json_schema()
        both = {"type": "object", "additionalProperties": False, "minProperties": 1}
        return {"anyOf": [item, {**both, "properties": {"in": item, "out": item}}]}


class Sharing(ValueType):
    """Whether instances share the input; `{by: KEY}` is read as the key."""

    def read(self, node: Node, path: str, problems: Problems) -> bool | str:
        if not isinstance(node.value, dict):
            return Boolean().read(node, path, problems)
        entry, hint = node.value.get("by"), "as in {by: device} or {by: topic[1]}"
        if entry is None or len(node.value) > 1:
            raise Invalid("must be true, false or {by: KEY}", hint)
        key = Text().read(entry.node, f"{path}.by", problems)
        try:
            Field(key)
        except BadTemplate as error:
            raise Invalid(f"is no key: {error}", hint) from None
        return key

    def json_schema(self) -> dict[str, Any]:
        by = {"type": "object", "required": ["by"], "additionalProperties": False}
        return {
            "anyOf": [Boolean().json_schema(), {**by, "properties": {"by": {"type": "string"}}}]
        }


class FilePath(Text):
    """A path; a relative one is meant from the configuration file's folder."""

    def read(self, node: Node, path: str, problems: Problems) -> str:
        value = super().read(node, path, problems)
        if value.endswith((" ", "\\")):
            # A unit file has no way to say it.
            raise Invalid("must not end with a space or a backslash")
        return str(Path(problems.file).absolute().parent / value)


class WebAuth(ValueType):
    """`none`, or `{file: FILE}`, which is read as the file."""

    def read(self, node: Node, path: str, problems: Problems) -> str:
        if node.value == "none":
            return "none"
        entry = node.value.get("file") if isinstance(node.value, dict) else None
        if entry is None or len(node.value) > 1:
            raise Invalid("must be none or {file: FILE}", "`pyboot web password` makes the file")
        return FilePath().read(entry.node, f"{path}.file", problems)

    def json_schema(self) -> dict[str, Any]:
        file = {"type": "object", "required": ["file"], "additionalProperties": False}
        text = FilePath().json_schema()
        return {"anyOf": [{"enum": ["none"]}, {**file, "properties": {"file": text}}]}


class OneOrMany(ValueType):
    """A list of values; a single one needs no brackets."""

    def __init__(self, item_type: ValueType) -> None:
        self._item_type = item_type

    def read(self, node: Node, path: str, problems: Problems) -> tuple[Any, ...]:
        if not isinstance(node.value, list):
            return (self._item_type.read(node, path, problems),)
        return _items(self._item_type, node.value, path, problems)

    def written(self, value: Any) -> str:
        return f"[{', '.join(map(self._item_type.written, value))}]"

    def json_schema(self) -> dict[str, Any]:
        item = self._item_type.json_schema()
        return {"anyOf": [item, {"type": "array", "items": item}]}


class ListOf(ValueType):
    """A list whose items are of one type."""

    def __init__(self, item_type: ValueType) -> None:
        self._item_type = item_type

    def read(self, node: Node, path: str, problems: Problems) -> tuple[Any, ...]:
        if not isinstance(node.value, list):
            raise Invalid(f"must be a list, not {shown(node.value)}", "write it as [a, b]")
        return _items(self._item_type, node.value, path, problems)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self._item_type.json_schema()}


def _items(
    item_type: ValueType, nodes: list[Node], path: str, problems: Problems
) -> tuple[Any, ...]:
    values: list[Any] = []
    for index, item in enumerate(nodes):
        item_type.read_into(values.append, item, f"{path}[{index}]", problems)
    return tuple(values)


class Plain(ValueType):
    """Free data for a model: whatever JSON can say."""

    def read(self, node: Node, path: str, problems: Problems) -> dict[str, Any]:
        if not isinstance(node.value, dict):
            raise Invalid(f"must be a mapping, not {shown(node.value)}")
        values: dict[str, Any] = _PlainValues(problems).read(node, path, 0)
        return values

    def json_schema(self) -> dict[str, Any]:
        return {"type": "object"}


class _PlainValues:
    """The values below one `Plain`, counted: aliases can make a small file mean a huge tree."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._count = 0

    def read(self, node: Node, path: str, depth: int) -> Any:
        self._count += 1
        if self._count > _MAX_PLAIN_NODES or depth > MAX_DEPTH:
            raise Invalid(f"holds more than {_MAX_PLAIN_NODES} values or is nested too deeply")
        value = node.value
        if isinstance(value, dict):
            for key, entry in value.items():
                if ":" in key and entry.key.plain and entry.node.plain and not entry.node.text:
                    hint = "put a space after the colon, or the key in quotes"
                    self._problems.add(entry.key, path, f"the key `{key}` has no value", hint)
            return {
                key: self.read(entry.node, f"{path}.{key}", depth + 1)
                for key, entry in value.items()
            }
        if isinstance(value, list):
            return [self.read(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
        if node.broken:
            return None
        if node.plain:
            found = free_trap(node.text, value)
            if found is not None:
                self._problems.add(node, path, *found)
                return None
            value = free_value(value)
        finite = not isinstance(value, float) or math.isfinite(value)
        if not (value is None or isinstance(value, str | int | float)) or not finite:
            self._problems.add(node, path, f"{shown(value)} can't be expressed in JSON")
        return value


def suggestion(word: str, known: Any) -> str:
    close = closest(word, known)
    return f"did you mean `{close}`?" if close else ""
