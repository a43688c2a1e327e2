"""Topics that are filled in for each result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from pyboot_svc.topics import BadTemplate, NotFilledIn, TopicTemplate, is_subscribed, template_of

INPUT = "plant/hall 3/pump-7"


@dataclass
class Reading:
    device: str


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
    ],
)
def test_filled_in(template: str, result: Any, topic: str) -> None:
    assert TopicTemplate(template).fill(result, INPUT) == topic


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
            for text in ("b/c", "+", "#", "a+", "\0", "a\nb", "\x7f", "x" * 1001)
        ),
    ],
)
def test_what_can_not_be_filled_in(template: str, result: Any, says: str) -> None:
    with pytest.raises(NotFilledIn) as caught:
        TopicTemplate(template).fill(result, INPUT)
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
