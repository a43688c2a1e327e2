"""Devices that stop speaking, and speak again."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from support.clock import Clock

from pyboot_svc.model.context import MOST_RESULTS
from pyboot_svc.models import silence
from pyboot_svc.models.silence import silence_alarm


class Context:
    """What a worker gives; `published` is what came of it since it was asked last."""

    def __init__(self, state: dict[str, Any] | None = None, **options: Any) -> None:
        self.options = options
        self.logger = logging.getLogger("model.test")
        self.state = {} if state is None else state
        self.topic = "plant/pump-7"
        self._published: list[Any] = []
        # Devices whose results can't be published.
        self.wrong: list[str] = []

    def publish(self, payload: Any) -> None:
        if payload["device"] in self.wrong:
            raise ValueError(f"not {payload['device']!r}")
        self._published.append(payload)

    @property
    def published(self) -> list[tuple[str, str]]:
        found, self._published = self._published, []
        return [(one["device"], one["state"]) for one in found]

    @property
    def last(self) -> dict[str, Any]:
        last: dict[str, Any] = self._published.pop()
        return last


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(silence, "time", made)
    return made


def test_silence_and_its_end(clock: Clock) -> None:
    context = Context(after=60)
    model = silence_alarm(context)  # type: ignore[arg-type]
    model({"device": "a"}, context)  # type: ignore[arg-type]
    clock.now += 30
    model({"sensor": "b"}, context)  # type: ignore[arg-type]
    model.tick(context)  # type: ignore[arg-type]
    assert context.published == []
    clock.now += 30
    model.tick(context)  # type: ignore[arg-type]
    told = context.last
    assert (told["device"], told["state"], told["previous"]) == ("a", "silent", "speaking")
    assert told["silent_s"] == 60.0
    assert told["last"].endswith("+00:00")
    model.tick(context)  # type: ignore[arg-type]
    assert context.published == []
    clock.now += 40
    model.tick(context)  # type: ignore[arg-type]
    assert context.published == [("b", "silent")]
    model([{"device": "a"}, {"device": "a"}], context)  # type: ignore[arg-type]
    told = context.last
    assert (told["state"], told["previous"], told["silent_s"]) == ("speaking", "silent", 100.0)


def test_one_that_can_not_be_published_keeps_no_others_back(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    context = Context(after=60)
    context.wrong = ["a/1"]
    model = silence_alarm(context)  # type: ignore[arg-type]
    for device in ("a/1", "b"):
        model({"device": device}, context)  # type: ignore[arg-type]
    clock.now += 60
    for _ in range(2):
        model.tick(context)  # type: ignore[arg-type]
    assert context.published == [("b", "silent")]
    assert caplog.text.count("'a/1': a result is left out: not 'a/1'") == 1


def test_more_are_silent_at_once_than_a_call_may_publish(clock: Clock) -> None:
    context = Context(after=60, max_devices=2 * MOST_RESULTS)
    model = silence_alarm(context)  # type: ignore[arg-type]
    devices = [{"device": f"d{number}"} for number in range(MOST_RESULTS + 5)]
    model(devices, context)  # type: ignore[arg-type]
    clock.now += 60
    for count in (MOST_RESULTS, 5, 0):
        model.tick(context)  # type: ignore[arg-type]
        assert len(context.published) == count


@pytest.mark.parametrize("payload", [21.5, "text", {"temperature": 21.5}, None, b"raw"])
def test_the_topic_is_the_device_of_what_does_not_say_it(clock: Clock, payload: Any) -> None:
    context = Context(after=60)
    silence_alarm(context)(payload, context)  # type: ignore[arg-type]
    assert context.state == {"plant/pump-7": "speaking"}


def test_after_a_restart_each_has_its_time_to_speak(clock: Clock) -> None:
    context = Context({"a": "speaking", "b": "silent"}, after=60)
    model = silence_alarm(context)  # type: ignore[arg-type]
    clock.now += 59
    model.tick(context)  # type: ignore[arg-type]
    assert context.published == []
    clock.now += 1
    model.tick(context)  # type: ignore[arg-type]
    told = context.last
    assert (told["device"], told["state"], told["last"]) == ("a", "silent", None)
    model({"device": "b"}, context)  # type: ignore[arg-type]
    assert context.published == [("b", "speaking")]


def test_the_one_not_heard_for_longest_is_forgotten(clock: Clock) -> None:
    context = Context(after=60, max_devices=2)
    model = silence_alarm(context)  # type: ignore[arg-type]
    for device in "abac":
        model({"device": device}, context)  # type: ignore[arg-type]
    assert sorted(context.state) == ["a", "c"]
    clock.now += 100
    model.tick(context)  # type: ignore[arg-type]
    assert sorted(context.published) == [("a", "silent"), ("c", "silent")]


@pytest.mark.parametrize("options", [{"after": 0}, {"after": "1m"}, {"aftr": 5}])
def test_options_that_are_wrong(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="options: "):
        silence_alarm(Context(**options))  # type: ignore[arg-type]
