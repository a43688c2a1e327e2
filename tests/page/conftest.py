from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.app import Running, Up
from support.chromium import Chromium
from support.fixtures import broker, plant, topic, track, up, write_config
from support.simulated import Simulated

__all__ = ["broker", "plant", "topic", "track", "up", "write_config"]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    """Wide; what it complains of fails the test, unless that has taken it away."""
    running = Chromium(tmp_path)
    running.size(1280, 900)
    try:
        yield running
        assert running.complaints == []
    finally:
        running.close()


@pytest.fixture
def simulated(
    tmp_path: Path, track: Callable[[Running], Running]
) -> Iterator[Callable[..., tuple[Up, Simulated]]]:
    """Starts a master, and so many instances of each of `models` that tell what they are told."""
    made: list[Simulated] = []

    def start(models: int, instances: int) -> tuple[Up, Simulated]:
        config = tmp_path / "config.yaml"
        names = [f"model_{number:02}" for number in range(1, models + 1)]
        edges = "".join(
            f"  - {{name: {name}, instance: {instances}, edge_mode: my.model, "
            f"pre_topic: in/{name}, post_topic: out/{name}}}\n"
            for name in names
        )
        config.write_text(f"defaults: {{pre_broker: a, post_broker: b}}\nedge:\n{edges}")
        more = ("--run-dir", str(tmp_path / "run"))
        master = Up(tmp_path, config, *more, command="master", ready=False)
        track(master)
        all_of_them = [f"{name}-{n}" for name in names for n in range(1, instances + 1)]
        made.append(Simulated(tmp_path / "run" / "metrics.sock", all_of_them))
        return master, made[-1]

    yield start
    for one in made:
        one.close()
