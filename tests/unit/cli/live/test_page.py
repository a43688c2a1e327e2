"""What `pyboot top` shows, for screens of any size."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pyboot_svc.cli.live.history import History, sparkline
from pyboot_svc.cli.live.page import Size, make_page
from pyboot_svc.cli.live.poller import Reading
from pyboot_svc.cli.live.view import DOWN, END, ENTER, ESCAPE, PAGE_DOWN, UP, Page, View


def instance(name: str, rate: float | None = 1.0, **more: Any) -> dict[str, Any]:
    rates = {"in": rate, "out": rate} if rate is not None else {}
    return {"instance": name, "state": "ready", "error": None, "rates": rates, **more}


def shown(view: View, rows: list[dict[str, Any]], size: Size, trouble: str = "") -> list[str]:
    history = History()
    history.note(rows)
    page = make_page(view, Reading(rows, 0, time.time(), trouble), history, size)
    return ["".join(span.text for span in line) for line in page]


@pytest.mark.parametrize(
    ("values", "unicode", "line"),
    [
        ([], True, "    "),
        ([0, 0], True, "  ▁▁"),
        ([1, 2, 4, 8], True, "▂▃▅█"),
        ([9, 9, 0, None, 1, 8], True, "▁ ▂█"),
        ([1, 8], False, "  .#"),
    ],
    ids=["none", "zeros", "rising", "a gap", "ASCII"],
)
def test_sparklines(values: list[float | None], unicode: bool, line: str) -> None:
    assert sparkline(values, 4, unicode=unicode) == line


def test_history_is_bounded_and_forgets_what_is_gone() -> None:
    history = History()
    for number in range(1000):
        history.note([instance("a-1", number), instance("b-1", None)])
    assert len(history.of("a-1", "in/s")) == 240
    assert history.of("a-1", "in/s")[-1] == 999
    assert set(history.of("b-1", "in/s")) == {None}
    history.note([instance("b-1")])
    assert history.of("a-1", "in/s") == ()


@pytest.mark.parametrize("page", Page, ids=str)
@pytest.mark.parametrize("trouble", ["", "no answer\x1b[31m\nsince"], ids=["well", "trouble"])
@pytest.mark.parametrize(
    "size", [Size(80, 24), Size(300, 100), Size(20, 5), Size(1, 1)], ids=lambda s: f"{s.width}"
)
def test_no_line_is_wider_than_the_screen(size: Size, trouble: str, page: Page) -> None:
    view = View()
    view.page = page
    rows = [instance(f"m-{n}", state="waiting", reasons=["日本" * 400]) for n in range(1, 200)]
    lines = shown(view, rows, size, trouble)
    assert len(lines) == size.height
    wide = [len(line) + line.count("日") + line.count("本") for line in lines]
    assert max(wide) <= size.width
    assert not any("\x1b" in line for line in lines)


def test_without_unicode_there_is_ascii_alone() -> None:
    rows = [instance("a-1", state="waiting", reasons=["größer", "日本"])]
    for page in Page:
        view = View()
        view.page = page
        assert all(line.isascii() for line in shown(view, rows, Size(80, 24, unicode=False)))


def test_the_chosen_one_stays_on_the_screen() -> None:
    rows = [instance(f"m-{number}") for number in range(1, 501)]
    view, size = View(), Size(80, 24)
    for key, name in ((END, "m-500"), (UP, "m-499"), (PAGE_DOWN, "m-500"), (DOWN, "m-500")):
        view.press(key, [one["instance"] for one in view.shown(rows)])
        assert view.chosen == name
        assert any(line.startswith(f"{name} ") for line in shown(view, rows, size))
    view.press("home", [one["instance"] for one in view.shown(rows)])
    assert any(line.startswith("m-1 ") for line in shown(view, rows, size))


def names(view: View, rows: list[dict[str, Any]]) -> list[str]:
    return [one["instance"] for one in view.shown(rows)]


def test_sorting_has_the_highest_first_and_numbers_in_their_order() -> None:
    rows = [instance("m-10", 5), instance("m-9", 7), instance("a-1", None)]
    view = View()
    assert names(view, rows) == ["a-1", "m-9", "m-10"]
    view.press("i", [])
    assert names(view, rows) == ["m-9", "m-10", "a-1"]
    view.press("r", [])
    assert names(view, rows) == ["a-1", "m-10", "m-9"]
    view.press("t", [])
    assert names(view, rows) == ["a-1", "m-9", "m-10"]


def test_the_choice_goes_with_the_name() -> None:
    rows = [instance("a-1", 1), instance("b-1", 2)]
    view = View()
    names(view, rows)
    view.press("i", [])
    assert (names(view, rows), view.chosen) == (["b-1", "a-1"], "a-1")
    assert (names(view, rows[1:]), view.chosen) == (["b-1"], "b-1")
    assert (names(view, []), view.chosen) == ([], "")


def test_typing_a_filter() -> None:
    view = View()
    for key in "/q?\n":
        view.press(key, [])
    assert (view.filter, view.typing, view.quit, view.page) == ("q?", False, False, Page.TABLE)
    view.press(ESCAPE, [])
    assert view.filter == ""
    for key in "/" + "x" * 500:
        view.press(key, [])
    assert len(view.filter) < 100
    view.press(ENTER, [])
    view.press("q", [])
    assert view.quit


def test_one_that_is_gone_is_said_to_be() -> None:
    view = View()
    view.chosen, view.page = "a-1", Page.DETAIL
    assert "a-1 is gone" in shown(view, [], Size(80, 24))[1]
