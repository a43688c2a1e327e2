"""What fails without an error is spoken of, once, and until it is over."""

from __future__ import annotations

import pytest

from pyboot_svc.metrics.snapshot import Counters
from pyboot_svc.worker.silence import Silence

NONE = Counters(**dict.fromkeys(Counters._fields, 0))
NO_MESSAGE = "no message on plant/Values yet: is it the topic that is published to, to the letter?"
NO_RESULT = "the first 100 results were None: is a `return` missing?"


@pytest.fixture
def silence() -> Silence:
    return Silence("plant/Values")


def test_no_message_for_a_minute(silence: Silence, caplog: pytest.LogCaptureFixture) -> None:
    silence.look(0.0, subscribed=False, counters=NONE)
    silence.look(100.0, subscribed=True, counters=NONE)
    silence.look(159.0, subscribed=True, counters=NONE)
    assert silence.texts == []
    for second in range(161, 170):
        silence.look(float(second), subscribed=True, counters=NONE)
    assert silence.texts == [NO_MESSAGE]
    assert caplog.messages == [NO_MESSAGE]
    silence.look(170.0, subscribed=True, counters=NONE._replace(received=1))
    assert silence.texts == []


def test_none_again_and_again(silence: Silence, caplog: pytest.LogCaptureFixture) -> None:
    for count in (1, 50, 99):
        counters = NONE._replace(received=count, processed=count, nothing_to_publish=count)
        silence.look(1.0, subscribed=True, counters=counters)
    assert silence.texts == []
    for count in (120, 200):
        counters = NONE._replace(received=count, processed=count, nothing_to_publish=count)
        silence.look(2.0, subscribed=True, counters=counters)
    assert silence.texts == caplog.messages == [NO_RESULT]
    silence.look(3.0, subscribed=True, counters=counters._replace(processed=201))
    assert silence.texts == []


def test_a_model_that_has_spoken_may_be_silent(silence: Silence) -> None:
    assert not silence.is_over
    silence.look(1.0, subscribed=True, counters=NONE._replace(received=1, processed=1))
    assert silence.is_over
    assert silence.texts == []
