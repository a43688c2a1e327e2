"""Where YAML 1.1 makes something else of a plain scalar than the person who wrote it reads.

22:30 is 1350 (of base 60), 0123 is 83 (of base 8), `no` is false, and 2026-01-01 is no text.
"""

from __future__ import annotations

import re

_QUOTES = "put it in quotes"
_WORDS = re.compile("(?i:true|false)")
_LEADING_ZERO = re.compile("[-+]?0[0-9_]+")
_SIGNED_HEX = re.compile("[-+]0x")
# What JSON and YAML 1.2 call a number and YAML 1.1 leaves as text.
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+|[-+]\.[0-9]+")
_NUMBER_OF_1_2 = re.compile("0o[0-7]+|[-+]?0[0-9]+")


def trap(text: str, value: object) -> tuple[str, str] | None:
    """What is odd about it and what helps, when `value` is not what `text` looks like."""
    if isinstance(value, bool):
        if _WORDS.fullmatch(text):
            return None
        told = str(value).lower()
        return f"`{text}` would be read as {told}", f"{_QUOTES}, or write {told}"
    if isinstance(value, int | float):
        helps = _odd_number(text)
        return (f"`{_short(text)}` would be read as {_short(str(value))}", helps) if helps else None
    if value is None or isinstance(value, str | bytes):
        return None
    return f"`{_short(text)}` would be read as a date", _QUOTES


def free_trap(text: str, value: object) -> tuple[str, str] | None:
    """The same where a value may be of any type, and what is a number to others may be text."""
    if isinstance(value, str) and _NUMBER_OF_1_2.fullmatch(text):
        return f"`{_short(text)}` is a number to some and text to others", _QUOTES
    return trap(text, value)


def free_value(value: object) -> object:
    """A plain scalar, with 1e3 and -.5 as the numbers that they are everywhere but in YAML 1.1."""
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def _odd_number(text: str) -> str:
    """What helps against it; empty when nothing is odd."""
    if ":" in text:
        return _QUOTES
    if "_" in text:
        return f"{_QUOTES}, or write the number without underscores"
    if _LEADING_ZERO.fullmatch(text):
        return f"{_QUOTES}, or write the number without zeros in front"
    if text.lstrip("+-").startswith("0b") or _SIGNED_HEX.match(text):
        return f"{_QUOTES}, or write the number in decimal"
    return ""


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "…"
