"""The figures in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pyboot_svc.metrics.figures import FIGURES, INFO, READY, RESTARTS, UP, Figure
from pyboot_svc.metrics.meaning import Meaning

_LABELS = ["model", "instance"]

__all__ = ["CONTENT_TYPE", "render_metrics"]


def render_metrics(document: dict[str, Any]) -> bytes:
    """`document` is what /api/instances gives."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Instances(document["instances"]))
    return generate_latest(registry)


class _Instances(Collector):
    def __init__(self, instances: list[dict[str, Any]]) -> None:
        self._instances = instances

    def collect(self) -> Iterator[Metric]:
        up, ready = _family(UP), _family(READY)
        for instance in self._instances:
            up.add_metric(_labels(instance), float(instance["error"] is None))
            ready.add_metric(_labels(instance), float(instance["state"] == "ready"))
        yield up
        yield ready
        yield self._info()
        answering = [instance for instance in self._instances if instance["error"] is None]
        yield from self._told((RESTARTS,), self._instances).values()
        yield from self._told(FIGURES, answering).values()

    def _info(self) -> Metric:
        names = ("version", "edge_mode", "model_version", "code")
        info = GaugeMetricFamily(INFO.prometheus, INFO.text, labels=[*_LABELS, *names])
        for instance in self._instances:
            if instance["error"] is None:
                told = [str(instance.get(name, "")) for name in names]
                info.add_metric([*_labels(instance), *told], 1.0)
        return info

    def _told(
        self, figures: Sequence[Figure], instances: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        """The families by their names: several figures may be of one."""
        families: dict[str, Any] = {}
        for figure in figures:
            name = figure.meaning.prometheus
            if not name:
                continue
            family = families.setdefault(name, _family(figure.meaning))
            for instance in instances:
                for own, value in figure.samples(instance):
                    family.add_metric([*_labels(instance), *own], value)
        return families


def _family(meaning: Meaning) -> Any:
    labels = [*_LABELS, *([meaning.label] if meaning.label else [])]
    text = meaning.help or meaning.text
    if meaning.kind == "gauge":
        return GaugeMetricFamily(meaning.prometheus, text, labels=labels)
    name = meaning.prometheus.removesuffix("_total")  # which the format puts there itself
    return CounterMetricFamily(name, text, labels=labels)


def _labels(instance: dict[str, Any]) -> list[str]:
    return [instance["model"], str(instance["number"])]
