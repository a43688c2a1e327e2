"""Topics: what filters stand for, and templates that are filled in for each result, as
`plant/{device}/mean` and `out/{topic[1]}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_FIELD = re.compile(r"\{([^{}]*)\}")
_LEVEL = re.compile(r"topic\[(\d{1,3})\]")
_KEY = re.compile(r"[^\W\d][\w-]*(\.[\w-]+)*")
_FORBIDDEN = re.compile(r"[/+#\0-\x1f\x7f-\x9f]")
_LONGEST_VALUE = 1000
# As a topic of results: where each input asks for its answer, by MQTT 5.
RESPONSE = "{response}"


def is_subscribed(topic_filter: str, topic: str) -> bool:
    """Whether a subscription to the filter, with MQTT's wildcards, gets what has this topic."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(wanted) == len(levels)


class BadTemplate(ValueError):
    """The text is no template; says why."""


class NotFilledIn(Exception):
    """A result lacks what its topic is made of, or has something that can't be part of one."""


class NotThere(Exception):
    """Neither the payload nor the topic has what a field names."""


class Field:
    """`device` stands for a key of a payload, `meta.id` for one within, and `topic[N]` for a level
    of the topic, from 0 on."""

    def __init__(self, name: str) -> None:
        """Raises BadTemplate."""
        level = _LEVEL.fullmatch(name)
        self.name = name
        self.is_level = level is not None
        if level is not None:
            self._find = _level(int(level[1]))
        elif _KEY.fullmatch(name):
            self._find = _key(name)
        else:
            raise BadTemplate(f"{name} is neither a key nor topic[1]")

    def value(self, payload: Any, levels: list[str]) -> Any:
        """Raises NotThere."""
        try:
            return self._find(payload, levels)
        except (LookupError, TypeError, AttributeError):
            raise NotThere from None

    def text(self, payload: Any, topic: str) -> str:
        """A text or a number; raises NotThere for anything else, too."""
        value = self.value(payload, topic.split("/") if self.is_level else [])
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise NotThere
        return str(value)


class TopicTemplate:
    """`{key}` stands for a value of the result, `{a.b}` for one within, and `{topic[N]}` for a
    level of the input's topic, from 0 on."""

    def __init__(self, text: str) -> None:
        """Raises BadTemplate."""
        literals = _FIELD.split(text)[::2]
        if any("{" in literal or "}" in literal for literal in literals):
            raise BadTemplate("a brace without its other one")
        self._text = text
        # Of each brace.
        self._names = _FIELD.findall(text)
        self._fields: list[Field] = []
        for name in self._names:
            try:
                self._fields.append(Field(name))
            except BadTemplate:
                raise BadTemplate(f"{{{name}}} is neither {{key}} nor {{topic[1]}}") from None

    @property
    def is_plain(self) -> bool:
        """Whether it is a topic as it is."""
        return not self._fields

    def fill(self, result: Any, topic: str) -> str:
        """The topic of a result for an input of `topic`; raises NotFilledIn."""
        levels = topic.split("/")
        fields = zip(self._names, self._fields, strict=True)
        values = iter([self._value(name, field, result, levels) for name, field in fields])
        return _FIELD.sub(lambda _: next(values), self._text)

    def _value(self, name: str, field: Field, result: Any, levels: list[str]) -> str:
        try:
            value = field.value(result, levels)
        except NotThere:
            where = "the input's topic" if field.is_level else "the result"
            raise NotFilledIn(f"post_topic needs {{{name}}}, which {where} doesn't have") from None
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise NotFilledIn(
                f"post_topic's {{{name}}} must be text or a number, not {type(value).__name__}"
            )
        text = str(value)
        if not text or len(text) > _LONGEST_VALUE or _FORBIDDEN.search(text):
            raise NotFilledIn(
                f"post_topic's {{{name}}} is {text[:40]!r}: it must be one level of a topic, "
                "without / + # and control characters"
            )
        return text


def template_of(topic: str) -> TopicTemplate | None:
    """None for a topic that is the same for all results."""
    template = TopicTemplate(topic)
    return None if template.is_plain else template


def _level(number: int) -> Callable[[Any, list[str]], Any]:
    return lambda result, levels: levels[number]


def _key(path: str) -> Callable[[Any, list[str]], Any]:
    parts = path.split(".")

    def find(result: Any, levels: list[str]) -> Any:
        for part in parts:
            result = result[part] if isinstance(result, Mapping) else getattr(result, part)
        # numpy's scalars are numbers of their own kind.
        item = getattr(result, "item", None)
        return item() if callable(item) else result

    return find
