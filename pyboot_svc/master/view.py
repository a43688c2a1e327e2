"""What the web shows: the workers' figures of this moment, with what their manager knows."""

from __future__ import annotations

import time
from typing import Any

from pyboot_svc import __version__
from pyboot_svc.config import Config, Edge
from pyboot_svc.errors import UsageError
from pyboot_svc.identity import InstanceId
from pyboot_svc.master.config_file import ConfigFile
from pyboot_svc.master.history import History
from pyboot_svc.master.hub import Hub
from pyboot_svc.master.load import reckon
from pyboot_svc.master.peer import Reading
from pyboot_svc.metrics.letters import question
from pyboot_svc.services import ServiceManager
from pyboot_svc.services.base import ServiceState


class View:
    """Answers each question by asking all workers once; what was before is in `history`."""

    def __init__(
        self,
        config: Config,
        hub: Hub,
        services: ServiceManager,
        expected: list[InstanceId],
        file: ConfigFile | None = None,
    ) -> None:
        self._hub = hub
        self._file = file
        self._services = services
        self._started = time.time()
        self.history = History(hub.scrape)
        self.configure(config, expected)

    def configure(self, config: Config, expected: list[InstanceId]) -> None:
        """Show what this configuration lists; who of `expected` isn't there is missed."""
        self._edges = {edge.name: edge for edge in config.edges}
        self._expected = dict.fromkeys(expected)
        # Models whose instances come and go.
        self._passing = self._edges.keys() - {identity.model for identity in expected}
        self._config = config

    def queue_size_metrics(self) -> dict[str, Any]:
        """The original system's shape, to the letter; null and an error where nothing answers."""
        states = self._services.states()
        readings = self._hub.scrape()
        rows = []
        there = map(InstanceId.parse, readings)
        passing = [identity for identity in there if identity.model in self._passing]
        for identity in [*self._expected, *passing]:
            # One that a reload has just added may have been missed by the question.
            reading = readings.get(str(identity)) or Reading(None, "absent: just added")
            snapshot = reading.snapshot or {}
            row = {
                "sub_process_name": identity.metrics_name,
                "pre_queue": snapshot.get("pre_queue"),
                "post_queue": snapshot.get("post_queue"),
            }
            if reading.error is not None:
                row["error"] = _error(reading.error, states.get(identity))
            rows.append(row)
        return {"queue_size_metrics": rows}

    def instances(self) -> dict[str, Any]:
        """Everything that is known, an object an instance."""
        states = self._services.states()
        rows = []
        for name, reading in self._hub.scrape().items():
            identity = InstanceId.parse(name)
            state = states.get(identity)
            row = self._row(identity, reading, state)
            row["service"] = state.as_dict() if state else None
            # Who starts them has seen those, too, that ended before they said hello.
            row["restarts"] = state.restarts if state else self._hub.restarts(name)
            rows.append(row)
        return {
            "app_name": self._config.app_name,
            "description": self._config.description,
            "version": __version__,
            "started": self._started,
            "refused_connections": dict(self._hub.refused),
            "instances": rows,
        }

    def model_history(self, model: str) -> dict[str, Any] | None:
        """A model's day, all its instances together, and what it needs; None: there is no such."""
        names = [name for name in self.history.instances() if InstanceId.parse(name).model == model]
        edge = self._edges.get(model)
        if not names and edge is None:
            return None
        # Where each instance gets every message, more of them take nothing off each other.
        shared = edge is not None and edge.share
        load = reckon(self.history, names, len(names)) if shared else None
        return {
            "model": model,
            "now": time.time(),
            "tiers": self.history.combined(names),
            "latency": self.history.latency(model),
            "load": load.as_dict() if load else None,
            "file": self._file.state_of(model, self._config).as_dict() if self._file else None,
        }

    def dead_letters(self, instance: str, number: int | None = None) -> dict[str, Any] | None:
        """The newest that an instance keeps, or the one of this number; None: there is none such.

        An `error` says why its worker doesn't tell.
        """
        if not self._lists(instance):
            return None
        told = self._hub.inquire(instance, question(number))
        if "error" in told:
            return {"instance": instance, "kept": None, "letters": [], **told}
        return {"instance": instance, **told} if number is None or told["letters"] else None

    def readiness(self) -> tuple[list[str], list[str]]:
        """Why not every configured instance is ready, empty when all are; and what brokers grant
        less than they were asked for."""
        rows = [row for row in self.instances()["instances"] if row["configured"]]
        return (
            [f"{row['instance']}: {reason}" for row in rows for reason in _reasons(row)],
            [f"{row['instance']}: {notice}" for row in rows for notice in row.get("notices", ())],
        )

    def _lists(self, instance: str) -> bool:
        try:
            identity = InstanceId.parse(instance)
        except UsageError:
            return False
        return self._is_configured(identity)

    def _is_configured(self, identity: InstanceId) -> bool:
        return identity in self._expected or identity.model in self._passing

    def _row(
        self, identity: InstanceId, reading: Reading, service: ServiceState | None
    ) -> dict[str, Any]:
        edge = self._edges.get(identity.model)
        known = {
            "instance": str(identity),
            "model": identity.model,
            "number": identity.number,
            "configured": self._is_configured(identity),
            "unit": f"edge-model@{identity}.service",
            "sub_process_name": identity.metrics_name,
            "error": None if reading.error is None else _error(reading.error, service),
            "config": _edge_summary(edge) if edge else None,
        }
        told = {
            "state": "unknown" if reading.error is None else reading.error.partition(":")[0],
            "reasons": [],
            "pre_queue": None,
            "post_queue": None,
            **(reading.snapshot or {}),
        }
        # Whatever a worker tells of itself, it doesn't change what the master knows.
        return {**known, **told, **known}


def _error(error: str, service: ServiceState | None) -> str:
    """Why an instance tells nothing, with what who starts it has seen: wherever it is shown."""
    if service is None or service.exit is None:
        return error
    return f"{error}; {service.state}, {service.exit}"


def _reasons(row: dict[str, Any]) -> list[str]:
    if row["error"] is not None:
        return [row["error"]]
    if row["state"] == "ready":
        return []
    return row["reasons"] or [row["state"]]


def _edge_summary(edge: Edge) -> dict[str, Any]:
    return {
        "edge_mode": edge.edge_mode,
        "instance": edge.instance,
        "threads": edge.threads,
        "share": edge.share,
        "codec": edge.codec,
        "queue": {"pre": edge.queue.pre, "post": edge.queue.post},
        "pre": {
            "broker": edge.pre.broker.address,
            "topic": " ".join(edge.pre.topics),
            "qos": edge.pre.qos,
        },
        "post": {
            "broker": edge.post.broker.address,
            "topic": edge.post.topic,
            "qos": edge.post.qos,
        },
    }
