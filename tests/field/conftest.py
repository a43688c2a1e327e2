"""What brokers, publishers and hosts really did to systems of this kind; one file a theme."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import Up, data_plane
from support.fixtures import broker, plant, topic, track, up, write_config

__all__ = ["broker", "plant", "topic", "track", "up", "write_config"]


@pytest.fixture
def run(tmp_path: Path, up: Callable[..., Up], request: pytest.FixtureRequest) -> Callable[..., Up]:
    """Runs the edge m with `pre_qos: 1` and the test file's MODELS.

    A second run finds what the first has left behind. `of_broker` is more of the broker's entry.
    """

    def start(
        port: int, protocol: str = "5", ready: bool = True, of_broker: str = "", **keys: object
    ) -> Up:
        (tmp_path / "my_models.py").write_text(request.module.MODELS)
        edge: dict[str, object] = {
            "name": "m",
            "edge_mode": "my_models.same",
            "data_plane": data_plane(),
            "pre_broker": "plant",
            "pre_topic": "t/in",
            "pre_qos": 1,
            "post_broker": "plant",
            "post_topic": "t/out",
            "post_qos": 1,
        }
        lines = "".join(f"  {key}: {value}\n" for key, value in (edge | keys).items())
        config = tmp_path / "config.yaml"
        config.write_text(
            f"model_path: .\nbrokers:\n"
            f'  plant: {{host: 127.0.0.1, port: {port}, protocol: "{protocol}"{of_broker}}}\n'
            f"edge:\n- {lines.lstrip()}"
        )
        return up(config, "--state-dir", str(tmp_path / "state"), ready=ready)

    return start
