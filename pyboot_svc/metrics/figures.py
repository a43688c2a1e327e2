"""The figures of an instance, as those read them who show them: made of the snapshot's fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from pyboot_svc.metrics.meaning import OWNER, Meaning, counter, gauge, timestamp
from pyboot_svc.metrics.snapshot import Process, Traffic, is_record, name_of


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

    @property
    def spreads(self) -> bool:
        """Whether it has a series for each of its values: by kind, by state."""
        return bool(self.meaning.label) and not self.meaning.label_value

    def number(self, found: Any) -> float:
        """For Prometheus: of what `value` has found, and not None."""
        meaning = self.meaning
        if meaning.truth:
            return int(found == meaning.truth)
        if isinstance(found, list):
            return len(found)
        # Of a truth value, too.
        return found / meaning.divisor if meaning.divisor > 1 else found + 0  # type: ignore[no-any-return]


def _fields_of(record: type, path: tuple[str, ...] = ()) -> Iterator[Figure]:
    for name, kind in get_type_hints(record, include_extras=True).items():
        inner = (*path, name_of(name))
        if is_record(kind):
            yield from _fields_of(kind, inner)
        else:
            [meaning] = get_args(kind)[1:]
            if meaning.label_value == OWNER:
                meaning = meaning._replace(label_value=path[-1])
            yield Figure(inner, meaning)


# All that a worker tells, in the order of the snapshot.
FIELDS = (*_fields_of(Process), *_fields_of(Traffic))
FIGURES = tuple(one for one in FIELDS if one.meaning.kind)

# What the master itself says of an instance.
UP = Meaning("1 when the instance answers.", "gauge", "0 or 1", "pyboot_up")
INFO = Meaning(
    "What runs: `version` of pyboot, `edge_mode`, `model_version`, `code`, as labels.",
    "info",
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

# What is known of each instance, also of one that doesn't answer.
MASTERS = (
    RESTARTS,
    Figure(
        ("state",),
        gauge(
            "1 under its `state`: that which it tells, or `absent`, `stalled`, `malformed`.",
            "pyboot_state",
            "1",
        )._replace(label="state"),
    ),
    Figure(
        ("configured",),
        gauge("1 when the configuration lists it.", "pyboot_configured", "0 or 1"),
    ),
    Figure(
        ("config", "queue", "pre"),
        gauge("What `queue.pre` lets wait for the model.", "pyboot_pre_queue_limit_messages"),
    ),
    Figure(
        ("config", "queue", "post"),
        gauge("What `queue.post` lets wait to be published.", "pyboot_post_queue_limit_messages"),
    ),
)
# Of the master itself, without the labels `model` and `instance`.
MASTER_INFO = Meaning(
    "The master: its `version`, and `app_name`.", "info", "1", "pyboot_master_info"
)
MASTER_STARTED = timestamp("When the master started", "pyboot_master_start_time_seconds")
REFUSED = counter(
    "Connections to the metrics socket that the master dropped, by reason.",
    "pyboot_refused_connections_total",
    "connections",
    label="reason",
)

_TITLED = {figure.title: figure for figure in (*FIGURES, RESTARTS) if figure.title}
_ORDER = (
    *("in/s", "out/s", "pre_queue", "post_queue", "p50 ms", "p99 ms"),
    *("none", "errors", "dead", "spooled", "dropped", "restarts"),
)
# What a person is shown of each instance.
COLUMNS = tuple(_TITLED[title] for title in dict.fromkeys((*_ORDER, *_TITLED)))
