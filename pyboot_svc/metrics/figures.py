"""The figures of an instance, as those read them who show them: made of the snapshot's fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_args, get_type_hints

from pyboot_svc.metrics.meaning import Meaning, counter
from pyboot_svc.metrics.snapshot import Process, Traffic, name_of


@dataclass(frozen=True)
class Figure:
    """One field of an instance in `/api/instances`: `path` is where it stands there."""

    path: tuple[str, ...]
    meaning: Meaning

    @property
    def key(self) -> str:
        return self.path[-1]

    @property
    def title(self) -> str:
        return self.meaning.title

    def value(self, instance: Mapping[str, Any]) -> Any:
        """None where the instance doesn't tell it."""
        found: Any = instance
        for key in self.path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    def whole(self, instance: Mapping[str, Any]) -> Any:
        """What stands in a table's one cell."""
        found = self.value(instance)
        return sum(found.values()) if isinstance(found, Mapping) else found

    def samples(self, instance: Mapping[str, Any]) -> Iterator[tuple[list[str], float]]:
        """For Prometheus: the values of its label, if it has one, and the value."""
        found = self.value(instance)
        if found is None:
            return
        if self.meaning.label and not self.meaning.label_value:
            yield from (([name], value) for name, value in found.items())
        else:
            own = [self.meaning.label_value] if self.meaning.label else []
            yield own, found / self.meaning.divisor if self.meaning.divisor > 1 else found


def _fields_of(record: type, path: tuple[str, ...] = ()) -> Iterator[Figure]:
    types = get_type_hints(record, include_extras=True)
    for one in fields(record):
        inner = (*path, name_of(one.name))
        if is_dataclass(types[one.name]):
            yield from _fields_of(types[one.name], inner)
        else:
            [meaning] = get_args(types[one.name])[1:]
            yield Figure(inner, meaning)


# All that a worker tells, in the order of the snapshot.
FIELDS = (*_fields_of(Process), *_fields_of(Traffic))
FIGURES = tuple(one for one in FIELDS if one.meaning.kind)

# What the master itself says of an instance.
UP = Meaning("1 when the instance answers.", "gauge", "0 or 1", "pyboot_up")
INFO = Meaning(
    "What runs: `version` of pyboot, `edge_mode`, `model_version`, `code`, as labels.",
    "gauge",
    "1",
    "pyboot_instance_info",
)
READY = Meaning("1 when it can do its work.", "gauge", "0 or 1", "pyboot_ready")

RESTARTS = Figure(
    ("restarts",),
    counter(
        "Processes that took the place of the instance's former one, since the master's start: "
        "after a crash, and after a restart that was asked for. Null where nobody can know: in "
        "pods, whose restarts the cluster counts.",
        "pyboot_restarts_total",
        "processes",
        title="restarts",
    ),
)

_TITLED = {figure.title: figure for figure in (*FIGURES, RESTARTS) if figure.title}
_ORDER = (
    *("in/s", "out/s", "pre_queue", "post_queue", "p50 ms", "p99 ms"),
    *("none", "errors", "dead", "spooled", "dropped", "restarts"),
)
# What a person is shown of each instance.
COLUMNS = tuple(_TITLED[title] for title in dict.fromkeys((*_ORDER, *_TITLED)))
