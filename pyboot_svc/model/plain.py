"""What JSON can say of the values that scientists return.

No module is imported for it: a value of one can only be there if the model has imported it.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import os
import re
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence, Set, ValuesView
from enum import Enum, StrEnum
from typing import Any

# Of numpy's dtypes: those whose `tolist` gives numbers, truth values and text; not long doubles,
# which it leaves as they are.
_SIMPLE = frozenset("?bhilqpBHILQPefdU")
# What Python writes of an integer, at most.
_MOST_DIGITS = sys.int_info.default_max_str_digits
# A key as json writes one that is no text.
_NO_TEXT = re.compile(r'"(?:-?[0-9][0-9.e+-]*|true|false|null|NaN|-?Infinity)":')
# What json knows, and so what is made from it.
_BASIC = (str, int, float, dict, list, tuple)
_ADVICE = "return numbers, text, lists and dicts of them"


class Nan(StrEnum):
    """What becomes of NaN and the infinities, which JSON doesn't have."""

    NULL = "null"
    ERROR = "error"
    KEEP = "keep"


class NotPlain(Exception):
    """There is no JSON for a value; says where it is, what it is, and what to return instead."""


def simpler(value: Any) -> Any:
    """`value` by one step nearer to what JSON can say; raises TypeError where there is none.

    Times become ISO 8601, durations seconds, tables lists of objects, and what is missing NaN.
    """
    kind = type(value)
    dtype = getattr(value, "dtype", None)
    if dtype is not None and kind.__module__ == "numpy" and dtype.char in _SIMPLE:
        return value.tolist()
    library = _library(kind)
    if dtype is not None and library == "numpy":
        return _of_numpy(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, _classes("datetime", "date", "time")):  # pandas' are among them
        return value.isoformat() if value == value else math.nan  # NaT differs from itself
    if isinstance(value, _classes("datetime", "timedelta")):
        return value.total_seconds()
    if isinstance(value, _classes("decimal", "Decimal")):
        return _of_decimal(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, _classes("uuid", "UUID")):
        return str(value)
    if isinstance(value, _classes("collections", "UserString")):
        return str(value)
    # One that is a dict or a list as well is what json takes it for.
    if dataclasses.is_dataclass(value) and not isinstance(value, (type, *_BASIC)):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value.items())
    if isinstance(value, Set):
        return _in_order(value)
    if isinstance(value, ValuesView):
        return list(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        return list(value)
    found = _of_a_library(value, library)
    if found is value:
        raise TypeError(f"{type_name(value)}: {_advice(value)}")
    return found


def plain(value: Any, nan: Nan, place: str = "result") -> Any:
    """`value` in dicts, lists, text, numbers, True, False and None alone.

    Raises NotPlain, with the place of what has no JSON: `result["i"][3]: complex: …`.
    """
    return _Walk(nan).plain(value, place, ())


def repeats_a_key(text: str) -> bool:
    """Whether an object in this JSON has a key twice: 1 and "1" are two keys in Python."""
    if _NO_TEXT.search(text) is None:
        return False
    repeated = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal repeated
        repeated = repeated or len({key for key, _ in pairs}) < len(pairs)

    json.loads(text, object_pairs_hook=look)
    return repeated


def type_name(value: Any) -> str:
    kind = type(value)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


class _Walk:
    def __init__(self, nan: Nan) -> None:
        self._nan = nan

    def plain(self, value: Any, place: str, around: tuple[int, ...]) -> Any:
        """`around` has the ids of what it is in."""
        if value is None or value is True or value is False:
            return value
        if isinstance(value, str):
            return _text(value, place)
        if isinstance(value, Enum):
            return self.plain(value.value, place, around)
        if isinstance(value, int):
            return _whole(int(value), place)
        if isinstance(value, float):
            return self._number(float(value), place)
        if id(value) in around:
            raise NotPlain(f"{place}: it contains itself")
        inside = (*around, id(value))
        if isinstance(value, dict):
            return self._object(value, place, inside)
        if isinstance(value, list | tuple):
            return [
                self.plain(item, f"{place}[{number}]", inside) for number, item in enumerate(value)
            ]
        return self.plain(_simpler_at(place, value), place, inside)

    def _object(self, value: dict[Any, Any], place: str, inside: tuple[int, ...]) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        named: dict[str, Any] = {}
        for key, item in value.items():
            name = self._key(key, place)
            text = _named(name)
            if text in named:  # whoever reads it would get the last one alone
                raise NotPlain(
                    f"{place}: the keys {_shown(named[text])} and {_shown(key)} are the same in "
                    "JSON, where each is a text: use text for keys"
                )
            named[text] = key
            found[name] = self.plain(item, f"{place}[{_shown(key)}]", inside)
        return found

    def _number(self, value: float, place: str) -> float | None:
        if math.isfinite(value) or self._nan is Nan.KEEP:
            return value
        if self._nan is Nan.NULL:
            return None
        raise NotPlain(
            f"{place}: {value}: return None where there is no number, or set `nan: null`"
        )

    def _key(self, key: Any, place: str) -> Any:
        while not (key is None or isinstance(key, str | int | float)):
            try:
                simple = simpler(key)
            except TypeError:
                simple = key
            if simple is key or isinstance(simple, list | dict):
                raise NotPlain(f"{place}: a key of type {type_name(key)}: use text for keys")
            key = simple
        if isinstance(key, float) and not math.isfinite(key) and self._nan is not Nan.KEEP:
            raise NotPlain(f"{place}: a key is {key}: use text for keys")
        if isinstance(key, str):
            return _text(key, place)
        key = key.value if isinstance(key, Enum) else key
        return _whole(key, place) if type(key) is int else key


def _simpler_at(place: str, value: Any) -> Any:
    try:
        return simpler(value)
    except (RecursionError, MemoryError):
        raise
    except TypeError as error:
        raise NotPlain(f"{place}: {error}") from None
    except Exception as error:  # its own methods may raise anything
        raise NotPlain(
            f"{place}: {type_name(value)}: reading it raised {type(error).__name__}: {error}"
        ) from None


def _whole(value: int, place: str) -> int:
    try:
        str(value)
    except ValueError:  # Python writes no more
        raise NotPlain(
            f"{place}: int of more than {_MOST_DIGITS} digits: return a float, or text"
        ) from None
    return value


def _named(key: Any) -> str:
    """As json writes this key."""
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, bool):
        return "null" if key is None else str(key).lower()
    return int.__repr__(key) if isinstance(key, int) else float.__repr__(key)


