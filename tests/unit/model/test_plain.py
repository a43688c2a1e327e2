"""What scientists return, as JSON: the same by orjson and by the standard library."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import fractions
import json
import math
import pathlib
import types
import uuid
from collections.abc import AsyncIterator
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from pyboot_svc.model.codec import Codec, PayloadError, fast_json, standard_json
from pyboot_svc.model.plain import Nan


class Colour(Enum):
    RED = "red"


class Pair(NamedTuple):
    a: int
    b: Any


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


@dataclasses.dataclass
class Half:
    """Made without its own fields."""

    x: int = dataclasses.field(init=False)


@dataclasses.dataclass(init=False)
class Listed(list[int]):
    x: int = 1


class Frame(pd.DataFrame):  # type: ignore[misc]
    """As geopandas has one."""


class Length(np.ndarray[Any, Any]):
    """As astropy has one: its items are of this class, too, and no numbers."""

    def __float__(self) -> float:
        raise TypeError("a length is no number")


def codecs(nan: Nan = Nan.NULL) -> list[Codec]:
    fast = fast_json(nan)
    assert fast is not None, "orjson is one of the tests' requirements"
    return [standard_json(nan), fast]


def encoded(result: Any, nan: Nan = Nan.NULL) -> str:
    one, other = (codec.encode(result).decode() for codec in codecs(nan))
    assert one == other
    return one


def refused(result: Any, nan: Nan = Nan.NULL) -> str:
    said = []
    for codec in codecs(nan):
        with pytest.raises(PayloadError) as caught:
            codec.encode(result)
        said.append(str(caught.value).removeprefix("the result can't be encoded: "))
    assert said[0] == said[1]
    return said[0]


UTC = datetime.UTC
TABLE = pd.DataFrame({"device": ["a", "b"], "mean": [1.5, None], "n": [1, 2]})


@pytest.mark.parametrize(
    ("result", "json"),
    [
        (np.int64(1), "1"),
        (np.uint8(255), "255"),
        (np.float64(1.5), "1.5"),
        (np.float32(0.5), "0.5"),
        (np.float16(0.5), "0.5"),
        (np.longdouble("1.25"), "1.25"),
        (np.bool_(True), "true"),
        (np.str_("text"), '"text"'),
        (np.array(5), "5"),
        (np.array([[1, 2], [3, 4]]), "[[1,2],[3,4]]"),
        (np.array([True, False]), "[true,false]"),
        (np.array(["a", "b"]), '["a","b"]'),
        (np.array([]), "[]"),
        (np.array([1, "a", None, np.int64(3)], dtype=object), '[1,"a",null,3]'),
        (np.arange(6).reshape(2, 3).T, "[[0,3],[1,4],[2,5]]"),
        (np.ma.array([1, 2], mask=[False, True]), "[1,null]"),
        (np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]), '[{"a":1,"b":2.5}]'),
        (np.datetime64("2026-01-01T12:00:00"), '"2026-01-01T12:00:00"'),
        (np.datetime64("2026-01-01"), '"2026-01-01"'),
        (np.array(["2026-01-01", "NaT"], dtype="M8[s]"), '["2026-01-01T00:00:00",null]'),
        (np.timedelta64(1500, "ms"), "1.5"),
        ({np.int64(1): {"of": np.array([1.5])}}, '{"1":{"of":[1.5]}}'),
        ([np.array([1]), {"a": np.int32(2)}], '[[1],{"a":2}]'),
        (TABLE, '[{"device":"a","mean":1.5,"n":1},{"device":"b","mean":null,"n":2}]'),
        (TABLE["n"], "[1,2]"),
        (TABLE["n"][1:], "[2]"),
        (TABLE.mean(numeric_only=True), '{"mean":1.5,"n":1.5}'),
        (TABLE.iloc[0], '{"device":"a","mean":1.5,"n":1}'),
        (TABLE.index, "[0,1]"),
        (pd.Series(pd.to_datetime(["2026-01-01"])), '["2026-01-01T00:00:00"]'),
        (pd.Categorical(["a", "b"]), '["a","b"]'),
        (
            {"t": pd.Timestamp("2026-01-01T12:00:00.5+01:00")},
            '{"t":"2026-01-01T12:00:00.500000+01:00"}',
        ),
        ({"t": pd.Timedelta(minutes=1)}, '{"t":60.0}'),
        ([pd.NA, pd.NaT], "[null,null]"),
        (pd.Series([1, None], dtype="Int64"), "[1,null]"),
        (pd.Period("2026-01"), '"2026-01"'),
        (datetime.datetime(2026, 1, 1, 12, tzinfo=UTC), '"2026-01-01T12:00:00+00:00"'),
        (datetime.datetime(2026, 1, 1, 12, 0, 0, 5), '"2026-01-01T12:00:00.000005"'),
        (datetime.date(2026, 1, 1), '"2026-01-01"'),
        (datetime.time(1, 2), '"01:02:00"'),
        (datetime.timedelta(seconds=90), "90.0"),
        ({datetime.date(2026, 1, 1): 1}, '{"2026-01-01":1}'),
        (decimal.Decimal("0.1"), "0.1"),
        (decimal.Decimal("7"), "7"),
        (decimal.Decimal("1E+3"), "1000"),
        (uuid.UUID(int=5), '"00000000-0000-0000-0000-000000000005"'),
        ({uuid.UUID(int=5): 1}, '{"00000000-0000-0000-0000-000000000005":1}'),
        (pathlib.Path("/a/b"), '"/a/b"'),
        ({3, 1, 2}, "[1,2,3]"),
        (frozenset(["b", "a"]), '["a","b"]'),
        (Colour.RED, '"red"'),
        ({Colour.RED: [Colour.RED]}, '{"red":["red"]}'),
        (Point(1, Point(2, {3})), '{"x":1,"y":{"x":2,"y":[3]}}'),
        (Pair(1, Point(2)), '[1,{"x":2,"y":null}]'),
        (collections.deque([1, 2]), "[1,2]"),
        (collections.OrderedDict(a=1), '{"a":1}'),
        (collections.Counter("aab"), '{"a":2,"b":1}'),
        (collections.UserDict(a={1}), '{"a":[1]}'),
        (types.MappingProxyType({"a": 1}), '{"a":1}'),
        (range(3), "[0,1,2]"),
        ({"a": 1}.keys(), '["a"]'),
        ({"a": 1}.values(), "[1]"),
        ({"a": 1}.items(), '[["a",1]]'),
        ({None: 1, True: 2, 1.5: 3}, '{"null":1,"true":2,"1.5":3}'),
        (10**30, str(10**30)),
        (
            [math.nan, math.inf, -math.inf, decimal.Decimal("NaN"), np.nan],
            "[null,null,null,null,null]",
        ),
        ({"a": np.array([1.0, np.nan])}, '{"a":[1.0,null]}'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_as_scientists_expect_it(result: Any, json: str) -> None:
    assert encoded(result) == json


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ({"i": {"j": [1, 2j]}}, 'result["i"]["j"][1]: complex: return its parts'),
        (np.array([1 + 2j]), "result[0]: numpy.complex128: return its parts"),
        (b"bytes", "result: bytes: decode it to text, or set `codec: raw`"),
        ([np.bytes_(b"x")], "result[0]: numpy.bytes_: decode it"),
        ({"f": len}, 'result["f"]: builtin_function_or_method: call it'),
        ((n for n in [1]), "result: generator: return list(…) of it"),
        (map(abs, [1]), "result: map: return list(…) of it"),
        ([object()], "result[0]: object: return numbers, text, lists"),
        ({(1, 2): 3}, "result: a key of type tuple: use text for keys"),
        ({"a": {b"k": 1}}, 'result["a"]: a key of type bytes: use text for keys'),
        ({"a": {math.nan: 1}}, 'result["a"]: a key is nan: use text for keys'),
        ({"a": "\ud800"}, "result[\"a\"]: '\\ud800': half a character"),
        (Point(1, 2j), 'result["y"]: complex'),
        (TABLE.assign(n=[1, 2j]), 'result[0]["n"]: complex'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_json_is_named_by_its_place(result: Any, says: str) -> None:
    assert refused(result).startswith(says)


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ({"n": [10**5000]}, 'result["n"][0]: int of more than 4300 digits: return a float'),
        ([fractions.Fraction(1, 3)], "result[0]: fractions.Fraction: return float(…) of it"),
        ([np.timedelta64(3, "Y")], "result[0]: numpy.timedelta64 of months or years: return their"),
        (
            {"t": pd.DataFrame([[1, 2]], columns=["a", "a"])},
            'result["t"]: pandas.',
        ),
    ],
    ids=["huge", "fraction", "years", "columns"],
)
def test_what_would_be_cut_or_lost_is_refused(result: Any, says: str) -> None:
    assert refused(result).startswith(says)


@pytest.mark.parametrize(
    ("result", "keys"),
    [
        ({1: "a", "1": "b"}, '1 and "1"'),
        ({"a": [{"true": 1, True: 2}]}, '"true" and True'),
        ({1.5: 1, "1.5": 2}, '1.5 and "1.5"'),
        ({None: 1, "null": 2}, 'None and "null"'),
        ({datetime.date(2026, 1, 1): 1, "2026-01-01": 2}, '2026-01-01 and "2026-01-01"'),
        (pd.DataFrame([[1, 2]], columns=[0, "0"]), '0 and "0"'),
    ],
    ids=["int", "bool", "float", "none", "date", "columns"],
)
def test_two_keys_that_json_writes_alike(result: Any, keys: str) -> None:
    """Whoever reads an object with a key twice gets the last one alone, or an error."""
    assert f": the keys {keys} are the same in JSON" in refused(result)


def test_texts_that_look_like_other_keys_are_none() -> None:
    assert encoded({"1": 1, "true": {"1": 2}, "a": '"1":"1":', 2: 3}) == (
        '{"1":1,"true":{"1":2},"a":"\\"1\\":\\"1\\":","2":3}'
    )


@pytest.mark.parametrize(
    ("result", "json"),
    [
        (Frame({"a": [1]}), '[{"a":1}]'),
        (np.array([1.5]).view(Length), "[1.5]"),
        (np.array(["2026-01-01"], "M8[ns]").view(Length), '["2026-01-01T00:00:00.000000000"]'),
        (Listed([1, 2]), "[1,2]"),
        (collections.UserString("text"), '"text"'),
    ],
    ids=["frame", "array", "times", "list", "text"],
)
def test_a_class_is_what_it_is_made_from(result: Any, json: str) -> None:
    assert encoded(result) == json


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ([Half()], "result[0]: test_plain.Half: reading it raised AttributeError: 'Half' object"),
        ({"a": {10**5000: 1}}, 'result["a"]: int of more than 4300 digits'),
        ({"e": Enum}, 'result["e"]: enum.EnumType: call it'),
    ],
    ids=["unset", "key", "class"],
)
def test_what_fails_by_itself_is_named_by_its_place(result: Any, says: str) -> None:
    assert says in refused(result).replace("model.test_plain.", "test_plain.")


def test_an_asynchronous_generator_is_to_be_gone_through() -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1

    assert "async_generator: return [one async for one in …] of it" in refused([numbers()])


def test_of_two_columns_of_one_name_none_is_lost_silently() -> None:
    table = pd.DataFrame([[1, 2]], columns=["a", "a"])
    assert refused(table).endswith("two columns of one name: give each its own")


def test_what_is_not_there_is_null_whatever_its_kind() -> None:
    missing = [decimal.Decimal("sNaN"), np.timedelta64("NaT", "Y"), pd.Period("NaT")]
    assert encoded(missing) == "[null,null,null]"


def test_what_contains_itself() -> None:
    value: list[Any] = [1]
    value.append({"again": value})
    assert refused(value) == 'result[1]["again"]: it contains itself'


def test_the_same_twice_is_not_within_itself() -> None:
    one = np.array([1])
    assert encoded({"a": one, "b": [one, one]}) == '{"a":[1],"b":[[1],[1]]}'


NUMBERS = {"a": [1.5, math.nan], "b": -math.inf}


def test_nan_kept() -> None:
    assert encoded(NUMBERS, Nan.KEEP) == '{"a":[1.5,NaN],"b":-Infinity}'
    assert encoded({1j.real: np.array([np.nan])}, Nan.KEEP) == '{"0.0":[NaN]}'


def test_nan_as_an_error() -> None:
    assert refused(NUMBERS, Nan.ERROR) == (
        'result["a"][1]: nan: return None where there is no number, or set `nan: null`'
    )
    assert refused([np.float32("inf")], Nan.ERROR).startswith("result[0]: inf: ")
    assert refused(pd.NaT, Nan.ERROR).startswith("result: nan: ")
    assert encoded([None, "nan", 1.5], Nan.ERROR) == '[null,"nan",1.5]'


@pytest.mark.parametrize(
    ("payload", "kept"),
    [
        (b"NaN", math.nan),
        (b'{"t":nan}', {"t": math.nan}),
        (b'{"a": Infinity, "b":[-Infinity,1]}', {"a": math.inf, "b": [-math.inf, 1]}),
        (
            b"[inf, -inf, INF, +inf, -nan, nan]",
            [math.inf, -math.inf, math.inf, math.inf] + [math.nan] * 2,
        ),
        (b'{"a \\" nan": "nan, inf", "b":nan}\0', {'a " nan': "nan, inf", "b": math.nan}),
        (b'{"t":-nan(ind), "u":nan(0x8000000000000)}', {"t": math.nan, "u": math.nan}),
        (b"[nan(snan), -NAN(IND), nan()]", [math.nan] * 3),
        (b"[1.#QNAN, 1.#SNAN, -1.#IND, 1.#IND00]", [math.nan] * 4),
        (b"[1.#INF,-1.#INF00]", [math.inf, -math.inf]),
        (b'["1.#INF", nan(ind)]', ["1.#INF", math.nan]),
        (b"[1e999, -1e400, 1e308, 1.5]", [math.inf, -math.inf, 1e308, 1.5]),  # no float is as large
    ],
)
def test_nan_as_firmware_sends_it(payload: bytes, kept: Any) -> None:
    """Tasmota writes `nan` for a sensor that was unplugged."""
    said = json.dumps(kept)
    for codec in codecs(Nan.KEEP):
        assert json.dumps(codec.decode(payload)) == said
    for word in ("-Infinity", "Infinity", "NaN"):
        said = said.replace(word, "null")
    for codec in codecs(Nan.NULL):
        assert json.dumps(codec.decode(payload)) == said
    for codec in codecs(Nan.ERROR):
        with pytest.raises(PayloadError, match="is no number; `nan: null` or `nan: keep`"):
            codec.decode(payload)
