"""Models whose results are to be compared: made once, so that what is measured is pyboot's part."""

from __future__ import annotations

from typing import Any

import numpy

_VALUES = [0.5 + 1.25 * number for number in range(20)]
_ARRAY = numpy.array(_VALUES)
_RESULT = {"device": "a", "mean": 3.0}


def a_list(payload: Any) -> Any:
    return _VALUES


def an_array(payload: Any) -> Any:
    return _ARRAY


def nothing(payload: Any) -> None:
    return None


def one(payload: Any) -> Any:
    return _RESULT


def three(payload: Any, context: Any) -> None:
    context.publish(_RESULT)
    context.publish(_RESULT)
    context.publish(_RESULT)
