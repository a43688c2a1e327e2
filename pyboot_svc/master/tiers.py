"""How far a history looks back, and how finely: the longer ago, the coarser."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tier:
    """So many values, each of so many seconds."""

    seconds: int
    values: int


# How often all instances are asked: each tier's interval is so many of these.
SAMPLE_SECONDS = 5
