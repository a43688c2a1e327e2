from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.fixtures import plant, topic, track, up, write_config

from brokers.makers import MAKERS, Launched, Maker, launch

__all__ = ["plant", "topic", "track", "up", "write_config"]


@pytest.fixture(scope="session", params=MAKERS, ids=lambda maker: maker.name)
def maker(request: pytest.FixtureRequest) -> Maker:
    found: Maker = request.param
    return found


@pytest.fixture(scope="session")
def broker(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """One of each maker for the whole run: tests keep apart by their topics."""
    running = launch(maker, tmp_path_factory.mktemp(maker.name) / "broker")
    yield running
    running.stop()


@pytest.fixture(params=["5", "3.1.1"])
def protocol(request: pytest.FixtureRequest, maker: Maker) -> str:
    version: str = request.param
    if version not in maker.protocols:
        pytest.skip(f"{maker.name} doesn't speak MQTT {version}")
    return version
