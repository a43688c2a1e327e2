"""The figures in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pyboot_svc.metrics import figures
from pyboot_svc.metrics.figures import Figure

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
        self._answering = [i for i in instances if i["error"] is None]

    def collect(self) -> Iterator[Metric]:
        up, ready = _family(figures.UP), _family(figures.READY)
        for instance in self._instances:
            up.add_metric(_labels(instance), float(instance["error"] is None))
            ready.add_metric(_labels(instance), float(instance["state"] == "ready"))
        yield up
        yield ready
        for figure in (*figures.GAUGES, *figures.COUNTERS, figures.CPU):
            yield self._told(figure)
        yield self._errors()
        yield self._latency()

    def _told(self, figure: Figure) -> Metric:
        family = _family(figure)
        for instance in self._answering:
            value = figure.value(instance)
            if value is not None:
                family.add_metric(_labels(instance), value)
        return family  # type: ignore[no-any-return]

    def _errors(self) -> Metric:
        family = _family(figures.ERRORS)
        for instance in self._answering:
            for kind, count in (figures.ERRORS.value(instance) or {}).items():
                family.add_metric([*_labels(instance), kind], count)
        return family  # type: ignore[no-any-return]

    def _latency(self) -> Metric:
        latency = GaugeMetricFamily(
            figures.LATENCY_NAME, figures.LATENCY_MEANING, labels=[*_LABELS, "quantile"]
        )
        for instance in self._answering:
            for quantile, figure in figures.LATENCIES.items():
                value = figure.value(instance)
                if value is not None:
                    latency.add_metric([*_labels(instance), quantile], value / 1000)
        return latency


def _family(figure: Figure) -> Any:
    labels = [*_LABELS, *([figure.label] if figure.label else [])]
    if figure.kind == "gauge":
        return GaugeMetricFamily(figure.prometheus, figure.meaning, labels=labels)
    name = figure.prometheus.removesuffix("_total")  # which the format puts there itself
    return CounterMetricFamily(name, figure.meaning, labels=labels)


def _labels(instance: dict[str, Any]) -> list[str]:
    return [instance["model"], str(instance["number"])]
