"""Requests as the OpenAPI document has them, and such as it forbids: each answer is as it says.

Schemathesis makes a request of an input, and looks at the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from hypothesis import given, settings

from fuzz.target import Cursor, Target
from fuzz.targets.sockets import web
from pyboot_svc.web.openapi import openapi_document
from pyboot_svc.web.static import read_static

try:
    import schemathesis

    MODES = tuple(schemathesis.GenerationMode)
except ImportError:  # where packages run the tests
    MODES = ()

Attempt = Callable[[bytes], object]


@cache
def attempts() -> Sequence[Attempt]:
    """Of each operation: what is allowed, and what isn't."""
    host, port = web()
    schema = schemathesis.openapi.from_dict(openapi_document(read_static()))
    operations: list[Any] = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]
    return [
        _attempt(operation.as_strategy(generation_mode=mode), f"http://{host}:{port}")
        for operation in operations
        for mode in (MODES if operation.path_parameters else MODES[:1])
    ]


def _attempt(cases: Any, url: str) -> Attempt:
    @settings(database=None, deadline=None)
    @given(case=cases)
    def attempt(case: Any) -> None:
        case.call_and_validate(base_url=url)

    made_of: Attempt = attempt.hypothesis.fuzz_one_input  # type: ignore[attr-defined]
    return made_of


def ask(data: bytes) -> None:
    source = Cursor(data)
    source.choice(attempts())(source.rest())


GOOD = [bytes([number]) + bytes(range(255)) for number in range(20)]
TARGETS = [Target("http", ask, GOOD, bounded=200)] if MODES else []
