"""Whatever the file holds: a Config or a ConfigError whose problems have their lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.config_contract import VALID, check

from pyboot_svc.config import Config
from pyboot_svc.config.schema import BROKER, EDGE, FILE, QUEUE, TLS, WEB

bounded = settings(deadline=None, max_examples=150)

# What means something to YAML, so that pieces of it meet more often than by chance.
tokens = st.sampled_from(
    [
        *("{", "}", "[", "]", ":", ": ", ",", "- ", "? ", "| ", "> ", "#", "'", '"', "\n", "\n  "),
        *("&a ", "*a", "<<: ", "!", "!!int ", "!!binary ", "!!set ", "!!python/name:os.system "),
        *(
            "---\n",
            "...\n",
            "%YAML 1.1\n",
            "%TAG ! x\n",
            "~",
            "=",
            ".nan",
            "0x",
            "1:2:3",
            "2024-1-1",
        ),
        *(
            "edge",
            "edge: ",
            "defaults: ",
            "brokers: ",
            "options: ",
            "name: ",
            "a",
            "\t",
            "\r",
            "\\",
        ),
        *("\ufeff", "\x00", "\x85", "\u2028", "温", "🌡", "1" * 5000, "1e999"),
    ]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 70_000)
    | st.integers()
    | st.floats()
    | st.dates()
    | st.datetimes()
    | st.binary(max_size=3)
    | st.text(max_size=5)
    | st.sampled_from(["a", "plant", "h.local", "m.f", "in/#", "+", "$share/g/t", "json", "5", ""])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(scalars.filter(lambda key: key == key), inner, max_size=3)
    ),
    max_leaves=6,
)


def sections(keys: Mapping[str, Any], **inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Any of the keys with any value, or with what it wants when that is a section."""
    known = {name: inner.get(name, values) | values for name in keys}
    return st.fixed_dictionaries({}, optional=known) | values


brokers = st.dictionaries(
    st.sampled_from(["plant", "h", "a b"]), sections(BROKER.keys, tls=sections(TLS.keys))
)
edges = sections(EDGE.keys, queue=sections(QUEUE.keys))
files = sections(
    FILE.keys,
    web=sections(WEB.keys),
    brokers=brokers,
    defaults=edges,
    edge=st.lists(edges, max_size=3),
)


def test_the_valid_file_is_valid() -> None:
    assert isinstance(check(VALID.encode()), Config)


@bounded
@given(st.binary(max_size=200))
@example(b"\xff\xfea\x00")
@example(b"\xef\xbb\xbf")
def test_arbitrary_bytes(data: bytes) -> None:
    check(data)


@bounded
@given(st.text(max_size=200))
@example("\x00")
@example("a: \ufffe")
def test_arbitrary_text(text: str) -> None:
    check(text.encode("utf-8", "surrogatepass"))


@settings(bounded, max_examples=300)
@given(st.lists(tokens, max_size=25))
def test_text_of_yaml_pieces(pieces: list[str]) -> None:
    check("".join(pieces).encode())


@settings(bounded, max_examples=300)
@given(st.data())
def test_valid_file_with_changes(data: st.DataObject) -> None:
    text = VALID
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.sampled_from([0, 0, 1, 2, 10, 50]))
        text = text[:start] + data.draw(tokens | st.text(max_size=3)) + text[end:]
    check(text.encode("utf-8", "surrogatepass"))


@bounded
@given(st.permutations(VALID.splitlines()), st.integers(1, len(VALID.splitlines())))
def test_valid_file_with_lines_elsewhere_or_lost(lines: list[str], most: int) -> None:
    check("\n".join(lines[:most]).encode())


@settings(bounded, max_examples=200)
@given(files)
def test_any_value_at_any_key(document: Any) -> None:
    text = yaml.safe_dump(document, allow_unicode=True)
    check(text.encode("utf-8", "surrogatepass"))
