"""Devices that somebody makes up don't push the real ones out unseen."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from pyboot_svc.model import Context
from pyboot_svc.models.alarm import threshold_alarm
from pyboot_svc.models.silence import silence_alarm


def context(tmp_path: Any, **options: Any) -> Context:
    return Context(
        instance="m-1",
        state_dir=tmp_path,
        logger=logging.getLogger("model.m-1"),
        options=options,
        topic="plant/x",
    )


@pytest.mark.parametrize(
    ("device", "taken"),
    [("pump-1", True), ("boiler-7", True), ("boiler-", True), ("pump-12", False), ("x", False)],
)
def test_only_devices_of_the_list_are_taken(device: str, taken: bool, tmp_path: Any) -> None:
    about = context(tmp_path, devices=["pump-1", "boiler-*"])
    silence = silence_alarm(about)
    alarm = threshold_alarm(context(tmp_path, devices=["pump-1", "boiler-*"], high=80))
    payload = {"device": device, "value": 90}
    if taken:
        silence(payload, about)
        assert alarm(payload)["state"] == "high"
    else:
        for model in (alarm, lambda payload: silence(payload, about)):
            with pytest.raises(ValueError, match=r"is none of those in the option `devices`"):
                model(payload)
        assert dict(about.state) == {}


def test_of_a_list_all_or_none_are_taken(tmp_path: Any) -> None:
    about = context(tmp_path, devices="a")
    model = silence_alarm(about)
    with pytest.raises(ValueError, match=r"device: 'b' is none"):
        model([{"device": "a"}, {"device": "b"}], about)
    assert dict(about.state) == {}


def test_what_is_pushed_out_is_counted_and_said_now_and_then(
    tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    about = context(tmp_path, max_devices=2)
    model = silence_alarm(about)
    for number in range(50):
        model({"device": f"made-up-{number}"}, about)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    text = record.getMessage()
    assert "forgot 'made-up-0'" in text
    assert "1 were forgotten since the start" in text
    assert len(about.state) == 2


def test_the_list_must_be_one_of_names(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="`devices` must be a list of names"):
        silence_alarm(context(tmp_path, devices=[1]))
