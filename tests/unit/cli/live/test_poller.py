"""Who asks the master for `pyboot top`."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from support.poll import until

from pyboot_svc.cli.live.poller import Instances, Poller
from pyboot_svc.errors import UnavailableError


def answers() -> Iterator[Instances | Exception]:
    yield [{"instance": "a-1"}]
    yield UnavailableError("it is away")
    yield [{"instance": "b-1"}]
    yield KeyError("a bug")


def test_trouble_is_told_and_a_bug_is_handed_on() -> None:
    given = answers()
    seen: list[str] = []
    made = threading.Event()

    def ask() -> Instances:
        # The first time is within the constructor.
        seen.append(poller.reading.trouble if seen and made.wait(20) else "")
        found = next(given)
        if isinstance(found, Exception):
            raise found
        return found

    poller = Poller(ask, 0.001)
    made.set()
    assert poller.reading.instances == [{"instance": "a-1"}]
    until(lambda: poller.failure, "the bug")
    assert seen == ["", "", "it is away", ""]
    assert (poller.reading.instances, poller.reading.number) == ([{"instance": "b-1"}], 1)
