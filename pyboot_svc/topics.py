"""Topics: what filters stand for, and templates that are filled in for each result, as
`plant/{device}/mean` and `out/{topic[1]}`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from enum import Enum
from typing import Any

_FIELD = re.compile(r"\{([^{}]*)\}")
_LEVEL = re.compile(r"topic\[(\d{1,3})\]")
_KEY = re.compile(r"[^\W\d][\w-]*(\.[\w-]+)*")
# What brokers close the connection for (MQTT 5, section 1.5.4): control characters, halves of
# characters, and code points that are none.
_NO_TEXT = r"\0-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef" + "".join(
    chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF)
)
_UNSENDABLE = re.compile(f"[{_NO_TEXT}]")
_FORBIDDEN = re.compile(f"[/+#{_NO_TEXT}]")
_LONGEST_VALUE = 1000
# In bytes, of any text in MQTT.
LONGEST_TEXT = 65_535
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


def is_one(topic: str) -> bool:
    """Whether a message can have it, as no filter with wildcards."""
    return bool(topic) and not set(topic) & set("+#")


def check_text(text: str, what: str) -> None:
    """Raises ValueError for what no broker takes in a packet: one closes the connection for it."""
    found = _UNSENDABLE.search(text)
    if found is not None:
        raise ValueError(f"{what} {text[:40]!r} has {found[0]!r} in it, which MQTT doesn't allow")
    if _is_too_long(text):
        raise ValueError(f"{what} {text[:40]!r}… is longer than {LONGEST_TEXT} bytes")


def check_topic(topic: Any) -> None:
    """Raises ValueError for one that nobody can publish to."""
    if not isinstance(topic, str):
        raise ValueError(f"a topic is text, not {type(topic).__name__}")
    if not is_one(topic) or topic.startswith("$"):
        raise ValueError(
            f"{topic[:40]!r} is no topic to publish to: it may neither be empty, nor begin with $, "
            "nor have + or # in it"
        )
    check_text(topic, "the topic")


def _is_too_long(text: str) -> bool:
    # A character has up to 4 bytes.
    return len(text) > LONGEST_TEXT // 4 and len(text.encode()) > LONGEST_TEXT


class BadTemplate(ValueError):
    """The text is no template; says why."""


class NotFilledIn(Exception):
    """A result lacks what its topic is made of, or has something that can't be part of one."""


class NotThere(Exception):
    """Neither the payload nor the topic has what a field names."""


# Makes what JSON can say of a value that is something else, as `model.plain` does.
Simpler = Callable[[Any], Any]


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

    def value(self, payload: Any, levels: list[str], simpler: Simpler | None = None) -> Any:
        """As it is there; raises NotThere. `simpler` makes an object of JSON of what is none."""
        try:
            return self._find(payload, levels, simpler)
        except Exception:  # what is there may be of any class, with properties that raise anything
            raise NotThere from None

    def text(self, payload: Any, topic: str) -> str:
        """A text or a number; raises NotThere for anything else, too."""
        value = self.value(payload, topic.split("/") if self.is_level else [])
        try:
            # numpy's scalars, as a codec of its own may make them, are numbers of their own kind.
            item = getattr(value, "item", None)
            plain = item() if callable(item) else value
            if isinstance(plain, str | int | float) and not isinstance(plain, bool):
                return str(plain)
        except Exception:  # several numbers, or one of more digits than Python writes: as each says
            raise NotThere from None
        raise NotThere


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

    def fill(self, result: Any, topic: str, simpler: Simpler = lambda value: value) -> str:
        """The topic of a result for an input of `topic`; raises NotFilledIn.

        `simpler` may raise TypeError.
        """
        levels = topic.split("/")
        fields = zip(self._names, self._fields, strict=True)
        values = iter([_filled(name, field, result, levels, simpler) for name, field in fields])
        filled = _FIELD.sub(lambda _: next(values), self._text)
        if filled.startswith("$") and not self._text.startswith("$"):
            raise NotFilledIn(f"post_topic would be {filled[:40]!r}: it must not begin with $")
        if _is_too_long(filled):
            raise NotFilledIn(f"post_topic would be longer than {LONGEST_TEXT} bytes")
        return filled


def may_become(level: str, name: str) -> bool:
    """Whether a level of a template can be filled in so that it is `name`: each field stands for
    one character or more."""
    first, *rest = _FIELD.split(level)[::2]
    if not rest:
        return level == name
    *between, last = rest
    if not name.startswith(first):
        return False
    end = len(first)
    for literal in between:  # where it stands first leaves most to those behind
        place = name.find(literal, end + 1)
        if place < 0:
            return False
        end = place + len(literal)
    return name.endswith(last) and len(name) - len(last) > end


def _filled(name: str, field: Field, result: Any, levels: list[str], simpler: Simpler) -> str:
    try:
        value = field.value(result, levels, simpler)
    except NotThere:
        where = "the input's topic" if field.is_level else "the result"
        raise NotFilledIn(f"post_topic needs {{{name}}}, which {where} doesn't have") from None
    text = value if type(value) is str else _as_text(name, value, simpler)
    if not text or len(text) > _LONGEST_VALUE or _FORBIDDEN.search(text):
        raise NotFilledIn(
            f"post_topic's {{{name}}} is {text[:40]!r}: it must be one level of a topic, "
            f"of up to {_LONGEST_VALUE} characters, without / + # and control characters"
        )
    return text


def _as_text(name: str, value: Any, simpler: Simpler) -> str:
    """As it stands in the result's JSON."""
    try:
        single = isinstance(value, str | int | float) and not isinstance(value, Enum)
        plain = value if single else simpler(value)
        text = str(plain)
    except Exception:  # no JSON either; more digits than Python writes; whatever its methods raise
        plain = text = None
    if isinstance(plain, float) and not math.isfinite(plain):
        raise NotFilledIn(f"post_topic's {{{name}}} is {plain}, which is no number")
    if text is None or isinstance(plain, bool | Enum) or not isinstance(plain, str | int | float):
        raise NotFilledIn(
            f"post_topic's {{{name}}} must be text or a number, not {type(value).__name__}"
        )
    return text


def template_of(topic: str) -> TopicTemplate | None:
    """None for a topic that is the same for all results."""
    template = TopicTemplate(topic)
    return None if template.is_plain else template


def _level(number: int) -> Callable[[Any, list[str], Simpler | None], Any]:
    return lambda result, levels, simpler: levels[number]


def _key(path: str) -> Callable[[Any, list[str], Simpler | None], Any]:
    parts = path.split(".")

    def find(result: Any, levels: list[str], simpler: Simpler | None) -> Any:
        for part in parts:
            result = _part(result, part, simpler)
        return result

    return find


def _part(value: Any, name: str, simpler: Simpler | None) -> Any:
    """Attributes count of dataclasses, and where there is no JSON: also numpy's scalars have some,
    as `device`, which are no part of a result."""
    if isinstance(value, Mapping):
        return value[name]
    if simpler is None or is_dataclass(value):
        return getattr(value, name)
    try:
        value = simpler(value)
    except TypeError:
        return getattr(value, name)
    return value[name]
