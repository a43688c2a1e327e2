"""What is measured: a configured model, loaded as a worker loads it, and messages for it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pyboot_svc.config import Edge, InstanceConfig
from pyboot_svc.model import Context, Model, load_model
from pyboot_svc.model.loader import working_folder
from pyboot_svc.model.secrets import Secrets
from pyboot_svc.model.state import CallState, ModelState


@dataclass(frozen=True)
class Subject:
    """A model and the `payloads` that it is measured with; `folder` is for what it keeps.

    `context` is what it was made with: for calls in one thread.
    """

    config: InstanceConfig
    model: Model
    payloads: tuple[bytes, ...]
    folder: Path
    state: ModelState
    context: Context

    def make_context(self) -> Context:
        return _make_context(self.config, self.folder, self.state)

    @property
    def edge(self) -> Edge:
        return self.config.edge

    @property
    def topic(self) -> str:
        """One that the input's filter matches."""
        return self.edge.pre.topic.replace("+", "x").replace("#", "x")


def load_subject(
    config: InstanceConfig,
    payloads: tuple[bytes, ...],
    folder: Path,
    stored: Mapping[str, str] = MappingProxyType({}),
) -> Subject:
    """`stored` is what the state begins with. Raises ModelError when it can't be loaded."""
    state = ModelState(dict(stored))
    context = _make_context(config, folder, state)
    os.chdir(working_folder(config.edge.edge_mode, config.model_path))
    model = load_model(config.edge.edge_mode, config.model_path, context)
    assert isinstance(context.state, CallState)
    context.state.commit()
    return Subject(config, model, payloads, folder, state, context)


def _make_context(config: InstanceConfig, folder: Path, state: ModelState) -> Context:
    instance = str(config.identity)
    logger = logging.getLogger(f"model.{instance}")
    secrets = Secrets(config.edge.secrets)
    options = config.edge.options
    return Context(instance, folder, logger, options, CallState(state), secrets=secrets)
