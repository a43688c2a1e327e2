"""Text from elsewhere: nothing in it forges a line or steers a terminal, and it is bounded."""

from __future__ import annotations

from pathlib import Path
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyboot_svc.text import ago, clip_utf8, closest, counted, path_text, printable, property_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plant/temperature", "plant/temperature"),
        ("größe/温度", "größe/温度"),
        ("a\n2026-01-01T00:00:00 CRITICAL x", "a\\n2026-01-01T00:00:00 CRITICAL x"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2028b", "a\\u2028b"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        ("", ""),
    ],
)
def test_what_is_harmful_is_escaped_and_the_rest_stays(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("pre_topik", ("pre_topic", "post_topic"), "pre_topic"),
        ("zzz", ("pre_topic", "post_topic"), None),
        ("PRE_TOPIC", ("pre_topic", "post_topic"), "pre_topic"),
        ("mean", ("Mean", "Sum"), "Mean"),
        ("any", (), None),
    ],
)
def test_the_closest_word_is_what_was_meant(
    word: str, known: tuple[str, ...], meant: str | None
) -> None:
    assert closest(word, known) == meant


def test_words_that_are_less_alike_than_wanted_were_not_meant() -> None:
    assert closest("help", ("health",)) == "health"
    assert closest("help", ("health",), 0.65) is None


def test_a_block_keeps_its_lines_and_nothing_else() -> None:
    assert printable("a\n\tb\x1b\r", lines=True) == "a\n\tb\\x1b\\r"


@given(st.text(), st.integers(1, 50))
def test_no_text_is_longer_than_allowed_or_harmful(text: str, most: int) -> None:
    shown = printable(text, most)
    assert len(shown) <= most
    assert len(shown.splitlines()) <= 1
    assert shown.encode().decode() == shown


@given(st.text(st.characters()), st.integers(0, 50))
def test_clipped_text_fits_and_is_the_beginning(text: str, most: int) -> None:
    clipped = clip_utf8(text, most)
    encoded = clipped.encode()
    assert len(encoded) <= most
    whole = text.encode(errors="backslashreplace")
    assert whole.startswith(encoded)
    # Not more than one character less than there would be room for.
    assert len(encoded) >= min(most - 3, len(whole))


@given(st.text(max_size=300), st.integers(1, 200))
def test_the_text_of_a_property_fits_and_has_no_control_characters(text: str, most: int) -> None:
    found = property_text(text, most)
    assert len(found.encode()) <= most
    assert not any(category(character) in ("Cc", "Cs", "Cn") for character in found)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0 s ago"),
        (12.4, "12 s ago"),
        (119, "119 s ago"),
        (180, "3 min ago"),
        (7200, "2 h ago"),
        (432_000, "5 days ago"),
    ],
)
def test_how_long_ago(seconds: float, said: str) -> None:
    assert ago(seconds) == said


def test_the_name_of_a_file_is_whole_and_in_one_line() -> None:
    assert path_text("/a/\x1b[31m\u202e\nb") == "/a/\\x1b[31m\\u202e\\nb"
    longest = Path("/" + "\x01" * 4095)
    assert path_text(longest) == "/" + "\\x01" * 4095


def test_one_thing_is_no_several() -> None:
    assert [counted(n, "byte") for n in (0, 1, 2)] == ["0 bytes", "1 byte", "2 bytes"]
