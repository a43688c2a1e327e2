"""The options of bundled models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard, TypeVar

from pyboot_svc.text import closest
from pyboot_svc.topics import BadTemplate, Field

_Default = TypeVar("_Default")
_Value = TypeVar("_Value")

# Squares of such numbers, and sums of many of them, are still finite.
LARGEST = 1e100
_LONGEST_NAME = 256
NAME_WANTED = f"text of 1 to {_LONGEST_NAME} printable characters"


class Options:
    """Takes a model's options by name; `done` reports everything that is wrong with them at once.

    An option that is absent or null has its default.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self._known: list[str] = []
        self._problems: list[str] = []

    def number(
        self,
        name: str,
        default: _Default,
        wanted: str = "a number",
        fits: Callable[[float], bool] = lambda _: True,
    ) -> float | _Default:
        def check(value: Any) -> bool:
            return is_number(value) and fits(value)

        return self._take(name, default, wanted, check, float)

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        def check(value: Any) -> bool:
            return type(value) is int and least <= value <= most

        return self._take(name, default, f"a whole number from {least} to {most}", check, int)

    def choice(self, name: str, default: _Default, *words: str) -> str | _Default:
        def check(value: Any) -> bool:
            return isinstance(value, str) and value in words

        return self._take(name, default, f"one of {', '.join(words)}", check, str)

    def name(self, name: str, default: str) -> str:
        return self._take(name, default, NAME_WANTED, is_name, str)

    def text(self, name: str) -> str:
        """One that has to be there: empty where it isn't, which `done` reports."""

        def check(value: Any) -> bool:
            return isinstance(value, str) and value != ""

        self.require(self._given.get(name) is not None, f"`{name}` is missing")
        return self._take(name, "", "text", check, str)

    def words(self, name: str, default: tuple[str, ...], *allowed: str) -> tuple[str, ...]:
        """A text or a list of them; any, where none are given as allowed."""

        def check(value: Any) -> bool:
            words = _listed(value)
            return bool(words) and all(
                isinstance(word, str) and (word in allowed or not allowed) for word in words
            )

        wanted = f"one or a list of {', '.join(allowed)}" if allowed else "a list of names"
        return self._take(name, default, wanted, check, lambda value: tuple(_listed(value)))

    def paths(self, name: str) -> tuple[Field, ...]:
        def check(value: Any) -> bool:
            return bool(value) and not isinstance(value, str) and _are_paths(value)

        wanted = "a list of keys, as in a.b, or topic[1]"
        return self._take(name, (), wanted, check, lambda value: tuple(map(Field, value)))

    def named_paths(self, name: str) -> dict[str, Field | tuple[Field, ...]]:
        """By any names: a path, or a list of paths."""

        def check(value: Any) -> bool:
            return isinstance(value, Mapping) and all(map(_are_paths, value.values()))

        def convert(value: Any) -> dict[str, Field | tuple[Field, ...]]:
            return {
                str(key): Field(one) if isinstance(one, str) else tuple(map(Field, one))
                for key, one in value.items()
            }

        wanted = "a mapping of names to keys, as in a.b, or to lists of them"
        return self._take(name, {}, wanted, check, convert)

    def path(self, name: str) -> Field | None:
        return self._take(name, None, "a key, as in a.b, or topic[1]", _is_path, Field)

    def require(self, condition: bool, problem: str) -> None:
        if not condition:
            self._problems.append(problem)

    def done(self) -> None:
        """Raise ValueError if an option is unknown or has a wrong value."""
        problems = list(self._problems)
        unknown = [str(name) for name in self._given if name not in self._known]
        for name in unknown:
            close = closest(name, self._known)
            hint = f" (did you mean `{close}`?)" if close else ""
            problems.append(f"unknown option `{name}`{hint}")
        if unknown:
            problems.append(f"the options are {', '.join(sorted(self._known))}")
        if problems:
            raise ValueError(f"options: {'; '.join(problems)}")

    def _take(
        self,
        name: str,
        default: _Default,
        wanted: str,
        check: Callable[[Any], bool],
        convert: Callable[[Any], _Value],
    ) -> _Value | _Default:
        self._known.append(name)
        value = self._given.get(name)
        if value is None:
            return default
        if check(value):
            return convert(value)
        self._problems.append(f"`{name}` must be {wanted}, not {shown(value)}")
        return default


def shown(value: Any) -> str:
    """A value as it goes into a message."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value) if isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= 40 else text[:39] + "…"


def is_number(value: Any) -> TypeGuard[float]:
    # The comparison is false for NaN too, and exact for integers that no float can hold.
    return type(value) in (int, float) and -LARGEST <= value <= LARGEST


def is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable()


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)


def _are_paths(value: Any) -> bool:
    return bool(value) and all(map(_is_path, _listed(value)))


def _is_path(value: Any) -> bool:
    try:
        return isinstance(value, str) and Field(value) is not None
    except BadTemplate:
        return False
