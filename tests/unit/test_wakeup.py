"""A thread that waits for descriptors is woken from any other."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest

from pyboot_svc.wakeup import Wakeup


@pytest.fixture
def wakeup() -> Iterator[Wakeup]:
    wakeup = Wakeup()
    yield wakeup
    wakeup.close()


def readable(wakeup: Wakeup) -> bool:
    return bool(select.select([wakeup], [], [], 0)[0])


def test_it_is_readable_from_the_call_until_the_answer(wakeup: Wakeup) -> None:
    assert not readable(wakeup)
    wakeup.call()
    wakeup.call()
    assert readable(wakeup)
    wakeup.answer()
    assert not readable(wakeup)


def test_a_call_after_the_answer_wakes_again(wakeup: Wakeup) -> None:
    wakeup.call()
    wakeup.answer()
    wakeup.call()
    assert readable(wakeup)


def test_an_answer_without_a_call_is_none(wakeup: Wakeup) -> None:
    wakeup.answer()
    wakeup.call()
    assert readable(wakeup)


def test_a_call_after_the_end_is_no_error(wakeup: Wakeup) -> None:
    wakeup.close()
    wakeup.call()
