"""Text that comes from elsewhere (topics, models' errors, brokers' reasons), made fit for people.

A publisher or a model decides what stands in it: line breaks would forge log lines, and control
characters steer the terminal that shows them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from unicodedata import category

# Control and format characters (also those that turn the direction of text), surrogates, what
# Unicode hasn't assigned, and its own separators of lines and paragraphs.
_HARMFUL = frozenset(("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"))
_ELLIPSIS = "…"
# PATH_MAX, with each byte escaped.
_LONGEST_PATH = 4 * 4096


def printable(text: str, most: int = 200, *, lines: bool = False) -> str:
    """`text` with what is harmful escaped, as in `\\x1b`, at most `most` characters long.

    With `lines` its line breaks stay: for a traceback, which is shown as a block of its own.
    """
    cut = text if len(text) <= most else text[: most - 1] + _ELLIPSIS
    if cut.isascii() and cut.isprintable():
        return cut
    kept = "".join(
        c if category(c) not in _HARMFUL or (lines and c in "\n\t") else _escape(c) for c in cut
    )
    return kept if len(kept) <= most else kept[: most - 1] + _ELLIPSIS


def path_text(path: Path | str) -> str:
    """The name of a file, whole and in one line: who made it may have put anything into it."""
    return printable(str(path), _LONGEST_PATH)


def closest(word: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Which of `known` somebody may have meant by `word`, in capitals or not; None if nothing is as
    much alike."""
    from difflib import get_close_matches  # errors alone need it

    originals = {one.lower(): one for one in known}
    found = get_close_matches(word.lower(), originals, n=1, cutoff=likeness)
    return originals[found[0]] if found else None


def counted(number: int, thing: str) -> str:
    """`1 byte`, `2 bytes`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def ago(seconds: float) -> str:
    """How long ago something was: `12 s ago`, `3 min ago`, `2 h ago`, `5 days ago`."""
    for most, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < most:
            return f"{max(seconds, 0) / unit:.0f} {name} ago"
    return f"{seconds / 86_400:.0f} days ago"


def block(text: str, most: int = 64_000) -> str:
    """`text` with all but its first line indented, as of a traceback: none passes for ours."""
    return printable(text, most, lines=True).replace("\n", "\n    ")


def clip_utf8(text: str, most: int) -> str:
    """As much of the beginning of `text` as fits into `most` bytes of UTF-8, by whole characters.

    Surrogates, which UTF-8 can't encode, are escaped first.
    """
    encoded = text.encode(errors="backslashreplace")
    if len(encoded) <= most:
        return encoded.decode()
    return encoded[:most].decode(errors="ignore")


def property_text(text: str, most: int) -> str:
    """`text` for a user property of MQTT 5, which must not contain control characters (section
    1.5.4): those escaped, and at most `most` bytes of it when it is encoded."""
    return clip_utf8(printable(text, most), most)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
