"""A model that hangs: its messages end as dead letters, all others go on."""

from __future__ import annotations

from collections.abc import Callable

from chaos.conftest import Sizes
from chaos.rig import Rig


def test_hanging_messages_are_buried_and_the_rest_goes_on(
    make_rig: Callable[..., Rig], sizes: Sizes, note: Callable[[object], None]
) -> None:
    rig = make_rig("hanging", threads=4, model_timeout=1, options={"every": 100})
    rig.start()
    total = min(sizes.messages, 1500)
    rig.flow(total, lead=500)
    found = rig.collect(90)
    note(found)
    found.expect_all(in_order=True)
    hung = {number for number in range(total) if number % 100 == 0}
    letters = rig.letters
    assert {letter.number for letter in letters} == hung
    assert {letter.user["kind"] for letter in letters} == {"timeout"}
    assert "did not end within model_timeout, 1 s" in letters[0].user["error"]
    assert {arrival.number for arrival in rig.results} == set(range(total)) - hung


def test_endless_loop_is_buried_and_the_worker_says_that_it_stalls(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig("burning", model_timeout=1, options={"at": [7]})
    rig.start()
    rig.feed.send(50)
    found = rig.collect()
    found.expect_all()
    letters = rig.letters
    assert [(letter.number, letter.user["kind"]) for letter in letters] == [(7, "timeout")]
    rig.worker.wait_log(
        "stalled: 1 call(s) of the model exceed model_timeout and use the processor"
    )
