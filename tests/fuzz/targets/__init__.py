"""Everything that is tried."""

from __future__ import annotations

from collections.abc import Mapping

from fuzz.target import Target
from fuzz.targets import codecs, configuration, http, packets, services, snapshots, sockets, storage

TARGETS: Mapping[str, Target] = {
    target.name: target
    for module in (packets, configuration, services, snapshots, sockets, http, storage, codecs)
    for target in module.TARGETS
}
