"""Topics that are filled in for each result."""

from __future__ import annotations

import datetime
import decimal
import re
import uuid
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pyboot_svc.model.plain import simpler
from pyboot_svc.topics import (
    BadTemplate,
    Field,
    NotFilledIn,
    NotThere,
    TopicTemplate,
    check_text,
    check_topic,
    is_subscribed,
    template_of,
)

INPUT = "plant/hall 3/pump-7"


@dataclass
class Reading:
    device: str

    @property
    def label(self) -> str:
        return f"sensor {self.device}"

    @property
    def broken(self) -> str:
        raise RuntimeError("no such sensor")


class Stubborn:
    """As a tensor of several elements is no number: each library raises what it likes."""

    def item(self) -> float:
        raise RuntimeError("several elements")

    tolist = item


class Colour(str, Enum):  # noqa: UP042 — `str` gives its name, and not its value
    RED = "red"


class Line(Enum):
    A = "a/b"
    TWO = 2


@pytest.mark.parametrize(
    ("template", "result", "topic"),
    [
        ("plant/mean", 5, "plant/mean"),
        ("plant/{device}/mean", {"device": "pump-7"}, "plant/pump-7/mean"),
        ("{a}-{b}", {"a": 1, "b": 2.5}, "1-2.5"),
        ("{a}/{a}", {"a": "x"}, "x/x"),
        ("{meta.id}", {"meta": {"id": 7}}, "7"),
        ("out/{topic[1]}/{topic[2]}", None, "out/hall 3/pump-7"),
        ("{topic[0]}/{device}", {"device": "ä"}, "plant/ä"),
        ("{device}", Reading("r"), "r"),
        ("{n}", {"n": np.int64(3)}, "3"),
        ("{n}", {"n": np.str_("x")}, "x"),
        ("{n}", {"n": np.array(3)}, "3"),
        ("{n}", {"n": np.datetime64("2026-01-02T03:04")}, "2026-01-02T03:04"),
        ("{size}", pd.Series({"size": 5, "name": "x"}), "5"),
        ("{m.size}", {"m": pd.Series({"size": 5})}, "5"),
        ("{m.device}", {"m": Reading("r")}, "r"),
        ("{label}", Reading("r"), "sensor r"),
        ("{n}", {"n": Colour.RED}, "red"),
        ("{n}", {"n": Line.TWO}, "2"),
        ("{n}", {"n": uuid.UUID(int=5)}, "00000000-0000-0000-0000-000000000005"),
        ("{n}", {"n": datetime.date(2026, 1, 2)}, "2026-01-02"),
        ("{n}", {"n": decimal.Decimal("1.50")}, "1.5"),
        ("a/{n}", {"n": "$SYS"}, "a/$SYS"),
        ("$aws/{n}", {"n": "shadow"}, "$aws/shadow"),
    ],
)
def test_filled_in(template: str, result: Any, topic: str) -> None:
    assert TopicTemplate(template).fill(result, INPUT, simpler) == topic