def _of_decimal(value: Any) -> int | float:
    if not value.is_finite():
        return math.nan if value.is_nan() else float(value)  # one that signals is no float
    # 1E+999999999 is written in a few bytes, and as an integer it takes hours.
    if value.adjusted() >= _MOST_DIGITS:
        raise TypeError(f"{type_name(value)} of more than {_MOST_DIGITS} digits: return a float")
    return int(value) if value.as_tuple().exponent >= 0 else float(value)


def _library(kind: type) -> str:
    """Whose class it is, or is made from: those of geopandas are pandas', astropy's numpy's."""
    homes = [base.__module__.partition(".")[0] for base in kind.__mro__]
    return next((home for home in homes if home in ("numpy", "pandas")), homes[0])


def _of_numpy(value: Any) -> Any:
    kind = value.dtype.kind
    if not hasattr(value, "mask") and type(value).__module__.partition(".")[0] != "numpy":
        # Of a class of another's, whose items may be of that class, too.
        numpy = sys.modules["numpy"]
        return numpy.asarray(value) if isinstance(value, numpy.ndarray) else value.item()
    if kind == "S":
        raise TypeError(f"{type_name(value)}: {_advice(b'')}")
    if hasattr(value, "mask") and value.dtype.char not in "gG":
        return value.tolist()
    if getattr(value, "ndim", 0):
        return list(value)
    value = value[()]  # of an array without a dimension, its item
    if kind == "M":
        return str(value) if value == value else math.nan
    if kind == "m":
        if value != value:
            return math.nan
        unit, _ = sys.modules["numpy"].datetime_data(value.dtype)
        if unit in ("Y", "M"):
            raise TypeError(f"{type_name(value)} of months or years: return their number")
        return float(value / sys.modules["numpy"].timedelta64(1, "s"))
    if kind == "f":  # a long double, which `item` leaves one
        return float(value)
    if kind == "V" and value.dtype.names:
        return {name: value[name] for name in value.dtype.names}
    if kind == "O":
        return value
    raise TypeError(f"{type_name(value)}: {_advice(value.item())}")


def _of_a_library(value: Any, library: str) -> Any:
    """Of pandas, polars, torch and others, by what their classes have in common."""
    if library == "pandas":
        return _of_pandas(value)
    for method in ("to_dicts", "to_list", "tolist"):
        convert = getattr(value, method, None)
        if callable(convert) and not isinstance(value, type | memoryview):
            return convert()
    return value


def _of_pandas(value: Any) -> Any:
    kind = type(value).__name__
    if hasattr(value, "columns"):
        if not value.columns.is_unique:  # only the last of them would be left
            raise TypeError(f"{type_name(value)}: two columns of one name: give each its own")
        return value.to_dict("records")
    if hasattr(value, "index") and hasattr(value, "to_dict"):
        # With labels of its own it is a record, and a column otherwise.
        labels = value.index
        named = labels.is_unique and len(labels) and all(isinstance(one, str) for one in labels)
        return value.to_dict() if named else value.tolist()
    if kind == "NAType":
        return math.nan
    if hasattr(value, "tolist"):
        return value.tolist()
    if kind in ("Period", "Interval"):
        return str(value)
    return value


def _classes(module: str, *names: str) -> Any:
    loaded = sys.modules.get(module)
    return () if loaded is None else tuple(getattr(loaded, name) for name in names)


def _in_order(values: Iterable[Any]) -> list[Any]:
    """The same each time, where that can be."""
    items = list(values)
    try:
        return sorted(items)
    except Exception:  # of kinds that can't be compared
        return items


def _text(value: str, place: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotPlain(f"{place}: {value!r}: half a character, which no text can have") from None
    return str(value)


def _shown(key: Any) -> str:
    text = str(key)
    return f'"{text}"' if isinstance(key, str) else text


def _advice(value: Any) -> str:
    if isinstance(value, type):
        return "call it, and return what it gives"
    if isinstance(value, bytes | bytearray | memoryview):
        return "decode it to text, or set `codec: raw` and return bytes alone"
    if isinstance(value, complex):
        return "return its parts, [value.real, value.imag]"
    if hasattr(value, "numerator"):
        return "return float(…) of it"
    if inspect.iscoroutine(value):
        return "await it"
    if isinstance(value, Iterator):
        return "return list(…) of it"
    if isinstance(value, AsyncIterator):
        return "return [one async for one in …] of it, from an `async def`"
    if callable(value):
        return "call it, and return what it gives"
    return _ADVICE
