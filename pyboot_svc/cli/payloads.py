"""Messages for a model, as commands that call one take them from files."""

from __future__ import annotations

from pathlib import Path

from pyboot_svc.config import Config, Edge, InstanceConfig
from pyboot_svc.errors import UsageError
from pyboot_svc.files import read_all

# MQTT has no longer messages.
_MOST_BYTES = 256 * 1024**2


def instance_named(config: Config, name: str) -> InstanceConfig:
    """The first instance of the model; raises UsageError when there is none of that name."""
    for instance in config.instances():
        if instance.edge.name == name:
            return instance
    known = ", ".join(edge.name for edge in config.edges) or "none"
    raise UsageError(f"no model is named {name!r}; configured: {known}")


def read_payloads(file: Path, *, lines: bool) -> tuple[bytes, ...]:
    """The file as one message, or each of its lines that isn't empty; raises UsageError."""
    content = read_file(file)
    if not lines:
        return (content,)
    found = tuple(line for line in content.splitlines() if line)
    if not found:
        raise UsageError(f"{file} has no non-empty line")
    return found


def read_file(file: Path) -> bytes:
    """Raises UsageError."""
    try:
        return read_all(file, _MOST_BYTES)
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}") from error


def recording(edge: Edge) -> str:
    """How to record what the model gets."""
    broker = edge.pre.broker
    topics = " ".join(f"-t '{topic}'" for topic in edge.pre.topics)
    return (
        f"To record 100: mosquitto_sub -h {broker.host} -p {broker.port} {topics} -C 100 > messages"
    )
