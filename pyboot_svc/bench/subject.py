"""What is measured: a configured model, loaded as a worker loads it, and messages for it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pyboot_svc.config import Edge, InstanceConfig
from pyboot_svc.model import Context, Model, load_model
from pyboot_svc.worker.delivery.model_state import ModelState


@dataclass(frozen=True)
class Subject:
    """A model and the `payloads` that it is measured with; `folder` is for what it keeps."""

    edge: Edge
    model: Model
    payloads: tuple[bytes, ...]
    folder: Path
    state: ModelState
    instance: str

    def make_context(self) -> Context:
        return _make_context(self.instance, self.edge, self.folder, self.state)

    @property
    def topic(self) -> str:
        """One that the input's filter matches."""
        return self.edge.pre.topic.replace("+", "x").replace("#", "x")


def load_subject(config: InstanceConfig, payloads: tuple[bytes, ...], folder: Path) -> Subject:
    """Raises ModelError when the model can't be loaded."""
    state = ModelState({})
    make = partial(Subject, config.edge, payloads=payloads, folder=folder, state=state)
    instance = str(config.identity)
    context = _make_context(instance, config.edge, folder, state)
    return make(load_model(config.edge.edge_mode, config.model_path, context), instance=instance)


def _make_context(instance: str, edge: Edge, folder: Path, state: ModelState) -> Context:
    logger = logging.getLogger(f"model.{instance}")
    return Context(instance, folder, logger, edge.options, state)
