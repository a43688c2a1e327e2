"""What a model can know beside the payload."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyboot_svc.model.state import CallState, ModelState


@dataclass(slots=True)
class Context:
    """Given to a model with a second parameter.

    `topic` is the topic of the message at hand (empty while the model is loaded), `topics` those
    of a batch, in its order (with `batch:`), `options` the
    edge's `options:`, `state` a durable mapping that the model may keep things in: it is shared by
    the instance's model threads, and what a call changes is committed with the message at hand, or
    undone when it raises. Keep in it what a result can be. With several threads, guard what reads
    and then assigns, as a counter does.
    """

    instance: str
    state_dir: Path
    logger: logging.Logger
    options: Mapping[str, Any] = field(default_factory=dict)
    state: CallState | ModelState = field(default_factory=lambda: CallState(ModelState({})))
    topic: str = ""
    topics: tuple[str, ...] = ()
