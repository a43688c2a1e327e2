from __future__ import annotations

from support.fixtures import broker, plant, topic, track, up, workers, write_config

__all__ = ["broker", "plant", "topic", "track", "up", "workers", "write_config"]