@pytest.mark.parametrize(
    ("template", "result", "says"),
    [
        ("{device}", {"name": 1}, "post_topic needs {device}, which the result doesn't have"),
        ("{device}", 5, "post_topic needs {device}, which the result doesn't have"),
        ("{device}", [1], "post_topic needs {device}, which the result doesn't have"),
        ("{a.b}", {"a": 1}, "post_topic needs {a.b}, which the result doesn't have"),
        ("{topic[3]}", {}, "post_topic needs {topic[3]}, which the input's topic doesn't have"),
        ("{a}", {"a": None}, "post_topic's {a} must be text or a number, not NoneType"),
        ("{a}", {"a": True}, "post_topic's {a} must be text or a number, not bool"),
        ("{a}", {"a": [1]}, "post_topic's {a} must be text or a number, not list"),
        ("{a}", {"a": ""}, "post_topic's {a} is '': it must be one level"),
        *(
            ("{a}", {"a": text}, "it must be one level of a topic")
            for text in ("b/c", "+", "#", "a+", "\0", "a\nb", "\x7f", "x" * 1001, Line.A)
        ),
        *(
            ("{a}", {"a": text}, "it must be one level of a topic")
            for text in ("\ufffe", "a\ufdd0", "\U0010ffff", "\ud800")
        ),
        *(
            ("{a}", {"a": number}, f"post_topic's {{a}} is {number}, which is no number")
            for number in (float("nan"), float("inf"), np.float32("nan"))
        ),
        *(
            ("{a}", {"a": np.array(numbers)}, "post_topic's {a} must be text or a number, not ")
            for numbers in ([1, 2], [1], [])
        ),
        *(  # these have attributes of the name
            ("{" + name + "}", value, f"needs {{{name}}}, which the result doesn't have")
            for name, value in (
                ("device", np.int64(5)),
                ("device", np.array([1])),
                ("size", pd.Series({"a": 1})),
                ("shape", pd.DataFrame({"a": [1]})),
            )
        ),
        ("{broken}", Reading("r"), "post_topic needs {broken}, which the result doesn't have"),
        ("{a}", {"a": b"x"}, "post_topic's {a} must be text or a number, not bytes"),
        ("{a}", {"a": {1, 2}}, "post_topic's {a} must be text or a number, not set"),
        ("{a}", {"a": Stubborn()}, "post_topic's {a} must be text or a number, not Stubborn"),
        ("{a}", {"a": 10**5000}, "post_topic's {a} must be text or a number, not int"),
        ("{a}/x", {"a": "$SYS"}, "post_topic would be '$SYS/x': it must not begin with $"),
        ("y" * 65_000 + "{a}", {"a": "x" * 536}, "post_topic would be longer than 65535 bytes"),
        ("y" * 64_000 + "{a}", {"a": "ü" * 768}, "post_topic would be longer than 65535 bytes"),
    ],
)
def test_what_can_not_be_filled_in(template: str, result: Any, says: str) -> None:
    with pytest.raises(NotFilledIn) as caught:
        TopicTemplate(template).fill(result, INPUT, simpler)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["{", "}", "a{b", "a}b", "{}", "{ a }", "{{a}}", "{topic}{", "{topic[}", "{topic[x]}", "{1}"],
)
def test_braces_that_are_no_field(text: str) -> None:
    with pytest.raises(BadTemplate):
        TopicTemplate(text)


def test_a_topic_as_it_is_needs_no_template() -> None:
    assert template_of("plant/mean") is None
    assert template_of("plant/{device}") is not None


@pytest.mark.parametrize(
    ("topic_filter", "topic", "gets"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a", False),
        ("a", "a/b", False),
        ("a/+", "a/b", True),
        ("a/+", "a", False),
        ("a/+/c", "a/b/c", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "a/b", True),
        ("#", "$SYS/a", False),
        ("+/a", "$SYS/a", False),
        ("$SYS/#", "$SYS/a", True),
        ("+", "", True),
    ],
)
def test_filters(topic_filter: str, topic: str, gets: bool) -> None:
    assert is_subscribed(topic_filter, topic) == gets


@pytest.mark.parametrize("topic", ["a", "a/b", " ", "/", "a//b", "ä/🦀", "x" * 65_535])
def test_topics_to_publish_to(topic: str) -> None:
    check_topic(topic)


@pytest.mark.parametrize(
    ("topic", "says"),
    [
        (5, "a topic is text, not int"),
        ("", "'' is no topic to publish to"),
        ("a/+", "'a/+' is no topic to publish to"),
        ("a/#", "'a/#' is no topic to publish to"),
        ("$SYS/x", "'$SYS/x' is no topic to publish to"),
        *(
            (f"a/{bad}", f"the topic 'a/{bad}' has {bad!r} in it".replace(bad, repr(bad)[1:-1]))
            for bad in ("\0", "\x01", "\x85", "\ufffe", "\U0001ffff", "\ufdd0", "\ud800")
        ),
        ("x" * 65_536, "… is longer than 65535 bytes"),
        ("ü" * 32_768, "… is longer than 65535 bytes"),
    ],
    ids=[
        *("number", "empty", "plus", "hash", "system", "zero", "control", "c1", "no character"),
        *("of another plane", "arabic", "half", "long", "long in bytes"),
    ],
)
def test_what_nobody_can_publish_to(topic: Any, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        check_topic(topic)


def test_a_text_may_have_what_a_topic_may_not() -> None:
    check_text("$a/+/#", "the property")
    with pytest.raises(ValueError, match=r"the property 'a.nb' has '.n' in it, which MQTT doesn't"):
        check_text("a\nb", "the property")


@pytest.mark.parametrize(
    "payload",
    [
        {"a": 10**5000},
        {"a": None},
        {"a": True},
        {"a": [1]},
        {},
        None,
        np.array([1, 2]),
        {"a": Stubborn()},
    ],
    ids=["digits", "null", "truth", "list", "raises", "missing", "nothing", "array"],
)
def test_what_is_no_key(payload: Any) -> None:
    with pytest.raises(NotThere):
        Field("a").text(payload, INPUT)


def test_a_property_that_raises_is_no_key() -> None:
    with pytest.raises(NotThere):
        Field("broken").text(Reading("r"), INPUT)
