"""What `pyboot up` writes: one form for all of it, and no more than was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from support.app import Up

MODEL = "print('printed at import')\ndef model(payload): return payload"
EDGE = "{name: edge, edge_mode: my_models.model, pre_topic: log/in, post_topic: log/out}"


def test_json_lines_alone(write_config: Callable[..., Path], up: Callable[..., Up]) -> None:
    started = up(write_config(EDGE, models=MODEL), "--log-format", "json")
    started.stop()
    assert json.loads(started.first_line) == {"url": started.url}
    lines = [json.loads(line) for line in started.log.splitlines()]
    messages = {(line.get("instance"), line["message"]) for line in lines}
    assert ("edge-1", "edge-1: loaded my_models.model") in messages
    assert ("edge-1", "printed at import") in messages
    assert (None, "stopping") in messages


def test_no_more_than_was_asked_for(
    write_config: Callable[..., Path], up: Callable[..., Up]
) -> None:
    started = up(write_config(EDGE, models=MODEL), "--log-level", "error")
    started.stop()
    assert started.log == "edge-1 | > printed at import\n"
