"""What brokers, publishers and hosts really did to systems of this kind; one file a theme."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.app import data_plane
from support.broker import Broker
from support.fixtures import broker, plant, topic, track, up, workers, write_config
from support.workers import Workers

__all__ = ["broker", "plant", "topic", "track", "up", "workers", "write_config"]


@pytest.fixture
def run(
    tmp_path: Path, workers: Callable[..., Workers], request: pytest.FixtureRequest
) -> Callable[..., Workers]:
    """Runs the edge m with `pre_qos: 1` and the test file's MODELS.

    A second run finds what the first has left behind. `of_broker` is more of the broker's entry.
    """

    def start(
        port: int, protocol: str = "5", ready: bool = True, of_broker: str = "", **keys: object
    ) -> Workers:
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
        return workers(config, "--state-dir", str(tmp_path / "state"), ready=ready)

    return start


@pytest.fixture
def post_broker(tmp_path: Path) -> Iterator[Callable[[str], Broker]]:
    """A mosquitto for results, with more lines of configuration."""
    made: list[Broker] = []

    def start(lines: str) -> Broker:
        usual = "listener {port} 127.0.0.1\nallow_anonymous true\n"
        made.append(Broker(tmp_path / f"post-{len(made)}", usual + lines).start())
        return made[-1]

    yield start
    for one in made:
        one.stop()


@pytest.fixture
def config(
    tmp_path: Path, broker: Broker, topic: str, request: pytest.FixtureRequest
) -> Callable[..., Path]:
    """Writes a configuration of one edge, whose results go to the broker at `post_port`.

    Its models are the test file's MODELS, unless it is given others.
    """

    def write(
        post_port: int,
        protocol: str = "5",
        post_qos: int = 1,
        pre_topic: str = topic,
        more: str = "",
        models: str | None = None,
    ) -> Path:
        (tmp_path / "my_models.py").write_text(models or request.module.MODELS)
        file = tmp_path / "config.yaml"
        file.write_text(
            f"""
model_path: .
brokers:
  pre: {{host: 127.0.0.1, port: {broker.port}}}
  post: {{host: 127.0.0.1, port: {post_port}, protocol: "{protocol}"}}
edge:
  - name: m
    edge_mode: my_models.same
    data_plane: {data_plane()}
    pre_broker: pre
    pre_topic: "{pre_topic}"
    pre_qos: 1
    post_broker: post
    post_topic: {topic}/out
    post_qos: {post_qos}
    dead_letter: {{topic: {topic}/dead}}
    {more}
"""
        )
        return file

    return write
