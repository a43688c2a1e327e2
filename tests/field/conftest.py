"""What brokers, publishers and hosts really did to systems of this kind; one file a theme."""

from __future__ import annotations

from support.fixtures import broker, plant, topic, track, up, write_config

__all__ = ["broker", "plant", "topic", "track", "up", "write_config"]
